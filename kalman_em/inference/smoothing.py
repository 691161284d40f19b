"""The Rauch-Tung-Striebel smoother with lag-one covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.errors import NumericalError
from kalman_em.inference.backward import HAS_LOST, ROUNDED, UNRESOLVED
from kalman_em.inference.filtering import FilteredRows, space_back, transitions_of
from kalman_em.inference.kernel_arrays import guard_space
from kalman_em.inference.loops import smooth_rows
from kalman_em.inference.numerics import LostDigits
from kalman_em.inference.rows import SystemRows
from kalman_em.inference.sizes import sized


@dataclass(frozen=True, eq=False)
class SmoothedRows:
    """The smoother's output over the rows of all series; the lag-one entry of a series' last row is 0."""

    smoothed_means: Array
    smoothed_covs: Array
    lag_one_covs: Array


def smooth_all(
    laid: SystemRows,
    starts: IntArray,
    filtered: FilteredRows,
    *,
    prior_means: Array | None = None,
    watched: bool = False,
) -> SmoothedRows:
    """Smooth every series; `NumericalError` where a diffuse element is never resolved.

    `prior_means` are the means that the reduced values were observed against: the predicted ones by default. With
    `watched` it is `LostDigits` where rounding has taken too many of them.
    """
    means = np.empty_like(filtered.filtered_means)
    n, d = means.shape
    covs = np.empty((n, d, d))
    lag_one = np.zeros((n, d, d))
    scalars = filtered.reduced.scalars(filtered.predicted_means if prior_means is None else prior_means)
    for guard in (None, guard_space(d, filtered.reduced.h.shape[1])):
        space = space_back(laid, filtered)
        status, row = smooth_rows(
            sized(d),
            starts,
            transitions_of(laid),
            scalars,
            filtered.arrays(),
            guard,
            space,
            means,
            covs,
            lag_one,
        )
        if status != ROUNDED:
            break
    if status == UNRESOLVED:
        raise unresolved(row, starts)
    if watched and space.place[HAS_LOST] == 1:
        raise LostDigits("rounding has taken too many digits of a smoothed covariance")
    return SmoothedRows(frozen(means), frozen(covs), frozen(lag_one))


def unresolved(row: int, starts: IntArray) -> NumericalError:
    """Return the error for a `row` whose diffuse state no observation resolves."""
    series = int(np.searchsorted(starts, row, side="right")) - 1
    where = "" if len(starts) == 2 else f" of series {series}"
    return NumericalError(
        f"the diffuse initial state{where} is never resolved: the observations do not determine every diffuse "
        f"element (seen at row {row - int(starts[series])}); give those elements a finite initial_cov, or more data"
    )
