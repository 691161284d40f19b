"""A fitted Gaussian mixture: the share of each component in each row, draws, and criteria."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.fitting.latent.latent_fit import LatentFit
from kalman_em.fitting.summary import matrix_lines


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MixtureFit(LatentFit):
    """A fitted `GaussianMixture`; `params` are `weights` (K,), `means` (K, p) and `covs` (K, p, p).

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import kalman_em as kem
    >>> flows = kem.datasets.load("nile")["flow"]
    >>> fitted = kem.fit(kem.GaussianMixture(2), flows)
    >>> fitted.probabilities().loc["1871"].round(3).tolist()
    [0.11, 0.89]
    """

    def probabilities(self) -> pd.DataFrame:
        """Return the probability of each component for each row, given what was observed of it, shape (n, K)."""
        return pd.DataFrame(self._posterior[0], index=self._index(), columns=pd.RangeIndex(self.n_components))

    @property
    def n_components(self) -> int:
        """Number of components, K."""
        return len(self.em.params.weights)

    @cached_property
    def _posterior(self) -> tuple[Array, Array]:
        problem: Any = self.problem
        posterior: tuple[Array, Array] = problem.probabilities(self.em.params)
        return posterior

    def _own_facts(self) -> list[tuple[str, str]]:
        return [("components", str(self.n_components))]

    def _parameter_lines(self) -> list[str]:
        names = list(self.panel.names)
        sds = np.sqrt(np.diagonal(self.params.covs, axis1=1, axis2=2))
        table = np.column_stack([self.params.weights, self.params.means, sds])
        columns = ["weight", *(f"mean {name}" for name in names), *(f"sd {name}" for name in names)]
        return matrix_lines(table, None, [str(k) for k in range(self.n_components)], columns)
