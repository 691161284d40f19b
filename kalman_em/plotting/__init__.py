"""Plots of fits and of EM. Each function takes `ax` and returns it; a figure is made only where none is given.

A figure made here is a plain `matplotlib.figure.Figure`: pyplot does not know of it, so nothing has to be closed and
no display is needed. ``ax.figure.savefig(path)`` writes it; in a notebook, or for a window, pass ``ax`` from
``plt.subplots()``.
"""

from kalman_em.plotting.bayesian import plot_signal
from kalman_em.plotting.climbs import plot_bound, plot_em
from kalman_em.plotting.factors import plot_loadings
from kalman_em.plotting.fits import plot_components, plot_fit
from kalman_em.plotting.mixtures import plot_mixture
from kalman_em.plotting.panels import plot_panel
from kalman_em.plotting.regimes import plot_regimes
from kalman_em.plotting.topics import plot_topics

__all__ = [
    "plot_bound",
    "plot_components",
    "plot_em",
    "plot_fit",
    "plot_loadings",
    "plot_mixture",
    "plot_panel",
    "plot_regimes",
    "plot_signal",
    "plot_topics",
]
