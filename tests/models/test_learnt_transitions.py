"""Components whose transition is learnt: damped trends, cycles and autoregressions."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.tsa.statespace.initialization import Initialization

import kalman_em as kem
from kalman_em.inference.rows import stack_rows
from kalman_em.models.cycle import rotation
from kalman_em.models.problem import LinearGaussianProblem

LONG = kem.Stopping(max_iterations=4000)


def panel_of(values):
    values = np.asarray(values, dtype=float)
    return kem.Panel([kem.Observations(values.reshape(len(values), -1))])


def cycling(seed, n_steps=150, period=9.0, damping=0.95, noise=0.3):
    """Return a cycle about a constant, with a gap."""
    rng = np.random.default_rng(seed)
    state, values = rng.normal(size=2), []
    for _ in range(n_steps):
        state = rotation(period, damping) @ state + 0.4 * rng.normal(size=2)
        values.append(30.0 + state[0] + noise * rng.normal())
    values = np.array(values)
    values[20:24] = np.nan
    return values


def remembering(seed, coefficients=(0.5, 0.3), n_steps=150, noise=0.0):
    rng = np.random.default_rng(seed)
    values = list(rng.normal(size=len(coefficients)))
    for _ in range(n_steps):
        values.append(sum(c * values[-1 - i] for i, c in enumerate(coefficients)) + rng.normal())
    return 5.0 + np.array(values) + noise * rng.normal(size=len(values))


def system_of(model, values, **params):
    panel = panel_of(values)
    specification = model.specify(panel)
    begun = model.start(specification, panel)
    full = {name: getattr(begun, name) for name in specification.forms if getattr(begun, name) is not None}
    for name, value in params.items():
        slot = specification.slots[name]
        full[slot.parameter] = slot.put(full[slot.parameter], np.asarray(value, dtype=float))
    return specification.projected(full)


def log_likelihood(system, values):
    return kem.kalman_filter(system, panel_of(values).series[0]).log_likelihood


def outside(values, level, **options):
    model = sm.tsa.UnobservedComponents(values, level, use_exact_diffuse=True, **options)
    model.ssm.tolerance = 0.0
    return model


def test_the_matrices_of_a_damped_trend():
    values = np.column_stack([cycling(0), cycling(1)])
    model = kem.DampedTrend()
    system = system_of(model, values, slope_damping=[[0.8], [0.6]])
    F = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.8, 0.0], [0.0, 0.0, 0.0, 0.6]]
    np.testing.assert_allclose(system.transition_matrix, F, atol=1e-15)
    assert model.specify(panel_of(values)).n_parameters == 3 + 3 + 3 + 2


def test_the_matrices_of_a_cycle_show_as_period_and_damping():
    values = cycling(2)
    model = kem.LocalLevel() + kem.Cycle()
    system = system_of(model, values, cycle_period=[9.0], cycle_damping=[0.9], cycle_cov=[[2.0]])
    np.testing.assert_allclose(system.transition_matrix[1:, 1:], rotation(9.0, 0.9), atol=1e-15)
    assert np.diagonal(system.transition_cov).tolist()[1:] == [2.0, 2.0]
    slots = model.specify(panel_of(values)).slots
    np.testing.assert_allclose(
        [slots["cycle_period"].read(system), slots["cycle_damping"].read(system)], [[9.0], [0.9]]
    )
    assert list(slots) == ["level_cov", "cycle_cov", "observation_cov", "cycle_period", "cycle_damping"]


def test_the_matrices_of_an_autoregression():
    values = np.column_stack([remembering(3), remembering(4)])
    system = system_of(kem.Autoregression(2), values, autoregression=[[0.5, 0.3], [0.2, -0.1]])
    F = [[0.5, 0.0, 0.3, 0.0], [0.0, 0.2, 0.0, -0.1], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    np.testing.assert_allclose(system.transition_matrix, F, atol=1e-15)
    assert system.noise_selection.tolist() == np.eye(4, 2).tolist()


def test_the_likelihood_of_a_cycle_is_that_of_statsmodels():
    values = cycling(5)
    theirs = outside(values, "llevel", cycle=True, stochastic_cycle=True, damped_cycle=True)
    assert theirs.param_names == [
        "sigma2.irregular", "sigma2.level", "sigma2.cycle", "frequency.cycle", "damping.cycle",
    ]  # fmt: skip
    # Its start of a cycle is diffuse, damped or not: it is told of ours.
    told = Initialization(3)
    told.set((0, 1), "diffuse")
    told.set((1, 3), "stationary")
    own = theirs.ssm.initialization
    cases = [(period, damping, *start) for period, damping in ((9.0, 0.9), (4.0, 0.7)) for start in
             ((kem.Cycle(), told), (kem.Cycle(initial_cov=kem.Diffuse()), own))]  # fmt: skip
    for period, damping, cycle, start in cases:
        model, variances = kem.LocalLevel() + cycle, (0.1, 0.2, 0.3)
        theirs.ssm.initialization = start
        names = ("observation_cov", "level_cov", "cycle_cov")
        params = {n: [[v]] for n, v in zip(names, variances, strict=True)}
        system = system_of(model, values, **params, cycle_period=[period], cycle_damping=[damping])
        expected = theirs.loglike([*variances, 2.0 * np.pi / period, damping])
        assert log_likelihood(system, values) == pytest.approx(expected, rel=1e-8)


def test_the_likelihood_of_an_autoregression_is_that_of_statsmodels():
    values = remembering(6, noise=0.3)
    theirs = outside(values, "llevel", autoregressive=2)
    assert theirs.param_names == ["sigma2.irregular", "sigma2.level", "sigma2.ar", "ar.L1", "ar.L2"]
    system = system_of(
        kem.LocalLevel() + kem.Autoregression(2), values,
        observation_cov=[[0.2]], level_cov=[[0.1]], autoregression_cov=[[0.7]], autoregression=[0.5, 0.3],
    )  # fmt: skip
    expected = theirs.loglike([0.2, 0.1, 0.7, 0.5, 0.3])
    assert log_likelihood(system, values) == pytest.approx(expected, rel=1e-8)


MODELS = {
    "damped trend": (kem.DampedTrend(), np.cumsum(remembering(7, (0.7,)) - 5.0) + 100.0),
    "cycle": (kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.Cycle(), cycling(8)),
    "autoregression": (
        kem.LocalLevel(level_cov=kem.Fixed(0), observation_cov=kem.Fixed(0)) + kem.Autoregression(2),
        remembering(9),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_em_climbs_to_where_the_score_vanishes(name):
    model, values = MODELS[name]
    fitted = kem.fit(model, values, stopping=LONG)
    assert fitted.em.stop_reason.is_converged
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9 * abs(fitted.log_likelihood)
    for parameter, value in fitted.params.items():
        if not np.any(value):
            continue
        step = 1e-4
        for place in np.ndindex(value.shape):
            moved = [np.array(value), np.array(value)]
            moved[0][place] *= np.exp(-step)
            moved[1][place] *= np.exp(step)
            ends = [
                log_likelihood(system_of(model, values, **{**fitted.params, parameter: one}), values) for one in moved
            ]
            assert abs(ends[1] - ends[0]) / (2.0 * step) < 5e-2, parameter


@pytest.mark.parametrize("name", MODELS)
def test_the_m_step_raises_what_it_should(name):
    """No small change of the learnt transition is better than the M-step's, by more than its rounds leave undone."""
    model, values = MODELS[name]
    panel = panel_of(values)
    specification = model.specify(panel)
    problem = LinearGaussianProblem(specification, stack_rows(panel.series), np.ones(1))
    system = model.start(specification, panel)
    expectations, _ = problem.e_step(system)
    best = problem.m_step(system, expectations)
    height = problem.expected_gain(system, best, expectations)
    undone = 1e-2 if specification.start_moves else 0.0
    rng = np.random.default_rng(10)
    constraint = specification.constraint("transition_matrix")
    for _ in range(20):
        moved = (constraint.design @ (1e-3 * rng.normal(size=constraint.n_free))).reshape(constraint.fixed.shape)
        other = specification.settled(best.replaced(transition_matrix=best.transition_matrix + moved))
        assert problem.expected_gain(system, other, expectations) < height * (1.0 + undone)


