"""What a fit leaves in a folder: its parameters, its smoothed states, its forecast and a picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from kalman_em.fitting.result import Fit, signal_moments
from kalman_em.frames import moments_frame

# Pictures of a panel: of its first series, up to this many.
MOST_PICTURES = 10


def write_results(fitted: Fit, folder: Path, *, steps: int, levels: tuple[float, ...]) -> list[Path]:
    """Write parameters.json, smoothed.csv, forecast.csv (with `steps`) and plot.png; return what was written.

    A panel has its series one after another in the tables, behind a column of their names, and a picture each of the
    first ten.

    Raises
    ------
    OSError
        If the folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "parameters.json", folder / "smoothed.csv"]
    fitted.save(written[0])
    write_table(smoothed_table(fitted, levels), written[1])
    if steps:
        written.append(folder / "forecast.csv")
        write_table(forecast_table(fitted, steps, levels), written[-1])
    return [*written, *_write_pictures(fitted, folder, steps, levels)]


def smoothed_table(fitted: Fit, levels: tuple[float, ...]) -> pd.DataFrame:
    """Return states, observed values, values with gaps filled, and the smoothed signal, one row a row of data.

    Columns: every state with ``_sd`` and bounds; then for every column of the data ``_observed``, ``_filled`` and
    ``_filled_sd`` (0 where it was observed), and ``_signal`` with ``_signal_sd`` and bounds, which is H x + d.
    """
    return _of_each_series(fitted, lambda key: _smoothed_part(fitted, key, levels))


def forecast_table(fitted: Fit, steps: int, levels: tuple[float, ...]) -> pd.DataFrame:
    """Return the forecast of every series, one row a step ahead."""
    return _of_each_series(fitted, lambda key: fitted.forecast(steps, series=key).to_frame(levels=levels))


def _smoothed_part(fitted: Fit, key: Hashable, levels: tuple[float, ...]) -> pd.DataFrame:
    one = fitted.panel[key]
    names = one.names or ()
    states = fitted.smooth(key).to_frame(levels=levels)
    observed = pd.DataFrame(one.values.copy(), index=one.index, columns=[f"{name}_observed" for name in names])
    filled = fitted.impute(series=key)
    filled.columns = pd.Index([f"{name}_filled{end}" for name in names for end in ("", "_sd")])
    signal = moments_frame(*signal_moments(fitted, key), [f"{name}_signal" for name in names], one.index, levels=levels)
    return pd.concat([states, observed, filled, signal], axis=1)


def _of_each_series(fitted: Fit, table: Callable[[Hashable], pd.DataFrame]) -> pd.DataFrame:
    keys = fitted.panel.keys or ()
    if len(keys) == 1:
        return table(keys[0])
    parts = []
    for key in keys:
        part = table(key)
        part.insert(0, "series", [key] * len(part))
        parts.append(part)
    return pd.concat(parts)


def write_table(table: pd.DataFrame, target: Path | TextIO) -> None:
    """Write a table as CSV with its labels first."""
    label = table.index.name if table.index.name is not None else "row"
    table.to_csv(target, index_label=str(label), lineterminator="\n")


def _write_pictures(fitted: Fit, folder: Path, steps: int, levels: tuple[float, ...]) -> list[Path]:
    keys = fitted.panel.keys or ()
    if len(keys) == 1:
        return [_write_picture(fitted.plot(steps=steps, levels=levels), folder / "plot.png")]
    written = []
    for position, key in enumerate(keys[:MOST_PICTURES]):
        name = re.sub(r"[^\w.-]+", "_", f"plot_{position + 1}_{key}") + ".png"
        written.append(_write_picture(fitted.plot(steps=steps, levels=levels, series=key), folder / name))
    return written


def _write_picture(axes: Any, path: Path) -> Path:
    np.ravel(axes)[0].figure.savefig(path, dpi=150)
    return path
