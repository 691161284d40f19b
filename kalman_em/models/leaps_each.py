"""Which climbs of many are truly over: none of the leaps that are tried at an end gains anything there.

What `LeapingProblem.leaps` tries series by series, over a leading axis, by likelihoods alone. Where anything stirs, or
is not plain, the ordinary loop looks again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kalman_em.arrays import Array, BoolArray, frozen
from kalman_em.em.ascent import WORTH_A_LEAP
from kalman_em.em.extrapolation import extrapolated_each, stretched_each
from kalman_em.em.forms.protocols import CovarianceForm
from kalman_em.em.noise import learnt_rows
from kalman_em.em.stopping import STEP_ROUNDING
from kalman_em.inference.gains import factor_covs
from kalman_em.inference.stacks import StackedRows, SystemStack, likelihoods_each
from kalman_em.linalg import smallest_scaled_eigenvalue, symmetrised
from kalman_em.models.boundary import NEAR_ZERO, QUICK, Direction, directions
from kalman_em.models.problem import NEARLY_SINGULAR, STRETCHES
from kalman_em.models.specification import Specification
from kalman_em.models.stacked_forms import has_simple_noises, most_likely_each

NOISES = ("transition_cov", "observation_cov")
# No guess may multiply a pivot by more than exp of this.
FARTHEST = 30.0


def can_leap_together(specification: Specification) -> bool:
    """Return whether all that is learnt are noise covariances of simple forms, which move nothing else."""
    others = [*specification.coefficients, "initial_cov"]
    moves = specification.rates or specification.by_series or specification.initial.stationary
    return not moves and not any(map(specification.is_free, others)) and has_simple_noises(specification)


def are_over(specification: Specification, trail: Sequence[SystemStack], over: StackedRows) -> BoolArray:
    """Return the series (N,) whose climb is over where `trail`, the latest systems of each, ends.

    That is: no noise shrinks so slowly that it may belong at 0, or else one a thousandth of it is less likely; none is
    at 0, from where it might return; and no extrapolation of the trail gains more than is worth a leap.
    """
    last, before = trail[-1], trail[-2]
    learnt = [name for name in NOISES if specification.is_free(name)]
    reached = likelihoods_each(last, over)
    done = np.isfinite(reached)
    for name in learnt:
        variances = [_variances(stack, name) for stack in trail]
        done &= np.all(variances[-1] > 0.0, axis=1)
        done &= np.all([(one > 0.0) == (variances[-1] > 0.0) for one in variances], axis=(0, 2))
        for direction in directions(specification, name, last.like):
            nearly = _nearly_without(specification, last, direction)
            slow = _is_slow(direction, before, last)
            if slow.any():
                # What is lost to rounding, NaN, is no fall for sure.
                done[slow] &= likelihoods_each(nearly.at(slow), over.at(slow)) < reached[slow]
    highest = reached.copy()
    for guess, is_sound in _guesses(specification, learnt, trail):
        sound = is_sound & done
        if sound.any():
            found = likelihoods_each(guess.at(sound), over.at(sound))
            done[sound] &= ~np.isnan(found)
            is_up = found >= highest[sound] - STEP_ROUNDING * (1.0 + np.abs(highest[sound]))
            highest[sound] = np.where(is_up, found, highest[sound])
    with np.errstate(invalid="ignore"):
        return np.asarray(done & (highest - reached <= WORTH_A_LEAP))


def _variances(stack: SystemStack, name: str) -> Array:
    return np.diagonal(getattr(stack, name), axis1=1, axis2=2)


def _is_slow(direction: Direction, before: SystemStack, last: SystemStack) -> BoolArray:
    """Whether a variance shrinks, by so little that EM may only creep to 0."""
    old, new = (_variances(one, direction.parameter)[:, direction.positions].mean(axis=1) for one in (before, last))
    with np.errstate(divide="ignore", invalid="ignore"):
        shrunk = 1.0 - new / old
    return np.asarray((shrunk > 0.0) & (shrunk < QUICK))


def _nearly_without(specification: Specification, stack: SystemStack, direction: Direction) -> SystemStack:
    shrunk = direction.shrunk(getattr(stack, direction.parameter), NEAR_ZERO)
    form = specification.covariance(direction.parameter)
    return stack.replaced(**{direction.parameter: most_likely_each(form, shrunk)})


def _guesses(
    specification: Specification, learnt: Sequence[str], trail: Sequence[SystemStack]
) -> list[tuple[SystemStack, BoolArray]]:
    """Return where the trails head for, and which of these guesses may be looked at."""
    last = trail[-1]
    points = np.stack([np.concatenate([_packed(getattr(one, name)) for name in learnt], axis=1) for one in trail], 1)
    found = []
    for vectors in (extrapolated_each(points), *(stretched_each(points, longest) for longest in STRETCHES)):
        near = np.all(np.abs(vectors - points[:, -1]) < FARTHEST, axis=1)
        # A series without a guess stands where it is.
        vectors = np.where(near[:, None], vectors, points[:, -1])
        values, first = {}, 0
        for name in learnt:
            like = getattr(last, name)
            size = like.shape[1] * (like.shape[1] + 1) // 2
            cov = _unpacked(vectors[:, first : first + size], like)
            form = specification.covariance(name)
            values[name] = most_likely_each(form, cov)
            near &= ~(_thinnest(form, values[name]) < np.minimum(NEARLY_SINGULAR, _thinnest(form, like)))
            first += size
        found.append((last.replaced(**values), near))
    return found


def _thinnest(form: CovarianceForm, covs: Array) -> Array:
    """Return the smallest eigenvalue (N,), variances scaled to 1, of what each learnt covariance may lose."""
    blocks = (covs[:, rows, rows] for rows in learnt_rows(form, covs.shape[1]))
    return np.asarray(np.min([smallest_scaled_eigenvalue(block) for block in blocks], axis=0))


def _packed(covs: Array) -> Array:
    """Return log D and the entries of L, scaled by the deviations, of each C = L D L' (N, n, n): see `packed`."""
    lower, pivots, deviations = _factored(covs)
    scaled = lower * deviations[:, None, :] / deviations[:, :, None]
    rows, columns = np.tril_indices(covs.shape[1], -1)
    logs = np.log(np.where(pivots > 0.0, pivots, 1.0))
    return np.concatenate([logs, scaled[:, rows, columns]], axis=1)


def _unpacked(vectors: Array, like: Array) -> Array:
    _, pivots, deviations = _factored(like)
    n = like.shape[1]
    rows, columns = np.tril_indices(n, -1)
    lower = np.tile(np.eye(n), (len(like), 1, 1))
    lower[:, rows, columns] = vectors[:, n:]
    lower = lower * deviations[:, :, None] / deviations[:, None, :]
    moved = np.where(pivots > 0.0, np.exp(vectors[:, :n]), 0.0)
    return symmetrised((lower * moved[:, None, :]) @ np.swapaxes(lower, 1, 2))


def _factored(covs: Array) -> tuple[Array, Array, Array]:
    # L D L' read from the last row to the first is U D U', whose kernel every smoother has compiled.
    upper, pivots = factor_covs(frozen(np.array(covs[:, ::-1, ::-1], order="C")))
    deviations = np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
    return upper[:, ::-1, ::-1], pivots[:, ::-1], np.where(deviations > 0.0, deviations, 1.0)
