"""Predictions and draws against the dense joint Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.dense import DenseGaussian, forecast
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em.inference.online import predict, update
from kalman_em.inference.prediction import predict_rows
from kalman_em.inference.simulation import sample_states, simulate

RELATIVE = 1e-9
SYSTEMS = {
    "plain": {},
    "inputs": {"input_dim": 2},
    "one noise": {"noise_dim": 1, "input_dim": 1},
    "singular noise, exact row": {"cov_rank": 1, "exact_rows": 1},
    "known start": {"initial_rank": 0},
    "diffuse": {"diffuse": 3},
    "partly diffuse": {"diffuse": [1], "input_dim": 1},
}


def case(name, seed, n_steps=6, **options):
    rng = np.random.default_rng([31, seed])
    system = random_system(rng, 3, 2, n_steps, **(SYSTEMS[name] | options))
    return system, random_observations(rng, system, n_steps, missing=0.2), rng


def assert_same(actual, expected):
    size = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=RELATIVE * size)


# --- prediction ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("n_ahead", [1, 5])
def test_predictions_equal_the_dense_gaussian(name, n_ahead):
    for seed in range(4):
        system, observations, rng = case(name, seed)
        future, options = None, {}
        if system.input_dim:
            future = rng.normal(size=(n_ahead, system.input_dim))
            options = {"inputs": future, "last_input": observations.inputs[-1]}
        expected = forecast(system, observations, n_ahead, future)
        actual = predict_rows(system, kem.kalman_filter(system, observations), n_ahead, **options)
        assert_same(actual.state_means, expected.state_means)
        assert_same(actual.state_covs, expected.state_covs)
        assert_same(actual.observation_means, expected.obs_means)
        assert_same(actual.observation_covs, expected.obs_covs)
        for covs in (actual.state_covs, actual.observation_covs):
            np.testing.assert_array_equal(covs, np.swapaxes(covs, 1, 2))


@pytest.mark.parametrize("name", ["plain", "inputs", "singular noise, exact row"])
def test_predictions_are_the_filter_over_missing_rows(name):
    system, observations, rng = case(name, 7)
    future = rng.normal(size=(4, system.input_dim)) if system.input_dim else None
    whole = kem.Observations(
        np.vstack([observations.values, np.full((4, 2), np.nan)]),
        inputs=None if future is None else np.vstack([observations.inputs, future]),
    )
    options = {} if future is None else {"inputs": future, "last_input": observations.inputs[-1]}
    actual = predict_rows(system, kem.kalman_filter(system, observations), 4, **options)
    padded = kem.kalman_filter(system, whole)
    assert_same(actual.state_means, padded.predicted_means[-4:])
    assert_same(actual.state_covs, padded.predicted_covs[-4:])
    assert_same(actual.observation_covs, padded.innovation_covs[-4:])


@pytest.mark.parametrize("name", ["plain", "inputs", "one noise", "singular noise, exact row", "known start"])
def test_one_step_at_a_time_equals_the_dense_gaussian(name):
    """`update` and `predict`, called as the data arrive, with matrices that vary."""
    system, observations, _ = case(name, 8, varying="all")
    expected = DenseGaussian(system, observations).filtered()
    G = np.eye(3) if system.noise_selection is None else system.noise_selection
    Q = G @ system.transition_cov @ np.swapaxes(G, -1, -2)
    mean, cov = system.initial_mean, system.initial_cov
    for t in range(observations.n_steps):
        u = np.zeros(0) if observations.inputs is None else observations.inputs[t]
        offset = system.observation_offset[t]
        if system.input_dim:
            offset = offset + system.observation_input[t] @ u
        H, R = system.observation_matrix[t], system.observation_cov[t]
        after = update(mean, cov, observations.values[t], H, R, offset)
        assert_same(after.mean, expected.filtered_means[t])
        assert_same(after.cov, expected.filtered_covs[t])
        assert after.log_likelihood == pytest.approx(expected.log_likelihoods[t], rel=RELATIVE, abs=1e-12)
        if t + 1 < observations.n_steps:
            push = system.transition_offset[t]
            if system.input_dim:
                push = push + system.transition_input[t] @ u
            F, noise = system.transition_matrix[t], 0.5 * (Q[t] + Q[t].T)
            mean, cov = predict(after.mean, after.cov, F, noise, push)
            assert_same(mean, expected.predicted_means[t + 1])
            assert_same(cov, expected.predicted_covs[t + 1])


# --- draws -----------------------------------------------------------------------------------------------


def assert_moments(draws, mean, cov):
    """Assert that `draws` (n, k) have the mean and covariance, within five standard errors of each entry."""
    n = len(draws)
    deviations = np.sqrt(np.maximum(np.diag(cov), 0.0))
    moves = deviations > 1e-7 * deviations.max()
    error = draws - mean
    np.testing.assert_allclose(error[:, ~moves], 0.0, atol=1e-6 * max(deviations.max(), 1.0))
    z = error[:, moves] / deviations[moves]
    correlation = cov[np.ix_(moves, moves)] / np.outer(deviations[moves], deviations[moves])
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=5.0 / np.sqrt(n))
    standard_errors = np.sqrt((1.0 + correlation**2) / n)
    assert np.all(np.abs(z.T @ z / n - correlation) < 5.0 * standard_errors)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("varying", ["", "all"])
def test_sampled_states_have_the_smoothed_moments(name, varying):
    """Means, covariances, and the covariances between all steps, of whole paths."""
    system, observations, rng = case(name, 11, varying=varying)
    posterior = DenseGaussian(system, observations).smoothed()
    draws = sample_states(system, observations, 4000, rng)
    assert draws.shape == (4000, 6, 3)
    size = posterior.state_means.size
    cov = posterior.state_cov.reshape(size, size)
    assert_moments(draws.reshape(4000, size), posterior.state_means.ravel(), cov)


def test_sampled_states_agree_with_exact_readings():
    """A row of the observations without noise holds for every draw."""
    system, observations, rng = case("singular noise, exact row", 12)
    draws = sample_states(system, observations, 20, rng)
    exact = int(np.flatnonzero(np.diag(system.observation_cov) == 0.0)[0])
    seen = ~observations.is_missing[:, exact]
    assert seen.sum() > 2
    shown = draws @ system.observation_matrix[exact] + system.observation_offset[exact]
    expected = np.broadcast_to(observations.values[seen, exact], shown[:, seen].shape)
    np.testing.assert_allclose(shown[:, seen], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["plain", "inputs", "one noise", "singular noise, exact row", "known start"])
@pytest.mark.parametrize("varying", ["", "all"])
def test_simulated_series_have_the_moments_of_the_model(name, varying):
    n_steps, n_draws = 3, 1000
    system, observations, rng = case(name, 14, n_steps=n_steps, varying=varying)
    prior = DenseGaussian(system, observations).prior()
    drawn = [simulate(system, n_steps, rng, inputs=observations.inputs) for _ in range(n_draws)]
    states = np.array([one.states.ravel() for one in drawn])
    values = np.array([one.values.ravel() for one in drawn])
    n, m = states.shape[1], values.shape[1]
    cross = prior.obs_state_cov.reshape(m, n)
    cov = np.block([[prior.state_cov.reshape(n, n), cross.T], [cross, prior.obs_cov.reshape(m, m)]])
    mean = np.concatenate([prior.state_means.ravel(), prior.obs_means.ravel()])
    assert_moments(np.hstack([states, values]), mean, cov)


def test_simulation_from_a_given_state_and_seed():
    system, observations, _ = case("partly diffuse", 14)
    start = np.array([1.0, -2.0, 3.0])
    first, second = (
        simulate(system, 6, np.random.default_rng(5), inputs=observations.inputs, initial_state=start) for _ in range(2)
    )
    np.testing.assert_array_equal(first.states[0], start)
    np.testing.assert_array_equal(first.values, second.values)
    other = simulate(system, 6, np.random.default_rng(6), inputs=observations.inputs, initial_state=start)
    assert not np.allclose(first.values, other.values)
    with pytest.raises(kem.InputError, match="initial_state"):
        simulate(system, 6, np.random.default_rng(5), inputs=observations.inputs)


def test_a_simulated_series_is_likely_under_its_own_model():
    """The scaled squared innovations of a simulated series are chi-squared: their mean is p."""
    system, _, rng = case("plain", 15)
    drawn = simulate(system, 2000, rng)
    filtered = kem.kalman_filter(system, kem.Observations(drawn.values))
    solved = np.linalg.solve(filtered.innovation_covs, filtered.innovations[..., None])[..., 0]
    squares = (filtered.innovations * solved).sum(axis=1)
    assert squares.mean() == pytest.approx(2.0, abs=5.0 * np.sqrt(4.0 / 2000))
