"""Plots of EM itself: the climb of a run, and the bounds that it climbs by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from kalman_em.em.bound import BoundCurve
from kalman_em.em.result import EMResult
from kalman_em.errors import InputError
from kalman_em.fitting.latent.latent_fit import LatentFit
from kalman_em.fitting.result import Fit
from kalman_em.plotting.axes import AHEAD, DATA, SEQUENCE, SIGNAL, axes_for, put_legend


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


def _em_title(em: EMResult[Any]) -> str:
    iterations = "1 iteration" if em.n_iterations == 1 else f"{em.n_iterations} iterations"
    if em.stop_reason.is_converged:
        return f"EM converged after {iterations}"
    return f"EM stopped after {iterations}: {em.stop_reason}"
