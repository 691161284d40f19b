"""Structural models in continuous time: on a clock of one unit what they are in discrete time, exact on any other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em.fitting.learning import stated
from kalman_em.inference.filtering import filter_all
from kalman_em.inference.rows import lay
from kalman_em.models.leading import rows_of

LONG = kem.Stopping(max_iterations=5000, relative_tolerance=1e-14)


def walk(n=150, seed=0, columns=1):
    rng = np.random.default_rng(seed)
    level = np.cumsum(rng.normal(size=(n, columns)) * 0.5, axis=0)
    return level + rng.normal(size=(n, columns))


def test_a_level_on_a_clock_with_holes_is_the_level_with_missing_rows():
    values = walk(columns=2)
    kept = np.sort(np.random.default_rng(1).choice(150, size=100, replace=False))
    holes = values.copy()
    holes[np.setdiff1d(np.arange(150), kept)] = np.nan
    regular = kem.fit(kem.LocalLevel(), holes, stopping=LONG)
    sparse = pd.DataFrame(values[kept], index=kept.astype(float), columns=["a", "b"])
    irregular = kem.fit(kem.Irregular(kem.LocalLevel()), sparse, stopping=LONG)
    assert irregular.log_likelihood == pytest.approx(regular.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(irregular.params.level_cov, regular.params.level_cov, rtol=1e-2, atol=1e-3)
    system = irregular.system.replaced(
        transition_cov=regular.system.transition_cov, observation_cov=regular.system.observation_cov
    )
    at_the_same = kem.kalman_filter(system, irregular.panel.series[0]).log_likelihood
    assert at_the_same == pytest.approx(regular.log_likelihood, rel=1e-12)


def test_over_one_unit_of_time_a_component_moves_as_in_discrete_time():
    model = kem.LocalLinearTrend() + kem.Seasonal(12.5, harmonics=2)
    regular, _ = stated(model, walk())
    specification, _ = stated(kem.Irregular(model), pd.Series(walk()[:, 0], index=np.arange(150.0)))
    np.testing.assert_allclose(
        specification.constraint("transition_matrix").fixed[0],
        regular.constraint("transition_matrix").fixed,
        atol=1e-12,
    )
    assert specification.state_names == regular.state_names
    # Independent noises: level and slope; the slope's moves the level too. A turn leaves white noise white.
    G = specification.noise_selection[0]
    level, slope = slice(0, 1), slice(1, 3)
    np.testing.assert_allclose(G[:2, level] @ G[:2, level].T, [[1, 0], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(G[:2, slope] @ G[:2, slope].T, [[1 / 3, 1 / 2], [1 / 2, 1]], atol=1e-12)
    np.testing.assert_allclose(G[2:, 3:] @ G[2:, 3:].T, np.eye(4), atol=1e-12)


def test_the_end_is_level_in_every_variance_though_moves_do_not_tell_the_noises():
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.uniform(0.2, 3.0, size=300))
    slope = np.cumsum(0.3 * rng.normal(size=300))
    level = np.cumsum(slope) + np.cumsum(rng.normal(size=300))
    series = pd.Series(level + 2.0 * rng.normal(size=300), index=times)
    fitted = kem.fit(kem.Irregular(kem.LocalLinearTrend()), series, stopping=LONG)
    assert fitted.specification.dynamics.is_wide
    assert np.all(np.diff(fitted.em.log_likelihoods) > -1e-8)
    rows = rows_of(fitted.panel, fitted.specification)

    def height(**values):
        return float(filter_all(lay(fitted.system.replaced(**values), rows), rows).log_likelihoods.sum())

    top = height()
    for name, places in (("transition_cov", [0]), ("transition_cov", [1, 2]), ("observation_cov", [0])):
        steps = []
        for factor in (1.001, 0.999):
            cov = np.array(getattr(fitted.system, name))
            cov[places, places] *= factor
            steps.append(height(**{name: cov}))
        slope, curvature = (steps[0] - steps[1]) / 0.002, (steps[0] + steps[1] - 2.0 * top) / 1e-6
        assert curvature < 0.0
        assert abs(slope / curvature) < 5e-3


def test_dates_of_any_spacing_are_decomposed_and_saved(tmp_path):
    rng = np.random.default_rng(2)
    days = np.sort(rng.choice(1200, size=220, replace=False))
    values = 3.0 * np.sin(2.0 * np.pi * days / 365.25) + 0.01 * days + rng.normal(size=220)
    series = pd.Series(values, index=pd.Timestamp("2021-01-01") + pd.to_timedelta(days, unit="D"), name="level")
    model = kem.Irregular(kem.SmoothTrend() + kem.Seasonal(365.25, harmonics=1, seasonal_cov=kem.Fixed(0.0)))
    fitted = kem.fit(model, series)
    parts = fitted.components(levels=())
    total = parts["trend"] + parts["seasonal"] + parts["residual"]
    np.testing.assert_allclose(total, values, atol=1e-8)
    wave = 3.0 * np.sin(2.0 * np.pi * days / 365.25)
    assert np.abs(parts["seasonal"].to_numpy() - wave).max() < 1.0
    fitted.save(tmp_path / "fit.json")
    again = kem.load(tmp_path / "fit.json")
    assert again.model == model
    assert again.log_likelihood == fitted.log_likelihood
    day = [pd.Timestamp("2024-06-01")]
    assert again.forecast(times=day).means == pytest.approx(fitted.forecast(times=day).means)


def test_what_does_not_fit_is_named():
    series = pd.Series(walk()[:, 0], index=np.arange(150.0))
    cases = [
        (lambda: kem.Irregular(kem.ConstantVelocity()), "model: expected a structural model"),
        (lambda: kem.Irregular(kem.LocalLevel(), time_unit="year"), "time_unit: expected one of"),
        (lambda: kem.fit(kem.Irregular(kem.LocalLevel() + kem.Autoregression(2)), series), "learns a transition"),
        (lambda: kem.fit(kem.Irregular(kem.LocalLevel() + kem.Seasonal(4)), series), "has no form in continuous time"),
        (
            lambda: kem.fit(kem.Irregular(kem.LocalLevel() + kem.Seasonal(4, kind="dummy")), series),
            "has no form in continuous time",
        ),
    ]
    for act, said in cases:
        with pytest.raises(kem.InputError, match=said):
            act()


@pytest.mark.parametrize("part", [kem.Regression(), kem.TimeVaryingRegression(), kem.Intervention(at=3)])
def test_what_depends_on_inputs_is_refused_where_it_is_stated(part):
    with pytest.raises(kem.InputError, match=rf"components that move in time, got {type(part).__name__}\(\)"):
        kem.Irregular(kem.LocalLevel() + part)
