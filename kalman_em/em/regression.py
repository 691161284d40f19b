"""The M-step of a regression with expected regressors: coefficients under linear constraints, then noise.

With e = target - M z at the current M, and Δ the change of M, the expected log-likelihood is, up to a constant,

    -1/2 Σ_g [ n_g log|W_g^-1| + tr W_g (S_ee - Δ S_ez' - S_ez Δ' + Δ S_zz Δ') ],

summed over groups g of rows with one noise covariance W_g^-1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import JointConstraint
from kalman_em.em.one_factor import regressed
from kalman_em.linalg import (
    pseudo_inverses,
    smallest_scaled_eigenvalue,
    solve_each,
    solve_symmetric,
    square_root,
    square_roots,
    symmetrised,
)

MAX_ALTERNATIONS = 100
ALTERNATION_TOLERANCE = 1e-13
# A combination of rows, scaled to unit variances, has no noise below this eigenvalue.
SILENT = 1e-13


@dataclass(frozen=True, eq=False)
class Moments:
    """E[e e'] (n, q, q), E[e z'] (n, q, r), E[z z'] (n, r, r) and row counts (n,), by group of equal noise.

    A residual (n, q) holds diagonals alone: enough where the noise is independent, and its form asks for no more.
    """

    residual: Array
    cross: Array
    regressor: Array
    count: Array

    def pooled(self) -> Moments:
        """Return the sums over the groups, as one group."""
        if len(self.count) == 1:
            return self
        return Moments(*(part.sum(axis=0, keepdims=True) for part in self._parts()))

    def _parts(self) -> tuple[Array, Array, Array, Array]:
        return self.residual, self.cross, self.regressor, self.count


def best_change(moments: Moments, constraint: JointConstraint, noise_cov: Array) -> Array:
    """Return the change Δ (q, r) of M that maximises the expected log-likelihood for known noise.

    Where the groups have free numbers of their own, one change for each: (n, q, r).

    Parameters
    ----------
    moments : Moments
        n groups.
    constraint : JointConstraint
        Which numbers of M are free, for all groups alike or for each by itself.
    noise_cov : ndarray, shape (n, q, q)
        The noise covariance of each group; may be singular, and rows without noise keep their coefficients.

    References
    ----------
    Holmes, Derivation of the EM algorithm for constrained and unconstrained MARSS models, arXiv:1302.3919,
    section 5: generalised least squares over vec(M) = f + D β.
    """
    shape = constraint.n_rows, constraint.n_columns
    if constraint.own is not None and constraint.n_own:
        return _best_changes(moments, constraint, constraint.own.reshape(*shape, -1), noise_cov)
    if constraint.n_free == 0:
        return np.zeros(shape)
    # A row without noise fits exactly, so its coefficients stay: its cross moments are rounding alone.
    silent = np.all(np.diagonal(noise_cov, axis1=1, axis2=2) == 0.0, axis=0)
    if len(moments.count) == 1 and constraint.free_block is not None and _separates(constraint, noise_cov):
        rows, columns = constraint.free_block
        change = np.zeros(shape)
        gram = moments.regressor[0][columns][:, columns]
        change[np.ix_(rows, columns)] = solve_symmetric(gram, moments.cross[0][rows][:, columns].T).T
        change[silent] = 0.0
        return change
    design = _possible(constraint.design.reshape(*shape, -1), noise_cov)
    n_free = design.shape[2]
    if n_free == 0:
        return np.zeros(shape)
    weight = pseudo_inverses(noise_cov)
    # vec(M) row by row: the weight of entries (i, k) and (j, l) of M is the sum of W_ij E[z_k z_l].
    size = constraint.n_rows * constraint.n_columns
    weighted = np.tensordot(weight, moments.regressor, axes=(0, 0)).transpose(0, 2, 1, 3).reshape(size, size)
    flat = design.reshape(size, n_free)
    normal = flat.T @ weighted @ flat
    right = flat.T @ (weight @ moments.cross).sum(axis=0).ravel()
    free = solve_symmetric(symmetrised(normal), right[:, None])[:, 0]
    return np.asarray(design @ free)


def _separates(constraint: JointConstraint, noise_cov: Array) -> bool:
    """Whether the noise, the same for all rows of the data, cancels out of the normal equations."""
    block = constraint.free_block
    return block is not None and not np.any(noise_cov[..., ~block[0], :])


def _best_changes(moments: Moments, constraint: JointConstraint, own: Array, noise_cov: Array) -> Array:
    """Return the changes (n, q, r) of groups that share some numbers and have others of their own.

    The normal equations have an arrow's shape: the own numbers of a group meet those of no other. They are eliminated
    group by group, and the shared ones solve what is left (a Schur complement).
    """
    n, size = len(moments.count), constraint.n_rows * constraint.n_columns
    noise_cov = np.broadcast_to(noise_cov, (n, *noise_cov.shape[1:]))
    shared = _possible(constraint.design.reshape(own.shape[0], own.shape[1], -1), noise_cov)
    designs = _possible_of_each(own, noise_cov)
    weight = pseudo_inverses(noise_cov)
    flat, flats = shared.reshape(size, -1), designs.reshape(n, size, -1)
    # vec(M) row by row: the weight of entries (i, k) and (j, l) of M is W_ij E[z_k z_l].
    weighted = np.einsum("gij,gkl->gikjl", weight, moments.regressor, optimize=True).reshape(n, size, size)
    right = (weight @ moments.cross).reshape(n, size, 1)
    back = np.swapaxes(flats, 1, 2) @ weighted
    across = back @ flat
    solved = solve_each(back @ flats, np.concatenate([across, np.swapaxes(flats, 1, 2) @ right], axis=2))
    crossed = np.swapaxes(across, 1, 2) @ solved
    normal = flat.T @ weighted.sum(axis=0) @ flat - crossed[:, :, :-1].sum(axis=0)
    rest = flat.T @ right.sum(axis=0) - crossed[:, :, -1:].sum(axis=0)
    free = solve_symmetric(symmetrised(normal), rest)
    numbers = solved[:, :, -1:] - solved[:, :, :-1] @ free
    return np.asarray((flat @ free + flats @ numbers).reshape(n, *own.shape[:2]))


def _possible_of_each(own: Array, noise_cov: Array) -> Array:
    """Return the design (n, q, r, k) of each group's own changes: those that its directions without noise allow."""
    designs = np.broadcast_to(own, (len(noise_cov), *own.shape)).copy()
    for g in np.flatnonzero(smallest_scaled_eigenvalue(noise_cov) < SILENT):
        kept = _possible(own, noise_cov[g : g + 1])
        designs[g, :, :, : kept.shape[2]], designs[g, :, :, kept.shape[2] :] = kept, 0.0
    return designs


def silent_projector(noise_cov: Array) -> Array:
    """Return what projects (q, q) on the combinations of rows without noise in any of the covariances (n, q, q)."""
    q = noise_cov.shape[1]
    scale = np.sqrt(np.maximum(np.diagonal(noise_cov.sum(axis=0)), 0.0))
    live = scale > 0.0
    silent = np.zeros((q, q))
    silent[~live, ~live] = 1.0
    if live.any():
        unit = np.outer(scale[live], scale[live])
        values, vectors = np.linalg.eigh(noise_cov.sum(axis=0)[np.ix_(live, live)] / unit)
        null = vectors[:, values < SILENT] / scale[live, None]
        silent[np.ix_(live, live)] = null @ np.linalg.pinv(null) if null.size else 0.0
    return silent


def _possible(design: Array, noise_cov: Array) -> Array:
    """Return a design of the changes that leave alone whatever combination of rows has no noise: it fits exactly."""
    n_free = design.shape[2]
    silent = silent_projector(noise_cov)
    if not silent.any():
        return design
    moved = np.einsum("ij,jkn->ikn", silent, design).reshape(-1, n_free)
    size = np.abs(design).max(initial=0.0)
    _, values, right = np.linalg.svd(moved)
    kept = right[np.count_nonzero(values > 1e-9 * size) :].T
    return np.asarray(design @ kept)


def scatter_after(moments: Moments, change: Array) -> Array:
    """Return E[e e'] (n, q, q) at M + Δ, one Δ (q, r) for all groups or one each, positive semi-definite by its form.

    It is [I, -Δ] S [I, -Δ]' with S the joint second moment of (e, z): taken through a square root of S, so that
    a large change cannot cancel into a negative variance. Of residuals that are diagonals alone (n, q), the diagonal.
    """
    if not np.any(change):
        return moments.residual
    if moments.residual.ndim == 2:
        return _variances_after(moments, change)
    q = change.shape[-2]
    upper = np.concatenate([moments.residual, moments.cross], axis=2)
    lower = np.concatenate([np.swapaxes(moments.cross, 1, 2), moments.regressor], axis=2)
    root = square_roots(np.concatenate([upper, lower], axis=1))
    moved = root[:, :q] - change @ root[:, q:]
    return np.asarray(moved @ np.swapaxes(moved, 1, 2))


def _variances_after(moments: Moments, change: Array) -> Array:
    """Return the diagonal of E[e e'] (n, q) at M + Δ, each from the joint second moment of its e and z alone."""
    # With S_zz = A A' the least that a change could leave is e² - |b|², A b = E[z e]; the rest is a square.
    result = np.empty_like(moments.residual)
    for g in range(len(moments.count)):
        size = np.sqrt(np.diagonal(moments.regressor[g]))
        unit = np.where(size > 0.0, size, 1.0)
        root = square_root(moments.regressor[g]) / unit[:, None]
        solved = np.linalg.lstsq(root, moments.cross[g].T / unit[:, None], rcond=None)[0]
        least = np.maximum(moments.residual[g] - np.einsum("rq,rq->q", solved, solved), 0.0)
        own = change[g] if change.ndim == 3 else change
        moved = solved - root.T @ (own.T * unit[:, None])
        result[g] = least + np.einsum("rq,rq->q", moved, moved)
    return result


def best_change_and_noise(
    moments: Moments,
    constraint: JointConstraint,
    noise_cov: Array,
    most_likely: Callable[[Array, Array, Array], Array],
) -> tuple[Array, Array]:
    """Return Δ and the noise covariance that together maximise the expected log-likelihood.

    `noise_cov` is (q, q), or (n, q, q) where the noise varies over the n groups; so is the result. `most_likely` maps
    the mean scatter (n, q, q) and the number of rows (n,) of each group, one group for constant noise, and the present
    covariance to the new one. Groups with coefficients of their own need a noise that varies over them. Where the noise
    does not cancel from the equations for Δ the two steps alternate until neither moves: the joint maximum, not one
    sweep of it.
    """
    varies = noise_cov.ndim == 3
    groups = moments if varies else moments.pooled()
    rows = np.where(groups.count > 0.0, groups.count, 1.0)[:, None, None]
    at_once = None if varies else _regressed_at_once(groups, constraint, noise_cov)
    if at_once is not None:
        return at_once[0], most_likely(at_once[1][None] / rows, groups.count, noise_cov)
    is_one_solve = constraint.n_free + constraint.n_own == 0 or (not varies and _separates(constraint, noise_cov))
    cov = noise_cov
    for _ in range(MAX_ALTERNATIONS):
        change = best_change(groups, constraint, cov if varies else cov[None])
        scatter = _whole(scatter_after(groups, change)) / rows
        updated = most_likely(scatter, groups.count, cov)
        moved = _largest_change(cov, updated)
        cov = updated
        if is_one_solve or moved <= ALTERNATION_TOLERANCE:
            break
    return change, cov


def _regressed_at_once(moments: Moments, constraint: JointConstraint, noise_cov: Array) -> tuple[Array, Array] | None:
    """Return the change and the scatter of one group after it, where one factor gives both and keeps its digits."""
    if constraint.free_first is None or moments.residual.ndim == 2 or not noise_cov.diagonal().min() > 0.0:
        return None
    return regressed(moments.residual[0], moments.cross[0], moments.regressor[0], *constraint.free_first)


def _whole(residual: Array) -> Array:
    """Return residual moments as matrices; where only diagonals were kept no more is looked at."""
    return residual if residual.ndim == 3 else residual[:, :, None] * np.eye(residual.shape[1])


def _largest_change(old: Array, new: Array) -> float:
    deviation = np.sqrt(np.maximum(np.diagonal(new, axis1=-2, axis2=-1), 0.0))
    scale = deviation[..., :, None] * deviation[..., None, :]
    return float(np.max(np.abs(new - old) / np.where(scale > 0.0, scale, 1.0)))
