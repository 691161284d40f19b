"""Quasi-Newton steps up any smooth function of a few numbers, its slopes by differences: where EM has no exact step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.information import FALL, quietly, telling_step

# Slopes are differences over this part of a number's unit, its standard error were it alone.
WIDTH = 1e-3
# The climb is over when no slope promises more than this for a move of one unit ...
FLAT = 1e-6
MOST_STEPS = 60
MOST_HALVINGS = 25
# No step is longer than so many units.
LONGEST = 4.0
# Armijo's share of what the slope promises.
SHARE = 1e-4


def ascended(height: Callable[[Array], float], start: Array) -> Array:
    """Return where BFGS steps lead from `start`; every step raises `height`, and the start comes back where none does.

    Numbers are measured in units of their own, how far each alone must go for `height` to fall by a half; what raises
    an arithmetic error or is no number counts as too far.

    References
    ----------
    Nocedal and Wright, Numerical Optimization, 2nd ed. 2006, section 6.1.

    Examples
    --------
    >>> ascended(lambda x: -((x[0] - 3.0) ** 2) - 50.0 * (x[1] - x[0]) ** 2, np.array([0.0, 0.0])).round(5).tolist()
    [3.0, 3.0]
    """

    def at(numbers: Array) -> float:
        found = quietly(lambda: height(numbers))
        return found if np.isfinite(found) else -np.inf

    units = np.array([telling_step(at, start, k) for k in range(len(start))]) / np.sqrt(2.0 * FALL)
    top, place = at(start), start
    if not np.isfinite(top) or not units.any():
        return start
    slope, inverse = _slope(at, place, units), np.eye(len(start))
    for _ in range(MOST_STEPS):
        direction = inverse @ slope
        promised = float(direction @ slope)
        if not promised > 0.0:
            inverse, direction, promised = np.eye(len(start)), slope, float(slope @ slope)
        if np.abs(slope).max() < FLAT or not np.isfinite(promised):
            break
        size = min(1.0, LONGEST / float(np.abs(direction).max()))
        for _ in range(MOST_HALVINGS):
            tried = place + size * units * direction
            found = at(tried)
            if found > top + SHARE * size * promised:
                break
            size *= 0.5
        else:
            break
        place, top, before = tried, found, slope
        slope = _slope(at, place, units)
        inverse = _updated(inverse, size * direction, before - slope)
    return place


def _slope(at: Callable[[Array], float], place: Array, units: Array) -> Array:
    """Return the slope in each number for a move of one unit; 0 for one without a unit, or at an edge."""
    slope = np.zeros(len(place))
    for k in np.flatnonzero(units):
        step = np.zeros(len(place))
        step[k] = WIDTH * units[k]
        found = (at(place + step) - at(place - step)) / (2.0 * WIDTH)
        slope[k] = found if np.isfinite(found) else 0.0
    return slope


def _updated(inverse: Array, step: Array, fall: Array) -> Array:
    """Return the BFGS update of the inverse curvature after `step`, along which the slope fell by `fall`."""
    along = float(step @ fall)
    if not along > 1e-10 * float(np.linalg.norm(step) * np.linalg.norm(fall)):
        return inverse
    across = np.eye(len(step)) - np.outer(step, fall) / along
    return np.asarray(across @ inverse @ across.T + np.outer(step, step) / along)
