"""What a fit leaves in a folder: its parameters, its smoothed states, its forecast and a picture."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.errors import InputError
from kalman_em.fitting.result import Fit
from kalman_em.fitting.signal import signal_moments
from kalman_em.frames import interval_columns, moments_frame

# Pictures of a panel: of its first series, up to this many.
MOST_PICTURES = 10
PARAMETERS, SMOOTHED, FORECAST, PICTURE = "parameters.json", "smoothed.csv", "forecast.csv", "plot.png"
RESULTS = (PARAMETERS, SMOOTHED, FORECAST, PICTURE)


def prepare_folder(folder: Path, source: str) -> None:
    """Make the folder for the results and see that they can be written there, over anything but the file `source`.

    Raises
    ------
    InputError
        If the folder cannot be made or written to, a result would replace `source`, or a folder is in its place.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output: expected a folder, got the file {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _check_results(folder, source)
    except OSError as error:
        place = error.filename if Path(str(error.filename)).name in RESULTS else folder
        raise InputError(f"--output: cannot write to {place} ({error.strerror})") from error


def _check_results(folder: Path, source: str) -> None:
    for path in (folder / name for name in RESULTS):
        _check_not_the_source(path, source)
        if path.is_dir():
            raise InputError(f"--output: expected a file or nothing at {path}, got a folder")
        if path.exists():
            path.open("r+b").close()


def check_file(target: Path, source: Path) -> None:
    """Raise `InputError` if no file can be at `target`, or it is the file `source` that is read."""
    if target.is_dir():
        raise InputError(f"--output: expected a file, got the folder {target}")
    if not target.parent.is_dir():
        raise InputError(f"--output: there is no folder {target.parent}")
    _check_not_the_source(target, source)


def _check_not_the_source(target: Path, source: str | Path) -> None:
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise InputError(f"--output: {target} would replace the file that is read; choose another place")


def check_names(names: Sequence[str], levels: tuple[float, ...]) -> None:
    """Raise `InputError` if a column has the name that a result of another column gets."""
    ends = ("sd", *interval_columns(levels))
    for name in names:
        for end in ends:
            if f"{name}_{end}" in names:
                raise InputError(
                    f"--values: columns {name!r} and {name + '_' + end!r} cannot both be values: the results of the "
                    "first have the name of the second; choose columns with --values, or rename one"
                )


def write_results(fitted: Fit, folder: Path, *, steps: int, levels: tuple[float, ...]) -> list[Path]:
    """Write parameters.json, smoothed.csv, forecast.csv (with `steps`) and plot.png; return what was written.

    A panel has its series one after another in the tables, behind a column of their names, and a picture each of the
    first ten.

    Raises
    ------
    OSError
        If the folder or a file cannot be written.
    """
    written = [folder / PARAMETERS, folder / SMOOTHED]
    fitted.save(written[0])
    write_table(smoothed_table(fitted, levels), written[1])
    if steps:
        written.append(folder / FORECAST)
        write_table(forecast_table(fitted, steps, levels), written[-1])
    return [*written, *_write_pictures(fitted, folder, steps, levels)]


def smoothed_table(fitted: Fit, levels: tuple[float, ...]) -> pd.DataFrame:
    """Return states, observed values, values with gaps filled, and the smoothed signal, one row a row of data.

    Columns: every state with ``_sd`` and bounds; then for every column of the data ``_observed``, ``_filled`` and
    ``_filled_sd`` (0 where it was observed), and ``_signal`` with ``_signal_sd`` and bounds, which is H x + d.
    """
    return _of_each_series(fitted, lambda key: _smoothed_part(fitted, key, levels))


def forecast_table(fitted: Fit, steps: int, levels: tuple[float, ...], inputs: Array | None = None) -> pd.DataFrame:
    """Return the forecast of every series, one row a step ahead; `inputs` for a fit with inputs, (steps, k)."""
    return _of_each_series(
        fitted, lambda key: fitted.forecast(steps, inputs=inputs, series=key).to_frame(levels=levels)
    )


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
        return [_write_picture(fitted.plot(steps=steps, levels=levels), folder / PICTURE)]
    written = []
    for position, key in enumerate(keys[:MOST_PICTURES]):
        name = re.sub(r"[^\w.-]+", "_", f"plot_{position + 1}_{key}") + ".png"
        written.append(_write_picture(fitted.plot(steps=steps, levels=levels, series=key), folder / name))
    return written


def _write_picture(axes: Any, path: Path) -> Path:
    np.ravel(axes)[0].figure.savefig(path, dpi=150)
    return path