def test_what_made_the_data_is_found_again():
    fitted = kem.fit(kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.Cycle(), cycling(11, n_steps=600), stopping=LONG)
    assert fitted.params.cycle_period[0] == pytest.approx(9.0, rel=0.05)
    assert fitted.params.cycle_damping[0] == pytest.approx(0.95, abs=0.03)
    still = kem.LocalLevel(level_cov=kem.Fixed(0), observation_cov=kem.Fixed(0))
    fitted = kem.fit(still + kem.Autoregression(2), remembering(12, n_steps=600), stopping=LONG)
    np.testing.assert_allclose(fitted.params.autoregression, [0.5, 0.3], atol=0.1)


def test_units_and_origin_change_nothing_but_units():
    values = cycling(13)
    model = kem.LocalLevel() + kem.Cycle()
    stopping = kem.Stopping(max_iterations=30)
    one, other = kem.fit(model, values, stopping=stopping), kem.fit(model, 1e4 + 100.0 * values, stopping=stopping)
    for name, value in one.params.items():
        unit = 1e4 if name.endswith("_cov") else 1.0
        np.testing.assert_allclose(other.params[name], unit * value, rtol=1e-5)


def test_forecasts_of_a_damped_trend_level_out():
    values = MODELS["damped trend"][1]
    fitted = kem.fit(kem.DampedTrend(), values, stopping=kem.Stopping(max_iterations=200))
    damping = float(fitted.params.slope_damping[0])
    steps = np.diff(fitted.forecast(6).means[:, 0])
    np.testing.assert_allclose(steps[1:] / steps[:-1], damping, rtol=1e-9)


