"""A fitted factor analysis: loadings, scores, communalities, gaps filled, draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import as_count
from kalman_em.fitting.latent.latent_fit import LatentFit, labels_of
from kalman_em.fitting.summary import matrix_lines
from kalman_em.frames import moments_frame
from kalman_em.inference.arguments import as_generator
from kalman_em.latent.factor_params import FactorParams
from kalman_em.latent.factor_scores import completed_rows, factor_moments
from kalman_em.latent.rows import PatternedRows, patterned
from kalman_em.leaves import leaf
from kalman_em.observations import Panel


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class FactorFit(LatentFit):
    """A fitted `FactorAnalysis`; `params` are `mean` (p,), `loadings` (p, q) and `noise_variances` (p,).

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import kalman_em as kem
    >>> flowers = kem.datasets.load("iris").drop(columns="species")
    >>> fitted = kem.fit(kem.FactorAnalysis(1), flowers)
    >>> fitted.loadings.round(1)
                     factor1
    sepal_length_cm      0.7
    sepal_width_cm      -0.2
    petal_length_cm      1.8
    petal_width_cm       0.7
    """

    @property
    def loadings(self) -> pd.DataFrame:
        """What a factor's standard deviation adds to each column, in its units, shape (p, q).

        W' Ψ^-1 W is diagonal and falls; W R is as good for every rotation R.
        """
        return pd.DataFrame(np.array(self._own.loadings), index=list(self.panel.names), columns=self._factors)

    @property
    def noise_variances(self) -> pd.Series[float]:
        """The variance of each column that no factor explains, in its units squared, shape (p,)."""
        return self._by_column(self._own.noise_variances, "noise_variance")

    @property
    def communalities(self) -> pd.Series[float]:
        """The part of each column's variance that the factors explain, 0 to 1, shape (p,)."""
        return self._by_column(1.0 - self._own.noise_variances / np.diagonal(self._own.cov), "communality")

    def scores(self, data: Any = None) -> pd.DataFrame:
        """Return the expected factors of each row given what was observed of it, shape (n, q).

        Parameters
        ----------
        data : array_like or DataFrame, optional
            Other rows of the same columns; by default those of the fit.
        """
        panel, rows = self._seen(data)
        return pd.DataFrame(factor_moments(self._own, rows)[0], index=labels_of(panel), columns=self._factors)

    def score_covs(self, data: Any = None) -> pd.DataFrame:
        """Return the covariances of the factors of each row given what was observed of it.

        Returns
        -------
        DataFrame, shape (n q, q)
            A block of q rows for each row of the data; the index holds the row's label and the factor.
        """
        panel, rows = self._seen(data)
        covs = factor_moments(self._own, rows)[1]
        labels, q = labels_of(panel), self._own.n_factors
        index = pd.MultiIndex.from_arrays(
            [labels.repeat(q), self._factors * len(labels)], names=[labels.name, "factor"]
        )
        return pd.DataFrame(covs.reshape(-1, q), index=index, columns=self._factors)

    def impute(self, data: Any = None, *, levels: Any = ()) -> pd.DataFrame:
        """Return rows with missing entries at their expectation given the observed ones.

        Parameters
        ----------
        data : array_like or DataFrame, optional
            Other rows of the same columns; by default those of the fit.
        levels : sequence of float, or one
            Levels of the intervals, per cent.

        Returns
        -------
        DataFrame
            ``<column>``, ``<column>_sd`` (0 where observed), ``<column>_lower_95``, ``<column>_upper_95``, ...

        Raises
        ------
        InputError
            If `data` cannot be read or has other columns, or a level is not above 0 and below 100.
        """
        panel, rows = self._seen(data)
        values, sds = completed_rows(self._own, rows)
        # Bit for bit what was observed, which the centre of the data would round.
        given = np.concatenate([one.values for one in panel])
        values = np.where(np.isnan(given), values, given)
        return moments_frame(values, sds, panel.names, labels_of(panel), levels=levels)

    def score(self, data: Any) -> float:
        """Return log p(data) of other rows at the estimates: of the same columns, NaN where nothing was observed.

        Raises
        ------
        InputError
            If `data` cannot be read or has other columns.

        Examples
        --------
        >>> import kalman_em as kem
        >>> jobs = kem.datasets.load("us_employment").iloc[:, :4].diff().dropna()
        >>> fitted = kem.fit(kem.FactorAnalysis(1), jobs)
        >>> bool(abs(fitted.score(jobs) - fitted.log_likelihood) < 1e-6)
        True
        """
        problem: Any = self.problem
        return float(replace(problem, rows=self._seen(data)[1]).e_step(self._own)[1])

    def sample(self, n: int, *, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return `n` rows drawn from the fitted distribution.

        Raises
        ------
        InputError
            If `n` is no whole number of at least 1, or `rng` is no generator.
        """
        rng, params = as_generator(rng), self._own
        z = rng.standard_normal((as_count(n, "n"), params.n_factors))
        noise = rng.standard_normal((n, len(params.mean))) * np.sqrt(params.noise_variances)
        return pd.DataFrame(params.mean + z @ params.loadings.T + noise, columns=list(self.panel.names))

    def plot(self, *, ax: Any = None) -> Any:
        """Draw how each column hangs together with the factors; see `kalman_em.plotting.plot_loadings`."""
        return leaf("plotting").plot_loadings(self, ax=ax)

    @property
    def _own(self) -> FactorParams:
        params: FactorParams = self.em.params
        return params

    @property
    def _factors(self) -> list[str]:
        return [f"factor{k + 1}" for k in range(self._own.n_factors)]

    def _seen(self, data: Any) -> tuple[Panel, PatternedRows]:
        panel = self._rows_like(data)
        return panel, patterned(panel)

    def _by_column(self, values: Any, name: str) -> pd.Series[float]:
        return pd.Series(values, index=list(self.panel.names), name=name)

    def _own_facts(self) -> list[tuple[str, str]]:
        return [("factors", str(self._own.n_factors))]

    def _parameter_lines(self) -> list[str]:
        table = np.column_stack([self._own.loadings, self._own.noise_variances, self.communalities, self._own.mean])
        columns = [*self._factors, "noise variance", "communality", "mean"]
        return matrix_lines(table, None, list(self.panel.names), columns)
