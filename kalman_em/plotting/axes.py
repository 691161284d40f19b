"""What plots share: axes, labels of rows along them, colours, bands, legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kalman_em.arrays import Array
from kalman_em.errors import InputError
from kalman_em.frames import intervals, level_text

# Okabe and Ito's palette: distinct to colour-blind readers, and in grey.
DATA, SIGNAL, AHEAD, ACCENT = "#4d4d4d", "#0072b2", "#d55e00", "#009e73"
SEQUENCE = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
REGIMES = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2", "#999999")
MAX_COLUMNS = 6
# With more rows than this a legend is put in a corner: to search for a free place takes long.
MANY = 2000


def points_style(n_rows: int) -> dict[str, Any]:
    size = 4.0 if n_rows <= 150 else 2.5 if n_rows <= 1000 else 1.5
    return {"linestyle": "", "marker": "o", "markersize": size, "color": DATA, "markeredgewidth": 0.0}


def last_rows(n_steps: int, last: Any) -> Any:
    if last is None:
        return np.arange(n_steps)
    if not isinstance(last, int | np.integer) or isinstance(last, bool) or last < 1:
        raise InputError(f"last: expected a whole number of at least 1, got {last!r}")
    return np.arange(max(n_steps - int(last), 0), n_steps)


def axes_for(ax: Any, names: Sequence[str]) -> tuple[list[Axes], bool]:
    """Return one axes a name, and whether they were made here."""
    n = len(names)
    if ax is None:
        figure = Figure(figsize=(8.0, 3.8 if n == 1 else 1.0 + 2.1 * n), layout="constrained")
        return list(figure.subplots(n, 1, sharex=True, squeeze=False)[:, 0]), True
    axes = [ax] if isinstance(ax, Axes) else list(np.ravel(np.asarray(ax, dtype=object)))
    if len(axes) != n or not all(isinstance(one, Axes) for one in axes):
        shown = ", ".join(names)
        came = len(axes) if all(isinstance(one, Axes) for one in axes) else f"{ax!r} ({type(ax).__name__})"
        raise InputError(f"ax: expected {n} axes, one each for {shown}, got {came}")
    return axes, False


def place_labels(axes: Sequence[Axes], index: Any, ahead: Any) -> tuple[Any, Any]:
    """Return where the rows of the data and of a forecast stand on the x axis, and label that axis."""
    labels = pd.Index(index)
    following = labels[:0] if ahead is None else ahead
    bottom = axes[-1]
    bottom.set_xlabel(str(labels.name) if labels.name is not None else "")
    if isinstance(labels, pd.PeriodIndex):
        labels, following = labels.to_timestamp(), pd.PeriodIndex(following, dtype=labels.dtype).to_timestamp()
    if isinstance(labels, pd.DatetimeIndex):
        return _place_dates(axes, labels, pd.DatetimeIndex(following))
    if isinstance(labels, pd.TimedeltaIndex):
        unit, name = _duration_unit(labels)
        bottom.set_xlabel(f"{labels.name or 'elapsed time'} ({name})")
        return np.asarray(labels / unit), np.asarray(pd.TimedeltaIndex(following) / unit)
    if pd.api.types.is_numeric_dtype(labels.dtype):
        if labels.name is None:
            bottom.set_xlabel("step")
        return labels.to_numpy(dtype=np.float64), following.to_numpy(dtype=np.float64)
    texts = [str(label) for label in [*labels, *following]]
    for one in axes:
        one.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        one.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _text_at(texts, at)))
    return np.arange(len(labels), dtype=np.float64), np.arange(len(labels), len(texts), dtype=np.float64)


def _place_dates(axes: Sequence[Axes], labels: pd.DatetimeIndex, following: pd.DatetimeIndex) -> tuple[Any, Any]:
    zone = labels.tz
    for one in axes:
        locator = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
        one.xaxis.set_major_locator(locator)
        one.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
    if zone is not None:
        labels, following = labels.tz_convert(None), following.tz_convert(None)
    return labels.to_numpy(), following.to_numpy()


def _duration_unit(labels: pd.TimedeltaIndex) -> tuple[pd.Timedelta, str]:
    span = labels[-1] - labels[0]
    for name, unit in (
        ("days", pd.Timedelta(days=1)),
        ("hours", pd.Timedelta(hours=1)),
        ("min", pd.Timedelta(minutes=1)),
    ):
        if span >= 3 * unit:
            return unit, name
    return pd.Timedelta(seconds=1), "s"


def _text_at(texts: Sequence[str], at: float) -> str:
    position = round(at)
    return texts[position] if abs(at - position) < 1e-6 and 0 <= position < len(texts) else ""


def with_unit(name: str, units: Mapping[str, str] | None) -> str:
    unit = (units or {}).get(name, "")
    return f"{name} ({unit})" if unit else name


def draw_band(
    ax: Axes, x: Any, means: Array, sds: Array, levels: tuple[float, ...], color: str, label: str, of: str
) -> None:
    """Draw a line with its intervals, the widest first; a single row gets a point and bars."""
    single = len(x) == 1
    for depth, level in enumerate(levels):
        text = level_text(level)
        bounds = intervals(means, sds, (level,))
        lower, upper = bounds[f"lower_{text}"], bounds[f"upper_{text}"]
        style: dict[str, Any] = {"color": color, "alpha": 0.2 + 0.08 * depth, "label": f"{of}, {text}%"}
        if single:
            ax.vlines(x, lower, upper, linewidth=8.0, **style)
        else:
            ax.fill_between(x, lower, upper, linewidth=0.0, **style)
    ax.plot(x, means, color=color, linewidth=1.6, marker="o" if single else "", markersize=4, label=label)


def put_legend(ax: Axes, is_own: bool, n_points: int) -> None:
    """Put the legend below the whole figure if that was made here, else inside the axes."""
    handles, labels = ax.get_legend_handles_labels()
    # Lines before their intervals, which are drawn first to lie below them.
    order = sorted(range(len(labels)), key=lambda i: _group(labels[i]))
    handles, labels = [handles[i] for i in order], [labels[i] for i in order]
    if is_own:
        ncols = len(labels) if len(labels) <= 5 else -(-len(labels) // 2)
        ax.figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False, fontsize="small")
    else:
        ax.legend(handles, labels, loc="best" if n_points <= MANY else "upper left", fontsize="small")


def _group(label: str) -> tuple[int, bool]:
    """Return where a label stands in the legend: data, signal, forecast, and a line before its intervals."""
    kinds = ("observed", "smoothed signal", "signal", "forecast")
    kind = label.partition(",")[0]
    return (kinds.index(kind) if kind in kinds else len(kinds)), "," in label


def column_positions(names: Sequence[str], columns: Sequence[str] | None) -> list[int]:
    if columns is None:
        return list(range(min(len(names), MAX_COLUMNS)))
    chosen = [columns] if isinstance(columns, str) else list(columns)
    for name in chosen:
        if name not in names:
            raise InputError(f"columns: no column is called {name!r}; expected some of: {', '.join(names)}")
    if not chosen:
        raise InputError("columns: expected at least one column, got none")
    return [list(names).index(name) for name in chosen]
