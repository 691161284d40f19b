"""pandas at the edges: tables read into panels of plain arrays, and arrays handed back as labelled tables."""

from kalman_em.frames.columns import named_columns
from kalman_em.frames.following import following, follows_kind
from kalman_em.frames.labels import as_index, check_regular, continued_index, same_labels
from kalman_em.frames.points import columns_like, points_like, to_points
from kalman_em.frames.reading import input_rows, to_panel
from kalman_em.frames.sensors import sensor_columns
from kalman_em.frames.tables import (
    checked_levels,
    frame_of,
    interval_columns,
    intervals,
    level_text,
    moments_frame,
    standard_deviations,
)
from kalman_em.frames.times import ahead_of, among, continued_times, timed, with_rows_at

__all__ = [
    "ahead_of",
    "among",
    "as_index",
    "check_regular",
    "checked_levels",
    "columns_like",
    "continued_index",
    "continued_times",
    "following",
    "follows_kind",
    "frame_of",
    "input_rows",
    "interval_columns",
    "intervals",
    "level_text",
    "moments_frame",
    "named_columns",
    "points_like",
    "same_labels",
    "sensor_columns",
    "standard_deviations",
    "timed",
    "to_panel",
    "to_points",
    "with_rows_at",
]
