"""Priors of the weights of a Bayesian mixture: Dirichlet, or sticks broken one after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy

from kalman_em.arrays import Array


class WeightPrior(Protocol):
    """A prior that stays of its kind when rows are counted; its numbers are `concentrations`."""

    @property
    def concentrations(self) -> Array:
        """The numbers before any row is counted."""
        ...

    def counted(self, counts: Array) -> Array:
        """Return the numbers after `counts` (K,) rows of each component."""
        ...

    def log_weights(self, concentrations: Array) -> Array:
        """Return E[log π_k], shape (K,)."""
        ...

    def divergence(self, concentrations: Array) -> float:
        """Return the divergence from the prior."""
        ...


@dataclass(frozen=True, eq=False)
class DirichletWeights:
    """π ~ Dirichlet(α): concentrations (K,) (Bishop 2006, equations 10.39, 10.58 and 10.66).

    Examples
    --------
    >>> prior = DirichletWeights(np.array([1.0, 1.0]))
    >>> prior.counted(np.array([3.0, 0.0])).tolist(), prior.divergence(prior.concentrations)
    ([4.0, 1.0], 0.0)
    """

    concentrations: Array

    def counted(self, counts: Array) -> Array:
        """Return α + n."""
        result: Array = self.concentrations + counts
        return result

    def log_weights(self, concentrations: Array) -> Array:
        """Return ψ(α_k) - ψ(Σ α)."""
        digamma = scipy.special.digamma
        result: Array = digamma(concentrations) - digamma(concentrations.sum())
        return result

    def divergence(self, concentrations: Array) -> float:
        """Return the divergence of Dirichlet(concentrations) from the prior."""
        norms = _log_norm(concentrations) - _log_norm(self.concentrations)
        return norms + float((concentrations - self.concentrations) @ self.log_weights(concentrations))


@dataclass(frozen=True, eq=False)
class StickWeights:
    """π_k = v_k Π_{j<k} (1 - v_j), v_k ~ Beta(a_k, b_k): concentrations (K, 2), of a Dirichlet process cut off at K.

    No row belongs to a component beyond the last, whose sticks keep their prior (Blei and Jordan, Variational inference
    for Dirichlet process mixtures, Bayesian Analysis 1 (2006), section 3.2; the last stick, too, is broken).

    Examples
    --------
    >>> prior = StickWeights(np.array([[1.0, 0.5], [1.0, 0.5]]))
    >>> prior.counted(np.array([3.0, 2.0])).tolist(), prior.divergence(prior.concentrations)
    ([[4.0, 2.5], [3.0, 0.5]], 0.0)
    """

    concentrations: Array

    def counted(self, counts: Array) -> Array:
        """Return a_k + n_k and b_k + Σ_{j>k} n_j."""
        later = np.concatenate([np.cumsum(counts[:0:-1])[::-1], [0.0]])
        result: Array = self.concentrations + np.column_stack([counts, later])
        return result

    def log_weights(self, concentrations: Array) -> Array:
        """Return E[log v_k] + Σ_{j<k} E[log(1 - v_j)]."""
        logs = scipy.special.digamma(concentrations) - scipy.special.digamma(concentrations.sum(axis=1))[:, None]
        result: Array = logs[:, 0] + np.concatenate([[0.0], np.cumsum(logs[:-1, 1])])
        return result

    def divergence(self, concentrations: Array) -> float:
        """Return the sum of the divergences of the sticks from their priors."""
        logs = scipy.special.digamma(concentrations) - scipy.special.digamma(concentrations.sum(axis=1))[:, None]
        norms = scipy.special.betaln(*self.concentrations.T) - scipy.special.betaln(*concentrations.T)
        return float(norms.sum() + ((concentrations - self.concentrations) * logs).sum())


def mean_weights(concentrations: Array) -> Array:
    """Return the means of the weights, those of sticks in shares of what the K components have together.

    Examples
    --------
    >>> mean_weights(np.array([3.0, 1.0])).tolist(), mean_weights(np.array([[1.0, 1.0], [1.0, 1.0]])).round(3).tolist()
    ([0.75, 0.25], [0.667, 0.333])
    """
    if concentrations.ndim == 1:
        result: Array = concentrations / concentrations.sum()
        return result
    broken = concentrations / concentrations.sum(axis=1)[:, None]
    pieces = broken[:, 0] * np.concatenate([[1.0], np.cumprod(broken[:-1, 1])])
    result = pieces / pieces.sum()
    return result


def _log_norm(concentrations: Array) -> float:
    return float(scipy.special.gammaln(concentrations.sum()) - scipy.special.gammaln(concentrations).sum())
