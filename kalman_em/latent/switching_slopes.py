"""How Kim's approximate log-likelihood moves with the matrices of a switching system."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.errors import NumericalError
from kalman_em.inference.switching_loops import SwitchingMoments, SwitchingSystem
from kalman_em.inference.switching_slopes import SeenRows, SwitchingSlopes, kim_slopes, slope_scratch
from kalman_em.latent.rows import PatternedRows
from kalman_em.latent.switching_params import SwitchingParams

# A direction in which the expected information is below this part of its largest has none to speak of.
LEAST = 1e-10


def slopes_of(
    params: SwitchingParams,
    system: SwitchingSystem,
    levels: Array,
    rows: PatternedRows,
    starts: IntArray,
    filtered: SwitchingMoments,
) -> SwitchingSlopes:
    """Return the slopes at `params`, where Kim's filter gave `filtered`; `levels` (N, K, p) are what each regime adds.

    Raises
    ------
    NumericalError
        If a predicted covariance of an observation is singular.
    """
    K, d, p, n = params.n_regimes, params.state_dim, params.obs_dim, rows.n_rows
    found = SwitchingSlopes(
        transitions=np.zeros((K, d, d)),
        drifts=np.zeros((n, K, d)),
        noise_covs=np.zeros((K, d, d)),
        matrices=np.zeros((K, p, d)),
        levels=np.zeros((n, K, p)),
        observation_covs=np.zeros((K, p, p)),
        initial_mean=np.zeros(d),
        initial_cov=np.zeros((d, d)),
        initial=np.zeros(K),
        moves=np.zeros((K, K)),
    )
    seen = _seen(params, levels, rows)
    row = kim_slopes(starts, system, seen, filtered, found, slope_scratch(K, d, p))
    if row >= 0:
        raise NumericalError(f"the observation at row {row} (of all series) has a singular predicted covariance")
    return found


def _seen(params: SwitchingParams, levels: Array, rows: PatternedRows) -> SeenRows:
    """Return the rows as the compiled loop reads them."""
    n, p, G = rows.n_rows, params.obs_dim, len(rows.patterns)
    values, pattern = np.zeros((n, p)), np.zeros(n, dtype=np.int64)
    columns, counts = np.zeros((G, p), dtype=np.int64), np.zeros(G, dtype=np.int64)
    for g, own in enumerate(rows.patterns):
        values[own.at[:, None], own.observed] = own.columns.T
        pattern[own.at] = g
        counts[g] = len(own.observed)
        columns[g, : counts[g]] = own.observed
    return SeenRows(
        errors=values[:, None] - levels,
        pattern=pattern,
        columns=columns,
        counts=counts,
        matrices=np.array(params.of_regimes("observation_matrix"), order="C"),
        noise_covs=np.array(params.of_regimes("observation_cov"), order="C"),
    )


def unit_steps(information: Array) -> Array:
    """Return A with A A' the inverse of an information, as columns: steps of about a standard error.

    Of directions without any, each number in its own unit, the steps are as long as a little of it allows.

    Examples
    --------
    >>> steps = unit_steps(np.array([[4.0, 0.0], [0.0, 25.0]]))
    >>> (steps @ steps.T).round(6).tolist()
    [[0.25, 0.0], [0.0, 0.04]]
    """
    own = np.sqrt(np.diagonal(information))
    units = np.where(own > 0.0, 1.0 / np.where(own > 0.0, own, 1.0), 0.0)
    values, vectors = np.linalg.eigh(information * units[:, None] * units)
    least = LEAST * float(values.max(initial=0.0))
    return np.asarray(units[:, None] * vectors / np.sqrt(np.where(values > least, values, np.maximum(least, 1e-300))))
