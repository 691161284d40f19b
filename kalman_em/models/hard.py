"""Hard EM of the linear-Gaussian model: states at their most probable values, as if these had been seen."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.stopping import EMStop, StopReason
from kalman_em.inference.expectations import Expectations, added_up
from kalman_em.inference.kalman import smooth_by
from kalman_em.inference.kernel_arrays import spreads_space
from kalman_em.inference.numerics import STANDARD
from kalman_em.inference.rows import Rows, SystemRows, by_group, lay, noise_covs
from kalman_em.linalg import smallest_scaled_eigenvalue, symmetrised
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# A covariance, scaled to a unit diagonal, has no noise in a direction whose eigenvalue is below this.
SINGULAR = 1e-12
# A learnt variance has collapsed where it is less than this of what is unknown of its state (for a random walk: less
# than the square of this of the noise of the data), or of the variance of its column.
COLLAPSED = 1e-8
LOG_2PI = log(2.0 * pi)


@dataclass(frozen=True, eq=False)
class HardProblem(LinearGaussianProblem):
    """Coordinate ascent on log p(y, x; θ) over the states x and the parameters θ.

    The E-step sets x to its maximum, the smoothed means, and adds up their squares alone: covariances count as 0. The
    M-step is that of EM. The objective is the log density of data and states together; of a state that is known
    exactly, or of which nothing is known before the data (diffuse), it holds nothing.
    """

    def e_step(self, params: LinearGaussianSystem) -> tuple[Expectations, float]:
        """Return the sums over the smoothed means, and log p(y, x; θ) at these.

        Raises
        ------
        EMStop
            If a learnt variance has collapsed: see `COLLAPSED`.
        """
        laid = lay(params, self.rows)
        smoothed = smooth_by(laid, self.rows, self.numerics)
        self._check(params, smoothed.smoothed_covs.entries)
        d, means = params.state_dim, np.asarray(smoothed.smoothed_means)
        spreads = spreads_space(d, len(laid.noise_cov.entries), len(laid.group_rows))
        none = np.zeros((self.rows.n_series, d, d))
        expectations = added_up(
            laid, self.rows, means, none, spreads, (None, None), diagonal=self._has_independent_noise, numerics=STANDARD
        )
        height = _height_of_rows(laid, self.rows, means)
        moved = expectations.transition
        for count, scatter, cov in zip(moved.count, moved.residual, laid.noise_cov.entries, strict=True):
            height += _height(float(count), scatter, cov)
        return expectations, height + self._height_of_start(params, expectations.initial_means)

    def _height_of_start(self, params: LinearGaussianSystem, first: Array) -> float:
        known = ~np.asarray(params.initial_diffuse)
        off = (first - params.initial_mean)[:, known]
        covs = np.broadcast_to(params.initial_cov, (len(off), *params.initial_cov.shape[-2:]))[:, known][:, :, known]
        if params.initial_cov.ndim == 2:
            return _height(float(len(off)), off.T @ off, covs[0])
        return sum(_height(1.0, np.outer(one, one), cov) for one, cov in zip(off, covs, strict=True))

    def _check(self, params: LinearGaussianSystem, state_covs: Array) -> None:
        """Raise `EMStop` if a learnt variance has collapsed."""
        for name in ("transition_cov", "observation_cov"):
            if self.specification.is_free(name):
                blocks = self.specification.noise(name).losable(getattr(params, name))
                if any(_has_lost_a_direction(block) for block in blocks):
                    raise _collapsed(name)
        if self.specification.is_free("transition_cov"):
            noises = np.diagonal(noise_covs(params), axis1=-2, axis2=-1).reshape(-1, params.state_dim).max(axis=0)
            unknown = np.median(np.diagonal(state_covs, axis1=1, axis2=2), axis=0)
            if np.any((noises > 0.0) & (noises < COLLAPSED * unknown)):
                raise _collapsed("transition_cov")
        if self.specification.is_free("observation_cov"):
            noises = np.diagonal(params.observation_cov, axis1=-2, axis2=-1).reshape(-1, params.obs_dim)
            if np.any((noises > 0.0) & (noises < COLLAPSED**2 * self.scale**2)):
                raise _collapsed("observation_cov")


def has_scale(specification: Specification) -> bool:
    """Whether every state that is seen has a scale: a known loading, for which no other makes up.

    Where all loadings of a state are learnt, it may shrink while they grow, and its density grows with that.
    """
    constraint = specification.constraint("observation_matrix")
    shape = constraint.fixed.shape[-2:]
    learnt = np.any(np.asarray(constraint.design) != 0.0, axis=-1).reshape(-1, *shape).any(axis=0)
    known = np.any(constraint.fixed.reshape(-1, *shape) != 0.0, axis=0) & ~learnt
    return bool(np.all(known.any(axis=0) | ~learnt.any(axis=0)))


def _has_lost_a_direction(cov: Array) -> bool:
    noisy = np.diagonal(cov) > 0.0
    return bool(np.any(noisy) and smallest_scaled_eigenvalue(cov[noisy][:, noisy]) < COLLAPSED)


def _collapsed(name: str) -> EMStop:
    detail = f"{name} has collapsed: hard EM takes states for seen, and their density grows without end beside it"
    return EMStop(StopReason.degenerate_covariance, detail)


def _height_of_rows(laid: SystemRows, rows: Rows, means: Array) -> float:
    """Return log p(y given x), rows of one missing pattern, H and R together."""
    order, bounds = by_group(rows.data_rows, laid.group_index, len(laid.group_rows))
    total = 0.0
    for g, first in enumerate(laid.group_rows):
        at, seen = order[bounds[g] : bounds[g + 1]], rows.patterns[rows.pattern[first]]
        H = laid.observation.entries[laid.observation.index[first]][seen]
        R = laid.observation_cov.entries[laid.observation_cov.index[first]][seen][:, seen]
        offsets = laid.observation_offset.entries[laid.observation_offset.index[at]][:, seen]
        errors = rows.values[at][:, seen] - offsets - means[at] @ H.T
        total += _height(float(len(at)), errors.T @ errors, R)
    return total


def _height(count: float, scatter: Array, cov: Array) -> float:
    """Return Σ log N(e; 0, C) over `count` errors with the sum of squares Σ e e', where C has noise."""
    noisy = np.diagonal(cov) > 0.0
    scatter, cov = scatter[noisy][:, noisy], symmetrised(cov[noisy][:, noisy])
    if count == 0.0 or len(cov) == 0:
        return 0.0
    if smallest_scaled_eigenvalue(cov) > SINGULAR:
        log_det, squares, n = np.linalg.slogdet(cov)[1], np.trace(np.linalg.solve(cov, scatter)), len(cov)
    else:
        values, vectors = np.linalg.eigh(cov)
        live = values > SINGULAR * values[-1]
        inside = np.einsum("ij,ik,kj->j", vectors[:, live], scatter, vectors[:, live])
        log_det, squares, n = np.log(values[live]).sum(), (inside / values[live]).sum(), int(live.sum())
    return float(-0.5 * (count * (n * LOG_2PI + log_det) + squares))
