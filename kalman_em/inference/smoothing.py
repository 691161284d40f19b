"""The Rauch-Tung-Striebel smoother with lag-one covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, IntArray, Table, frozen
from kalman_em.errors import NumericalError
from kalman_em.inference.backward import NO_ROOM, ROUNDED, UNRESOLVED
from kalman_em.inference.filtering import ROOM, FilteredRows, space_back, transitions_of
from kalman_em.inference.kernel_arrays import GuardSpace, Scalars, Smoothed, guard_space, spreads_space
from kalman_em.inference.numerics import LostDigits
from kalman_em.inference.rows import SystemRows
from kalman_em.inference.smoothing_loop import smooth_rows
from kalman_em.memory import empty_arrays


@dataclass(frozen=True, eq=False)
class SmoothedRows:
    """The smoother's output over the rows of all series; the lag-one entry of a series' last row is 0."""

    smoothed_means: Array
    smoothed_covs: Table
    lag_one_covs: Table


def smooth_all(laid: SystemRows, starts: IntArray, filtered: FilteredRows, *, watched: bool = False) -> SmoothedRows:
    """Smooth every series; `NumericalError` where a diffuse element is never resolved.

    With `watched` it is `LostDigits` where rounding has taken too many of them.
    """
    d = filtered.filtered_means.shape[1]
    scalars = filtered.reduced.scalars(filtered.predicted_means)
    result = smooth_once(laid, starts, filtered, scalars, None, watched=watched)
    if result is None:
        guard = guard_space(d, filtered.reduced.h.shape[1])
        result = smooth_once(laid, starts, filtered, scalars, guard, watched=watched)
    assert result is not None  # the dual form always comes through
    return result


def smooth_once(
    laid: SystemRows,
    starts: IntArray,
    filtered: FilteredRows,
    scalars: Scalars,
    guard: GuardSpace | None,
    *,
    watched: bool,
) -> SmoothedRows | None:
    """Smooth every series; None where rounding has grown too far without a `guard`, which alone reads `scalars`.

    With `watched` it is `LostDigits` where it has taken too many digits.
    """
    n, d = filtered.filtered_means.shape
    # As many covariances as the filter has converge on the way back, or so; else the pass comes again.
    n_covs, n_series = len(filtered.filtered_covs), len(starts) - 1
    room = min(n, 2 * n_covs + ROOM * n_series) if n_covs < n and guard is None else n
    means, index = empty_arrays((n, d), (n,))
    while True:
        covs = empty_arrays((room, d, d), (room, d, d))
        space = space_back(laid, n_series, filtered)
        status, row, entry = smooth_rows(
            starts,
            0,
            transitions_of(laid),
            scalars,
            filtered.arrays(),
            guard,
            True,
            space,
            spreads_space(d, 0, 0),
            means,
            np.empty((0, d, d)),
            Smoothed(covs[0], covs[1], index.view(np.int64)),
        )
        if status != NO_ROOM:
            break
        room = n
    if status == ROUNDED:
        return None
    if status == UNRESOLVED:
        raise unresolved(row, starts)
    if watched and space.lost.any():
        raise LostDigits("rounding has taken too many digits of a smoothed covariance")
    entries = index.view(np.int64)
    entries -= entry
    return SmoothedRows(
        smoothed_means=frozen(means),
        smoothed_covs=Table(covs[0][entry:], frozen(entries)),
        lag_one_covs=Table(covs[1][entry:], frozen(entries)),
    )


def unresolved(row: int, starts: IntArray) -> NumericalError:
    """Return the error for a `row` whose diffuse state no observation resolves."""
    series = int(np.searchsorted(starts, row, side="right")) - 1
    where = "" if len(starts) == 2 else f" of series {series}"
    return NumericalError(
        f"the diffuse initial state{where} is never resolved: the observations do not determine every diffuse "
        f"element (seen at row {row - int(starts[series])}); give those elements a finite initial_cov, or more data"
    )
