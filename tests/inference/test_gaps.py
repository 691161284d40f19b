"""Systems that move by gaps in time: filter, smoother, forecasts and draws against the dense oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy
from oracles.dense import DenseGaussian, forecast

from kalman_em import (
    InputError,
    LinearGaussianSystem,
    Observations,
    kalman_filter,
    predict_rows,
    rts_smoother,
    sample_states,
    simulate,
)
from kalman_em.dynamics import Dynamics, Noise
from kalman_em.inference.expectations import expect_all
from kalman_em.inference.rows import lay, stack_rows

ROTATION = Dynamics([[-0.2, 1.0], [-1.0, -0.2]], [Noise(np.eye(2)), Noise([[1.0], [0.0]])])
VELOCITY = Dynamics([[0.0, 1.0], [0.0, 0.0]], [Noise([[0.0], [1.0]])], axes=2)


def densities_of(dynamics):
    """A spectral density for each noise, the axes correlated."""
    rng = np.random.default_rng(6)
    sizes = [noise.n_noises * dynamics.axes for noise in dynamics.noises]
    return [np.eye(size) + 0.2 * np.ones((size, size)) + np.diag(rng.uniform(size=size)) for size in sizes]


def system_of(dynamics, gaps, *, diffuse=False):
    rng = np.random.default_rng(5)
    gaps = np.asarray(gaps, dtype=float)
    G = dynamics.noise_selections(gaps)
    d = dynamics.state_dim
    blocks = [np.kron(np.eye(m), one) for m, one in zip(dynamics.copies, densities_of(dynamics), strict=True)]
    H = rng.normal(size=(2, d))
    return LinearGaussianSystem(
        transition_matrix=dynamics.transition_matrices(gaps),
        noise_selection=G,
        transition_cov=scipy.linalg.block_diag(*blocks),
        transition_gaps=gaps,
        dynamics=dynamics,
        observation_matrix=H,
        observation_cov=[[0.5, 0.1], [0.1, 0.3]],
        initial_mean=np.zeros(d),
        initial_cov=np.zeros((d, d)) if diffuse else np.eye(d),
        initial_diffuse=np.full(d, diffuse),
    )


TIMES = np.array([3.0, 3.5, 3.6, 5.0, 5.5, 9.25])


def observed(times=TIMES, seed=0):
    values = np.random.default_rng(seed).normal(size=(len(times), 2))
    values[1, 0] = values[3] = np.nan
    return Observations(values, times=times)


@pytest.mark.parametrize("dynamics", [ROTATION, VELOCITY])
@pytest.mark.parametrize("diffuse", [False, True])
def test_filter_smoother_and_likelihood_equal_the_dense_oracle(dynamics, diffuse):
    # The table of another series: what is not in it the dynamics make.
    system, data = system_of(dynamics, [0.5, 2.0], diffuse=diffuse), observed()
    exact = DenseGaussian(system.along(TIMES), data).smoothed()
    filtered = kalman_filter(system, data)
    smoothed = rts_smoother(system, filtered)
    assert filtered.log_likelihood == pytest.approx(exact.log_likelihood, rel=1e-11)
    np.testing.assert_allclose(smoothed.smoothed_means, exact.state_means, atol=1e-9)
    np.testing.assert_allclose(smoothed.smoothed_covs, exact.state_covs, atol=1e-9)
    np.testing.assert_allclose(smoothed.lag_one_covs, exact.lag_one_covs, atol=1e-9)


def test_rows_without_values_in_between_change_nothing():
    system, data = system_of(VELOCITY, [1.0]), observed()
    finer = np.union1d(TIMES, np.arange(3.013, 9.25, 0.05))
    values = np.full((len(finer), 2), np.nan)
    places = np.searchsorted(finer, TIMES)
    values[places] = data.values
    dense = kalman_filter(system, Observations(values, times=finer))
    coarse = kalman_filter(system, data)
    assert dense.log_likelihood == pytest.approx(coarse.log_likelihood, rel=1e-12)
    between, direct = rts_smoother(system, dense), rts_smoother(system, coarse)
    np.testing.assert_allclose(between.smoothed_means[places], direct.smoothed_means, atol=1e-10)
    np.testing.assert_allclose(between.smoothed_covs[places], direct.smoothed_covs, atol=1e-10)


def test_a_panel_has_gaps_of_its_own_in_every_series():
    system = system_of(ROTATION, [0.1, 7.0])
    other = observed(np.array([-1.0, 0.0, 0.3, 0.31, 4.0]), seed=1)
    both = stack_rows([observed(), other])
    _, together = expect_all(lay(system, both), both)
    apart = sum(kalman_filter(system, one).log_likelihood for one in (observed(), other))
    assert together == pytest.approx(apart, rel=1e-13)
    assert len(both.gaps.values) == 8


def test_sums_are_kept_by_gap():
    system, data = system_of(ROTATION, [1.0]), observed(np.array([0.0, 1.0, 3.0, 4.0, 6.0, 6.5]))
    rows = stack_rows([data])
    laid = lay(system.at_gaps(rows.gaps.values), rows)
    expectations, _ = expect_all(laid, rows)
    assert expectations.transition.count.tolist() == [1.0, 2.0, 2.0]
    exact = DenseGaussian(system.along(data.times), data).smoothed()
    F = system.along(data.times).transition_matrix
    expected = np.zeros((2, 2))
    for t in (0, 2):
        map_ = np.hstack([-F[t], np.eye(2)])
        block = exact.state_cov[t : t + 2, :, t : t + 2, :].reshape(4, 4)
        mean = map_ @ exact.state_means[t : t + 2].ravel()
        expected += map_ @ block @ map_.T + np.outer(mean, mean)
    np.testing.assert_allclose(expectations.transition.residual[1], expected, atol=1e-10)


def test_prediction_to_any_times_equals_the_dense_oracle():
    system, data = system_of(VELOCITY, [1.0]), observed()
    ahead = np.array([9.5, 12.0])
    found = predict_rows(system, kalman_filter(system, data), 2, times=ahead)
    whole = Observations(np.vstack([data.values, np.full((2, 2), np.nan)]), times=np.concatenate([TIMES, ahead]))
    exact = forecast(system.along(whole.times), data, 2)
    np.testing.assert_allclose(found.observation_means, exact.obs_means, atol=1e-9)
    np.testing.assert_allclose(found.observation_covs, exact.obs_covs, atol=1e-9)


def test_draws_have_the_moments_of_their_gaps():
    system = replace(system_of(VELOCITY, [1.0]), initial_cov=np.zeros((4, 4)))
    rng = np.random.default_rng(0)
    times = np.array([0.0, 0.5, 3.0])
    drawn = np.array([simulate(system, 3, rng, times=times).states[-1] for _ in range(4000)])
    G = VELOCITY.noise_selections(np.array([3.0]))[0]
    exact = G @ system.transition_cov @ G.T
    deviation = np.sqrt(np.diagonal(exact))
    assert np.abs((np.cov(drawn.T) - exact) / np.outer(deviation, deviation)).max() < 0.08
    data = observed()
    states = sample_states(system_of(VELOCITY, [1.0]), data, 2000, rng)
    smoothed = rts_smoother(system_of(VELOCITY, [1.0]), kalman_filter(system_of(VELOCITY, [1.0]), data))
    sd = np.sqrt(np.einsum("tii->ti", smoothed.smoothed_covs))
    assert np.abs((states.mean(axis=0) - smoothed.smoothed_means) / sd).max() < 0.12


@pytest.mark.parametrize("dynamics", [ROTATION, VELOCITY])
def test_the_noise_selected_is_the_noise_of_the_motion(dynamics):
    gaps = np.array([0.01, 1.0, 30.0])
    system = system_of(dynamics, gaps)
    G = system.noise_selection[1]
    found = G @ system.transition_cov @ G.T
    n, drift = 10_000, np.kron(dynamics.drift, np.eye(dynamics.axes))
    added = sum(
        np.kron(noise.diffusion, np.eye(dynamics.axes)) @ density @ np.kron(noise.diffusion, np.eye(dynamics.axes)).T
        for noise, density in zip(dynamics.noises, densities_of(dynamics), strict=True)
    )
    step, total = np.eye(dynamics.state_dim) + drift / n, np.zeros_like(drift)
    for _ in range(n):
        total = step @ total @ step.T + added / n
    np.testing.assert_allclose(found, total, atol=2e-3 * np.abs(total).max())


def test_what_does_not_fit_is_named():
    system = system_of(VELOCITY, [1.0])
    table = replace(system, dynamics=None)
    cases = [
        (lambda: kalman_filter(system, Observations(np.zeros((3, 2)))), "times: expected a time for every row"),
        (lambda: kalman_filter(table, observed()), "transition_gaps: have no entry for 0.1"),
        (lambda: predict_rows(system, kalman_filter(system, observed()), 1), "times: expected shape"),
        (lambda: predict_rows(system, kalman_filter(system, observed()), 1, times=[9.25]), "increasing times after"),
        (lambda: replace(system, transition_gaps=[1.0, 1.0]), "transition_gaps: expected positive, increasing"),
        (lambda: replace(system, transition_gaps=[1.0, 2.0]), "expected 2 entries, one a gap"),
        (lambda: replace(system, transition_gaps=None), "transition_gaps: expected the gaps"),
        (lambda: replace(system, transition_offset=np.ones(4)), "expected none beside dynamics"),
    ]
    for act, said in cases:
        with pytest.raises(InputError, match=said):
            act()
