"""Plots of factor analyses: how each column hangs together with the factors."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kalman_em.errors import InputError
from kalman_em.fitting.latent.factor_fit import FactorFit
from kalman_em.plotting.axes import DATA, SEQUENCE, SIGNAL

# A factor after the last colour begins anew with the first.
COLOURS = (SIGNAL, *SEQUENCE)


def plot_loadings(fitted: FactorFit, *, ax: Any = None) -> Any:
    """Draw the correlation of every column with every factor, and behind it what the factors explain of the column.

    A loading over the standard deviation of its column is their correlation under the model, the same in all units.
    The squares of a column's correlations add up to its communality, the grey bar.

    Parameters
    ----------
    fitted : FactorFit
        What `kem.fit` returned; ``fitted.plot()`` is the same.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If `fitted` is no fit of a factor analysis.

    Examples
    --------
    >>> import kalman_em as kem
    >>> flowers = kem.datasets.load("iris").drop(columns="species")
    >>> kem.fit(kem.FactorAnalysis(1), flowers).plot().get_xlabel()
    'correlation with the factor'
    """
    if not isinstance(fitted, FactorFit):
        raise InputError(f"fitted: expected the fit of a factor analysis, got {type(fitted).__name__}")
    names, params = list(fitted.panel.names), fitted.em.params
    correlations = params.loadings / np.sqrt(np.diagonal(params.cov))[:, None]
    n, q = correlations.shape
    own: Axes = _figure(n, q).add_subplot() if ax is None else ax
    rows, height = np.arange(n), 0.8 / q
    explained = fitted.communalities.to_numpy()
    own.barh(rows, explained, height=0.9, color=DATA, alpha=0.15, label="communality")
    for k in range(q):
        places = rows + (k - 0.5 * (q - 1)) * height
        colour = COLOURS[k % len(COLOURS)]
        own.barh(places, correlations[:, k], height=0.9 * height, color=colour, label=f"factor {k + 1}")
    own.axvline(0.0, color=DATA, linewidth=0.8)
    own.set_yticks(rows, names)
    own.set_ylim(n - 0.4, -0.6)
    own.set_xlim(-1.05 if correlations.min() < 0.0 else 0.0, 1.05)
    own.set_xlabel("correlation with the factor")
    own.set_title(f"{type(fitted.model).__name__} of {n} columns")
    own.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small")
    return own


def _figure(n: int, q: int) -> Figure:
    """Return a figure in which no bar is too thin to be seen."""
    return Figure(figsize=(7.0, 1.4 + n * max(0.3, 0.14 * q)), layout="constrained")
