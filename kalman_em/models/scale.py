"""The size of what was observed: the unit in which starts and changes are judged."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.observations import Panel


def data_scale(panel: Panel) -> Array:
    """Return the standard deviation of each column (p,); of a constant column its size, or 1 where that is 0."""
    stacked = np.concatenate([one.values for one in panel])
    scale = np.nanstd(stacked, axis=0)
    size = np.nanmax(np.abs(stacked), axis=0)
    # A column whose spread is rounding of its size is constant.
    scale = np.where(scale > 1e-14 * size, scale, size)
    result: Array = np.where(scale > 0.0, scale, 1.0)
    return result
