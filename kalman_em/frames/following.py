"""Labels that follow on: whether new rows, or rows ahead, come right after the end of a series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kalman_em.errors import InputError
from kalman_em.frames.labels import as_index, check_regular, continued_index, shown
from kalman_em.frames.spacing import has_spacing

# A float label is the next one if it differs by no more than this share of a step.
FLOAT_ROUNDING = 1e-6


OF_DATA = ("overlap what is there: pass the new rows alone", "rows missing between must be there, with NaN as values")
OF_FORECAST = ("are of rows that are there", "a forecast takes every step: ask for as many steps as lead there")


def following(old: pd.Index[Any], new: pd.Index[Any], where: str, *, is_forecast: bool = False) -> pd.Index[Any]:
    """Return the labels `old` and then `new`, which must follow on without overlap or gap.

    Parameters
    ----------
    old, new : pandas Index
        Labels as `as_index` returns them.
    where : str
        What the message calls the new ones, such as ``"data"``.
    is_forecast : bool
        Whether the new labels are of rows ahead, for the message alone.

    Raises
    ------
    InputError
        If the kinds, frequencies or time zones differ, or the new labels begin before or after the one expected next.

    Examples
    --------
    >>> import pandas as pd
    >>> from kalman_em.frames import following
    >>> following(pd.Index([2001, 2002]), pd.Index([2003]), "data").tolist()
    [2001, 2002, 2003]
    >>> following(pd.Index([2001, 2002]), pd.Index([2002, 2003]), "data")
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: data: expected 2003 next, after 2002, got 2002; 1 of 2 labels overlap ...
    """
    if _kind(new) != _kind(old):
        raise InputError(
            f"{where}: expected labels that continue {_kind(old)} up to {shown(old[-1])}, got {_kind(new)}, the first "
            f"of them {shown(new[0])}"
        )
    _check_place(old, new, where, OF_FORECAST if is_forecast else OF_DATA)
    joined = as_index(old.append(new), where).rename(old.name)
    check_regular(joined)
    return joined


def follows_kind(old: pd.Index[Any], new: pd.Index[Any]) -> bool:
    """Return whether `new` are labels of the same kind as `old`, on which one can say what comes next."""
    return has_spacing(old) and _kind(new) == _kind(old)


def _check_place(old: pd.Index[Any], new: pd.Index[Any], where: str, remedies: tuple[str, str]) -> None:
    overlap = np.asarray(new <= old[-1]) if has_spacing(old) else np.asarray(new.isin(old))
    expected = _next(old)
    upcoming = f"expected {shown(expected)} next" if expected is not None else "expected labels"
    if overlap.any():
        n = f"{int(np.count_nonzero(overlap))} of {len(new)}"
        raise InputError(
            f"{where}: {upcoming}, after {shown(old[-1])}, got {shown(new[int(np.argmax(overlap))])}; {n} "
            f"labels {remedies[0]}"
        )
    if expected is not None and not _is_same(new[0], expected, old):
        raise InputError(f"{where}: {upcoming}, after {shown(old[-1])}, got {shown(new[0])}; {remedies[1]}")


def _next(old: pd.Index[Any]) -> Any:
    """Return the label after the end of `old`, or None where its labels do not say."""
    try:
        return continued_index(old, 1)[0]
    except InputError:
        return None


def _is_same(came: Any, expected: Any, old: pd.Index[Any]) -> bool:
    if isinstance(expected, float):
        return bool(abs(came - expected) <= FLOAT_ROUNDING * abs(expected - old[-1]))
    return bool(came == expected)


def _kind(index: pd.Index[Any]) -> str:
    """Return what labels are, in words; those that cannot continue each other differ in it."""
    if isinstance(index, pd.DatetimeIndex):
        return "dates without a time zone" if index.tz is None else f"dates in the time zone {index.tz}"
    if isinstance(index, pd.PeriodIndex):
        return f"periods of frequency {index.freqstr}"
    if isinstance(index, pd.TimedeltaIndex):
        return "durations"
    return "numbers" if has_spacing(index) else "text labels"
