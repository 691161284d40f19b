"""Switching linear-Gaussian systems against the sum over all paths of regimes, and EM on the bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles.paths import all_paths, log_prior, weigh
from support.switching import EVERYTHING, MOVES, model_of, some_params, some_rows

import kalman_em as kem
from kalman_em.frames import to_panel
from kalman_em.inference.imputation import impute_rows
from kalman_em.inference.regimes import stationary_probabilities
from kalman_em.inference.rows import lay, stack_rows

QUIET = kem.SwitchingLinearGaussian(2, 2, 2, switching=["transition_cov"])
QUICK = kem.Stopping(max_iterations=30)


def exact(values, params):
    """Return the posterior of all paths, each with the exact likelihood of its time-varying system, and the states."""
    paths = all_paths(len(values), params.n_regimes)
    log_joints = log_prior(paths, params.regime_initial_probabilities, params.regime_transition_matrix)
    means, covs = [], []
    for number, path in enumerate(paths):
        system = kem.LinearGaussianSystem(
            transition_matrix=params.of_regimes("transition_matrix")[path[1:]],
            transition_cov=params.of_regimes("transition_cov")[path[1:]],
            observation_matrix=params.of_regimes("observation_matrix")[path],
            observation_cov=params.of_regimes("observation_cov")[path],
            transition_offset=params.of_regimes("transition_offset")[path[1:]],
            observation_offset=params.of_regimes("observation_offset")[path],
            initial_mean=params.initial_mean,
            initial_cov=params.initial_cov,
        )
        filtered = kem.kalman_filter(system, kem.Observations(values))
        log_joints[number] += filtered.log_likelihood
        smoothed = kem.rts_smoother(system, filtered)
        means.append(smoothed.smoothed_means)
        covs.append(smoothed.smoothed_covs)
    posterior = weigh(paths, log_joints)
    weights = np.exp(log_joints - posterior.log_likelihood)
    return posterior, np.einsum("n,ntd->td", weights, np.array(means)), (weights, np.array(means), np.array(covs))


@pytest.mark.parametrize("approximation", ["kim", "variational"])
@pytest.mark.parametrize("switching", [("transition_cov",), EVERYTHING])
def test_regimes_that_do_not_differ_leave_nothing_to_approximate(switching, approximation):
    params = some_params(switching=())
    same = {name: np.stack([getattr(params, name)] * 2) for name in switching}
    params, values = replace(params, **same), some_rows(40)
    problem = model_of(params, approximation).problem(to_panel(values))
    if approximation == "variational":
        params = replace(params, shares=np.full((40, 2), 0.5))
    expectations, objective = problem.e_step(params)
    system = kem.LinearGaussianSystem(
        **{name: params.of_regimes(name)[0] for name in EVERYTHING},
        initial_mean=params.initial_mean, initial_cov=params.initial_cov,
    )  # fmt: skip
    filtered = kem.kalman_filter(system, kem.Observations(values))
    assert objective == pytest.approx(filtered.log_likelihood, rel=1e-10)
    smoothed = kem.rts_smoother(system, filtered)
    states = problem.states(params)
    for k in range(2):
        np.testing.assert_allclose(states.means[:, k], smoothed.smoothed_means, atol=1e-9)
        np.testing.assert_allclose(states.covs[:, k], smoothed.smoothed_covs, atol=1e-9)
    means, covs, lags = smoothed.smoothed_means, smoothed.smoothed_covs, smoothed.lag_one_covs
    cross = (lags[: len(means) - 1] + means[1:, :, None] * means[:-1, None, :]).sum(axis=0)
    np.testing.assert_allclose(expectations.transitions.cross.sum(axis=0)[:, :2], cross, rtol=1e-9)
    moved = expectations.transitions
    np.testing.assert_allclose(moved.regressors.sum(axis=0)[2], [*means[:-1].sum(axis=0), 39.0], rtol=1e-9)
    np.testing.assert_allclose(moved.cross.sum(axis=0)[:, 2], means[1:].sum(axis=0), rtol=1e-9)
    rows = stack_rows([kem.Observations(values)])
    filled, variances = impute_rows(lay(system, rows), rows, means, covs)
    seen = ~np.isnan(values).all(axis=1)
    squares = (filled**2 + variances)[seen].sum(axis=0)
    np.testing.assert_allclose(np.diagonal(expectations.observations.responses.sum(axis=0)), squares, rtol=1e-9)
    after = (covs + means[:, :, None] * means[:, None, :])[1:].sum(axis=0)
    np.testing.assert_allclose(expectations.transitions.responses.sum(axis=0), after, rtol=1e-9)
    np.testing.assert_allclose(problem.posterior(params).smoothed, np.tile(stationary_probabilities(MOVES), (40, 1)))


@pytest.mark.parametrize("switching", [("transition_cov",), ("observation_cov",), EVERYTHING])
def test_kims_filter_is_near_the_sum_over_all_paths(switching):
    params, values = some_params(switching=switching), some_rows(7)
    problem = model_of(params).problem(to_panel(values))
    posterior, means, _ = exact(values, params)
    _, approximate = problem.e_step(params)
    # How near: what the collapse costs in the log-likelihood, in probabilities, and in units of the states.
    assert abs(approximate - posterior.log_likelihood) < 0.05
    assert approximate != pytest.approx(posterior.log_likelihood, abs=1e-12)
    np.testing.assert_allclose(problem.posterior(params).smoothed, posterior.probabilities, atol=0.06)
    states = problem.states(params)
    np.testing.assert_allclose(np.einsum("tk,tkd->td", states.probabilities, states.means), means, atol=0.15)


def test_kims_filter_is_exact_for_two_rows():
    params, values = some_params(switching=EVERYTHING), some_rows(2)
    problem = model_of(params).problem(to_panel(values))
    posterior, means, (weights, every, covs) = exact(values, params)
    assert problem.e_step(params)[1] == pytest.approx(posterior.log_likelihood, rel=1e-12)
    states = problem.states(params)
    np.testing.assert_allclose(problem.posterior(params).smoothed[1], posterior.probabilities[1], atol=1e-12)
    mean = np.einsum("tk,tkd->td", states.probabilities, states.means)
    np.testing.assert_allclose(mean[1], means[1], atol=1e-12)
    # Given the last regime the state is a mixture over the first, whose moments the collapse keeps.
    for k in range(2):
        chosen = posterior.paths[:, 1] == k
        shares, centres = weights[chosen] / weights[chosen].sum(), every[chosen, 1]
        middle = shares @ centres
        off = centres - middle
        cov = np.einsum("n,nij->ij", shares, covs[chosen, 1] + off[:, :, None] * off[:, None, :])
        np.testing.assert_allclose(states.means[1, k], middle, atol=1e-12)
        np.testing.assert_allclose(states.covs[1, k], cov, atol=1e-12)


@pytest.mark.parametrize("switching", [("transition_cov",), ("observation_cov",), EVERYTHING])
def test_the_variational_objective_is_a_bound_that_sweeps_raise(switching):
    params, values = some_params(switching=switching), some_rows(7)
    problem = model_of(params, "variational").problem(to_panel(values))
    posterior, *_ = exact(values, params)
    bounds, now = [], replace(params, shares=np.full((7, 2), 0.5))
    for _ in range(12):
        expectations, bound = problem.e_step(now)
        bounds.append(bound)
        now = replace(now, shares=expectations.shares)
    assert np.all(np.diff(bounds) >= -1e-11)
    assert bounds[-1] < posterior.log_likelihood
    assert bounds[-1] > posterior.log_likelihood - 1.5


@pytest.mark.parametrize("switching", [("transition_cov",), EVERYTHING])
def test_variational_em_never_falls(switching):
    values = some_rows(60, seed=3)
    model = model_of(some_params(switching=switching), "variational")
    fitted = kem.fit(model, values, stopping=QUICK, record_bound=True)
    assert np.all(np.diff(fitted.em.log_likelihoods) >= -1e-8)
    assert fitted.em.log_likelihoods[-1] > fitted.em.log_likelihoods[0] + 1.0
    assert fitted.em.stop_reason in ("converged", "max_iterations")


def test_the_bound_is_flat_where_variational_em_ends():
    rng = np.random.default_rng(0)
    level = np.cumsum(rng.normal(size=120) * np.repeat([0.3, 3.0, 0.3], 40))
    model = kem.SwitchingLinearGaussian(
        2, 1, 1, transition_matrix=kem.Fixed([[1.0]]), observation_matrix=kem.Fixed([[1.0]]),
        observation_cov=kem.Fixed([[0.5]]), approximation="variational",
    )  # fmt: skip
    fitted = kem.fit(model, level + np.sqrt(0.5) * rng.normal(size=120), stopping=kem.Stopping(max_iterations=2000))
    assert fitted.em.stop_reason.is_converged
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9
    assert (fitted.em.bound_history - fitted.em.log_likelihoods[:-1]).min() > -1e-9
    problem, end = fitted.problem, fitted.em.params
    numbers = problem.free_numbers(end)
    assert len(numbers) == problem.n_parameters
    for k, number in enumerate(numbers):
        step = 1e-4 * abs(number) * np.eye(len(numbers))[k]
        up, down = (problem.e_step(problem.with_numbers(end, numbers + sign * step))[1] for sign in (1.0, -1.0))
        # A slope of so much for a change of the number by its own size.
        assert abs(up - down) / 2e-4 < 1e-3


def test_kims_objective_never_falls_and_ends_where_its_gradient_vanishes():
    values, _ = target()
    model = kem.SwitchingLinearGaussian(
        2, 2, 1, transition_matrix=kem.Fixed([[1.0, 1.0], [0.0, 1.0]]),
        transition_cov=kem.Scaled(np.array([[1.0 / 3.0, 0.5], [0.5, 1.0]])), observation_matrix=kem.Fixed([[1.0, 0.0]]),
    )  # fmt: skip
    fitted = kem.fit(model, values)
    assert fitted.em.stop_reason.is_converged
    assert fitted.em.n_falls == 0
    problem, end = fitted.problem, fitted.em.params
    numbers = problem.free_numbers(end)
    assert len(numbers) == problem.n_parameters == 5
    errors = np.sqrt(np.diagonal(fitted.standard_errors.cov))
    for k, error in enumerate(errors):
        step = 1e-3 * error * np.eye(5)[k]
        up, down = (problem.e_step(problem.with_numbers(end, numbers + sign * step))[1] for sign in (1.0, -1.0))
        # A slope of so much in the log-likelihood for a move of one standard error.
        assert abs(up - down) / 2e-3 < 1e-3
    # Steps of EM alone settle lower: the approximation has another fixed point than its likelihood has a maximum.
    again = problem.most_likely(end, problem.e_step(end)[0])
    assert problem.e_step(again)[1] < fitted.log_likelihood


@pytest.mark.parametrize("switching", [("transition_cov",), EVERYTHING])
def test_the_m_step_is_a_maximum(switching):
    params, values = some_params(switching=switching), some_rows(60, seed=3)
    model = replace(model_of(params), initial_mean=kem.Full(), initial_cov=kem.Fixed(np.eye(2)))
    problem = model.problem(to_panel(values))
    expectations, _ = problem.e_step(params)
    best = problem.most_likely(params, expectations)
    height = problem.expected(best, expectations)
    assert height > problem.expected(params, expectations)
    rng = np.random.default_rng(0)
    for name in (*EVERYTHING, "initial_mean"):
        for _ in range(4):
            value = getattr(best, name)
            move = rng.normal(size=value.shape)
            if name.endswith("cov"):
                move = move + np.swapaxes(move, -1, -2)
            size = 1e-4 * float(np.abs(value).max()) / float(np.abs(move).max())
            up, down = (
                problem.expected(replace(best, **{name: value + sign * size * move}), expectations)
                for sign in (1.0, -1.0)
            )
            # Level to first order, and lower on both sides.
            assert max(up, down) < height + 1e-9
            assert abs(up - down) < 0.05 * (2.0 * height - up - down) + 1e-9


def test_a_panel_is_the_sum_of_its_series():
    params = some_params(switching=EVERYTHING)
    parts = [to_panel(some_rows(9)), to_panel(some_rows(6, seed=2))]
    panel = kem.Panel([part.series[0] for part in parts])
    model = model_of(params)
    together = model.problem(panel).e_step(params)
    apart = [model.problem(part).e_step(params) for part in parts]
    assert together[1] == pytest.approx(sum(one[1] for one in apart), rel=1e-12)
    np.testing.assert_allclose(
        together[0].transitions.cross, sum(one[0].transitions.cross for one in apart), rtol=1e-10, atol=1e-12
    )


def fit_at(params, values):
    """Return a fit that stands at these parameters."""
    model = model_of(params)
    names = [*EVERYTHING, "regime_transition_matrix"]
    model = replace(
        model, **{name: kem.Fixed(getattr(params, name)) for name in names},
        initial_mean=kem.Fixed(params.initial_mean), initial_cov=kem.Fixed(params.initial_cov),
    )  # fmt: skip
    return kem.fit(model, values)


def test_a_forecast_has_the_moments_of_all_paths_from_the_end():
    params, values = some_params(switching=EVERYTHING), some_rows(30)
    fitted = fit_at(params, values)
    np.testing.assert_array_equal(fitted.params.transition_cov, params.transition_cov)
    forecast = fitted.forecast(3)
    moments = fitted.problem.filtered(params)[0].moments
    for h in (1, 2, 3):
        paths = all_paths(h + 1, 2)
        weights = moments.probabilities[-1][paths[:, 0]] * np.prod(MOVES[paths[:, :-1], paths[:, 1:]], axis=1)
        mean, second = np.zeros(2), np.zeros((2, 2))
        for path, weight in zip(paths, weights, strict=True):
            x, P = moments.means[-1, path[0]], moments.covs[-1, path[0]]
            for k in path[1:]:
                F = params.transition_matrix[k]
                x, P = F @ x + params.transition_offset[k], F @ P @ F.T + params.transition_cov[k]
            H = params.observation_matrix[path[-1]]
            y, S = H @ x + params.observation_offset[path[-1]], H @ P @ H.T + params.observation_cov[path[-1]]
            mean += weight * y
            second += weight * (S + np.outer(y, y))
        np.testing.assert_allclose(forecast.means[h - 1], mean, rtol=1e-10)
        np.testing.assert_allclose(forecast.covs[h - 1], second - np.outer(mean, mean), rtol=1e-9)
        regimes = [weights[paths[:, -1] == k].sum() for k in range(2)]
        np.testing.assert_allclose(forecast.probabilities[h - 1], regimes, rtol=1e-12)
    assert forecast.to_frame(levels=(95,)).shape == (3, 8)


@pytest.mark.parametrize("approximation", ["kim", "variational"])
def test_other_series_are_scored_and_filled_as_by_one_regime(approximation):
    params, values = some_params(switching=()), some_rows(25)
    same = {"transition_cov": np.stack([params.transition_cov] * 2)}
    fitted = fit_at(replace(params, **same), values)
    if approximation == "variational":
        fitted = kem.fit(replace(fitted.model, approximation=approximation), values)
    other = some_rows(12, seed=5)
    system = kem.LinearGaussianSystem(
        **{name: params.of_regimes(name)[0] for name in EVERYTHING},
        initial_mean=params.initial_mean, initial_cov=params.initial_cov,
    )  # fmt: skip
    filtered = kem.kalman_filter(system, kem.Observations(other))
    assert fitted.score(other) == pytest.approx(filtered.log_likelihood, rel=1e-8)
    smoothed = kem.rts_smoother(system, filtered)
    rows = stack_rows([kem.Observations(other)])
    filled, _ = impute_rows(lay(system, rows), rows, smoothed.smoothed_means, smoothed.smoothed_covs)
    np.testing.assert_allclose(fitted.impute(other), filled, rtol=1e-6, atol=1e-6)
    assert fitted.probabilities(other).shape == (12, 2)
    assert len(fitted.path(other)) == 12


def target(seed=0):
    """Return positions of a target that is quiet, turns wild, and is quiet again; and the regimes."""
    rng = np.random.default_rng(seed)
    wild = np.repeat([0, 1, 0, 1, 0], [60, 25, 70, 20, 60])
    F, G = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([0.5, 1.0])
    state, rows = np.array([0.0, 1.0]), []
    for regime in wild:
        state = F @ state + G * rng.normal() * (1.0 if regime else 0.02)
        rows.append(state[0] + rng.normal())
    return np.array(rows), wild


@pytest.mark.parametrize("approximation", ["kim", "variational"])
def test_quiet_and_manoeuvring_stretches_of_a_target_are_found(approximation):
    values, wild = target()
    noise = np.array([[1.0 / 3.0, 0.5], [0.5, 1.0]])
    model = kem.SwitchingLinearGaussian(
        2, 2, 1, transition_matrix=kem.Fixed([[1.0, 1.0], [0.0, 1.0]]), transition_cov=kem.Scaled(noise),
        observation_matrix=kem.Fixed([[1.0, 0.0]]), approximation=approximation,
    )  # fmt: skip
    fitted = kem.fit(model, values, stopping=kem.Stopping(max_iterations=60))
    assert np.mean(fitted.path() == wild) > 0.85
    quiet, loud = fitted.params.transition_cov[:, 1, 1]
    assert loud > 20.0 * quiet
    np.testing.assert_allclose(fitted.params.transition_cov[0] / quiet, noise, rtol=1e-9)
    assert float(fitted.params.observation_cov[0, 0]) == pytest.approx(1.0, rel=0.35)
    assert fitted.states().notna().all(axis=None)
    assert fitted.sample(20, rng=np.random.default_rng(0)).shape == (20, 2)
    assert "Approximate" in str(fitted.summary())


def test_what_is_known_may_be_singular():
    values, _ = target()
    pushes = np.array([0.02, 1.0])[:, None, None] ** 2 * np.outer([0.5, 1.0], [0.5, 1.0])
    heights = []
    for known in (pushes, pushes + 1e-8 * np.eye(2)):
        model = kem.SwitchingLinearGaussian(
            2, 2, 1, transition_matrix=kem.Fixed([[1.0, 1.0], [0.0, 1.0]]), transition_cov=kem.Fixed(known),
            observation_matrix=kem.Fixed([[1.0, 0.0]]), initial_cov=kem.Fixed(10.0 * np.eye(2)),
        )  # fmt: skip
        heights.append(kem.fit(model, values).log_likelihood)
    assert heights[0] == pytest.approx(heights[1], abs=0.01)


@pytest.mark.parametrize("approximation", ["kim", "variational"])
def test_a_sensor_that_jumps_to_another_zero_is_found(approximation):
    rng = np.random.default_rng(3)
    off = np.repeat([0, 1, 0, 1], [40, 30, 40, 20])
    level = np.cumsum(0.1 * rng.normal(size=130))
    model = kem.SwitchingLinearGaussian(
        2, 1, 1, switching=["observation_offset"], transition_matrix=kem.Fixed([[1.0]]),
        observation_matrix=kem.Fixed([[1.0]]), approximation=approximation,
        observation_offset=kem.Full(), initial_mean=kem.Fixed([0.0]), initial_cov=kem.Fixed([[0.01]]),
    )  # fmt: skip
    fitted = kem.fit(model, level + 3.0 * off + 0.3 * rng.normal(size=130), stopping=kem.Stopping(max_iterations=60))
    assert np.diff(fitted.params.observation_offset[:, 0])[0] == pytest.approx(3.0, abs=0.4)
    assert np.mean(fitted.path() == off) > 0.97
    assert fitted.n_parameters == 2 + 2 + 2
    assert len(fitted.problem.free_numbers(fitted.em.params)) == 6
    assert "observation_offset, regime 1" in str(fitted.summary())
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9


def test_offsets_of_one_regime_beside_matrices_of_all():
    values = some_rows(40, seed=3)
    model = kem.SwitchingLinearGaussian(
        2, 2, 2, switching=["observation_offset", "transition_cov"], transition_offset=kem.Full(),
        observation_offset=kem.Fixed([[0.0, 0.0], [1.0, 2.0]]), observation_matrix=kem.Fixed(np.eye(2)),
    )  # fmt: skip
    problem = model.problem(to_panel(values))
    start = problem.start()
    assert problem.n_parameters == 4 + 2 + 2 * 3 + 3 + 2
    np.testing.assert_array_equal(start.observation_offset, [[0.0, 0.0], [1.0, 2.0]])
    moved = problem.m_step(start, problem.e_step(start)[0])
    np.testing.assert_array_equal(moved.observation_offset, start.observation_offset)
    assert moved.transition_offset.shape == (2,)
    assert problem.e_step(moved)[1] > problem.e_step(start)[1]
    drawn = problem.random_start(np.random.default_rng(0))
    np.testing.assert_allclose(problem.of_form(drawn).transition_offset, drawn.transition_offset)


def test_what_is_fixed_by_regime_stays_bit_for_bit():
    values, _ = target()
    covs = np.array([np.eye(2) * 1e-3, np.eye(2)])
    model = kem.SwitchingLinearGaussian(
        2, 2, 1, transition_matrix=kem.Fixed([[1.0, 1.0], [0.0, 1.0]]), transition_cov=kem.Fixed(covs),
        observation_matrix=kem.Fixed([[1.0, 0.0]]),
    )  # fmt: skip
    fitted = kem.fit(model, values[:80], stopping=QUICK)
    np.testing.assert_array_equal(fitted.params.transition_cov, covs)
    assert fitted.n_parameters == 1 + 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"switching": "initial_cov"}, "switching: expected names among transition_matrix"),
        ({"switching": ()}, "switching: expected names among"),
        ({"approximation": "gibbs"}, "approximation 'gibbs' is not known; expected one of: kim, variational"),
        ({"transition_cov": "full"}, "transition_cov: expected a form"),
        ({"observation_matrix": kem.Fixed(np.eye(3))}, r"observation_matrix: expected shape \(2, 2\)"),
        ({"initial_cov": kem.Diffuse()}, "initial_cov: expected Full"),
        ({"transition_covariance": kem.Full()}, "'transition_covariance' is not known"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(kem.InputError, match=said):
        kem.SwitchingLinearGaussian(2, 2, 2, **options)


def test_data_and_starts_that_do_not_fit_are_refused():
    still = np.column_stack([np.arange(9.0), np.full(9, 3.0)])
    with pytest.raises(kem.InputError, match="columns whose values vary, got one value throughout in column 'y2'"):
        kem.fit(QUIET, still)
    with pytest.raises(kem.InputError, match="expected 2 columns, as obs_dim says, got 1"):
        kem.fit(QUIET, np.arange(9.0))
    with pytest.raises(kem.InputError, match="transition_cov: expected a regular known covariance where"):
        kem.fit(kem.SwitchingLinearGaussian(2, 2, 2, transition_cov=kem.Fixed(np.ones((2, 2)))), some_rows(9))
    with pytest.raises(kem.InputError, match="'shares' are found"):
        kem.fit(QUIET, some_rows(9), start={"shares": np.ones((9, 2))})
    with pytest.raises(kem.NumericalError, match="observation_cov of regime 0 is singular"):
        kem.fit(QUIET, some_rows(9), start={"observation_cov": np.zeros((2, 2))})