def test_components_add_up_and_are_read_back(tmp_path):
    values = np.column_stack([cycling(14), cycling(15)])
    model = kem.LocalLevel() + kem.Cycle() + kem.Autoregression(2)
    fitted = kem.fit(model, values, stopping=kem.Stopping(max_iterations=3))
    parts = fitted.components(levels=())
    whole = sum(parts[f"{name}.y2"] for name in ("level", "cycle", "autoregression", "residual"))
    seen = ~np.isnan(values[:, 1])
    np.testing.assert_allclose(whole[seen], values[seen, 1], rtol=1e-12)
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.params == fitted.params
    assert loaded.params.autoregression.shape == (2, 2)
    assert "autoregression" in str(loaded.summary())
    again = kem.fit(model, values, start={"cycle_period": [[9.0], [7.0]]}, stopping=kem.Stopping(max_iterations=1))
    assert again.em.n_iterations == 1


def test_two_cycles_are_numbered():
    model = kem.LocalLevel() + kem.Cycle() + kem.Cycle()
    names = list(model.specify(panel_of(cycling(16))).slots)
    assert names[1:3] == ["cycle_1_cov", "cycle_2_cov"]
    assert names[-4:] == ["cycle_1_period", "cycle_1_damping", "cycle_2_period", "cycle_2_damping"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: kem.Autoregression(0), "order: expected a whole number of at least 1, got 0"),
        (lambda: kem.Autoregression(1.5), "order"),
        (lambda: kem.Cycle(cycle_cov="full"), "cycle_cov: expected a form"),
        (lambda: kem.DampedTrend(slope_cov=3), "slope_cov: expected a form"),
        (lambda: kem.DampedTrend() + kem.LocalLevel(), "DampedTrend and LocalLevel each bring a level"),
    ],
)
def test_bad_input_is_refused(make, said):
    with pytest.raises(kem.InputError, match=said):
        make()
