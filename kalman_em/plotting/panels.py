"""Plots of the fits of many series: one below the other, each as the plot of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from kalman_em.errors import InputError
from kalman_em.fitting.panel_fit import PanelFit
from kalman_em.plotting.axes import axes_for
from kalman_em.plotting.fits import plot_fit

# So many series are drawn where none are chosen.
SHOWN = 6


def plot_panel(
    fits: PanelFit, *, keys: Any = None, steps: int = 0, levels: Any = (95,), last: int | None = None
) -> Any:
    """Draw several series below each other, each as `plot_fit` does; see `PanelFit.plot`.

    Raises
    ------
    InputError
        If a key is no series or one without a fit, the series have several columns, or an argument cannot be used.

    Examples
    --------
    >>> import kalman_em as kem
    >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]]
    >>> len(plot_panel(kem.fit_each(kem.LocalLevel(), jobs, wide=True), keys=["construction"]))
    1
    """
    if not isinstance(fits, PanelFit):
        raise InputError(f"fits: expected what fit_each returned, got {type(fits).__name__}")
    chosen = list(fits)[:SHOWN] if keys is None else [keys] if isinstance(keys, str) else list(keys)
    if not chosen:
        raise InputError("keys: expected at least one series that was fitted, got none; see failures()")
    shown = [fits[key] for key in chosen]
    if shown[0].panel.obs_dim > 1:
        raise InputError(
            f"keys: expected series of one column, got {shown[0].panel.obs_dim}; draw one with fits[key].plot()"
        )
    axes, _ = axes_for(None, [str(key) for key in chosen])
    for ax, key, fitted in zip(axes, chosen, shown, strict=True):
        plot_fit(fitted, steps=steps, levels=levels, last=last, ax=ax)
        ax.set_title(str(key))
        legend = ax.get_legend()
        if ax is not axes[0] and legend is not None:
            legend.remove()
        ax.set_xlabel(ax.get_xlabel() if ax is axes[-1] else "")
    return np.array(axes, dtype=object)
