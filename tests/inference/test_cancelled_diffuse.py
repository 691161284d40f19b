"""A diffuse start of several columns: what rounding leaves of an entry that cancels is not information."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import mp

import kalman_em as kem


def test_what_is_left_of_a_cancelled_diffuse_entry_is_no_direction():
    """Two columns that share nothing: 1e-16 in a diffuse factor of one must not be resolved by the other."""
    turn = np.array([[-0.5, 3.0**0.5 / 2.0], [-(3.0**0.5) / 2.0, -0.5]])
    F = np.kron(np.block([[np.array([[1.0, 1.0], [0.0, 1.0]]), np.zeros((2, 2))], [np.zeros((2, 2)), turn]]), np.eye(2))
    system = kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=np.diag([0.0] * 4 + [1.7, 1.9e-7, 1.7, 1.9e-7]),
        observation_matrix=np.kron([[1.0, 0.0, 1.0, 0.0]], np.eye(2)),
        observation_cov=5e6 * np.eye(2),
        initial_mean=np.zeros(8),
        initial_cov=np.zeros((8, 8)),
        initial_diffuse=np.ones(8, dtype=bool),
    )
    values = np.full((15, 2), np.nan)
    values[[0, 4, 6, 8, 9, 10, 11], 0] = [557.0, -1194.0, 4125.0, -3300.0, -623.0, -2912.0, 2093.0]
    values[[1, 2, 5, 7, 9, 13], 1] = [-0.62, -0.51, 0.53, -0.097, -0.08, -1.88]
    one = kem.Observations(values)
    standard, factors = (kem.kalman_filter(system, one, numerics=n) for n in ("standard", "square_root"))
    assert standard.n_diffuse_steps == factors.n_diffuse_steps
    assert standard.log_likelihood == pytest.approx(factors.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(standard.filtered_covs[9:], factors.filtered_covs[9:], rtol=1e-8, atol=1e-3)


def trend_and_oscillation():
    """Two smooth trends, each beside an oscillation: the second is all but free of noise where the first is not."""
    d = 8
    turn = np.array([[0.012853, 0.0, -0.584046, 0.0], [0.0, 0.036172, 0.0, -0.337638]])
    F = np.eye(d)
    F[[0, 1], [2, 3]] = 1.0
    F[4:] = 0.0
    F[4:6, 4:], F[6:, 4:6] = turn, np.eye(2)
    P = np.diag([0.0] * 4 + [7.38, 5.49, 7.38, 5.49])
    P[[4, 6, 5, 7], [6, 4, 7, 5]] = [0.06, 0.06, 0.15, 0.15]
    system = kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=np.diag([0.0, 0.0, 0.136, 9.65e-17, 4.86, 4.86, 0.0, 0.0]),
        observation_matrix=np.kron([[1.0, 0.0, 1.0, 0.0]], np.eye(2)),
        observation_cov=np.diag([0.1, 9.65e-10]),
        initial_mean=np.zeros(d),
        initial_cov=P,
        initial_diffuse=np.arange(d) < 4,
    )
    values = np.full((9, 2), np.nan)
    values[[1, 2, 3, 4, 5, 8], 1] = [0.22407, 0.22505, 0.22439, 0.22400, 0.22416, 0.22400]
    values[2:, 0] = [2354.9, 2351.2, 2354.0, 2357.6, 2348.9, 2348.0, 2353.1]
    return system, values


def exact_trends():
    """Two linear trends that hardly move, one seen nearly without error, the other coarsely."""
    common = np.array([[8.337428e-14, 6.242941e-14], [6.242941e-14, 1.248588e-13]])
    shared = np.array([[2.851496e-20, 4.277222e-20], [4.277222e-20, 8.554444e-20]])
    system = kem.LinearGaussianSystem(
        transition_matrix=np.kron([[1.0, 1.0], [0.0, 1.0]], np.eye(2)),
        transition_cov=np.kron(common, np.eye(2)) + np.kron(shared, 1.0 - np.eye(2)),
        observation_matrix=np.kron([[1.0, 0.0]], np.eye(2)),
        observation_cov=np.diag([4.28298e-06, 12.03824]),
        initial_mean=np.zeros(4),
        initial_cov=np.zeros((4, 4)),
        initial_diffuse=np.ones(4, dtype=bool),
    )
    values = np.full((20, 2), np.nan)
    values[[2, 4, 6, 16, 17], 0] = [-0.00203, 0.00406, 0.0, 0.00609, 0.00406]
    values[[3, 5, 6, 13, 15, 19], 1] = [0.0, 3.4, 0.0, 6.8, 0.0, 6.8]
    return system, values


@pytest.mark.parametrize("case", [trend_and_oscillation, exact_trends])
def test_square_root_smoother_takes_no_rest_of_rounding_for_a_direction(case):
    """What a diffuse factor loses little by little, and what F A cancels to, beside 700 digits."""
    system, values = case()
    one = kem.Observations(values)
    expected = mp.exact(system, one)
    smoothed = kem.rts_smoother(system, kem.kalman_filter(system, one, numerics="square_root"))
    size = np.sqrt(np.diagonal(mp.floats(expected.smoothed_covs), axis1=1, axis2=2))
    assert mp.scaled_error(smoothed.smoothed_means, expected.smoothed_means, size) < 1e-8
    assert mp.scaled_error(smoothed.smoothed_covs, expected.smoothed_covs, size[:, :, None] * size[:, None]) < 1e-8
    between = size[1:, :, None] * size[:-1, None]
    assert mp.scaled_error(smoothed.lag_one_covs, expected.lag_one_covs, between) < 1e-8
