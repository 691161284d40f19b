"""Plots of a fit to a time series: the data with the smoothed signal and a forecast, and the parts of a sum."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from kalman_em.errors import InputError
from kalman_em.fitting.result import Fit
from kalman_em.fitting.signal import signal_moments
from kalman_em.forecasting import Forecast
from kalman_em.frames import checked_levels
from kalman_em.models.titles import model_title
from kalman_em.plotting.axes import (
    AHEAD,
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


def plot_fit(
    fitted: Fit,
    *,
    steps: int = 0,
    forecast: Forecast | None = None,
    levels: Any = (95,),
    series: Hashable | None = None,
    columns: Sequence[str] | None = None,
    last: int | None = None,
    units: Mapping[str, str] | None = None,
    ax: Any = None,
) -> Any:
    """Draw the data, the smoothed signal with its interval, and a forecast with its own.

    The interval of the signal H x + d is that of its mean: where the underlying signal is, not where the next noisy
    value will be. That of the forecast includes the measurement noise. Missing values have no point, and the interval
    of the signal is wider there.

    Parameters
    ----------
    fitted : Fit
        What `kem.fit` returned; ``fitted.plot(...)`` is the same.
    steps : int
        Number of rows to forecast; 0 for none.
    forecast : Forecast, optional
        A forecast made before, in the place of `steps`: one with inputs, or with labels of its own.
    levels : sequence of float, or one
        Levels of the intervals, per cent.
    series : hashable, optional
        The series of a panel.
    columns : sequence of str, optional
        The observed columns to draw; the first six when left out.
    last : int, optional
        Draw only the last rows of the data, this many; the fit is that of all.
    units : mapping of str to str, optional
        Units of the columns, for the labels: ``data.attrs["units"]`` of the data sets that come with the package.
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
    >>> nile = kem.datasets.load("nile")
    >>> fitted = kem.fit(kem.LocalLevel(), nile["flow"])
    >>> ax = fitted.plot(steps=10, levels=(50, 95), units=nile.attrs["units"])
    >>> ax.get_title(), ax.get_ylabel()
    ('LocalLevel of flow', 'flow (1e8 m3)')
    """
    _check_fit(fitted, units)
    checked = tuple(sorted(checked_levels(levels), reverse=True))
    one = fitted._series(series)
    ahead = _forecast(fitted, steps, forecast, series)
    positions = column_positions(one.names or (), columns)
    rows = last_rows(one.n_steps, last)
    axes, is_own = axes_for(ax, [(one.names or ())[j] for j in positions])
    x, x_ahead = place_labels(axes, one.index, None if ahead is None else ahead.index)
    means, sds = signal_moments(fitted, series)
    for panel_ax, j in zip(axes, positions, strict=True):
        seen = rows[~one.is_missing[rows, j]]
        panel_ax.plot(x[seen], one.values[seen, j], **points_style(len(rows)), label="observed")
        draw_band(panel_ax, x[rows], means[rows, j], sds[rows, j], checked, SIGNAL, "smoothed signal", "signal")
        if ahead is not None:
            draw_band(panel_ax, x_ahead, ahead.means[:, j], ahead.sds[:, j], checked, AHEAD, "forecast", "forecast")
        name = (one.names or ())[j]
        panel_ax.set_ylabel(with_unit(name, units))
    axes[0].set_title(_fit_title(fitted, series, positions), loc="center")
    put_legend(axes[0], is_own, len(rows))
    return axes[0] if one.obs_dim == 1 else np.array(axes, dtype=object)


def plot_components(
    fitted: Fit, *, levels: Any = (95,), series: Hashable | None = None, column: str | None = None
) -> Any:
    """Draw what each component of a fit adds to a column of the data, one axes each, and what is left.

    Parameters
    ----------
    fitted : Fit
        What `kem.fit` returned.
    levels : sequence of float, or one
        Levels of the bands, per cent.
    series : hashable, optional
        The series of a panel.
    column : str, optional
        The column of the data; the first when left out.

    Returns
    -------
    ndarray of Axes
        In the order of `Fit.components`.

    Raises
    ------
    InputError
        If an argument cannot be used.

    References
    ----------
    Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, section 2.3.

    Examples
    --------
    >>> import kalman_em as kem
    >>> gas = [160.1, 129.7, 84.8, 120.1, 160.1, 124.9, 84.8, 116.9, 169.7, 140.9, 89.7, 123.3, 187.3, 144.1, 92.9]
    >>> axes = kem.plotting.plot_components(kem.fit(kem.LocalLevel() + kem.Seasonal(4), gas))
    >>> [ax.get_ylabel() for ax in axes]
    ['level', 'seasonal', 'residual']
    """
    _check_fit(fitted, None)
    checked = tuple(sorted(checked_levels(levels), reverse=True))
    one = fitted._series(series)
    names = one.names or ()
    position = column_positions(names, None if column is None else [column])[0]
    table = fitted.components(levels=(), series=series)
    parts = [str(name) for name in table.columns[:: 2 * len(names)]]
    parts = [part if len(names) == 1 else part.removesuffix(f".{names[0]}") for part in parts]
    axes, _ = axes_for(None, parts)
    x, _ = place_labels(axes, one.index, None)
    for ax, part in zip(axes, parts, strict=True):
        name = part if len(names) == 1 else f"{part}.{names[position]}"
        means, sds = table[name].to_numpy(), table[f"{name}_sd"].to_numpy()
        if part == "residual":
            ax.axhline(0.0, color="0.8", linewidth=0.8)
            ax.plot(x, means, **points_style(len(x)))
        else:
            draw_band(ax, x, means, sds, checked, SIGNAL, part, part)
        ax.set_ylabel(part)
    axes[0].set_title(_fit_title(fitted, series, [position]), loc="center")
    return np.array(axes, dtype=object)


def _check_fit(fitted: object, units: object) -> None:
    if not isinstance(fitted, Fit):
        raise InputError(f"fitted: expected a Fit, got {type(fitted).__name__}")
    if units is not None and not isinstance(units, Mapping):
        raise InputError(
            f"units: expected a mapping from columns to their units, such as {{{fitted.panel.names[0]!r}: 'm'}}, got "
            f"{units!r} ({type(units).__name__})"
        )


def _forecast(fitted: Fit, steps: Any, forecast: Forecast | None, series: Hashable | None) -> Forecast | None:
    if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 0:
        raise InputError(f"steps: expected a whole number of at least 0, got {steps!r}")
    if forecast is None:
        return fitted.forecast(int(steps), series=series) if steps else None
    if steps:
        raise InputError("steps: expected 0 beside a forecast, which has its own length")
    if not isinstance(forecast, Forecast) or forecast.names != fitted.panel.names:
        came = f"one of {', '.join(forecast.names)}" if isinstance(forecast, Forecast) else type(forecast).__name__
        raise InputError(f"forecast: expected a Forecast of {', '.join(fitted.panel.names)}, got {came}")
    return forecast


def _fit_title(fitted: Fit, series: Hashable | None, positions: Sequence[int]) -> str:
    names = fitted.panel.names
    of = names[positions[0]] if len(positions) == 1 else f"{len(positions)} columns"
    if len(positions) < len(names):
        of += f" ({len(positions)} of {len(names)} columns shown)" if len(positions) == 1 else f" of {len(names)}"
    which = f", series {series}" if fitted.panel.n_series > 1 else ""
    return f"{model_title(fitted.model)} of {of}{which}"
