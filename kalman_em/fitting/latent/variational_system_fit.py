"""A fitted Bayesian state-space model: which states it needs, what is known of its parameters, states and rows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, as_count
from kalman_em.fitting.latent.bound_fit import BoundFit
from kalman_em.fitting.latent.latent_fit import labels_of
from kalman_em.fitting.states import LabelledSmoothedStates
from kalman_em.fitting.summary import matrix_lines, wrapped
from kalman_em.forecasting import Forecast
from kalman_em.frames import continued_index, moments_frame
from kalman_em.latent.variational_system_ahead import moved_on, seen_moments
from kalman_em.latent.variational_system_params import VariationalSystem
from kalman_em.latent.variational_system_rows import Chain
from kalman_em.leaves import leaf
from kalman_em.linalg import symmetrised
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class VariationalLinearGaussianFit(BoundFit):
    """A fitted `VariationalLinearGaussian`; `params` are the numbers of the posterior (see `VariationalSystem`).

    `log_likelihood` is the evidence lower bound, which pays for every parameter already: there are no AIC and BIC.

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import kalman_em as kem
    >>> flow = kem.datasets.load("nile")["flow"]
    >>> fitted = kem.fit(kem.VariationalLinearGaussian(2), flow)
    >>> fitted.n_relevant, fitted.forecast(2).to_frame(levels=()).round(-1).to_numpy().tolist()
    (1, [[810.0, 140.0], [830.0, 150.0]])
    """

    @property
    def relevance(self) -> pd.Series[float]:
        """How much of a state's columns of F and H the data tell, 0 (the prior alone) to 1, shape (d,).

        The larger of 1 - E[α_j] Var[f_ij] and of the mean of 1 - E[γ_j] V_ijj over the columns: the well-determined
        share of MacKay, Bayesian interpolation, Neural Computation 4 (1992), section 3.
        """
        return pd.Series(self._own.relevance, index=self.state_names, name="relevance")

    @property
    def n_relevant(self) -> int:
        """Number of states whose relevance is above one half: the number of states that was learnt."""
        return int(np.count_nonzero(self.relevance > 0.5))

    @property
    def state_names(self) -> list[str]:
        """``x1``, ``x2``, ..."""
        return [f"x{i + 1}" for i in range(self._own.state_dim)]

    @property
    def transition_matrix(self) -> pd.DataFrame:
        """Posterior means of F, shape (d, d); every row has the covariance ``params.transition_cov``."""
        return pd.DataFrame(self._own.transition_means.copy(), index=self.state_names, columns=self.state_names)

    @property
    def transition_matrix_sds(self) -> pd.DataFrame:
        """Posterior standard deviations of F, shape (d, d)."""
        sds = np.sqrt(np.diagonal(self._own.transition_cov))
        return pd.DataFrame(np.tile(sds, (len(sds), 1)), index=self.state_names, columns=self.state_names)

    @property
    def observation_matrix(self) -> pd.DataFrame:
        """Posterior means of H, in units of the columns a standard deviation of a state's noise, shape (p, d)."""
        return self._by_column(self._own.observation_means[:, :-1])

    @property
    def observation_matrix_sds(self) -> pd.DataFrame:
        """Posterior standard deviations of H, shape (p, d)."""
        return self._by_column(self._row_sds[:, :-1])

    @property
    def observation_offset(self) -> pd.DataFrame:
        """Posterior means and standard deviations of the offset of each column, shape (p, 2)."""
        table = np.column_stack([self._own.observation_means[:, -1], self._row_sds[:, -1]])
        return pd.DataFrame(table, index=list(self.panel.names), columns=["mean", "sd"])

    @property
    def noise_variances(self) -> pd.Series[float]:
        """Posterior means E[1 / ρ] of the noise variances, shape (p,)."""
        return pd.Series(self._noise, index=list(self.panel.names), name="noise_variance")

    def system(self, *, relevant: bool = True) -> LinearGaussianSystem:
        """Return the system at the posterior means, of the relevant states alone unless told otherwise.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.VariationalLinearGaussian(2), kem.datasets.load("nile")["flow"])
        >>> fitted.system().state_dim, fitted.system(relevant=False).state_dim
        (1, 2)
        """
        own = self._own
        kept = np.flatnonzero(self.relevance > 0.5) if relevant and self.n_relevant else np.arange(own.state_dim)
        eye = np.eye(len(kept))
        return LinearGaussianSystem(
            transition_matrix=own.transition_means[np.ix_(kept, kept)],
            transition_cov=eye,
            observation_matrix=own.observation_means[:, kept],
            observation_offset=own.observation_means[:, -1],
            observation_cov=np.diag(self._noise),
            initial_mean=np.zeros(len(kept)),
            initial_cov=eye / own.initial_precision,
        )

    def smooth(self, *, series: Hashable | None = None) -> LabelledSmoothedStates:
        """Return q(x): means and covariances of the states given all data, the parameters' uncertainty counted.

        Parameters
        ----------
        series : hashable, optional
            The series of a panel.

        Raises
        ------
        InputError
            If there is no such series.
        """
        position = self.position(series)
        means, covs, lag_one_covs = self._states(position)
        return LabelledSmoothedStates(
            smoothed_means=means,
            smoothed_covs=covs,
            lag_one_covs=lag_one_covs,
            index=labels_of(Panel((self.panel.series[position],))),
            state_names=tuple(self.state_names),
        )

    def signal(self, *, levels: Any = (), series: Hashable | None = None) -> pd.DataFrame:
        """Return the expected signal H x + d given all data, without the noise of a row.

        Parameters
        ----------
        levels : sequence of float, or one
            Levels of the intervals, per cent.
        series : hashable, optional
            The series of a panel.

        Returns
        -------
        DataFrame
            ``<column>``, ``<column>_sd`` (of the states, H and d under q), ``<column>_lower_95``, ...

        Raises
        ------
        InputError
            If there is no such series, or a level is not above 0 and below 100.
        """
        position = self.position(series)
        means, covs, _ = self._states(position)
        expected, spread = seen_moments(self._own, means, covs)
        variances = np.diagonal(spread, axis1=1, axis2=2) - self._noise
        index = labels_of(Panel((self.panel.series[position],)))
        return moments_frame(expected, np.sqrt(variances), self.panel.names, index, levels=levels)

    def impute(self, *, levels: Any = (), series: Hashable | None = None) -> pd.DataFrame:
        """Return the rows with missing entries at their expectation given all data.

        Parameters
        ----------
        levels : sequence of float, or one
            Levels of the intervals, per cent.
        series : hashable, optional
            The series of a panel.

        Returns
        -------
        DataFrame
            ``<column>``, ``<column>_sd`` (0 where observed), ``<column>_lower_95``, ``<column>_upper_95``, ...

        Raises
        ------
        InputError
            If there is no such series, or a level is not above 0 and below 100.
        """
        position = self.position(series)
        one = self.panel.series[position]
        means, covs, _ = self._states(position)
        expected, spread = seen_moments(self._own, means, covs)
        sds = np.sqrt(np.diagonal(spread, axis1=1, axis2=2))
        values = np.where(one.is_missing, expected, one.values)
        index = labels_of(Panel((one,)))
        return moments_frame(values, np.where(one.is_missing, sds, 0.0), self.panel.names, index, levels=levels)

    def forecast(self, steps: int, *, series: Hashable | None = None) -> Forecast:
        """Return the moments of the rows and states ahead.

        The uncertainty of F, H, d and ρ under q enters every step: means and covariances one step on are exact under q;
        further on F counts as drawn anew at each step, which leaves out that an F too large stays so.

        Parameters
        ----------
        steps : int
            How far, at least 1.
        series : hashable, optional
            The series of a panel.

        Raises
        ------
        InputError
            If `steps` is no whole number of at least 1, there is no such series, or its index cannot be continued.
        """
        steps = as_count(steps, "steps")
        position = self.position(series)
        one = self.panel.series[position]
        means, covs, _ = self._states(position)
        found = [(means[-1], covs[-1])]
        for _ in range(steps):
            found.append(moved_on(self._own, *found[-1])[:2])
        state_means, state_covs = (np.array(part) for part in zip(*found[1:], strict=True))
        expected, spread = seen_moments(self._own, state_means, state_covs)
        return Forecast(
            means=expected,
            covs=spread,
            names=self.panel.names,
            index=continued_index(one.index, steps),
            state_means=state_means,
            state_covs=state_covs,
            state_names=tuple(self.state_names),
        )

    def plot(
        self,
        *,
        levels: Any = (95,),
        series: Hashable | None = None,
        columns: Sequence[str] | None = None,
        last: int | None = None,
        units: Mapping[str, str] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the data and the expected signal with its interval.

        The arguments are those of `kalman_em.plotting.plot_signal`; the axes are returned, or an array of them.

        Raises
        ------
        InputError
            If an argument cannot be used.
        """
        options = {"series": series, "columns": columns, "last": last, "units": units, "ax": ax}
        return leaf("plotting").plot_signal(self, levels=levels, **options)

    @property
    def _own(self) -> VariationalSystem:
        params: VariationalSystem = self.em.params
        return params

    @property
    def _noise(self) -> Array:
        result: Array = self._own.noise_rates / (self._own.noise_shapes - 1.0)
        return result

    @property
    def _row_sds(self) -> Array:
        variances = np.diagonal(self._own.observation_covs, axis1=1, axis2=2)
        return np.asarray(np.sqrt(self._noise[:, None] * variances))

    @cached_property
    def _chain(self) -> Chain:
        problem: Any = self.problem
        found: Chain = problem.chain(self._own)
        return found

    def _states(self, position: int) -> tuple[Array, Array, Array]:
        """Return means, covariances and lag-one covariances of a series, moved on beyond its last observed row."""
        problem: Any = self.problem
        n_steps = self.panel.series[position].n_steps
        begin, end = problem.rows.starts[position : position + 2]
        means, covs = list(self._chain.means[begin:end]), list(self._chain.covs[begin:end])
        lag_one_covs = list(self._chain.lag_one_covs[begin : end - 1])
        for _ in range(n_steps - (end - begin)):
            mean, cov, lag_one_cov = moved_on(self._own, means[-1], covs[-1])
            means.append(mean)
            covs.append(cov)
            lag_one_covs.append(lag_one_cov)
        d = self._own.state_dim
        return np.array(means), symmetrised(np.array(covs)), np.array(lag_one_covs).reshape(-1, d, d)

    def _by_column(self, values: Array) -> pd.DataFrame:
        return pd.DataFrame(values.copy(), index=list(self.panel.names), columns=self.state_names)

    def _facts(self) -> list[str]:
        n = self._n_all_rows()
        series = f" in {self.panel.n_series} series" if self.panel.n_series > 1 else ""
        facts = [
            ("rows", f"{n}{series}", "lower bound", f"{self.bound:.6g}"),
            (
                "observed values",
                f"{self.n_observed} of {n * self.panel.obs_dim}",
                "relevant states",
                f"{self.n_relevant} of {self._own.state_dim}",
            ),
        ]
        return [f"{a:<16} {b:<26}{c:<16}{d:>19}" for a, b, c, d in facts]

    def _parameter_lines(self) -> list[str]:
        own = self._own
        kept = np.flatnonzero(self.relevance > 0.5)
        names = [self.state_names[i] for i in kept]
        left = [name for name in self.state_names if name not in names]
        moves = np.column_stack([self.relevance.to_numpy()[kept], own.transition_means[np.ix_(kept, kept)]])
        seen = np.column_stack([own.observation_means[:, [*kept, -1]], self._noise])
        lines = ["states: how relevant, and posterior means of F"]
        if names:
            lines += _indented(matrix_lines(moves, None, names, ["relevance", *(f"from {name}" for name in names)]))
        if left:
            lines += _indented(wrapped(f"switched off: {', '.join(left)}"))
        lines.append("columns: posterior means of H, offset and noise variance")
        return lines + _indented(matrix_lines(seen, None, list(self.panel.names), [*names, "offset", "noise variance"]))


def _indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]
