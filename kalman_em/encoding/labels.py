"""Row labels and names as JSON and back: dates, periods, durations, numbers and text, with name, unit and frequency."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.errors import InputError


def encoded_label(label: Any, where: str) -> Any:
    """Return a single label (a name, the key of a series) as JSON.

    Raises
    ------
    InputError
        If it is not None, text, a number, a boolean or a tuple of those.
    """
    plain = label.item() if isinstance(label, np.generic) else label
    if isinstance(plain, tuple):
        return [encoded_label(item, where) for item in plain]
    if plain is None or isinstance(plain, bool | int | str):
        return plain
    if isinstance(plain, float) and np.isfinite(plain):
        return plain
    raise InputError(f"{where}: expected text, a number or None, to be saved, got {label!r} ({type(label).__name__})")


def decoded_label(node: Any) -> Hashable:
    """Return the label that `encoded_label` was given."""
    return tuple(decoded_label(item) for item in node) if isinstance(node, list) else node


def encoded_index(index: pd.Index[Any]) -> dict[str, Any]:
    """Return row labels as JSON from which `decoded_index` makes the same index.

    Raises
    ------
    InputError
        If the labels are of a kind that has no such form (categories, objects, frequencies of one's own).

    Examples
    --------
    >>> import pandas as pd
    >>> encoded_index(pd.period_range("1871", periods=2, freq="Y", name="year"))
    {'kind': 'periods', 'name': 'year', 'freq': 'Y-DEC', 'labels': ['1871', '1872']}
    """
    node = {"kind": _kind(index), "name": encoded_label(index.name, "index: name")}
    if isinstance(index, pd.RangeIndex):
        node |= {"start": index.start, "stop": index.stop, "step": index.step}
    elif isinstance(index, pd.DatetimeIndex):
        instants = index.asi8.view(f"M8[{index.unit}]")
        node |= {"unit": index.unit, "tz": None if index.tz is None else str(index.tz), "freq": _freq(index.freq)}
        node["labels"] = np.datetime_as_string(instants).tolist()
    elif isinstance(index, pd.TimedeltaIndex):
        node |= {"unit": index.unit, "freq": _freq(index.freq), "labels": index.asi8.tolist()}
    elif isinstance(index, pd.PeriodIndex):
        node |= {"freq": index.freqstr, "labels": index.astype(str).tolist()}
    else:
        node |= {"dtype": str(index.dtype), "labels": [encoded_label(label, "index") for label in index]}
    _check_returns(index, node)
    return node


def decoded_index(node: dict[str, Any]) -> pd.Index[Any]:
    """Return the index that `encoded_index` was given."""
    kind, name = node["kind"], decoded_label(node["name"])
    if kind == "range":
        return pd.RangeIndex(node["start"], node["stop"], node["step"], name=name)
    if kind == "dates":
        dates = pd.DatetimeIndex(np.array(node["labels"], dtype=f"M8[{node['unit']}]"), name=name)
        local = dates if node["tz"] is None else dates.tz_localize("UTC").tz_convert(node["tz"])
        return pd.DatetimeIndex(local, freq=_offset(node["freq"]))
    if kind == "durations":
        durations = np.array(node["labels"], dtype=f"m8[{node['unit']}]")
        return pd.TimedeltaIndex(durations, freq=_offset(node["freq"])).rename(name)
    if kind == "periods":
        return pd.PeriodIndex(node["labels"], freq=node["freq"], name=name)
    if kind != "labels":
        raise InputError(f"index: kind {kind!r} is not known")
    labels: pd.Index[Any] = pd.Index([decoded_label(label) for label in node["labels"]], dtype=node["dtype"], name=name)
    return labels


def _kind(index: pd.Index[Any]) -> str:
    kinds = {
        pd.RangeIndex: "range",
        pd.DatetimeIndex: "dates",
        pd.TimedeltaIndex: "durations",
        pd.PeriodIndex: "periods",
    }
    return next((kind for cls, kind in kinds.items() if isinstance(index, cls)), "labels")


def _freq(freq: Any) -> Any:
    """Return an offset as its alias, or as its parts where it has none (``DateOffset(months=1)``)."""
    if type(freq) is pd.DateOffset:
        return {"n": freq.n, **freq.kwds}
    return None if freq is None else freq.freqstr


def _offset(node: Any) -> Any:
    return pd.DateOffset(**node) if isinstance(node, dict) else node


def _check_returns(index: pd.Index[Any], node: dict[str, Any]) -> None:
    """Refuse labels that would not come back as they are."""
    try:
        returned = decoded_index(node)
        same = type(returned) is type(index) and returned.dtype == index.dtype and returned.equals(index)
        same = same and getattr(returned, "freq", None) == getattr(index, "freq", None)
    except (TypeError, ValueError, KeyError):
        same = False
    if not same:
        freq = getattr(index, "freq", None)
        raise InputError(
            f"index: labels of dtype {index.dtype}{'' if freq is None else f' and frequency {freq}'} cannot be saved "
            "exactly; use dates, periods, durations, numbers or text"
        )
