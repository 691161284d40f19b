"""Forecasts on the command line: that the labels can go on is seen before a fit, and inputs come from a CSV file."""

from __future__ import annotations

from collections.abc import Hashable

import pandas as pd

from kalman_em.arrays import Array
from kalman_em.console.reading import Table, read_table
from kalman_em.errors import InputError
from kalman_em.fitting.result import Fit
from kalman_em.frames import continued_index, same_labels


def check_continuable(table: Table, steps: int) -> None:
    """Raise `InputError` if the labels of a series do not say what comes in the next `steps` rows.

    Raises
    ------
    InputError
        If there are uneven labels or a single one, or they leave the calendar.
    """
    if table.index is None:
        return
    parts: list[tuple[Hashable, pd.DataFrame]] = [(None, table.frame)]
    if table.series is not None:
        parts = list(table.frame.groupby(table.series, sort=False))
    for key, part in parts:
        of_series = "" if key is None else f" of series {key!r}"
        try:
            continued_index(part.index, steps)
        except (InputError, ValueError, OverflowError) as error:
            why = str(error).split("; ")[0].removeprefix("index: ") if isinstance(error, InputError) else str(error)
            raise InputError(
                f"--forecast: column {table.index!r}{of_series} does not say what comes next ({why}); "
                "use --no-index if every row is one step"
            ) from error


def future_inputs(fitted: Fit, source: str | None, steps: int) -> Array | None:
    """Return the inputs of the rows ahead, shape (steps, k), from the CSV file `source`; None for a fit without.

    Raises
    ------
    InputError
        If the fit has inputs and there is no file, or the reverse, or rows, columns or labels do not fit.
    """
    k = fitted.system.input_dim
    if source is None:
        if k:
            raise InputError(
                f"--inputs: expected a CSV file of the fit's {_inputs(k)} at the {steps} rows ahead, got none"
            )
        return None
    if not k:
        raise InputError("--inputs: expected none, because the fit has no inputs")
    if fitted.panel.n_series > 1:
        raise InputError("--inputs: expected a fit of one series; Fit.forecast in Python takes those of a panel")
    table = read_table(source)
    if (len(table.frame), len(table.values)) != (steps, k):
        raise InputError(
            f"--inputs: expected {steps} rows of {_inputs(k)}, got {len(table.frame)} rows of {len(table.values)} "
            f"({', '.join(table.values)})"
        )
    missing = table.frame[table.values].isna().any()
    if missing.any():
        raise InputError(f"--inputs: expected a known value in every row, got an empty field in {missing.idxmax()!r}")
    ahead = continued_index(fitted.panel.series[0].index, steps)
    if table.index is not None and type(ahead) is type(table.frame.index):
        try:
            same_labels(table.frame.index, ahead, "--inputs")
        except InputError as error:
            raise InputError(
                f"{str(error).split(' (row')[0]}; leave the labels out if the rows are in place"
            ) from error
    values: Array = table.frame[table.values].to_numpy(dtype=float)
    return values


def _inputs(k: int) -> str:
    return f"{k} input{'s' if k > 1 else ''}"
