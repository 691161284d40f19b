"""A third opinion: likelihood and smoothed covariances of one series without any recursion over its observations.

All observed entries are one Gaussian vector: y = c + X β + e, e ~ N(0, S), with β the diffuse elements of the first
state, flat a priori. With L L' = S, W = L^-1 X and r = L^-1 (y - c),

    log L = -(n log 2π + log|S| + log|W'W| + r'(I - W (W'W)^-1 W') r) / 2,

which is the limit of log L + (k/2) log κ (de Jong, The diffuse Kalman filter, Annals of Statistics 19
(1991), section 3). Where two filters differ it says which of them has lost its digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi

import numpy as np

from kalman_em.arrays import Array
from kalman_em.crosscheck.smoothing import WorstRow
from kalman_em.inference.rows import SystemRows, lay, stack_rows
from kalman_em.linalg import symmetrised
from kalman_em.observations import Observations, Panel
from kalman_em.systems import LinearGaussianSystem

# Its cost grows with the cube of the number of observed values.
LARGEST = 3000


@dataclass(frozen=True, eq=False)
class Judgement:
    """A log-likelihood without recursion, and how far from it the smoothed covariances of both packages are.

    The errors are those at the row where the two differ most, over the product of the standard deviations.
    """

    log_likelihood: float
    our_cov_error: float
    their_cov_error: float


@dataclass(frozen=True, eq=False)
class Opinion:
    """The log-likelihood of a series, and the smoothed covariance (d, d) of its state at one row."""

    log_likelihood: float
    cov: Array


def judged(system: LinearGaussianSystem, panel: Panel, worst: WorstRow) -> Judgement | None:
    """Return what a computation without recursion says where two packages differ; None if it cannot be done."""
    rows = [worst.row if s == worst.series else 0 for s in range(panel.n_series)]
    found = [opinion(system.of_series(s), one, row) for s, (one, row) in enumerate(zip(panel, rows, strict=True))]
    heights = [each.log_likelihood for each in found if each is not None]
    exact = found[worst.series]
    if exact is None or len(heights) < len(found):
        return None
    size = worst.sd[:, None] * worst.sd
    errors = (float((np.abs(cov - exact.cov) / size).max()) for cov in (worst.ours, worst.theirs))
    return Judgement(float(np.sum(heights)), *errors)


def opinion(system: LinearGaussianSystem, one: Observations, row: int) -> Opinion | None:
    """Return the log-likelihood of `one`, and Cov[x at `row`] given all of it; None if that cannot be computed so.

    It cannot where there are more than 3,000 observed values, or their covariance is singular.
    """
    if one.n_observed > LARGEST or one.n_observed == 0:
        return None
    cov, loadings, residuals, across, prior, factor = _joint(lay(system, stack_rows([one])), one.values, row)
    try:
        root = np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        return None
    k = loadings.shape[1]
    whitened = np.linalg.solve(root, np.column_stack([loadings, residuals, across]))
    q, r = np.linalg.qr(whitened[:, :k])
    if k and np.abs(np.diagonal(r)).min() == 0.0:
        return None
    left = whitened[:, k] - q @ (q.T @ whitened[:, k])
    log_det = 2.0 * float(np.log(np.diagonal(root)).sum()) + 2.0 * float(np.log(np.abs(np.diagonal(r))).sum())
    height = -0.5 * (len(residuals) * log(2.0 * pi) + log_det + float(left @ left))
    seen = whitened[:, k + 1 :]
    # What β leaves uncertain: its loading on the state, less what the data say of it through e.
    spread = np.linalg.solve(r.T, (factor - seen.T @ whitened[:, :k]).T) if k else np.zeros((0, len(prior)))
    return Opinion(height, symmetrised(prior - seen.T @ seen + spread.T @ spread))


def _joint(laid: SystemRows, values: Array, row: int) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Return S, X, y - c, Cov[y, x at `row`], and covariance and loading on β of that state."""
    n_rows, d = len(values), laid.state_dim
    observed = ~np.isnan(values)
    ends = np.cumsum(observed.sum(axis=1))
    n = int(ends[-1])
    cov, loadings, residuals = np.zeros((n, n)), np.zeros((n, laid.initial_columns)), np.zeros(n)
    mean, prior = laid.initial_mean, laid.initial_cov
    factor = laid.initial_factor[:, : laid.initial_columns]
    # Cov[e of all entries so far, x now], and of all entries with the state that is asked for.
    past, asked = np.zeros((n, d)), np.zeros((n, d))
    kept_prior, kept_factor = prior, factor
    to_asked = np.eye(d)
    for t in range(n_rows):
        seen = observed[t]
        new = slice(int(ends[t]) - int(seen.sum()), int(ends[t]))
        H = laid.observation.entries[laid.observation.index[t]][seen]
        R = laid.observation_cov.entries[laid.observation_cov.index[t]][np.ix_(seen, seen)]
        d_offset = laid.observation_offset.entries[laid.observation_offset.index[t]][seen]
        before = slice(0, new.start)
        cov[new, before] = (past[before] @ H.T).T
        cov[before, new] = cov[new, before].T
        cov[new, new] = H @ prior @ H.T + R
        loadings[new] = H @ factor
        residuals[new] = values[t][seen] - d_offset - H @ mean
        past[new] = H @ prior
        if t == row:
            asked[: new.stop] = past[: new.stop]
            kept_prior, kept_factor, to_asked = prior, factor, prior
        elif t > row:
            asked[new] = H @ to_asked
        if t + 1 < n_rows:
            F = laid.transition.entries[laid.transition.index[t]]
            mean = F @ mean + laid.offset.entries[laid.offset.index[t]]
            prior = symmetrised(F @ prior @ F.T + laid.noise_cov.entries[laid.noise_cov.index[t]])
            factor, past = F @ factor, past @ F.T
            to_asked = F @ to_asked if t >= row else to_asked
    return cov, loadings, residuals, asked, kept_prior, kept_factor
