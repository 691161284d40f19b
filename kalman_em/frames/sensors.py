"""A stream of readings by several sensors, as a table with columns for each sensor."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.errors import InputError
from kalman_em.frames.columns import named_columns
from kalman_em.frames.labels import shown


def sensor_columns(
    stream: pd.DataFrame,
    *,
    sensor: Hashable,
    time: Hashable,
    values: Any,
    series: Hashable | None = None,
    sensors: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """Return a stream of readings, one row a reading, as one row a time with columns for each sensor.

    Sensors that report at different times, and with different accuracies, are columns that are NaN while a sensor is
    silent: what a model with several sensors (`ConstantVelocity(measured={"radar": ..., "gps": ...})`) is fitted to.

    Parameters
    ----------
    stream : DataFrame
        One row a reading, in any order.
    sensor, time : column names
        Which sensor it is from, and when it was taken.
    values : column name or list of them
        What was read; a column of which a sensor has no reading at all is left out for that sensor.
    series : column name, optional
        The track that a reading belongs to.
    sensors : sequence, optional
        The sensors in the order of the columns; that of their first readings when left out.

    Returns
    -------
    DataFrame
        The columns `time`, `series` and ``<sensor>.<value>``, sensor after sensor; rows in the order of the tracks'
        first readings, and of time.

    Raises
    ------
    InputError
        If a column is not there, a sensor, time or track is missing in a row, a sensor has two readings of one time,
        or `sensors` are not those of the stream.

    Examples
    --------
    >>> import pandas as pd
    >>> from kalman_em import sensor_columns
    >>> stream = pd.DataFrame({
    ...     "t": [0.0, 0.4, 0.4, 1.1], "by": ["radar", "radar", "gps", "gps"],
    ...     "x": [1.0, 1.5, 1.4, 2.2], "v": [None, None, 1.1, 1.0]})
    >>> sensor_columns(stream, sensor="by", time="t", values=["x", "v"])
         t  radar.x  gps.x  gps.v
    0  0.0      1.0    NaN    NaN
    1  0.4      1.5    1.4    1.1
    2  1.1      NaN    2.2    1.0
    """
    if not isinstance(stream, pd.DataFrame):
        raise InputError(f"stream: expected a DataFrame, got {type(stream).__name__}")
    keys = [
        named_columns(stream, [name], role)[0]
        for role, name in (("series", series), ("time", time))
        if name is not None
    ]
    by = named_columns(stream, [sensor], "sensor")[0]
    columns = named_columns(stream, values, "values")
    _check_rows(stream, keys, by, time, series)
    found = list(stream[by].unique())
    if sensors is not None and set(sensors) != set(found):
        raise InputError(f"sensors: expected {found} in some order, got {list(sensors)}")
    wide = stream[keys].drop_duplicates()
    for name in found if sensors is None else sensors:
        own = stream.loc[stream[by] == name, [*keys, *columns]]
        read = [column for column in columns if own[column].notna().any()]
        own = own[[*keys, *read]].rename(columns={column: f"{name}.{column}" for column in read})
        wide = wide.merge(own, on=keys, how="left")
    tracks = np.zeros(len(wide)) if series is None else pd.Index(stream[series].unique()).get_indexer(wide[series])
    order = np.lexsort((pd.factorize(wide[time], sort=True)[0], tracks))
    return wide.iloc[order].reset_index(drop=True)


def _check_rows(
    stream: pd.DataFrame, keys: Sequence[Hashable], by: Hashable, time: Hashable, series: Hashable | None
) -> None:
    """Refuse rows without a sensor, time or track, and a second reading of a sensor at one time."""
    for role, name in (("sensor", by), ("time", time), ("series", series)):
        if name is not None and stream[name].isna().any():
            row = stream.index[int(stream[name].isna().to_numpy().argmax())]
            raise InputError(f"{role}: expected a value in every row of column {name!r}, got none in row {shown(row)}")
    repeated = stream.duplicated([*keys, by]).to_numpy()
    if repeated.any():
        twice: dict[Any, Any] = stream.loc[repeated].iloc[0].to_dict()
        where = "" if series is None else f" of series {twice[series]!r}"
        raise InputError(
            f"time: expected one reading of a sensor at a time, got two of {twice[by]!r} at {twice[time]}{where}; take "
            "their mean, or give the second a sensor name of its own"
        )
