"""Plots of fits and of EM. Each function takes `ax` and returns it; a figure is made only where none is given.

A figure made here is a plain `matplotlib.figure.Figure`: pyplot does not know of it, so nothing has to be closed and
no display is needed. ``ax.figure.savefig(path)`` writes it; in a notebook, or for a window, pass ``ax`` from
``plt.subplots()``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from kalman_em.arrays import Array
from kalman_em.em.bound import BoundCurve
from kalman_em.em.result import EMResult
from kalman_em.errors import InputError
from kalman_em.fitting.latent.latent_fit import LatentFit
from kalman_em.fitting.result import Fit
from kalman_em.fitting.signal import signal_moments
from kalman_em.forecasting import Forecast
from kalman_em.frames import checked_levels, intervals, level_text
from kalman_em.mixture_plots import plot_mixture
from kalman_em.models.titles import model_title
from kalman_em.plot_axes import (
    AHEAD,
    DATA,
    SEQUENCE,
    SIGNAL,
    axes_for,
    column_positions,
    last_rows,
    place_labels,
    points_style,
    put_legend,
    with_unit,
)
from kalman_em.regime_plots import plot_regimes

__all__ = ["plot_bound", "plot_components", "plot_em", "plot_fit", "plot_mixture", "plot_regimes"]


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
        _draw(panel_ax, x[rows], means[rows, j], sds[rows, j], checked, SIGNAL, "smoothed signal", "signal")
        if ahead is not None:
            _draw(panel_ax, x_ahead, ahead.means[:, j], ahead.sds[:, j], checked, AHEAD, "forecast", "forecast")
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
            _draw(ax, x, means, sds, checked, SIGNAL, part, part)
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


def plot_em(
    result: EMResult[Any] | Fit | LatentFit, *, gains: bool = False, bound: bool = False, ax: Any = None
) -> Any:
    """Draw the log-likelihood of each iteration of EM and, on request, what each gained on a logarithmic scale.

    Parameters
    ----------
    result : EMResult, Fit or LatentFit
        What `run_em` returned, or a fit.
    gains : bool
        Whether to draw a second panel: the gain of each iteration. A straight line there is linear convergence; a fall
        of the log-likelihood, which only a variant of EM or rounding can cause, is drawn as a cross at its size.
    bound : bool
        Whether to draw the lower bound that each M-step raised, below the log-likelihood; the run must have kept it.
    ax : matplotlib Axes, or two with `gains`, optional
        Where to draw.

    Returns
    -------
    Axes, or ndarray of two Axes with `gains`

    Raises
    ------
    InputError
        If `result` is none of these, or the bound was not kept.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> len(kem.plotting.plot_em(fitted, gains=True))
    2
    """
    em = result.em if isinstance(result, Fit | LatentFit) else result
    if not isinstance(em, EMResult):
        raise InputError(f"result: expected an EMResult or a Fit, got {type(result).__name__}")
    axes, _ = axes_for(ax, ["log-likelihood", "gain"] if gains else ["log-likelihood"])
    iterations = np.arange(em.n_iterations + 1)
    few = em.n_iterations <= 60
    axes[0].plot(iterations, em.log_likelihoods, color=SIGNAL, marker="o" if few else "", markersize=4)
    best = (em.best_iteration, em.log_likelihood)
    axes[0].plot(*best, "o", color=AHEAD, markersize=7, label=f"best: {em.log_likelihood:.6g}")
    if bound:
        if em.bound_history is None:
            raise InputError("bound: expected a run that kept it; pass record_bound=True to run_em or fit")
        kept = np.isfinite(em.bound_history)
        label = "bound that the M-step raised"
        axes[0].plot(iterations[1:][kept], em.bound_history[kept], "_", color=AHEAD, markersize=9, label=label)
    axes[0].set_ylabel("log-likelihood")
    axes[0].ticklabel_format(axis="y", useOffset=False)
    axes[0].set_title(_em_title(em))
    axes[0].legend(loc="lower right", frameon=False)
    if gains:
        change = np.diff(em.log_likelihoods)
        rose, fell = change > 0.0, change < 0.0
        axes[1].plot(iterations[1:][rose], change[rose], "o", color=SIGNAL, markersize=3, label="gain")
        if fell.any():
            axes[1].plot(iterations[1:][fell], -change[fell], "x", color=AHEAD, markersize=5, label="fall")
            axes[1].legend(loc="upper right", frameon=False)
        if rose.any() or fell.any():
            axes[1].set_yscale("log")
            sizes = np.abs(change[rose | fell])
            if sizes.max() > 100.0 * sizes.min():
                axes[1].yaxis.set_minor_formatter(NullFormatter())
        axes[1].set_ylabel("gain of the iteration")
    axes[-1].set_xlabel("iteration")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return np.array(axes, dtype=object) if gains else axes[0]


def plot_bound(curves: BoundCurve | Iterable[BoundCurve], *, name: str = "parameter", ax: Any = None) -> Any:
    """Draw a log-likelihood along one parameter, and under it the lower bound of one or several EM iterations.

    Each bound touches the log-likelihood at the current estimate (dot). The M-step goes to its maximum (diamond), and
    the log-likelihood there is higher still, by the dotted line: the divergence between the two posteriors. For a
    single curve that gap is shaded everywhere.

    Parameters
    ----------
    curves : BoundCurve, or several
        From `kalman_em.em.bound.bound_curve`, one an iteration; the log-likelihood of the first is drawn.
    name : str
        Of the parameter, for the axis.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes

    Examples
    --------
    >>> from kalman_em.em.bound import BoundCurve
    >>> curve = BoundCurve(values=[1.0, 2.0, 3.0], log_likelihoods=[-3.0, -2.0, -1.5], bounds=[-3.0, -2.5, -3.5],
    ...                    old=1.0, old_log_likelihood=-3.0, new=2.0, new_bound=-2.5, new_log_likelihood=-2.0)
    >>> plot_bound(curve, name="level variance").get_xlabel()
    'level variance'
    """
    several = list(curves) if isinstance(curves, Iterable) else [curves]
    if not several or not all(isinstance(curve, BoundCurve) for curve in several):
        raise InputError(f"curves: expected a BoundCurve or several, got {curves!r}")
    (panel_ax,), is_own = axes_for(ax, ["log-likelihood"])
    first = several[0]
    panel_ax.plot(first.values, first.log_likelihoods, color=DATA, linewidth=2.2, label="log-likelihood", zorder=3)
    if len(several) == 1:
        floor = np.where(np.isfinite(first.bounds), first.bounds, first.log_likelihoods.min())
        panel_ax.fill_between(
            first.values, floor, first.log_likelihoods, color=SIGNAL, alpha=0.12, linewidth=0.0, label="gap (KL)"
        )
    for k, curve in enumerate(several):
        _draw_bound(panel_ax, curve, SEQUENCE[k % len(SEQUENCE)], None if len(several) == 1 else k + 1)
    low, high = float(first.log_likelihoods.min()), float(first.log_likelihoods.max())
    room = max(high - low, 1e-12 * (1.0 + abs(high)))
    panel_ax.set_ylim(low - 0.15 * room, high + 0.1 * room)
    if first.values.min() > 0.0 and first.values.max() > 10.0 * first.values.min():
        panel_ax.set_xscale("log")
    panel_ax.set_xlim(first.values.min(), first.values.max())
    panel_ax.set_xlabel(name)
    panel_ax.set_ylabel("log-likelihood")
    panel_ax.set_title("EM climbs a bound that touches the log-likelihood")
    put_legend(panel_ax, is_own, len(first.values))
    return panel_ax


def _draw_bound(ax: Axes, curve: BoundCurve, color: str, number: int | None) -> None:
    """Draw a bound, where it touches, its maximum, and the gap there; a single bound explains its marks."""
    is_alone = number is None
    finite = np.isfinite(curve.bounds)
    label = "lower bound" if is_alone else f"lower bound {number}"
    touch, best = ("current estimate", "after the M-step") if is_alone else (None, None)
    ax.plot(curve.values[finite], curve.bounds[finite], color=color, linewidth=1.6, label=label)
    ax.plot(curve.old, curve.old_log_likelihood, "o", color=color, markersize=7, zorder=4, label=touch)
    ax.plot(curve.new, curve.new_bound, "D", color=color, mfc="white", markersize=6, zorder=4, label=best)
    ax.plot([curve.new, curve.new], [curve.new_bound, curve.new_log_likelihood], ":", color=color, zorder=3)


def _draw(
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


def _em_title(em: EMResult[Any]) -> str:
    iterations = "1 iteration" if em.n_iterations == 1 else f"{em.n_iterations} iterations"
    if em.stop_reason.is_converged:
        return f"EM converged after {iterations}"
    return f"EM stopped after {iterations}: {em.stop_reason}"
