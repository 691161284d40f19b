"""Quasi-Newton steps up a smooth function whose slopes are known: where EM has no exact step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from kalman_em.arrays import Array

# The climb is over when no slope promises more than this for a move of one step, or after so many steps.
FLAT = 1e-5
MOST_STEPS = 100
# So many of the latest steps tell the curvature.
REMEMBERED = 25
# What lies beyond the parameters is as good as so far below the start: the line search then comes back.
BEYOND = 10.0


def ascended(height_and_slope: Callable[[Array], tuple[float, Array]], start: Array, steps: Array) -> Array:
    """Return where L-BFGS steps lead from `start`; the start itself where none gains.

    The columns of `steps` are moves of about a standard error, as from an expected information: they are the units of
    the climb. Where the height raises an arithmetic error, or it or a slope is no number, is too far.

    References
    ----------
    Nocedal and Wright, Numerical Optimization, 2nd ed. 2006, section 7.2; the steps are those of
    ``scipy.optimize.minimize``.

    Examples
    --------
    >>> def hill(x):
    ...     a, b = x[0] - 3.0, x[1] - x[0]
    ...     return -(a**2) - 50.0 * b**2, np.array([100.0 * b - 2.0 * a, -100.0 * b])
    >>> ascended(hill, np.array([0.0, 0.0]), np.eye(2)).round(5).tolist()
    [3.0, 3.0]
    """

    def at(moves: Array) -> tuple[float, Array]:
        with np.errstate(all="ignore"):
            try:
                height, slope = height_and_slope(start + steps @ moves)
            except (ArithmeticError, ValueError):
                return -np.inf, np.zeros(len(moves))
        own = steps.T @ slope
        return (float(height), own) if np.isfinite(height) and np.isfinite(own).all() else (-np.inf, np.zeros(len(own)))

    top, slope = at(np.zeros(len(start)))
    if not np.isfinite(top) or np.abs(slope).max(initial=0.0) < FLAT:
        return start

    def depth(moves: Array) -> tuple[float, Array]:
        height, slope = at(moves)
        return (top - height, -slope) if np.isfinite(height) else (BEYOND, slope)

    found = scipy.optimize.minimize(
        depth,
        np.zeros(len(start)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS, "maxcor": REMEMBERED, "gtol": FLAT, "ftol": 1e-11},
    )
    return np.asarray(start + steps @ found.x) if found.fun < 0.0 else start
