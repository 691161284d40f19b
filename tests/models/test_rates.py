"""Learnt rates of a motion: their M-step is the maximum over rate and density; EM ends at that of the likelihood."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy
from oracles.dense import DenseGaussian
from support.motion import tracks

import kalman_em as kem
from kalman_em.fitting.learning import stated
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.rates import moved_to, parts_of, with_rate
from kalman_em.models.scale import data_scale

MODEL = kem.CorrelatedRandomWalk(time_constant=kem.Full(), dim=2)


def panel_of(lengths, seed=5):
    truth = kem.CorrelatedRandomWalk(time_constant=3.0, dim=2)
    return kem.Panel([one for _, one in tracks(seed, truth, 0.5, 0.3 * np.eye(2), lengths, missing=0.1)])


def test_a_step_is_the_maximum_over_time_constant_and_density():
    specification, panel = stated(MODEL, panel_of((9, 7)))
    problem = LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel))
    start = MODEL.start(specification, panel)
    # Within the reach of one step.
    (rate,) = problem.specification.rates
    start = moved_to(start, with_rate(start.dynamics, rate, 1.0 / 2.5))
    found = problem.m_step(start, problem.e_step(start)[0])
    # By brute force: the moments of pairs of states, and the density of their moves under any time constant.
    pairs = [gap for one in panel for gap in np.diff(one.times)]
    moves = expected_pairs(problem, start)

    def loss(theta):
        dynamics = with_rate(start.dynamics, rate, float(np.exp(-theta[0])))
        total = 0.0
        for gap, (mean, cov) in zip(pairs, moves, strict=True):
            F = dynamics.transition_matrices(np.array([gap]))[0]
            G = dynamics.noise_selections(np.array([gap]))[0]
            step = np.hstack([-F, np.eye(len(F))])
            square = step @ (cov + np.outer(mean, mean)) @ step.T
            Q = np.exp(theta[1]) * G @ G.T
            total -= 0.5 * (np.linalg.slogdet(Q)[1] + np.trace(np.linalg.solve(Q, square)))
        return -total

    best = scipy.optimize.minimize(
        loss, [np.log(2.5), 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 2000}
    ).x
    reached = -np.log(rate.value(found.dynamics.drift))
    assert abs(best[0] - np.log(2.5)) < np.log(2.0)
    assert reached == pytest.approx(best[0], abs=1e-4)
    assert np.log(found.transition_cov[0, 0]) == pytest.approx(best[1], abs=1e-4)


def expected_pairs(problem, system):
    """The mean and covariance of (x[t], x[t+1]) for every move, from the dense oracle."""
    from_oracle = []
    for first, last in pairwise(problem.rows.starts):
        times = problem.rows.times[first:last]
        exact = DenseGaussian(system.along(times), kem.Observations(problem.rows.values[first:last])).smoothed()
        d = system.state_dim
        for t in range(len(times) - 1):
            block = exact.state_cov[t : t + 2, :, t : t + 2, :].reshape(2 * d, 2 * d)
            from_oracle.append((exact.state_means[t : t + 2].ravel(), block))
    return from_oracle


@pytest.mark.parametrize("initial_cov", [kem.Diffuse(), kem.Stationary()], ids=["diffuse", "stationary"])
@pytest.mark.parametrize("density", [kem.Isotropic(), kem.Full()], ids=["one", "full"])
def test_the_sums_of_one_axis_are_those_of_all(density, initial_cov):
    if isinstance(initial_cov, kem.Stationary):
        model = kem.Irregular(kem.Autoregression(1, autoregression_cov=density))
    else:
        model = kem.Singer(time_constant=kem.Full(), dim=2, jerk_density=density)
    specification, panel = stated(model, panel_of((9, 7)))
    problem = LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel))
    start = model.start(specification, panel)
    expectations = problem.e_step(start)[0]
    (part,) = parts_of(specification, start, expectations.transition, expectations)
    (rate,) = part.rates
    moved = with_rate(part.dynamics, rate, 1.3 * rate.value(part.dynamics.drift))
    assert part.dynamics.is_of_one_axis
    ours, logs = part._of_one_axis(moved)
    theirs, all_logs = part._of_all_axes(moved)
    c, p = len(ours) // 2, 2
    np.testing.assert_allclose(
        np.einsum("iaib->ab", ours.reshape(c, p, c, p)), np.einsum("iaib->ab", theirs.reshape(c, p, c, p)), rtol=1e-8
    )
    np.testing.assert_allclose(logs, all_logs, rtol=1e-9, atol=1e-9)


@pytest.fixture(scope="module")
def fitted():
    return kem.fit(MODEL, panel_of((90, 80)))


def test_the_end_is_the_top_of_the_profile(fitted):
    assert fitted.em.stop_reason.is_converged
    tau = float(fitted.params.time_constant)
    assert 1.5 < tau < 6.0
    known = [
        kem.fit(kem.CorrelatedRandomWalk(time_constant=factor * tau, dim=2), fitted.panel).log_likelihood
        for factor in (0.97, 1.0, 1.03)
    ]
    assert known[1] == pytest.approx(fitted.log_likelihood, abs=2e-3)
    assert max(known[0], known[2]) < fitted.log_likelihood
    # The top of the parabola through them is where the fit ended.
    slope = (known[2] - known[0]) / 2.0 / (known[0] + known[2] - 2.0 * known[1])
    assert abs(0.03 * slope) < 0.01
    assert np.all(np.diff(fitted.em.log_likelihoods) > -1e-8)


def test_it_is_counted_said_saved_and_carried_on(fitted, tmp_path):
    assert fitted.n_parameters == 4
    assert "Generalised M-step: time_constant" in str(fitted.summary()).replace("\n", " ")
    fitted.save(tmp_path / "fit.json")
    again = kem.load(tmp_path / "fit.json")
    assert again.log_likelihood == fitted.log_likelihood
    assert float(again.params.time_constant) == float(fitted.params.time_constant)
    tau = float(fitted.params.time_constant)
    moved = fitted.discretize(1.0).transition_matrix
    assert moved[2, 2] == pytest.approx(np.exp(-1.0 / tau), rel=1e-12)
    once = fitted.refit(fitted.panel, stopping=kem.Stopping(max_iterations=1))
    assert once.em.log_likelihoods[0] == pytest.approx(fitted.log_likelihood, rel=1e-9)
    checked = fitted.crosscheck(max_iterations=2)
    assert checked.relative_difference < 1e-9
    assert "time constant" in checked.unavailable


def test_the_standard_error_is_the_curvature_of_the_profile(fitted):
    tau = float(fitted.params.time_constant)
    error = float(fitted.standard_errors.time_constant)
    others = ("acceleration_density", "observation_cov")
    heights = [
        kem.fit(
            kem.CorrelatedRandomWalk(time_constant=factor * tau, dim=2),
            fitted.panel,
            start={name: fitted.params[name] for name in others},
        ).log_likelihood
        for factor in (0.9, 1.1)
    ]
    # The profile is close to a parabola in the logarithm.
    curvature = (2.0 * fitted.log_likelihood - sum(heights)) / np.log(1.1) ** 2
    assert error == pytest.approx(tau / np.sqrt(curvature), rel=0.1)
    assert all(np.isfinite(fitted.standard_errors[name]).all() for name in others)


def test_what_does_not_fit_is_named(fitted):
    cases = [
        (lambda: MODEL.discretize(1.0), "time_constant: is learnt; ask the fit"),
        (lambda: kem.Singer(time_constant="long"), "time_constant: expected a positive number, or Full"),
        (lambda: kem.fit(MODEL, fitted.panel, start={"time_constant": -1.0}), "time_constant: expected a positive"),
    ]
    for act, said in cases:
        with pytest.raises(kem.InputError, match=said):
            act()


def holed(values, seed=3):
    """Return a series on a clock of one unit with rows left out, and the same with them missing."""
    kept = np.sort(np.random.default_rng(seed).choice(len(values), size=2 * len(values) // 3, replace=False))
    missing = values.copy()
    missing[np.setdiff1d(np.arange(len(values)), kept)] = np.nan
    return pd.Series(values[kept], index=kept.astype(float)), missing


def turning(rate, angle, n=90, seed=0):
    """Return a damped wave under noise of variance 1 a step, seen through noise."""
    rng = np.random.default_rng(seed)
    state, turn = (
        np.zeros(2),
        np.exp(-rate) * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]),
    )
    values = np.zeros(n)
    for t in range(n):
        state = turn @ state + rng.normal(size=2)
        values[t] = state[0] + 0.3 * rng.normal()
    return values


@pytest.mark.parametrize("name", ["autoregression", "cycle"])
def test_on_a_clock_of_one_unit_it_is_the_model_in_discrete_time(name):
    model = {"autoregression": kem.Autoregression(1), "cycle": kem.Cycle()}[name]
    sparse, missing = holed(turning(0.3, 0.0 if name == "autoregression" else 2.0 * np.pi / 9.0))
    timed, regular = kem.fit(kem.Irregular(model), sparse), kem.fit(model, missing)
    assert timed.log_likelihood == pytest.approx(regular.log_likelihood, abs=2e-4)
    damping = "autoregression" if name == "autoregression" else "cycle_damping"
    for parameter in (damping, "observation_cov", *(["cycle_period"] if name == "cycle" else [])):
        np.testing.assert_allclose(timed.params[parameter].ravel(), regular.params[parameter].ravel(), rtol=0.03)
    # What a step of one unit adds, of white noise that dies away meanwhile (Harvey 1989, equation 9.1.20).
    rate = -np.log(timed.params[damping][0])
    added = timed.params[f"{name}_cov"] * (1.0 - np.exp(-2.0 * rate)) / (2.0 * rate)
    np.testing.assert_allclose(added, regular.params[f"{name}_cov"], rtol=0.05)
    assert np.all(np.diff(timed.em.log_likelihoods) > -1e-9)


def test_a_slope_that_dies_away_is_learnt_where_moves_do_not_tell_the_noises():
    rng = np.random.default_rng(2)
    times = np.cumsum(rng.choice([0.5, 1.0, 2.0], 150))
    gaps = np.diff(times, prepend=0.0)
    slope = np.zeros(150)
    for t in range(1, 150):
        left = np.exp(-0.2 * gaps[t])
        slope[t] = left * slope[t - 1] + 0.5 * np.sqrt(1.0 - left**2) * rng.normal()
    values = pd.Series(np.cumsum(slope * gaps) + 0.3 * rng.normal(size=150), index=times)
    fitted = kem.fit(kem.Irregular(kem.DampedTrend()), values)
    assert fitted.em.stop_reason.is_converged
    assert 0.6 < float(fitted.params.slope_damping[0]) < 0.95
    (rate,) = fitted.specification.rates
    at, one = rate.value(fitted.system.dynamics.drift), fitted.panel.series[0]
    heights = [
        kem.kalman_filter(moved_to(fitted.system, with_rate(fitted.system.dynamics, rate, x * at)), one).log_likelihood
        for x in (0.98, 1.0, 1.02)
    ]
    assert heights[1] == pytest.approx(fitted.log_likelihood, rel=1e-12)
    assert abs(heights[2] - heights[0]) / 0.04 < 2e-2
    assert max(heights[0], heights[2]) < heights[1]


def test_it_stands_in_sums_is_named_saved_and_forecast(tmp_path):
    sparse, _ = holed(20.0 + turning(0.1, 2.0 * np.pi / 9.0))
    model = kem.Irregular(kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.Cycle())
    fitted = kem.fit(model, sparse, stopping=kem.Stopping(max_iterations=30))
    assert {"cycle_period", "cycle_damping", "cycle_cov"} <= set(fitted.params)
    assert fitted.n_parameters == 4
    assert "1 diffuse, 2 stationary" in str(fitted.summary())
    fitted.save(tmp_path / "cycle.json")
    loaded = kem.load(tmp_path / "cycle.json")
    assert loaded.params == fitted.params
    assert loaded.forecast(times=[500.0]).to_frame().equals(fitted.forecast(times=[500.0]).to_frame())
    # Far ahead nothing is left of the wave.
    level = fitted.smooth().to_frame()["level"].iloc[-1]
    assert float(fitted.forecast(times=[5000.0]).means[0, 0]) == pytest.approx(level, rel=1e-9)
    kept = kem.fit(model, sparse, start=fitted.params, stopping=kem.Stopping(max_iterations=1))
    assert kept.em.log_likelihoods[0] == pytest.approx(fitted.log_likelihood, rel=1e-9)
    with pytest.raises(kem.InputError, match=r"damping: expected a positive number below 1, got 1.5"):
        kem.fit(model, sparse, start={"cycle_damping": 1.5})


def test_a_longer_autoregression_has_no_such_form():
    sparse, _ = holed(turning(0.3, 0.0))
    with pytest.raises(kem.InputError, match="'autoregression' learns a transition that has no such form"):
        kem.fit(kem.Irregular(kem.Autoregression(2)), sparse)
