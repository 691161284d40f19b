"""A fitted Gaussian mixture: the share of each component in each row, draws, completed rows, and criteria."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, as_count
from kalman_em.errors import InputError
from kalman_em.fitting.latent.latent_fit import LatentFit, labels_of
from kalman_em.fitting.latent.stream import MixtureStream
from kalman_em.fitting.latent.tables import gaussian_table, table_lines
from kalman_em.inference.arguments import as_generator
from kalman_em.latent.emissions import completed_rows
from kalman_em.latent.rows import patterned
from kalman_em.leaves import leaf
from kalman_em.observations import Panel


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

    @property
    def n_components(self) -> int:
        """Number of components, K."""
        return len(self.em.params.weights)

    def probabilities(self, data: Any = None) -> pd.DataFrame:
        """Return the probability of each component for each row, given what was observed of it.

        Parameters
        ----------
        data : Series, DataFrame, array_like of shape (n,) or (n, p), optional
            Other rows of the same columns, of a DataFrame chosen by their names; those that were learnt from when left
            out.

        Returns
        -------
        DataFrame, shape (n, K)
            Rows labelled as in the data; they sum to 1. A row without observed entries has the weights.

        Raises
        ------
        InputError
            If `data` cannot be read or has other columns.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"])
        >>> fitted.probabilities([[1100.0], [None]]).round(3).to_numpy().tolist()
        [[0.167, 0.833], [0.744, 0.256]]
        """
        panel, (shares, _) = self._seen(data)
        return pd.DataFrame(shares, index=labels_of(panel), columns=pd.RangeIndex(self.n_components, name="component"))

    def assign(self, data: Any = None) -> pd.Series[int]:
        """Return the most probable component of each row; the arguments are those of `probabilities`.

        A row without observed entries has that of the largest weight.

        Raises
        ------
        InputError
            If `data` cannot be read or has other columns.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"])
        >>> fitted.assign([700.0, 1200.0]).tolist()
        [0, 1]
        """
        panel, (shares, _) = self._seen(data)
        return pd.Series(shares.argmax(axis=1), index=labels_of(panel), name="component")

    def log_densities(self, data: Any = None) -> pd.Series[float]:
        """Return log p of what was observed in each row; the arguments are those of `probabilities`.

        Raises
        ------
        InputError
            If `data` cannot be read or has other columns.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"])
        >>> bool(abs(fitted.log_densities().sum() - fitted.log_likelihood) < 1e-9)
        True
        """
        panel, (_, heights) = self._seen(data)
        return pd.Series(heights, index=labels_of(panel), name="log_density")

    def impute(self, data: Any = None) -> pd.DataFrame:
        """Return the rows with each missing entry at its mean given what was observed of the row.

        That mean is Σ_k P(k given x_o) E[x_m given x_o, k]; what was observed stays as it is.

        Raises
        ------
        InputError
            If `data` cannot be read or has other columns.

        Examples
        --------
        >>> import numpy as np
        >>> import kalman_em as kem
        >>> x = np.random.default_rng(0).normal(size=(200, 1))
        >>> fitted = kem.fit(kem.GaussianMixture(1), np.column_stack([x, 2.0 * x + 0.1 * np.sin(50.0 * x)]))
        >>> fitted.impute([[1.0, None]]).round(1).to_numpy().tolist()
        [[1.0, 2.0]]
        """
        panel, (shares, _) = self._seen(data)
        filled = completed_rows(self.em.params, patterned(panel), shares)
        given = np.concatenate([one.values for one in panel])
        # Bit for bit what was observed, which the centre of the data would round.
        filled = np.where(np.isnan(given), filled, given)
        return pd.DataFrame(filled, index=labels_of(panel), columns=list(self.panel.names))

    def sample(self, n: int, *, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return `n` rows drawn from the mixture, with the component of each in the column ``component``.

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
        >>> fitted = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"])
        >>> drawn = fitted.sample(1000, rng=np.random.default_rng(0))
        >>> drawn.columns.tolist(), drawn["component"].value_counts().tolist()
        (['flow', 'component'], [725, 275])
        """
        rng, n = as_generator(rng), as_count(n, "n")
        labels = rng.choice(self.n_components, n, p=self.em.params.weights)
        drawn = pd.DataFrame(self.em.params.sample(labels, rng), columns=list(self.panel.names))
        return drawn.assign(component=labels)

    def stream(self, exponent: float = 0.6) -> MixtureStream:
        """Return a stream that goes on learning from here, batch by batch: see `MixtureStream`.

        Parameters
        ----------
        exponent : float
            Above 0.5, at most 1: of the steps γ = (m / n)^exponent; smaller ones forget sooner.

        Raises
        ------
        InputError
            If `exponent` is out of its range.

        Examples
        --------
        >>> import kalman_em as kem
        >>> stream = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"]).stream()
        >>> stream.n_rows, stream.partial_fit([900.0, 1100.0]).n_rows
        (100, 102)
        """
        if not 0.5 < exponent <= 1.0:
            raise InputError(f"exponent: expected a number above 0.5 and at most 1, got {exponent!r}")
        problem: Any = self.problem
        expectations, _ = problem.e_step(self.em.params)
        return MixtureStream(
            names=tuple(self.panel.names),
            problem=problem,
            latest=self.em.params,
            expectations=problem.pooled([(1.0 / self.n_rows, expectations)]),
            exponent=float(exponent),
            n_rows=self.n_rows,
        )

    def plot(self, *, columns: Sequence[str] | None = None, ax: Any = None) -> Any:
        """Draw the rows and the components, over one column or two; the axes are returned.

        Parameters
        ----------
        columns : sequence of str, optional
            One column or two; the first two when left out.
        ax : matplotlib Axes, optional
            Where to draw.

        Raises
        ------
        InputError
            If `columns` are not one or two of the data's own.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"])
        >>> fitted.plot().get_title()
        'GaussianMixture with 2 components'
        """
        return leaf("plotting").plot_mixture(self, columns=columns, ax=ax)

    @property
    def icl(self) -> float:
        """The integrated completed likelihood, BIC - 2 Σ log max_k P(k given row); lower is better.

        BIC, and a price for rows that lie between components (Biernacki, Celeux and Govaert, Assessing a mixture model
        for clustering with the integrated completed likelihood, IEEE PAMI 22 (2000)).
        """
        seen = np.concatenate([~one.is_missing.all(axis=1) for one in self.panel])
        _, (shares, _) = self._seen(None)
        return self.bic - 2.0 * float(np.log(shares[seen].max(axis=1)).sum())

    def _seen(self, data: Any) -> tuple[Panel, tuple[Array, Array]]:
        """Return rows, and their probabilities and log densities."""
        if data is None:
            return self.panel, self._posterior
        panel = self._rows_like(data)
        problem: Any = self.problem
        return panel, replace(problem, rows=patterned(panel)).probabilities(self.em.params)

    @cached_property
    def _posterior(self) -> tuple[Array, Array]:
        problem: Any = self.problem
        posterior: tuple[Array, Array] = replace(problem, rows=patterned(self.panel)).probabilities(self.em.params)
        return posterior

    def _own_facts(self) -> list[tuple[str, str]]:
        return [("components", str(self.n_components)), ("ICL", f"{self.icl:.6g}")]

    def _parameter_lines(self) -> list[str]:
        params = self.em.params
        cells = gaussian_table(self.panel.names, params.means, params.covs, weight=params.weights)
        return ["components", *("    " + line for line in table_lines(cells))]
