"""From the observed entries to the complete data of the observation equation, missing entries expected exactly."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, BoolArray
from kalman_em.em.regression import Moments
from kalman_em.inference.expectations import Expectations
from kalman_em.linalg import solve_symmetric, symmetrised


def completed(expectations: Expectations, observation_cov: Array) -> tuple[Moments, Array]:
    """Return the moments of all p entries of e = y - H x - d, grouped by R, and the R of each group.

    Given the state, a missing entry depends on the observed ones through R alone:
    e_m = A e_o + noise, A = R_mo R_oo^-1, noise ~ N(0, R_mm - A R_om). Rows in which nothing was observed count
    as complete data too, as in Shumway and Stoffer (1982).

    References
    ----------
    Shumway and Stoffer, Time Series Analysis and Its Applications, 4th ed. 2017, section 6.4, equations
    (6.78)-(6.81), extended to a full R; Holmes, arXiv:1302.3919, section 6.
    """
    table = observation_cov if observation_cov.ndim == 3 else observation_cov[None]
    sums = expectations.observation
    p, r = sums.cross.shape[1:]
    n = len(table)
    if len(sums.count) == n and np.all(expectations.observed):
        order = np.argsort(expectations.observation_cov_entry)
        return Moments(*(part[order] for part in (sums.residual, sums.cross, sums.regressor, sums.count))), table
    residual, cross = np.zeros((n, p, p)), np.zeros((n, p, r))
    regressor, count = np.zeros((n, r, r)), np.zeros(n)
    for g, entry in enumerate(expectations.observation_cov_entry):
        observed = expectations.observed[g]
        group_residual, group_cross = sums.residual[g], sums.cross[g]
        if not observed.all():
            group_residual, group_cross = _expected(
                group_residual, group_cross, float(sums.count[g]), observed, table[entry]
            )
        residual[entry] += group_residual
        cross[entry] += group_cross
        regressor[entry] += sums.regressor[g]
        count[entry] += sums.count[g]
    return Moments(residual, cross, regressor, count), table


def _expected(residual: Array, cross: Array, count: float, observed: BoolArray, R: Array) -> tuple[Array, Array]:
    """Return E[e e'] and E[e z'] with the missing rows of e filled in by their conditional moments."""
    if not observed.any():
        return count * R, np.zeros(cross.shape)
    o, m = np.flatnonzero(observed), np.flatnonzero(~observed)
    # Plain pairs of indexes: `numpy.ix_` takes longer than all that is done with what it picks.
    left_o, left_m = o[:, None], m[:, None]
    between, spread = R[left_o, m], R[left_m, m]
    if not np.any(between):
        filled = residual.copy()
        filled[left_m, m] += count * spread
        return filled, cross
    A = solve_symmetric(R[left_o, o], between).T
    lift = np.zeros(R.shape)
    lift[o, o] = 1.0
    lift[left_m, o] = A
    filled = lift @ residual @ lift.T
    filled[left_m, m] += count * symmetrised(spread - A @ between)
    return symmetrised(filled), lift @ cross
