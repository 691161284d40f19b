"""What data say of the parameters of any problem: the curvature of its log-likelihood, and standard errors from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import Array, frozen
from kalman_em.em.bound import ExpectsGain
from kalman_em.em.numbers import numbers_of, plain
from kalman_em.em.problem import EMProblem
from kalman_em.em.result import EMResult
from kalman_em.errors import InputError, NumericalError
from kalman_em.linalg import symmetrised

# Steps are chosen for this fall of the log-likelihood, a tenth of a standard error: far above its rounding, and so
# small that differences of fourth order see nothing but the curvature.
FALL = 0.005
# So many tries to find such a step.
TRIES = 40
# Where each number alone has curvature 1, less than this in any direction is none: rounding.
NOTHING = 1e-6
HELD = "the log-likelihood cannot be computed on both sides of it, as at the edge of what it may be: held there"
NO_END = "the data do not tell it from other values, or the run is not at a maximum: it has no standard error"


@dataclass(frozen=True, eq=False, kw_only=True)
class ObservedInformation:
    """The observed information at some parameters, and the standard errors that follow.

    Attributes
    ----------
    numbers : ndarray, shape (k,)
        The free numbers of the parameters, one after another.
    information : ndarray, shape (k, k)
        Minus the second derivatives of the log-likelihood in them; 0 where a number is held.
    cov : ndarray, shape (k, k)
        Its inverse, the covariance of the estimates; 0 where a number is held.
    standard_errors : float, ndarray, list or dict
        Of each number in the parameters, in containers like theirs (a dict for a dataclass): 0 where it is held, inf
        where the data say nothing of it.
    reasons : tuple of str
        Why numbers have no standard error, if some have none.
    """

    numbers: Array
    information: Array
    cov: Array
    standard_errors: Any
    reasons: tuple[str, ...] = ()


def observed_information(problem: EMProblem[Any, Any], at: Any) -> ObservedInformation:
    """Return the observed information of a problem at parameters, and their standard errors.

    Parameters
    ----------
    problem : EMProblem
        Anything with `e_step` and `m_step`. Where its parameters are bound together, as shares with sum 1, it must have
        the methods ``free_numbers(params)`` and ``with_numbers(params, numbers)``; else every number counts as free.
    at : EMResult or parameters
        A run that has converged, or parameters at a maximum.

    Returns
    -------
    ObservedInformation

    Raises
    ------
    InputError
        If the problem has no `e_step` and `m_step`, or its parameters are no numbers.
    NumericalError
        If the log-likelihood cannot be computed near `at`.

    Notes
    -----
    Derivatives are differences of fourth order, over steps of about a tenth of a standard error in whatever units.
    With a method `expected_gain` (see `kalman_em.em.bound`) the score comes from the expectations by Fisher's identity,
    and is differenced: 4 k E-steps. Without, the log-likelihood is differenced twice: about 4 k² E-steps. Where the
    objective is a bound, it is the curvature of the bound.

    References
    ----------
    Jamshidian and Jennrich, Standard errors for EM estimation, JRSS B 62 (2000), section 3. Oakes, Direct calculation
    of the information matrix via the EM algorithm, JRSS B 61 (1999).

    Examples
    --------
    Lifetimes of lamps, exponential: three burnt out after 12 months in all, two still burn after 8. The mean is
    28 / 3, its variance mean² / 3.

    >>> import math
    >>> import kalman_em as kem
    >>> class Lamps:
    ...     def e_step(self, mean):
    ...         return 12.0 + 2 * (8.0 + mean), -3 * math.log(mean) - 28.0 / mean
    ...     def m_step(self, mean, total_lifetime):
    ...         return total_lifetime / 5
    >>> lamps = Lamps()
    >>> found = kem.observed_information(lamps, kem.run_em(lamps, 1.0, stopping=kem.Stopping(parameter_tolerance=1e-9)))
    >>> round(found.standard_errors, 3), round(28 / 3 / math.sqrt(3), 3)
    (5.389, 5.389)
    """
    if isinstance(problem, type) or not isinstance(problem, EMProblem):
        raise InputError(f"problem: expected an object with methods e_step and m_step, got {problem!r}")
    params = at.params if isinstance(at, EMResult) else at
    start, back = numbers_of(problem, params)

    def height(numbers: Array) -> float:
        return quietly(lambda: float(problem.e_step(back(numbers))[1]))

    steps = np.array([telling_step(height, start, k) for k in range(len(start))])
    information = np.full((len(start), len(start)), np.nan)
    if isinstance(problem, ExpectsGain):
        information = -_slopes(lambda numbers: _score(problem, back, numbers, steps), start, steps)
    # Without the expected gain, or where that has no value so far from the maximum.
    if not np.isfinite(information).all():
        information = -_curvatures(height, start, steps)
    if not np.isfinite(information).all():
        raise NumericalError("the log-likelihood cannot be computed around the maximum in all directions")
    information = symmetrised(information)
    cov, lost = inverse_information(information, steps / np.sqrt(2.0 * FALL), NOTHING)
    slopes = _slopes(lambda numbers: numbers_of(None, back(numbers))[0], start, steps)
    errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, cov, slopes), 0.0))
    unknown = (np.abs(slopes @ lost) > 1e-4 * np.linalg.norm(slopes * steps, axis=1, keepdims=True)).any(axis=1)
    reasons = [HELD] * bool((steps == 0.0).any()) + [NO_END] * bool(unknown.any())
    of_params = plain(params)
    _, refill = numbers_of(None, of_params)
    return ObservedInformation(
        numbers=frozen(start),
        information=frozen(information),
        cov=frozen(cov),
        standard_errors=refill(np.where(unknown, np.inf, errors)),
        reasons=tuple(reasons),
    )


def inverse_information(information: Array, units: Array, least: float) -> tuple[Array, Array]:
    """Return the inverse over all numbers with a unit, and, as columns, the directions in which there is none.

    A direction has none if the information along it, each number in its unit, is not above `least`. A number with unit
    0 is held.

    Examples
    --------
    >>> cov, lost = inverse_information(np.diag([4.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0]), 1e-6)
    >>> np.diagonal(cov).tolist(), np.abs(lost).ravel().tolist()
    ([0.25, 0.0, 0.0], [0.0, 1.0, 0.0])
    """
    moving = np.flatnonzero(units > 0.0)
    cov, directions = np.zeros_like(information), np.zeros((len(units), 0))
    if len(moving) == 0:
        return cov, directions
    own = units[moving]
    scaled = symmetrised(information)[np.ix_(moving, moving)] * own[:, None] * own
    values, vectors = np.linalg.eigh(scaled)
    known = values > least
    kept = vectors[:, known] * own[:, None]
    cov[np.ix_(moving, moving)] = (kept / values[known]) @ kept.T
    directions = np.zeros((len(units), int(np.count_nonzero(~known))))
    directions[moving] = vectors[:, ~known] * own[:, None]
    return cov, directions


def quietly(function: Callable[[], float]) -> float:
    """Return a value, NaN where a step has gone beyond what parameters may be."""
    with np.errstate(all="ignore"):
        try:
            return function()
        except (ArithmeticError, ValueError):
            return np.nan


def telling_step(height: Callable[[Array], float], start: Array, k: int) -> float:
    """Return how far number k must move for the fall `FALL`; 0 if there is no way on both sides of it.

    Where nothing falls, however far, the widest step tried.
    """
    middle, size = height(start), 1e-3 * (abs(start[k]) or 1.0)
    widest = 0.0
    for _ in range(TRIES):
        sides = [height(_moved(start, k, times * size)) for times in (-2.0, -1.0, 1.0, 2.0)]
        if not np.isfinite(sides).all():
            size *= 0.25
            continue
        widest = max(widest, size)
        fall = middle - 0.5 * (sides[1] + sides[2])
        if 0.25 * FALL < fall < 4.0 * FALL:
            return size
        longer = float(np.clip(np.sqrt(FALL / fall), 0.1, 10.0)) if fall > 0.0 else 10.0
        # Neither beyond what failed before, nor without end.
        if longer > 1.0 and (size * longer > 1e8 * (abs(start[k]) or 1.0)):
            break
        size *= longer
    return widest


def _score(problem: ExpectsGain[Any, Any], back: Callable[[Array], Any], numbers: Array, steps: Array) -> Array:
    """Return the score at `numbers`: the slope there of the expected complete log-likelihood (Fisher's identity)."""
    old = back(numbers)
    expectations, _ = problem.e_step(old)

    def gain(moved: Array) -> Array:
        return np.array([quietly(lambda: float(problem.expected_gain(old, back(moved), expectations)))])

    return _slopes(gain, numbers, steps).ravel()


def _slopes(function: Callable[[Array], Array], start: Array, steps: Array) -> Array:
    """Return the derivative of a vector in each number, shape (m, k), by central differences of order 4; 0 if held."""
    columns: list[Array | None] = []
    for k, step in enumerate(steps):
        if step == 0.0:
            columns.append(None)
            continue
        near, far = (
            function(_moved(start, k, size)) - function(_moved(start, k, -size)) for size in (step, 2.0 * step)
        )
        columns.append((8.0 * near - far) / (12.0 * step))
    shape = next((column.shape for column in columns if column is not None), function(start).shape)
    return np.stack([np.zeros(shape) if column is None else column for column in columns], axis=-1)


def _curvatures(height: Callable[[Array], float], start: Array, steps: Array) -> Array:
    """Return the second derivatives, by central differences of order 4; 0 where a number is held."""
    size, middle = len(start), height(start)
    found = np.zeros((size, size))
    for k in np.flatnonzero(steps):
        near, far = (
            height(_moved(start, k, width)) - 2.0 * middle + height(_moved(start, k, -width))
            for width in (steps[k], 2.0 * steps[k])
        )
        found[k, k] = (16.0 * near - far) / (12.0 * steps[k] ** 2)
        for j in np.flatnonzero(steps[:k]):
            found[j, k] = found[k, j] = _mixed(height, start, (j, k), (steps[j], steps[k]))
    return found


def _mixed(height: Callable[[Array], float], start: Array, pair: tuple[Any, Any], steps: tuple[Any, Any]) -> float:
    def difference(width: float) -> float:
        total = 0.0
        for one in (-width, width):
            for other in (-width, width):
                moved = _moved(_moved(start, pair[0], one * steps[0]), pair[1], other * steps[1])
                total += float(np.sign(one * other)) * height(moved)
        return float(total / (4.0 * width**2 * steps[0] * steps[1]))

    # Two widths, so that the terms of second order in the width cancel.
    return (16.0 * difference(0.5) - 4.0 * difference(1.0)) / 12.0


def _moved(start: Array, k: Any, by: float) -> Array:
    moved = start.copy()
    moved[k] += by
    return moved
