"""The smoothed signal of a fit: what the sensors would show without their noise."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from kalman_em.arrays import Array
from kalman_em.fitting.result import Fit
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.models.leading import n_leading


def signal_moments(fitted: Fit, series: Hashable | None = None) -> tuple[Array, Array]:
    """Return means and standard deviations (T, p) of the smoothed signal H x + d (+ D u), without noise."""
    smoothed = fitted.smooth(series)
    laid = lay(fitted.system_of(series), stack_rows([fitted._led[fitted._key(series)]]))
    lead = n_leading(fitted.specification)
    H = laid.observation.entries[laid.observation.index[lead:]]
    offset = laid.observation_offset.entries[laid.observation_offset.index[lead:]]
    means = np.einsum("tij,tj->ti", H, smoothed.smoothed_means) + offset
    variances = np.einsum("tij,tjk,tik->ti", H, smoothed.smoothed_covs, H)
    return means, np.sqrt(np.maximum(variances, 0.0))
