"""Arrays as nested lists: every float to its last bit, with spellings for what JSON has no number for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalman_em.arrays import Array


def as_nested(array: NDArray[Any]) -> Any:
    """Return `array` as nested lists of numbers; NaN becomes None, and the infinities ``"inf"`` and ``"-inf"``.

    Examples
    --------
    >>> import numpy as np
    >>> as_nested(np.array([[0.1, -0.0], [np.nan, np.inf]]))
    [[0.1, -0.0], [None, 'inf']]
    """
    nested = array.tolist()
    return nested if array.dtype.kind != "f" or np.isfinite(array).all() else _spelled(nested)


def as_array(nested: Any) -> Array:
    """Return what `as_nested` made as a float64 array.

    Examples
    --------
    >>> as_array([1.0, None, "-inf"])
    array([  1.,  nan, -inf])
    """
    return np.array(nested, dtype=np.float64)


def _spelled(nested: Any) -> Any:
    if isinstance(nested, list):
        return [_spelled(item) for item in nested]
    if math.isnan(nested):
        return None
    return nested if math.isfinite(nested) else ("inf" if nested > 0.0 else "-inf")
