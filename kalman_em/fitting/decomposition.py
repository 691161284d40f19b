"""A fit taken apart: what each component adds to every column of the data, and what is left."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.fitting.estimates import Estimates
from kalman_em.frames import moments_frame
from kalman_em.inference.kalman import rts_smoother
from kalman_em.inference.rows import SystemRows, lay, stack_rows
from kalman_em.models.leading import n_leading
from kalman_em.models.specification import Specification
from kalman_em.posteriors import SmoothedStates

# What is left of offsets when the regressions are taken away is rounding below this part of them.
ROUNDING = 1e-12


def decomposed(fitted: Estimates, series: Hashable | None, levels: Any) -> pd.DataFrame:
    """Return the smoothed contribution of every component to every column; see `Fit.components`."""
    one = fitted._series(series)
    smoothed = rts_smoother(fitted.system_of(series), fitted._filtered(series))
    led = fitted._led[fitted._key(series)]
    laid = lay(fitted.system_of(series), stack_rows([led]))
    lead = n_leading(fitted.specification)
    parts = {
        name: (means[lead:], sds[lead:])
        for name, (means, sds) in _contributions(
            fitted.specification, laid, smoothed, led.inputs, fitted.system_of(series).observation_input
        ).items()
    }
    signal = np.sum([means for means, _ in parts.values()], axis=0)
    H = laid.observation.entries[laid.observation.index]
    spread = _deviations(H, smoothed.smoothed_covs)[lead:]
    missing = np.isnan(one.values)
    parts["residual"] = one.values - signal, np.where(missing, np.nan, spread)
    columns = one.names or ()
    names = [name if len(columns) == 1 else f"{name}.{column}" for name in parts for column in columns]
    means, sds = (np.hstack([part[i] for part in parts.values()]) for i in (0, 1))
    kept = np.ones(len(names), dtype=bool)
    if not fitted.specification.components:
        # A state that no sensor of a column sees adds nothing to it, whatever is learnt.
        seen = np.any(H != 0.0, axis=0).T.ravel() | fitted.specification.is_free("observation_matrix")
        kept[: len(seen)] = seen
    means, sds, names = means[:, kept], sds[:, kept], [name for name, keep in zip(names, kept, strict=True) if keep]
    return moments_frame(means, sds, names, one.index, levels=levels)


def _contributions(
    specification: Specification, laid: SystemRows, smoothed: SmoothedStates, inputs: Array | None, coefficients: Any
) -> dict[str, tuple[Array, Array]]:
    """Return means and standard deviations (T, p) of each component, and of what offset is left unless it is 0."""
    named = dict(specification.components)
    if not named:
        named = {name: slice(i, i + 1) for i, name in enumerate(specification.state_names)}
    H = laid.observation.entries[laid.observation.index]
    found = {
        name: (
            np.einsum("tij,tj->ti", H[:, :, states], smoothed.smoothed_means[:, states]),
            _deviations(H[:, :, states], smoothed.smoothed_covs[:, states, states]),
        )
        for name, states in named.items()
    }
    offset = laid.observation_offset.entries[laid.observation_offset.index]
    for name, columns in specification.regressions.items():
        assert inputs is not None  # there is a regression on them
        pushed = inputs[:, columns] @ coefficients[:, columns].T
        found[name] = pushed, np.zeros(pushed.shape)
        offset = offset - pushed
    if np.any(np.abs(offset) > ROUNDING * np.abs(laid.observation_offset.entries).max(initial=0.0)):
        found["offset"] = offset, np.zeros(offset.shape)
    return found


def _deviations(H: Array, covs: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(np.einsum("tij,tjk,tik->ti", H, covs, H, optimize=True), 0.0)))
