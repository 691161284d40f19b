"""The M-step of the initial state: the regression of x[0] on 1, one row a series."""

from __future__ import annotations

from typing import Any

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.em.constraints import JointConstraint
from kalman_em.em.regression import Moments, best_change, best_change_and_noise
from kalman_em.inference.e_step import initial_scores_by
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.numerics import AUTO, STANDARD
from kalman_em.inference.rows import Rows, lay
from kalman_em.inference.square_root_scores import factored_scores
from kalman_em.linalg import solve_each, solve_symmetric, symmetrised
from kalman_em.models.degeneracy import holds_all
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# Rows of what is known of m without error that differ by less than this say the same.
HELD = 1e-10


def initial_update(
    specification: Specification, params: LinearGaussianSystem, expectations: Expectations, *, holds_mean: bool
) -> dict[str, Array]:
    """Return m and P that maximise the expected log-likelihood, those of them that are learnt.

    Diffuse elements say nothing, and stationary ones have the covariance that they have at `params`; a mean that
    `holds_mean` stays.
    """
    mean_is_free = specification.is_free("initial_mean") and not holds_mean
    cov_is_free = specification.is_free("initial_cov")
    if not mean_is_free and not cov_is_free:
        return {}
    active = np.flatnonzero(~specification.initial.diffuse)
    within = active[:, None], active
    n = len(expectations.initial_means)
    deviation = (expectations.initial_means - params.initial_mean)[:, active, None]
    moments = Moments(
        expectations.initial_covs[:, within[0], within[1]] + deviation @ np.swapaxes(deviation, 1, 2),
        deviation,
        np.ones((n, 1, 1)),
        np.ones(n),
    )
    moments = moments if "initial_cov" in specification.by_series else moments.pooled()
    constraint = _active(specification.mean_constraint, active, mean_is_free)
    old = params.initial_cov[..., within[0], within[1]]
    if not cov_is_free:
        change, cov = best_change(moments, constraint, old if old.ndim == 3 else old[None]), old
    else:
        step = specification.noise("initial_cov")
        states = range(params.state_dim)
        held = [np.ix_(states[rows], states[rows]) for rows in specification.initial.stationary]

        def most_likely(scatter: Array, counts: Array, near: Array) -> Array:
            whole, nearby = (_whole(part, active, len(states)) for part in (scatter, near))
            found = np.array(step.most_likely(whole, counts, nearby))
            for block in held:
                found[..., block[0], block[1]] = params.initial_cov[..., block[0], block[1]]
            return np.asarray(found[..., within[0], within[1]])

        change, cov = best_change_and_noise(moments, constraint, old, most_likely)
    mean = params.initial_mean.copy()
    is_own = change.ndim == 3 and mean.ndim == 2
    mean[..., active] += change[..., 0] if is_own or change.ndim == 2 else change[0, :, 0]
    found: dict[str, Any] = {"initial_mean": mean} if mean_is_free else {}
    if cov_is_free:
        P = np.array(params.initial_cov)
        P[..., within[0], within[1]] = zeros_kept(old, cov)
        found["initial_cov"] = P
    return found


