"""Plots of Bayesian state-space models: the data and what the states say of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from kalman_em.errors import InputError
from kalman_em.fitting.latent.variational_system_fit import VariationalLinearGaussianFit
from kalman_em.frames import checked_levels
from kalman_em.plotting.axes import (
    SIGNAL,
    axes_for,
    column_positions,
    draw_band,
    last_rows,
    place_labels,
    points_style,
    put_legend,
    with_unit,
)


def plot_signal(
    fitted: VariationalLinearGaussianFit,
    *,
    levels: Any = (95,),
    series: Hashable | None = None,
    columns: Sequence[str] | None = None,
    last: int | None = None,
    units: Mapping[str, str] | None = None,
    ax: Any = None,
) -> Any:
    """Draw the data and the expected signal H x + d with its interval, in which H, d and the states are uncertain.

    Parameters
    ----------
    fitted : VariationalLinearGaussianFit
        What `kem.fit` returned; ``fitted.plot(...)`` is the same.
    levels : sequence of float, or one
        Levels of the intervals, per cent.
    series : hashable, optional
        The series of a panel.
    columns : sequence of str, optional
        The observed columns to draw; the first six when left out.
    last : int, optional
        Draw only the last rows of the data, this many.
    units : mapping of str to str, optional
        Units of the columns, for the labels.
    ax : matplotlib Axes, or one a column, optional
        Where to draw.

    Returns
    -------
    Axes, or ndarray of Axes
        One for one column; an array, one an axes each, for several.

    Raises
    ------
    InputError
        If an argument cannot be used.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.VariationalLinearGaussian(2), kem.datasets.load("nile")["flow"])
    >>> fitted.plot().get_title()
    'VariationalLinearGaussian of flow: 1 of 2 states'
    """
    if not isinstance(fitted, VariationalLinearGaussianFit):
        raise InputError(f"fitted: expected the fit of a VariationalLinearGaussian, got {type(fitted).__name__}")
    checked = tuple(sorted(checked_levels(levels), reverse=True))
    one = fitted.panel.series[fitted.position(series)]
    names = one.names or ()
    positions = column_positions(names, columns)
    rows = last_rows(one.n_steps, last)
    axes, is_own = axes_for(ax, [names[j] for j in positions])
    x, _ = place_labels(axes, one.index, None)
    signal = fitted.signal(series=series)
    for panel_ax, j in zip(axes, positions, strict=True):
        seen = rows[~one.is_missing[rows, j]]
        panel_ax.plot(x[seen], one.values[seen, j], **points_style(len(rows)), label="observed")
        means, sds = (signal[name].to_numpy()[rows] for name in (names[j], f"{names[j]}_sd"))
        draw_band(panel_ax, x[rows], means, sds, checked, SIGNAL, "smoothed signal", "signal")
        panel_ax.set_ylabel(with_unit(names[j], units))
    which = f", series {series}" if fitted.panel.n_series > 1 else ""
    of = names[positions[0]] if len(positions) == 1 else f"{len(positions)} columns"
    states = f"{fitted.n_relevant} of {len(fitted.state_names)} states"
    axes[0].set_title(f"{type(fitted.model).__name__} of {of}{which}: {states}", loc="center")
    put_legend(axes[0], is_own, len(rows))
    return axes[0] if one.obs_dim == 1 else np.array(axes, dtype=object)
