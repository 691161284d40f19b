"""The sums of EM on factors: the noise of a transition is smoothed itself, no difference of states."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import mp

import kalman_em as kem
from kalman_em.inference.e_step import expect_by
from kalman_em.inference.regression_sums import RegressionMoments, are_variances
from kalman_em.inference.rows import lay, stack_rows


def test_noise_far_below_the_states_keeps_its_digits():
    """Accelerations over gaps from 1000 to 0.001: over the short one positions move by 1e-16 of themselves."""
    gaps = np.array([65.0, 706.0, 2.8, 120.0, 983.0, 713.0, 541.0, 873.0, 0.0014, 40.0, 8.0])
    F = np.array([[[1.0, gap, gap**2 / 2.0], [0.0, 1.0, gap], [0.0, 0.0, 1.0]] for gap in gaps])
    powers = np.array([[20.0, 8.0, 6.0], [8.0, 3.0, 2.0], [6.0, 2.0, 1.0]])
    exponents = np.array([[5, 4, 3], [4, 3, 2], [3, 2, 1]])
    Q = 9.4e10 * gaps[:, None, None] ** exponents / powers
    system = kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=Q,
        observation_matrix=[[1.0, 0.0, 0.0]],
        observation_cov=[[0.0]],
        initial_mean=np.zeros(3),
        initial_cov=np.zeros((3, 3)),
        initial_diffuse=np.ones(3, dtype=bool),
    )
    values = np.full((12, 1), np.nan)
    values[[0, 1, 2, 3, 4, 10, 11], 0] = [-187074.0, -167146.0, 65092.0, 301682.0, 300833.0, -19478.0, 95586.0]
    one = kem.Observations(values)
    expected = mp.exact(system, one)
    rows = stack_rows([one])
    found, _ = expect_by(lay(system, rows), rows, "square_root")
    x, V, lag = expected.smoothed_means, expected.smoothed_covs, expected.lag_one_covs
    with mp.mp.workdps(mp.DIFFUSE_DIGITS):
        for t in range(len(gaps)):
            M = mp._mp(F[t])
            w = x[t + 1] - M @ x[t]
            second = np.outer(w, w) + V[t + 1] + M @ V[t] @ M.T - lag[t] @ M.T - M @ lag[t].T
            size = np.sqrt(np.diagonal(mp.floats(second)))
            assert mp.scaled_error(found.transition.residual[t], second, np.outer(size, size)) < 1e-10


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_rounding_that_has_grown_shows_in_any_unit_of_the_states(unit):
    regressor = np.diag([unit**2, 1.0])[None]
    sums = [RegressionMoments(np.full((1, 1, 1), part * unit**2), None, regressor, None) for part in (-1e-3, -1e-12)]
    assert [are_variances(one).tolist() for one in sums] == [[False], [True]]
