"""Forecasts of models with regimes: their probabilities, and a mixture of Gaussians for every row ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from kalman_em.arrays import Array
from kalman_em.frames import checked_levels, frame_of, interval_columns, standard_deviations

# Halvings after which a bracket is as narrow as rounding.
MOST_HALVINGS = 200


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class RegimeForecast:
    """The predictive distribution of the h rows after the end of a series, a mixture of M Gaussians at every row.

    Attributes
    ----------
    probabilities : ndarray, shape (h, K)
        Of the regimes.
    weights : ndarray, shape (h, M)
    component_means : ndarray, shape (h, M, p)
    component_covs : ndarray, shape (h, M, p, p)
    names : tuple of str of length p
        Of the observed columns.
    index : pandas Index of length h
        Labels of the rows.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> forecast = RegimeForecast(
    ...     probabilities=np.array([[0.5, 0.5]]), weights=np.array([[0.5, 0.5]]),
    ...     component_means=np.array([[[-1.0], [1.0]]]), component_covs=np.ones((1, 2, 1, 1)),
    ...     names=("y",), index=pd.Index([5]))
    >>> forecast.to_frame(levels=(95,)).round(3)
       mean     sd  lower_95  upper_95
    5   0.0  1.414    -2.646     2.646
    """

    probabilities: Array
    weights: Array
    component_means: Array
    component_covs: Array
    names: tuple[str, ...]
    index: pd.Index[Any]

    def __repr__(self) -> str:
        first, last = self.index[0], self.index[-1]
        return f"RegimeForecast({', '.join(self.names)}: {self.n_steps} rows, {first} to {last}; see to_frame())"

    @property
    def n_steps(self) -> int:
        """Number of rows ahead, h."""
        return len(self.index)

    @property
    def means(self) -> Array:
        """Means of the observations, shape (h, p)."""
        return np.asarray(np.einsum("hm,hmp->hp", self.weights, self.component_means))

    @property
    def covs(self) -> Array:
        """Their covariances, shape (h, p, p): within the components and between them."""
        off = self.component_means - self.means[:, None, :]
        inside = self.component_covs + off[:, :, :, None] * off[:, :, None, :]
        return np.asarray(np.einsum("hm,hmpq->hpq", self.weights, inside))

    def quantiles(self, share: float) -> Array:
        """Return the values that the observations stay below with probability `share`, shape (h, p).

        Of the mixture itself, by halving; no Gaussian takes its place.
        """
        sds = standard_deviations(self.component_covs)
        ends = self.component_means + float(scipy.special.ndtri(share)) * sds
        low, high = ends.min(axis=1), ends.max(axis=1)
        scale = np.where(sds > 0.0, sds, 1.0)
        for _ in range(MOST_HALVINGS):
            middle = low + 0.5 * (high - low)
            if np.all((middle <= low) | (middle >= high)):
                break
            off = middle[:, None, :] - self.component_means
            below = np.where(sds > 0.0, scipy.special.ndtr(off / scale), (off >= 0.0).astype(np.float64))
            is_low = np.einsum("hm,hmp->hp", self.weights, below) < share
            low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
        return np.asarray(low + 0.5 * (high - low))

    def to_frame(self, levels: Any = (80, 95)) -> pd.DataFrame:
        """Return the observations ahead as a table, with central intervals between quantiles of the mixture.

        Parameters
        ----------
        levels : sequence of float, or one
            Levels of the intervals, per cent.

        Returns
        -------
        DataFrame
            ``mean``, ``sd``, ``lower_80``, ``upper_80``, ... for one observed column; with several each name starts
            with that of its column: ``<name>_mean``, ...

        Raises
        ------
        InputError
            If a level is not above 0 and below 100, or repeats.
        """
        values = [self.means, standard_deviations(self.covs)]
        for level in checked_levels(levels):
            values += [self.quantiles(0.5 - level / 200.0), self.quantiles(0.5 + level / 200.0)]
        parts = ["mean", "sd", *interval_columns(levels)]
        prefixes = [f"{name}_" for name in self.names] if len(self.names) > 1 else [""]
        columns = [prefix + part for prefix in prefixes for part in parts]
        return frame_of(np.stack(values, axis=2).reshape(self.n_steps, -1), self.index, columns)

    def regimes_frame(self) -> pd.DataFrame:
        """Return the probabilities of the regimes, one row a step ahead."""
        return pd.DataFrame(self.probabilities, index=self.index, columns=pd.RangeIndex(self.probabilities.shape[1]))