def most_likely_start(
    specification: Specification, rows: Rows, system: LinearGaussianSystem, numerics: str = AUTO
) -> Array:
    """Return m that maximises the likelihood itself, all else given (an ECME step).

    The log-likelihood is a parabola in m, whose score and information one backward pass gives; directions
    of m that the data say nothing of stay where they are. A flat prior on diffuse elements is their maximum: the
    parabola in the others is what is left of it there.

    References
    ----------
    Liu and Rubin, The ECME algorithm, Biometrika 81 (1994).
    """
    diffuse: BoolArray = specification.initial.diffuse
    known = system.replaced(initial_diffuse=np.zeros(len(diffuse), dtype=bool)) if diffuse.any() else system
    laid = lay(known, rows)
    # What is seen without noise may leave m no freedom in some directions: factors alone tell.
    held = None
    if numerics == STANDARD or holds_all(system.observation_cov):
        scores, information = initial_scores_by(laid, rows, numerics)
    else:
        scores, information, held = factored_scores(laid, rows)
    if diffuse.any():
        scores, information = _profiled(scores, information, diffuse)
    own = specification.mean_constraint.own
    if own is not None:
        if held is not None and np.any(held):
            changes = np.stack([_within(own, *parts) for parts in zip(scores, information, held, strict=True)])
            return np.asarray(system.initial_mean + changes)
        normals = own.T @ information @ own
        changes = solve_each(normals, (scores @ own)[:, :, None])[:, :, 0]
        return np.asarray(system.initial_mean + changes @ own.T)
    design = specification.constraint("initial_mean").design
    if held is not None and np.any(held):
        rows_held = held.reshape(-1, held.shape[2])
        return np.asarray(system.initial_mean + _within(design, scores.sum(axis=0), information.sum(axis=0), rows_held))
    normal = design.T @ information.sum(axis=0) @ design
    right = design.T @ scores.sum(axis=0)
    change = solve_symmetric(symmetrised(normal), right[:, None])[:, 0]
    return np.asarray(system.initial_mean + design @ change)


def _within(design: Array, score: Array, information: Array, held: Array) -> Array:
    """Return the best change `design` @ c of m with `held` @ `design` @ c = 0."""
    normal, right = design.T @ information @ design, design.T @ score
    size = np.sqrt(np.maximum(np.diagonal(normal), 0.0))
    unit = 1.0 / np.where(size > 0.0, size, 1.0)
    rows = held @ design * unit
    rows = rows[np.any(rows != 0.0, axis=1)]
    rows /= np.abs(rows).max(axis=1, initial=0.0)[:, None]
    _, values, vectors = np.linalg.svd(rows)
    rank = np.count_nonzero(values > HELD * values.max(initial=0.0))
    free = unit[:, None] * vectors[rank:].T
    change = free @ solve_symmetric(symmetrised(free.T @ normal @ free), (free.T @ right)[:, None])[:, 0]
    return np.asarray(design @ change)


def zeros_kept(old: Array, new: Array) -> Array:
    """Return `new`, exactly 0 where `old` has no variance: there EM cannot move, and rounding must not."""
    kept = np.asarray(np.diagonal(old, axis1=-2, axis2=-1) > 0.0)
    return symmetrised(np.where(kept[..., :, None] & kept[..., None, :], new, 0.0))


def _active(constraint: JointConstraint, active: IntArray, is_free: bool) -> JointConstraint:
    """Return the constraint on the rows of m that are active, with nothing free unless it `is_free`."""
    if is_free and len(active) == constraint.n_rows:
        # The same one every time: what it knows of itself is found once.
        return constraint
    kept = slice(None) if is_free else slice(0)
    own = None if constraint.own is None else constraint.own[active][:, kept]
    return JointConstraint(len(active), 1, constraint.design[active][:, kept], own=own)


def _whole(part: Array, active: IntArray, dim: int) -> Array:
    """Return matrices (..., dim, dim) with `part` in the rows and columns that are active, 0 elsewhere."""
    result = np.zeros((*part.shape[:-2], dim, dim))
    result[..., active[:, None], active] = part
    return result


def _profiled(scores: Array, information: Array, diffuse: BoolArray) -> tuple[Array, Array]:
    """Return scores and information of the other elements where the diffuse ones, of each series, are at their best."""
    result, curvature = scores.copy(), information.copy()
    others = np.ix_(~diffuse, ~diffuse)
    for s in range(len(scores)):
        inner, cross = information[s][np.ix_(diffuse, diffuse)], information[s][np.ix_(diffuse, ~diffuse)]
        weights = solve_symmetric(inner, np.column_stack([cross, scores[s][diffuse]]))
        result[s][~diffuse] -= cross.T @ weights[:, -1]
        curvature[s][others] -= cross.T @ weights[:, :-1]
        result[s][diffuse] = 0.0
        curvature[s][diffuse, :] = curvature[s][:, diffuse] = 0.0
    return result, curvature
