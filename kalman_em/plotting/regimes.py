"""Plots of fits with regimes: the data, with the regimes that they came from behind them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from kalman_em.errors import InputError
from kalman_em.fitting.latent.regime_fit import RegimeFit
from kalman_em.plotting.axes import (
    DATA,
    REGIMES,
    axes_for,
    column_positions,
    last_rows,
    place_labels,
    points_style,
    put_legend,
    with_unit,
)


def plot_regimes(
    fitted: RegimeFit,
    *,
    filtered: bool = False,
    series: Hashable | None = None,
    columns: Sequence[str] | None = None,
    last: int | None = None,
    units: Mapping[str, str] | None = None,
    ax: Any = None,
) -> Any:
    """Draw the data, and behind them the probabilities of the regimes as shares of the height, one above the other.

    Parameters
    ----------
    fitted : RegimeFit
        What `kem.fit` returned for a model with regimes; ``fitted.plot(...)`` is the same.
    filtered : bool
        Whether the probabilities are given the rows so far; given all rows if not.
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
    >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    >>> ax = kem.fit(kem.GaussianHMM(2), growth).plot()
    >>> ax.get_title()
    'GaussianHMM of gnp_growth_pct'
    >>> [text.get_text() for text in ax.figure.legends[0].get_texts()]
    ['observed', 'regime 0', 'regime 1']
    """
    if not isinstance(fitted, RegimeFit):
        raise InputError(f"fitted: expected the fit of a model with regimes, got {type(fitted).__name__}")
    position = fitted.position(series)
    one = fitted.panel.series[position]
    end = fitted.last_row(position) + 1
    shares = (fitted.filtered_probabilities() if filtered else fitted.probabilities()).to_numpy()
    shares = shares[end - one.n_steps : end]
    names = one.names or ()
    positions = column_positions(names, columns)
    rows = last_rows(one.n_steps, last)
    axes, is_own = axes_for(ax, [names[j] for j in positions])
    x, _ = place_labels(axes, one.index, None)
    for panel_ax, j in zip(axes, positions, strict=True):
        # The shares fill the height of the axes, whatever the units of the data.
        behind = panel_ax.get_xaxis_transform()
        top = np.cumsum(shares[rows], axis=1)
        for k in range(shares.shape[1]):
            low = top[:, k - 1] if k else np.zeros(len(rows))
            style: dict[str, Any] = {"color": REGIMES[k % len(REGIMES)], "alpha": 0.35, "linewidth": 0.0, "step": "mid"}
            panel_ax.fill_between(x[rows], low, top[:, k], transform=behind, label=f"regime {k}", zorder=0, **style)
        seen = rows[~one.is_missing[rows, j]]
        panel_ax.plot(x[rows], one.values[rows, j], color=DATA, linewidth=0.8, zorder=2)
        panel_ax.plot(x[seen], one.values[seen, j], **points_style(len(rows)), label="observed", zorder=3)
        panel_ax.set_ylabel(with_unit(names[j], units))
        panel_ax.margins(x=0.0)
    which = f", series {(fitted.panel.keys or ())[position]}" if fitted.panel.n_series > 1 else ""
    of = names[positions[0]] if len(positions) == 1 else f"{len(positions)} columns"
    axes[0].set_title(f"{type(fitted.model).__name__} of {of}{which}", loc="center")
    put_legend(axes[0], is_own, len(rows))
    return axes[0] if one.obs_dim == 1 else np.array(axes, dtype=object)
