"""Plots of mixtures: densities over one column, points and ellipses over two. `ax` is taken and returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from kalman_em.arrays import Array
from kalman_em.errors import InputError, unknown_name
from kalman_em.fitting.latent.mixture_fit import MixtureFit
from kalman_em.fitting.latent.variational_fit import VariationalMixtureFit
from kalman_em.plotting.axes import DATA, SEQUENCE, SIGNAL

# A component after the last colour begins anew with the first.
COLOURS = (SIGNAL, *SEQUENCE)
# Ellipses hold this share of their component, per cent: for two columns 1 - exp(-r²/2) within radius r.
SHARES = (50.0, 95.0)
GRID = 400


def plot_mixture(fitted: MixtureFit, *, columns: Sequence[str] | None = None, ax: Any = None) -> Any:
    """Draw the rows and the components, over one column or two; of more columns the distribution of those alone.

    Over one column: a histogram, the weighted density of each component, and their sum. Over two: the rows in which
    both are observed, in the colour of their most probable component, and ellipses that hold 50 and 95 % of each.
    Components that a Bayesian mixture has emptied are left out.

    Parameters
    ----------
    fitted : MixtureFit
        What `kem.fit` returned; ``fitted.plot(...)`` is the same.
    columns : sequence of str, optional
        One column or two; the first two when left out.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If `fitted` is no fit of a mixture, or `columns` are not one or two of its own.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"])
    >>> fitted.plot().get_xlabel()
    'flow'
    """
    if not isinstance(fitted, MixtureFit):
        raise InputError(f"fitted: expected the fit of a mixture, got {type(fitted).__name__}")
    names = list(fitted.panel.names)
    chosen = names[:2] if columns is None else [columns] if isinstance(columns, str) else list(columns)
    for name in chosen:
        if name not in names:
            raise InputError(unknown_name("column", name, names))
    if len(chosen) not in (1, 2) or len(set(chosen)) < len(chosen):
        raise InputError(f"columns: expected one column or two, got {chosen}")
    at = [names.index(name) for name in chosen]
    own: Axes = Figure(layout="constrained").add_subplot() if ax is None else ax
    values = np.concatenate([one.values for one in fitted.panel])[:, at]
    (_densities if len(at) == 1 else _ellipses)(own, fitted, values, at)
    own.set_xlabel(chosen[0])
    own.set_ylabel("density" if len(at) == 1 else chosen[1])
    own.set_title(f"{type(fitted.model).__name__} with {len(_shown(fitted))} components")
    own.legend(frameon=False)
    return own


def _shown(fitted: MixtureFit) -> list[int]:
    """Return the components to draw: all, but of a Bayesian mixture not those that were emptied."""
    kept = fitted.kept if isinstance(fitted, VariationalMixtureFit) else np.ones(fitted.n_components, dtype=np.bool_)
    return [int(k) for k in np.flatnonzero(kept)]


def _densities(ax: Axes, fitted: MixtureFit, values: Array, at: list[int]) -> None:
    seen = values[~np.isnan(values[:, 0]), 0]
    ax.hist(seen, bins="auto", density=True, color=DATA, alpha=0.25, label="observed")
    params = fitted.em.params
    sds = np.sqrt(params.covs[:, at[0], at[0]])
    middles = params.means[:, at[0]]
    x = np.linspace((middles - 4.0 * sds).min(), (middles + 4.0 * sds).max(), GRID)
    each = params.weights * np.exp(-0.5 * ((x[:, None] - middles) / sds) ** 2) / (sds * np.sqrt(2.0 * np.pi))
    for k in _shown(fitted):
        ax.plot(x, each[:, k], color=COLOURS[k % len(COLOURS)], label=f"component {k}")
    ax.plot(x, each.sum(axis=1), color=DATA, linestyle="--", label="mixture")


def _ellipses(ax: Axes, fitted: MixtureFit, values: Array, at: list[int]) -> None:
    labels = fitted.assign().to_numpy()
    params = fitted.em.params
    there = ~np.isnan(values).any(axis=1)
    for k in _shown(fitted):
        colour = COLOURS[k % len(COLOURS)]
        own = values[there & (labels == k)]
        ax.plot(own[:, 0], own[:, 1], ".", markersize=3, color=colour, label=f"component {k}")
        eigenvalues, vectors = np.linalg.eigh(params.covs[k][np.ix_(at, at)])
        angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
        for share in SHARES:
            radius = np.sqrt(-2.0 * np.log1p(-share / 100.0))
            minor, major = 2.0 * radius * np.sqrt(np.maximum(eigenvalues, 0.0))
            middle = (float(params.means[k, at[0]]), float(params.means[k, at[1]]))
            ax.add_patch(Ellipse(middle, float(major), float(minor), angle=angle, fill=False, edgecolor=colour))
    ax.autoscale_view()
