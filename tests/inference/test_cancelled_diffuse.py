"""A diffuse start of several columns: what rounding leaves of an entry that cancels is not information."""

from __future__ import annotations

import numpy as np
import pytest

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
