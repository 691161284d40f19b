"""Fits in which series share some parameters and have others for themselves: the optimum, names, errors, files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em import Fixed, Full, InputError, Isotropic, Known, Panel, Pattern, PerSeries

TIGHT = kem.Stopping(max_iterations=5000, relative_tolerance=1e-13, parameter_tolerance=1e-9)


def levels(seed=0, noises=(1.0, 25.0, 4.0), lengths=(120, 90, 60)):
    """Return a panel of walks seen through noises of the given variances, with gaps."""
    rng = np.random.default_rng(seed)
    series = []
    for n, R in zip(lengths, noises, strict=True):
        values = np.cumsum(rng.normal(size=n)) + np.sqrt(R) * rng.normal(size=n)
        values[rng.random(n) < 0.1] = np.nan
        series.append(kem.Observations(values[:, None], names=("y",)))
    return Panel(tuple(series), keys=("track-7", "track-8", 9)[: len(noises)])


def tracks(seed=1):
    """Return a long frame of three irregular tracks."""
    rng = np.random.default_rng(seed)
    frames = []
    for key, n, R in (("a", 60, 0.1), ("b", 80, 2.0), ("c", 50, 0.5)):
        gaps = rng.exponential(1.0, n) + 0.1
        speed = np.cumsum(np.sqrt(0.1 * gaps) * rng.normal(size=n))
        place = np.cumsum(speed * gaps) + np.sqrt(R) * rng.normal(size=n)
        frames.append(pd.DataFrame({"t": np.cumsum(gaps), "id": key, "x": place}))
    return pd.concat(frames)


@pytest.fixture(scope="module")
def fitted():
    return kem.fit(kem.LocalLevel(observation_cov=PerSeries(Full())), levels(), stopping=TIGHT)


def height(fitted, **values):
    """Return the log-likelihood of the panel with other values, by the filter of one series at a time."""
    total = 0.0
    for key, one in zip(fitted.panel.keys, fitted.panel, strict=True):
        system = fitted.system_of(key)
        own = {name: np.array([[x[key] if isinstance(x, dict) else x]]) for name, x in values.items()}
        total += kem.kalman_filter(system.replaced(**own), one).log_likelihood
    return total


def test_no_number_shared_or_not_can_be_bettered(fitted):
    assert fitted.em.stop_reason.is_converged
    R = {key: float(x[0, 0]) for key, x in fitted.params.observation_cov.items()}
    Q = float(fitted.params.level_cov[0, 0])
    assert height(fitted, transition_cov=Q, observation_cov=R) == pytest.approx(fitted.log_likelihood, rel=1e-12)

    def slope(name, at):
        step = 1e-3 * at
        points = [Q, R, at - step, at + step]
        lower, upper = (
            height(
                fitted, transition_cov=x if name is None else Q, observation_cov=R if name is None else R | {name: x}
            )
            for x in points[2:]
        )
        return (upper - lower) / (2.0 * 1e-3)

    slopes = [slope(None, Q), *(slope(key, x) for key, x in R.items())]
    assert np.abs(slopes).max() < 2e-4


def test_where_nothing_is_shared_the_fits_are_those_of_each_series():
    model = kem.LocalLevel(level_cov=PerSeries(Full()), observation_cov=PerSeries(Full()))
    panel = levels()
    together = kem.fit(model, panel, stopping=TIGHT)
    for key in panel.keys:
        alone = kem.fit(kem.LocalLevel(), panel[key], stopping=TIGHT)
        for name in ("level_cov", "observation_cov"):
            np.testing.assert_allclose(together.params[name][key], alone.params[name], rtol=1e-4)
        np.testing.assert_allclose(together.smooth(key).smoothed_means, alone.smooth().smoothed_means, atol=1e-3)


def test_tracks_of_their_own_densities_are_those_of_each_track():
    model = kem.ConstantVelocity(acceleration_density=PerSeries(Isotropic()), observation_cov=PerSeries(Full()))
    columns = {"time": "t", "values": ["x"]}
    together = kem.fit(model, tracks(), series="id", stopping=TIGHT, **columns)
    for key, track in tracks().groupby("id"):
        alone = kem.fit(kem.ConstantVelocity(), track.drop(columns="id"), stopping=TIGHT, **columns)
        np.testing.assert_allclose(
            together.params.acceleration_density[key], alone.params.acceleration_density, rtol=1e-3
        )
        np.testing.assert_allclose(together.discretize(0.5, series=key)[1], alone.discretize(0.5)[1], rtol=1e-3)
    assert np.all(np.isfinite(together.standard_errors["acceleration_density[b]"]))


def test_several_noises_of_one_state_have_densities_by_series():
    model = kem.Irregular(kem.LocalLinearTrend(level_cov=PerSeries(Full()), slope_cov=PerSeries(Full())))
    together = kem.fit(model, tracks(), time="t", series="id", values=["x"])
    apart = [
        kem.fit(kem.Irregular(kem.LocalLinearTrend(observation_cov=Fixed(together.params.observation_cov))), track)
        for track in (part.set_index("t")["x"] for _, part in tracks().groupby("id"))
    ]
    assert together.log_likelihood == pytest.approx(sum(one.log_likelihood for one in apart), abs=1e-4)


def test_a_variance_of_one_series_goes_to_zero():
    found = kem.fit(kem.LocalLevel(observation_cov=PerSeries(Full())), levels(5, (1.0, 1e-6, 4.0)))
    assert found.params.observation_cov["track-8"] == 0.0
    assert "observation_cov[track-8] went to 0" in found.em.detail
    assert found.params.observation_cov["track-7"] > 0.0
    assert "observation_cov[track-8]" in found.standard_errors.reasons


def test_the_shared_part_is_shared_and_the_rest_is_named(fitted):
    names = ["level_cov", "observation_cov[track-7]", "observation_cov[track-8]", "observation_cov[9]"]
    assert list(fitted.params) == names
    assert fitted.n_parameters == 4
    assert list(fitted.params.observation_cov) == ["track-7", "track-8", 9]
    assert fitted.system.n_series == 3
    np.testing.assert_array_equal(fitted.system_of(9).observation_cov, fitted.params["observation_cov[9]"])
    text = str(fitted.summary(standard_errors=True))
    assert all(name in text for name in names)
    with pytest.raises(InputError, match=r"series: expected the key"):
        fitted.system_of()
    with pytest.raises(InputError, match=r"choose one with system.of_series"):
        kem.kalman_filter(fitted.system, fitted.panel[9])


def test_standard_errors_are_the_curvature(fitted):
    params = fitted.params
    R = {key: float(x[0, 0]) for key, x in params.observation_cov.items()}
    at = np.array([float(params.level_cov[0, 0]), *R.values()])

    def loss(x):
        return -height(fitted, transition_cov=x[0], observation_cov=dict(zip(R, x[1:], strict=True)))

    steps = 1e-3 * np.diag(at)
    curvature = [
        [(loss(at + a + b) - loss(at + a - b) - loss(at - a + b) + loss(at - a - b)) / 4.0 for b in steps]
        for a in steps
    ]
    cov = np.linalg.inv(np.array(curvature) / np.outer(1e-3 * at, 1e-3 * at))
    ours = [float(fitted.standard_errors[name][0, 0]) for name in params]
    np.testing.assert_allclose(ours, np.sqrt(np.diagonal(cov)), rtol=1e-3)


def test_standard_errors_of_offsets_by_series_are_the_curvature():
    panel = levels(4)
    level = {"transition_matrix": Fixed([[1.0]]), "observation_matrix": Fixed([[1.0]]), "initial_cov": Fixed([[1.0]])}
    model = kem.LinearGaussian(
        1, 1, **level, transition_offset=PerSeries(Pattern(["u"])), initial_mean=PerSeries(Full())
    )
    found = kem.fit(model, panel, stopping=TIGHT)
    held = {name: Fixed(found.params[name]) for name in ("transition_cov", "observation_cov")}
    model = kem.LinearGaussian(
        1, 1, **level, **held, transition_offset=PerSeries(Pattern(["u"])), initial_mean=PerSeries(Full())
    )
    found = kem.fit(model, panel, stopping=TIGHT)
    for key, one in zip(panel.keys, panel, strict=True):
        system, name = found.system_of(key), f"u[{key}]"
        at = np.array([float(found.params[name]), float(found.params.initial_mean[key][0])])

        def loss(x, system=system, one=one):
            moved = system.replaced(transition_offset=x[:1], initial_mean=x[1:])
            return -kem.kalman_filter(moved, one).log_likelihood

        steps = 0.1 * np.eye(2)
        # The log-likelihood is a parabola in both: differences are exact.
        curvature = [
            [(loss(at + a + b) - loss(at + a - b) - loss(at - a + b) + loss(at - a - b)) / 0.04 for b in steps]
            for a in steps
        ]
        errors = np.sqrt(np.diagonal(np.linalg.inv(curvature)))
        ours = [float(found.standard_errors[name]), float(found.standard_errors.initial_mean[key][0])]
        np.testing.assert_allclose(ours, errors, rtol=1e-5)


def test_it_is_saved_extended_refitted_and_compared(fitted, tmp_path):
    fitted.save(tmp_path / "panel.json")
    loaded = kem.load(tmp_path / "panel.json")
    assert loaded.params == fitted.params
    assert loaded.params.observation_cov["track-7"] == fitted.params.observation_cov["track-7"]
    assert loaded.forecast(2, series=9).to_frame().equals(fitted.forecast(2, series=9).to_frame())
    longer = fitted.extend([1.0, 2.0], series="track-8")
    assert len(longer.smooth("track-8").to_frame()) == 92
    assert fitted.simulate(series="track-7", rng=np.random.default_rng(0)).shape == (120, 1)
    assert fitted.impute(series=9).notna().all().all()
    assert fitted.refit(fitted.panel).em.n_iterations < 20
    other = kem.Panel((fitted.panel["track-8"], fitted.panel["track-7"]), keys=("track-8", "new"))
    assert list(fitted.refit(other).params.observation_cov) == ["track-8", "new"]
    assert fitted.crosscheck().relative_difference < 1e-9


def test_a_start_may_be_for_all_series_or_for_some():
    model, once = kem.LocalLevel(observation_cov=PerSeries(Full())), kem.Stopping(max_iterations=1)
    runs = [
        kem.fit(model, levels(), start=start, stopping=once).em.log_likelihoods[0]
        for start in (
            {"observation_cov": 3.0},
            {f"observation_cov[{key}]": 3.0 for key in levels().keys},
            {"observation_cov": {key: [[3.0]] for key in levels().keys}},
        )
    ]
    assert runs[0] == runs[1] == runs[2]
    with pytest.raises(InputError, match=r"start\['observation_cov'\] 'track-1' is not known"):
        kem.fit(model, levels(), start={"observation_cov": {"track-1": 1.0}})


def test_of_one_series_it_is_the_form_itself():
    one = levels()["track-7"]
    plain, own = (kem.fit(kem.LocalLevel(observation_cov=form), one) for form in (Full(), PerSeries(Full())))
    assert own.params == plain.params
    each = kem.fit_each(kem.LocalLevel(observation_cov=PerSeries(Full())), levels())
    assert each["track-7"].log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-9)


def linear(**forms):
    return kem.LinearGaussian(1, 1, **forms)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PerSeries("full"), r"PerSeries: expected a form .* got 'full'"),
        (lambda: PerSeries(PerSeries(Full())), "PerSeries: expected a form .* once is enough"),
        (lambda: PerSeries(kem.Diffuse()), "PerSeries: .* for initial_cov alone"),
        (
            lambda: linear(transition_matrix=PerSeries(Full())),
            "transition_matrix: expected a form that all series share",
        ),
        (lambda: linear(observation_cov=PerSeries(Known(np.ones((5, 1))))), "observation_cov: .* constant in time"),
        (
            lambda: linear(transition_offset=PerSeries(Pattern(["a"])), transition_matrix=Pattern([["a"]])),
            "the name 'a' stands in a form that all series share and in one",
        ),
        (
            lambda: linear(observation_offset=PerSeries(Full()), observation_cov=Known(np.ones((60, 1)))),
            "observation_cov: expected a form that is constant in time beside parameters that are PerSeries",
        ),
        (
            lambda: linear(transition_cov=PerSeries(Full()), initial_cov=kem.Stationary()),
            "transition_cov: is PerSeries, so that the states have no one Stationary",
        ),
    ],
)
def test_what_cannot_be_per_series_says_so(make, message):
    with pytest.raises(InputError, match=message):
        kem.fit(make(), levels(lengths=(60, 60, 60)))


def test_keys_that_read_alike_are_refused():
    panel = Panel((levels()["track-7"], levels()["track-8"]), keys=("1", 1))
    with pytest.raises(InputError, match=r"series: expected keys that read differently .* '1' twice"):
        kem.fit(kem.LocalLevel(observation_cov=PerSeries(Full())), panel)
