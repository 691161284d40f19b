"""A fitted Bayesian mixture: what it holds of the parameters, how many components are left, draws to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, BoolArray, as_count
from kalman_em.fitting.latent.bound_fit import BoundFit, no_criterion
from kalman_em.fitting.latent.mixture_fit import MixtureFit
from kalman_em.inference.arguments import as_generator
from kalman_em.linalg import square_roots


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class VariationalMixtureFit(BoundFit, MixtureFit):
    """A fitted `VariationalMixture`; `params` are the numbers of the posterior (see `VariationalParams`).

    `log_likelihood` is the evidence lower bound: it pays for every parameter already, so that it compares models with
    different numbers of components by itself, and there are no AIC, BIC or ICL.

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.VariationalMixture(4), kem.datasets.load("nile")["flow"])
    >>> fitted.weights.sum().round(12).item(), fitted.n_kept <= 4
    (1.0, True)
    """

    @property
    def weights(self) -> Array:
        """The posterior means of the weights, shape (K,)."""
        weights: Array = self.em.params.weights
        return weights

    @property
    def n_kept(self) -> int:
        """Number of components with at least one row, in expectation."""
        return int(np.count_nonzero(self.kept))

    @property
    def kept(self) -> BoolArray:
        """Which components have at least one row, in expectation, shape (K,)."""
        problem: Any = self.problem
        kept: BoolArray = problem.counts(self.em.params) >= 1.0
        return kept

    @property
    def icl(self) -> float:
        """None: see `bound`."""
        raise no_criterion("ICL")

    def log_densities(self, data: Any = None) -> pd.Series[float]:
        """Return what each row adds to the bound; the arguments are those of `probabilities`.

        log Σ_k exp(E[log π_k] + E[log N(x_o; μ_k, Λ_k)]), expectations over the posterior: no density, but below the
        logarithm of that of the posterior predictive. With the divergence of the posterior from the prior taken off
        their sum is `bound`.

        Raises
        ------
        InputError
            If `data` cannot be read or has other columns.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.VariationalMixture(2), kem.datasets.load("nile")["flow"])
        >>> bool(fitted.log_densities().sum() > fitted.bound)
        True
        """
        return super().log_densities(data)

    def sample(self, n: int, *, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return `n` rows drawn from the posterior predictive, a mixture of Student's t (Bishop, equation 10.81).

        Parameters
        ----------
        n : int
        rng : numpy.random.Generator, optional
            The source of randomness; a fresh one when left out.

        Raises
        ------
        InputError
            If `n` is no whole number of at least 1, or `rng` is no generator.

        Examples
        --------
        >>> import numpy as np
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.VariationalMixture(2), kem.datasets.load("nile")["flow"])
        >>> fitted.sample(3, rng=np.random.default_rng(0)).shape
        (3, 2)
        """
        rng, n, params = as_generator(rng), as_count(n, "n"), self.em.params
        labels = rng.choice(self.n_components, n, p=params.weights)
        problem: Any = self.problem
        degrees, noise = problem.precisions.drawn(params.degrees[labels], params.dim, rng)
        # S ν (1 + β) / (β ν'), ν' the degrees of the draw.
        beta = params.mean_precisions[labels]
        scale = np.sqrt(params.degrees[labels] * (1.0 + beta) / (beta * degrees))
        noise *= scale[:, None]
        roots = square_roots(params.covs)
        values = params.means[labels] + (roots[labels] @ noise[:, :, None])[:, :, 0]
        return pd.DataFrame(values, columns=list(self.panel.names)).assign(component=labels)

    def _facts(self) -> list[str]:
        n = sum(one.n_steps for one in self.panel)
        facts = [
            ("rows", f"{n}", "lower bound", f"{self.bound:.6g}"),
            ("observed values", f"{self.n_observed} of {n * self.panel.obs_dim}", "components kept", f"{self.n_kept}"),
        ]
        return [f"{a:<16} {b:<26}{c:<16}{d:>19}" for a, b, c, d in facts]
