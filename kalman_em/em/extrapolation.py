"""Leaps: the limit of a slowly converging sequence of parameters, guessed from its latest members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kalman_em.arrays import Array


def extrapolated(points: Sequence[Array]) -> Array:
    """Return the limit that the latest points of a linearly converging sequence head for.

    Reduced rank extrapolation: the weighted mean of the points, weights adding up to 1, whose step is smallest.
    It is exact for a linear iteration with as many slow directions as there are points less two.

    Parameters
    ----------
    points : sequence of ndarray, shape (n,)
        At least three successive points.

    References
    ----------
    Sidi, Practical Extrapolation Methods, 2003, section 1.9 and chapter on vector sequences (RRE); for EM,
    Varadhan and Roland, Simple and globally convergent methods for accelerating the convergence of any EM
    algorithm, Scandinavian Journal of Statistics 35 (2008).

    Examples
    --------
    >>> import numpy as np
    >>> halving = [np.array([3.0 + 0.5**k, 1.0 - 0.9**k]) for k in range(5)]
    >>> extrapolated(halving).round(6).tolist()
    [3.0, 1.0]
    """
    stacked = np.array(points)
    steps = np.diff(stacked, axis=0)
    bends = np.diff(steps, axis=0)
    # With weights that add up to 1 the limit is x[-1] + sum_j a_j steps[j], and its step is
    # steps[-1] + sum_j a_j bends[j]: least squares for a, each bend in units of its own length.
    size = np.linalg.norm(bends, axis=1)
    size = np.where(size > 0.0, size, 1.0)
    weights, *_ = np.linalg.lstsq((bends / size[:, None]).T, -steps[-1], rcond=1e-12)
    result: Array = stacked[-1] + (weights / size) @ steps[1:]
    return result


def stretched(points: Sequence[Array], longest: float) -> Array:
    """Return the latest point moved on by a squared extrapolation step, more cautious than `extrapolated`.

    With r and v the first and second difference of the last three points, x - 2 a r + a² v from the first of
    them, a = -|r| / |v| and at least -`longest`: SQUAREM's third step length.

    References
    ----------
    Varadhan and Roland, Scandinavian Journal of Statistics 35 (2008), equations (9) and (11).

    Examples
    --------
    >>> import numpy as np
    >>> halving = [np.array([3.0 + 0.5**k]) for k in range(3)]
    >>> stretched(halving, longest=100.0).tolist()
    [3.0]
    """
    first, second, third = points[-3], points[-2], points[-1]
    step, bend = second - first, third - 2.0 * second + first
    size = float(np.linalg.norm(bend))
    length = -float(np.linalg.norm(step)) / size if size > 0.0 else -longest
    length = min(max(length, -longest), -1.0)
    return first - 2.0 * length * step + length**2 * bend


def extrapolated_each(points: Array) -> Array:
    """Return `extrapolated` of each of N sequences, points (N, L, n).

    Examples
    --------
    >>> import numpy as np
    >>> halving = np.array([[[3.0 + 0.5**k], [1.0 - 0.9**k]] for k in range(5)]).transpose(1, 0, 2)
    >>> extrapolated_each(halving).round(6).tolist()
    [[3.0], [1.0]]
    """
    steps = np.diff(points, axis=1)
    bends = np.diff(steps, axis=1)
    size = np.linalg.norm(bends, axis=2)
    size = np.where(size > 0.0, size, 1.0)
    left, values, right = np.linalg.svd(np.swapaxes(bends / size[:, :, None], 1, 2), full_matrices=False)
    kept = values > 1e-12 * values[:, :1]
    inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
    along = inverse * (np.swapaxes(left, 1, 2) @ -steps[:, -1, :, None])[:, :, 0]
    weights = (np.swapaxes(right, 1, 2) @ along[:, :, None])[:, :, 0] / size
    result: Array = points[:, -1] + (weights[:, None, :] @ steps[:, 1:])[:, 0]
    return result


def stretched_each(points: Array, longest: float) -> Array:
    """Return `stretched` of each of N sequences, points (N, L, n).

    Examples
    --------
    >>> import numpy as np
    >>> halving = np.array([[[3.0 + 0.5**k] for k in range(3)]])
    >>> stretched_each(halving, longest=100.0).tolist()
    [[3.0]]
    """
    first, second, third = points[:, -3], points[:, -2], points[:, -1]
    step, bend = second - first, third - 2.0 * second + first
    size = np.linalg.norm(bend, axis=1)
    far = size <= 0.0
    length = np.where(far, -longest, -np.linalg.norm(step, axis=1) / np.where(far, 1.0, size))
    length = np.clip(length, -longest, -1.0)[:, None]
    result: Array = first - 2.0 * length * step + length**2 * bend
    return result
