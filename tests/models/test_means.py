"""Coefficients that EM cannot move, as their equation has no noise: at the maximum of the likelihood all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy
from oracles.dense import DenseGaussian
from support.learning import problem_of
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em import Fixed, Full, Pattern
from kalman_em.models.means import MeanNumbers, learns_means_alone, moves_means

JOBS = kem.datasets.load("us_employment")["nonfarm"].iloc[:96]
GROWTH = 400.0 * np.log(kem.datasets.load("us_macro")[["realgdp", "realcons", "realinv", "realdpi"]]).diff().iloc[1:]


@pytest.fixture(scope="module")
def walk():
    """A random walk seen without noise, moved by an input: its differences are a regression."""
    rng = np.random.default_rng(4)
    u = rng.normal(size=200)
    return np.cumsum(rng.normal(size=200)) + 1.5 * u, u


def differenced(y, u):
    """Return coefficients, their covariance matrix and the log-likelihood of least squares on the differences."""
    target, X = np.diff(y), np.diff(u, axis=0).reshape(len(y) - 1, -1)
    beta = np.linalg.lstsq(X, target, rcond=None)[0]
    variance = float(np.mean((target - X @ beta) ** 2))
    height = -0.5 * len(target) * (np.log(2.0 * np.pi * variance) + 1.0)
    # The value that the diffuse start takes counts with its 2 pi.
    return beta, variance * np.linalg.inv(X.T @ X), height - 0.5 * np.log(2.0 * np.pi)


@pytest.mark.parametrize("start", [None, 0.0, 1.0, -50.0])
def test_a_walk_seen_without_noise_is_a_regression_of_differences(walk, start):
    y, u = walk
    model = kem.LocalLevel(observation_cov=Fixed(0)) + kem.Regression()
    fitted = kem.fit(model, y, inputs=u, start=None if start is None else {"regression": [start]})
    beta, cov, height = differenced(y, u)
    assert fitted.em.stop_reason == "converged"
    np.testing.assert_allclose(fitted.params.regression, beta, rtol=1e-8)
    assert fitted.log_likelihood == pytest.approx(height, abs=1e-8)
    np.testing.assert_allclose(fitted.standard_errors.regression, np.sqrt(np.diagonal(cov)), rtol=1e-6)
    assert fitted.standard_errors.reasons == {}
    assert np.diff(fitted.em.log_likelihoods).min() >= -1e-9


def test_a_variance_goes_to_zero_beside_a_coefficient():
    """The measurement noise of the level is best at 0: then the step is one difference of the data, the rest noise."""
    fitted = kem.fit(kem.LocalLevel() + kem.Intervention("2009-01"), JOBS)
    plain = kem.fit(kem.LocalLevel(), JOBS)
    row = JOBS.index.get_loc("2009-01")
    row = row.start if isinstance(row, slice) else row
    moves = np.delete(np.diff(JOBS.to_numpy()), row - 1)
    n = len(moves) + 1
    assert fitted.em.stop_reason == "converged"
    assert fitted.em.n_iterations <= plain.em.n_iterations + 100
    assert fitted.params.observation_cov.item() == 0.0
    np.testing.assert_allclose(fitted.params.step, np.diff(JOBS.to_numpy())[row - 1], rtol=1e-9)
    np.testing.assert_allclose(fitted.params.level_cov, np.sum(moves**2) / n, rtol=1e-6)
    np.testing.assert_allclose(fitted.standard_errors["step"], np.sqrt(np.sum(moves**2) / n), rtol=1e-4)
    assert set(fitted.standard_errors.reasons) == {"observation_cov"}


def test_an_input_that_the_level_takes_up_has_no_standard_error_and_says_so():
    inputs = np.column_stack([np.ones(96), np.arange(96) % 7])
    fitted = kem.fit(kem.LocalLevel() + kem.Regression(), JOBS, inputs=inputs)
    beta, cov, height = differenced(JOBS.to_numpy(), inputs[:, 1:])
    assert fitted.em.stop_reason == "converged"
    assert fitted.params.observation_cov.item() == 0.0
    assert fitted.log_likelihood == pytest.approx(height, abs=1e-6)
    np.testing.assert_allclose(fitted.params.regression[1], beta[0], rtol=1e-6)
    errors = fitted.standard_errors
    assert errors.regression[0] == np.inf
    np.testing.assert_allclose(errors.regression[1], np.sqrt(cov[0, 0]), rtol=1e-5)
    assert "do not tell" in errors.reasons["regression"]


@pytest.mark.parametrize("start", [None, [0.0, 10.0]])
def test_the_offset_of_a_vector_autoregression_without_noise(start):
    """Given F and Q the offset solves generalised least squares; given the offset F is least squares: both hold."""
    values = GROWTH[["realgdp", "realcons"]]
    model = kem.VectorAutoregression(1, observation_cov=Fixed(0))
    tight = kem.Stopping(parameter_tolerance=1e-10, relative_tolerance=1e-14)
    fitted = kem.fit(model, values, start=start and {"observation_offset": start}, stopping=tight)
    x = values.to_numpy() - fitted.params.observation_offset
    before = np.vstack([np.zeros(2), x[:-1]])
    F = np.linalg.lstsq(before, x, rcond=None)[0].T
    noise = x - before @ F.T
    Q = noise.T @ noise / len(x)
    np.testing.assert_allclose(fitted.params.autoregression, F, atol=1e-6)
    np.testing.assert_allclose(fitted.params.autoregression_cov, Q, rtol=1e-6)
    slopes = [np.eye(2), *([np.eye(2) - F] * (len(x) - 1))]
    gradient = sum(A.T @ np.linalg.solve(Q, e) for A, e in zip(slopes, noise, strict=True))
    information = sum(A.T @ np.linalg.solve(Q, A) for A in slopes)
    assert np.abs(np.linalg.solve(information, gradient)).max() < 1e-6
    # The score of the offset is not correlated with those of F and Q by much: a block of its own, nearly.
    expected = np.sqrt(np.diagonal(np.linalg.inv(information)))
    np.testing.assert_allclose(fitted.standard_errors.observation_offset, expected, rtol=0.02)


def test_a_column_of_a_factor_model_without_noise_of_its_own():
    fitted = kem.fit(kem.DynamicFactor(1), GROWTH)
    assert fitted.em.stop_reason == "converged"
    assert fitted.params.observation_cov[0, 0] == 0.0
    errors = fitted.standard_errors
    assert np.all((errors.observation_offset > 0.1) & (errors.observation_offset < 5.0))
    assert set(errors.reasons) == {"observation_cov"}
    problem, _ = problem_of(kem.DynamicFactor(1), *fitted.panel.series)
    assert np.abs(problem.means.parabola(fitted.system).score).max() < 1e-4


def maximum(system, series, moved, start):
    """Return the highest dense log-likelihood over a vector; `moved` makes a system of it."""

    def depth(vector):
        return -sum(DenseGaussian(moved(system, vector), one).smoothed().log_likelihood for one in series)

    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000, "maxfev": 4000}
    return scipy.optimize.minimize(depth, start, method="Nelder-Mead", options=options)


def test_one_step_against_a_numerical_maximiser_of_the_joint_density():
    """A panel with gaps, inputs, one exact column: [d D] and b by Nelder and Mead on the dense likelihood."""
    rng = np.random.default_rng(3)
    made = random_system(rng, 2, 2, 8, input_dim=1, exact_rows=1)
    series = [random_observations(rng, made, 8, missing=0.15) for _ in range(2)]
    model = kem.LinearGaussian(
        2,
        2,
        transition_matrix=Fixed(made.transition_matrix),
        transition_cov=Fixed(made.transition_cov),
        transition_offset=Pattern(["b", "b"]),
        transition_input=Fixed(made.transition_input),
        observation_matrix=Fixed(made.observation_matrix),
        observation_cov=Fixed(made.observation_cov),
        observation_offset=Fixed(made.observation_offset),
        observation_input=Full(),
        initial_mean=Fixed(made.initial_mean),
        initial_cov=Fixed(made.initial_cov),
        initial_step="first",
    )
    problem, _ = problem_of(model, *series)
    first = problem.specification.projected(
        {name: getattr(made, name) for name in problem.specification.forms if name != "transition_offset"}
        | {"transition_offset": np.array([0.3, 0.3])}
    )
    step = problem.m_step(first, problem.e_step(first)[0])

    def moved(system, v):
        return replace(system, transition_offset=np.array([v[0], v[0]]), observation_input=v[1:, None])

    found = maximum(first, series, moved, np.array([0.0, *made.observation_input[:, 0]]))
    ours = [step.transition_offset[0], *step.observation_input[:, 0]]
    np.testing.assert_allclose(ours, found.x, atol=1e-5)
    assert problem.e_step(step)[1] >= -found.fun - 1e-9


def test_the_likelihood_never_falls_where_some_equations_have_no_noise():
    rng = np.random.default_rng(0)
    for k in range(6):
        made = random_system(rng, 2, 3, 25, input_dim=1, exact_rows=1 + k % 2)
        series = [random_observations(rng, made, 25, missing=0.1)]
        model = kem.LinearGaussian(
            2,
            3,
            observation_cov=Fixed(made.observation_cov),
            observation_input=Full(),
            observation_offset=Full(),
            initial_mean=Full(),
        )
        stopping = kem.Stopping(max_iterations=40)
        start = {"observation_matrix": made.observation_matrix}
        fitted = kem.fit(model, kem.Panel(series), start=start, stopping=stopping)
        steps = np.diff(fitted.em.log_likelihoods)
        assert steps.min() >= -1e-9 * (1.0 + abs(fitted.log_likelihood)), k


@pytest.mark.parametrize(
    ("model", "n"),
    [
        (kem.LinearGaussian(2, 2, transition_offset=Full(), initial_cov=kem.Stationary()), 2),
        (kem.LinearGaussian(1, 2, transition_offset=Full(), transition_input=Full(), observation_input=Full()), 5),
        (kem.LinearGaussian(2, 2, initial_mean=Full(), initial_cov=Fixed(np.eye(2)), initial_step="first"), 2),
        (kem.LocalLinearTrend() + kem.Regression(), 2),
    ],
    ids=["a start that follows the offset", "one step before, with inputs", "the start", "diffuse"],
)
def test_the_numbers_of_a_model_are_a_parabola_of_the_likelihood(model, n):
    rng = np.random.default_rng(7)
    values = np.cumsum(rng.normal(size=(20, 2)), axis=0)
    values[[3, 8], [0, 1]] = np.nan
    needs_inputs = not isinstance(model, kem.LinearGaussian) or model.observation_input is not None
    panel = kem.Panel([kem.Observations(values, inputs=rng.normal(size=(20, 1)) if needs_inputs else None)])
    problem, _ = problem_of(model, *panel)
    system = model.start(problem.specification, panel)
    means = problem.means
    assert means.n == n
    parabola = means.parabola(system)
    delta = rng.normal(size=n)
    gained = problem.e_step(means.moved(system, delta))[1] - problem.e_step(system)[1]
    assert gained == pytest.approx(parabola.score @ delta - 0.5 * delta @ parabola.information @ delta, rel=1e-8)


def test_which_numbers_move_means_alone():
    panel = kem.Panel([kem.Observations(np.zeros((5, 2)), inputs=np.zeros((5, 1)))])
    model = kem.LinearGaussian(1, 2, transition_offset=Full(), observation_offset=Full(), observation_input=Full())
    specification = model.specify(panel)
    assert moves_means(specification, "transition").tolist() == [False, True]
    assert moves_means(specification, "observation").tolist() == [False, False, True, True, True, True]
    assert not learns_means_alone(specification)
    assert learns_means_alone((kem.LocalLevel() + kem.Regression()).specify(panel))
    # A name in H and d alike is no number of means alone.
    shared = kem.LinearGaussian(
        1, 2, observation_matrix=Pattern([["a"], [1.0]]), observation_offset=Pattern(["a", "c"])
    )
    specification = shared.specify(kem.Panel([kem.Observations(np.zeros((5, 2)))]))
    assert moves_means(specification, "observation").tolist() == [False, True]


def test_noise_in_every_equation_leaves_the_step_to_em():
    problem, _ = problem_of(
        kem.LocalLevel() + kem.Regression(), kem.Observations(np.arange(5.0)[:, None], inputs=np.eye(5)[:, :1])
    )
    system = problem.specification.projected(
        {"transition_cov": np.eye(1), "observation_cov": np.eye(1)}
        | dict.fromkeys(["observation_input", "initial_mean", "initial_cov"], np.zeros((1, 1)))
        | {"initial_mean": np.zeros(1)}
    )
    means = MeanNumbers(problem.specification, problem.rows)
    assert not means.are_silent(system)
    assert means.are_silent(replace(system, observation_cov=np.zeros((1, 1))))


@pytest.mark.parametrize("numerics", ["auto", "square_root"])
def test_a_mean_keeps_to_what_readings_without_noise_say_of_it(numerics):
    """x[0] = m + (w, -w) and the first reading is x1 + x2: so m1 + m2 is known, and only the rest of m is free."""
    rng = np.random.default_rng(3)
    known = {
        "transition_matrix": np.array([[0.7, 0.2], [-0.1, 0.9]]),
        "transition_cov": np.array([[0.3, 0.1], [0.1, 0.2]]),
        "observation_matrix": np.array([[1.0, 1.0]]),
        "observation_cov": np.zeros((1, 1)),
        "initial_cov": np.array([[0.5, -0.5], [-0.5, 0.5]]),
    }
    model = kem.LinearGaussian(
        2, 1, **{name: kem.Fixed(value) for name, value in known.items()}, initial_mean=kem.Full(), initial_step="first"
    )
    values = rng.standard_normal((8, 1)) + 4.0

    def height(first):
        system = kem.LinearGaussianSystem(**known, initial_mean=[first, values[0, 0] - first])
        return kem.kalman_filter(system, kem.Observations(values)).log_likelihood

    low, middle, high = height(-1.0), height(0.0), height(1.0)
    best = 0.5 * (high - low) / (2.0 * middle - low - high)
    fitted = kem.fit(model, values, numerics=numerics, start={"initial_mean": [1.0, values[0, 0] - 1.0]})
    assert fitted.em.stop_reason == "converged"
    np.testing.assert_allclose(fitted.params.initial_mean, [best, values[0, 0] - best], rtol=1e-7)
    each = kem.fit_each(
        model, kem.Panel([kem.Observations(values)] * 2), start={"initial_mean": [1.0, values[0, 0] - 1.0]}
    )
    np.testing.assert_allclose(each[0].params.initial_mean, fitted.params.initial_mean, rtol=1e-7)


def test_a_mean_is_learnt_beside_noise_that_is_given_over_time():
    """R with an entry a row, one of them 0: the exact reading holds m, and the likelihood never falls."""
    rng = np.random.default_rng(5)
    values = np.cumsum(rng.standard_normal((12, 1)), axis=0)
    given = np.full((12, 1), 0.5)
    for first in (0.5, 0.0):
        given[3] = first
        fitted = kem.fit(
            kem.LinearGaussian(2, 1, observation_cov=kem.Known(given)), values, stopping=kem.Stopping(max_iterations=30)
        )
        assert fitted.em.n_falls == 0
        assert np.all(np.isfinite(fitted.params.initial_mean))
