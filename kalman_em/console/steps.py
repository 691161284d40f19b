"""The rows of a CSV file in time: each label once, in order, one regular step after the other, or filled up to that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kalman_em.console.labelling import UNLABELLED
from kalman_em.errors import InputError
from kalman_em.frames import as_index, check_regular
from kalman_em.frames.labels import shown
from kalman_em.frames.spacing import Grid, grid_of, has_spacing

# Filling in makes no more than this many empty rows for one that is there, beyond the first so many.
MOST_EMPTY, ALWAYS_FINE = 100, 10_000
UNITS = {
    **{"Hour": "hour", "Minute": "minute", "Second": "second"},
    **{"Day": "day", "Week": "week", "BusinessDay": "business day"},
    **{f"{business}Month{end}": "month" for business in ("", "Business") for end in ("Begin", "End")},
    **{f"Quarter{end}": "quarter" for end in ("Begin", "End")},
    **{f"Year{end}": "year" for end in ("Begin", "End")},
}


def check_order(index: pd.Index[Any], lines: list[int], where: str) -> None:
    """Raise `InputError` unless the labels are distinct and in time order; `where` names the column.

    `lines` are the lines of the file that the labels stand in.
    """
    repeated = np.asarray(index.duplicated())
    if repeated.any():
        row = int(repeated.argmax())
        raise InputError(
            f"{where}: expected distinct labels, got {shown(index[row])} again in line {lines[row]}; if there are "
            f"several series, name the column that tells them apart with --series, or {UNLABELLED}"
        )
    if not index.is_monotonic_increasing:
        row = int(np.asarray(index[1:] < index[:-1]).argmax()) + 1
        cure = "reverse the rows" if index.is_monotonic_decreasing else "sort the rows"
        raise InputError(
            f"{where}: expected labels in time order, got {shown(index[row])} after {shown(index[row - 1])} in line "
            f"{lines[row]}; {cure}, or {UNLABELLED}"
        )


def check_steps(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return `frame` if its rows follow one another in regular steps; `InputError` with a cure otherwise."""
    index = as_index(frame.index, where)
    try:
        check_regular(index)
    except InputError as error:
        grid = grid_of(index) if has_spacing(index) else None
        if grid is None:
            # What came is as the library says it; the cure there is for pandas, and a command has its own.
            came = str(error).split("; ")[0].removeprefix("index: ")
            raise InputError(f"{where}: {came}; bring the rows onto a regular grid, or {UNLABELLED}") from error
        cure = "use --fill-gaps to put an empty row at each skipped step"
        raise InputError(f"{where}: {_gap(index, grid)}; {cure}, or {UNLABELLED}") from error
    return frame


def filled(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return `frame` with an empty row at each step that its labels skip.

    Raises
    ------
    InputError
        If the labels are uneven, or far more rows would be empty than there are.
    """
    index = as_index(frame.index, where)
    grid = grid_of(index) if has_spacing(index) else None
    if grid is None or grid.n_skipped == 0:
        return check_steps(frame, where)
    if grid.n_skipped > max(ALWAYS_FINE, MOST_EMPTY * len(frame)):
        raise InputError(
            f"{where}: --fill-gaps would put {grid.n_skipped} empty rows beside {len(frame)}; check the labels"
        )
    if isinstance(index, pd.DatetimeIndex):
        regular = frame.asfreq(grid.step)
    else:
        regular = frame.reindex(_every_step(index, grid.step, int(grid.jumps.sum()) + 1))
    if regular.notna().sum().sum() != frame.notna().sum().sum():
        raise InputError(f"{where}: the skipped steps cannot be filled in; {UNLABELLED}")
    return regular


def _every_step(index: pd.Index[Any], step: Any, n_steps: int) -> pd.Index[Any]:
    if isinstance(index, pd.PeriodIndex):
        periods = [index[0] + int(step) * k for k in range(n_steps)]
        return pd.PeriodIndex(periods, dtype=index.dtype, name=index.name)
    labels: pd.Index[Any] = pd.Index(index[0] + step * np.arange(n_steps), dtype=index.dtype, name=index.name)
    return labels


def _gap(index: pd.Index[Any], grid: Grid) -> str:
    row = int((grid.jumps > 1).argmax())
    n = int(grid.jumps[row]) - 1
    missing = f"{n} step{'s' if n > 1 else ''} skipped before {shown(index[row + 1])}"
    rest = grid.n_skipped - n
    in_all = f", {grid.n_skipped} in all" if rest else ""
    return (
        f"expected regular steps, got a gap after {shown(index[row])} ({missing}{in_all}; one step is "
        f"{_step_words(index, grid.step)})"
    )


def _step_words(index: pd.Index[Any], step: Any) -> str:
    """Return a step in words: ``1 week``, ``3 months``, ``0.5``."""
    if isinstance(index, pd.PeriodIndex):
        unit = {"Y": "year", "Q": "quarter", "M": "month"}.get(str(index.freqstr)[0], str(index.freqstr))
        return _counted(int(step), unit)
    if isinstance(step, pd.offsets.BaseOffset):
        if type(step) is pd.DateOffset:
            return _counted(int(step.kwds.get("months", step.n)), "month")
        unit = UNITS.get(type(step).__name__, "")
        return _counted(step.n, unit) if unit else str(step.freqstr)
    if isinstance(step, pd.Timedelta):
        return str(step).removeprefix("0 days ")
    return f"{step:g}" if isinstance(step, float) else str(step)


def _counted(n: int, unit: str) -> str:
    return f"{n} {unit}{'s' if n > 1 else ''}"
