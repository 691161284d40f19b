"""What a fit says of the data it was learnt from: states, components, filled gaps, consistency."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.diagnostics import Consistency, consistency, innovations_frame
from kalman_em.errors import InputError
from kalman_em.fitting.decomposition import decomposed
from kalman_em.fitting.estimates import Estimates
from kalman_em.fitting.in_time import discretized_fit, smoothed_at
from kalman_em.fitting.states import LabelledFilteredStates, LabelledSmoothedStates
from kalman_em.frames import moments_frame
from kalman_em.inference.imputation import impute_rows
from kalman_em.inference.kalman import rts_smoother
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.models.leading import n_leading
from kalman_em.models.motion import Discretized
from kalman_em.panel_diagnostics import PanelConsistency, panel_consistency
from kalman_em.posteriors import FilteredStates
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False, kw_only=True)
class Hindsight(Estimates):
    """The estimates, and all that can be asked of them about the rows they were learnt from."""

    def filter(self, series: Hashable | None = None) -> LabelledFilteredStates:
        """Return the states given the data so far; `series` names one of a panel.

        Returns
        -------
        FilteredStates
            Means (T, d), covariances (T, d, d), innovations (T, p), in the units of the data; `to_frame` labels them.

        Raises
        ------
        InputError
            If there is no such series, or several and none is named.

        References
        ----------
        Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 4.3.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.filter().to_frame().round(1).tail(1)
              level  level_sd
        year
        1970  798.4      63.5
        """
        full = self._filtered(series)
        lead = n_leading(self.specification)
        parts = {
            part.name: getattr(full, part.name) for part in fields(FilteredStates) if str(part.type).startswith("Array")
        }
        arrays: dict[str, Any] = {name: None if part is None else part[lead:] for name, part in parts.items()}
        return LabelledFilteredStates(
            **arrays,
            numerics=full.numerics,
            # Without its leading row a series is not what was filtered.
            observations=None if lead else full.observations,
            index=self._series(series).index,
            state_names=self.specification.state_names,
        )

    def system_at_first_row(self, series: Hashable | None = None) -> LinearGaussianSystem:
        """Return the system with the prior at the first row of a series: what `kalman_filter` takes beside its rows.

        Where the model states its prior one step before the first row (``initial_step="before"``), `system` begins
        there, with a row to which no observation belongs; here that step has been taken:
        m becomes F m + b and P becomes F P F' + G Q G'. Elsewhere this is `system` itself.

        Raises
        ------
        InputError
            If the prior is one step before, and a parameter varies in time or the prior is diffuse.

        Examples
        --------
        >>> import kalman_em as kem
        >>> nile = kem.datasets.load("nile")["flow"]
        >>> level = kem.LinearGaussian(1, 1, transition_matrix=kem.Fixed([[1.0]]), observation_offset=kem.Full())
        >>> fitted = kem.fit(level, nile, stopping=kem.Stopping(max_iterations=20))
        >>> filtered = kem.kalman_filter(fitted.system_at_first_row(), kem.Observations(nile.to_numpy()[:, None]))
        >>> abs(filtered.log_likelihood - fitted.log_likelihood) < 1e-9
        True
        """
        if not n_leading(self.specification):
            return self.system
        self.specification.check_known_elsewhere("a system that begins at the first row")
        if self.system.has_diffuse:
            raise InputError("initial_cov: a diffuse prior one step before has no covariance at the first row")
        taken = self._filtered(series)
        return replace(self.system, initial_mean=taken.predicted_means[1], initial_cov=taken.predicted_covs[1])

    def smooth(self, series: Hashable | None = None, *, times: Any = None) -> LabelledSmoothedStates:
        """Return the states given all data; `series` names one of a panel.

        Parameters
        ----------
        series : hashable, optional
            The series of a panel.
        times : sequence of labels, optional
            For a model in continuous time: any times instead of those of the rows, between them, before or after; of
            the kind of the data's labels, in order.

        Returns
        -------
        SmoothedStates
            Means (T, d) and covariances (T, d, d), in the units of the data; `to_frame` labels them.

        Raises
        ------
        InputError
            If there is no such series, or several and none is named; or `times` are given to a model that moves once a
            row, out of order, or not like the labels of the data.

        References
        ----------
        Rauch, Tung and Striebel, Maximum likelihood estimates of linear dynamic systems, AIAA Journal 3 (1965).

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.smooth().to_frame().round(1).head(1)
               level  level_sd
        year
        1871  1111.7      63.5
        """
        if times is not None:
            return smoothed_at(
                self.system_of(series), self._in_time("times"), self._series(series), times, self._time_unit
            )
        smoothed = rts_smoother(self.system_of(series), self._filtered(series))
        lead = n_leading(self.specification)
        return LabelledSmoothedStates(
            smoothed_means=smoothed.smoothed_means[lead:],
            smoothed_covs=smoothed.smoothed_covs[lead:],
            lag_one_covs=smoothed.lag_one_covs[lead:],
            numerics=smoothed.numerics,
            index=self._series(series).index,
            state_names=self.specification.state_names,
        )

    def components(self, levels: Any = (95,), *, series: Hashable | None = None) -> pd.DataFrame:
        """Return the data taken apart: what every component of a sum adds to them, given all data, and what is left.

        The contributions are in the units of the data; with ``residual`` (data minus their sum, NaN where nothing was
        observed) and ``offset`` (where the model has one) they add up to the data. A model that is no sum is taken
        apart by its states; a state has no entry for a column that does not see it.

        Parameters
        ----------
        levels : sequence of float, or one
            Levels of the bands, per cent.
        series : hashable, optional
            The series of a panel.

        Returns
        -------
        DataFrame
            ``<component>``, ``<component>_sd`` and, for each level, ``<component>_lower_95``, ``<component>_upper_95``;
            of several columns of data ``<component>.<column>`` in their place.

        Raises
        ------
        InputError
            If a level is not above 0 and below 100 or repeats, or there is no such series.

        References
        ----------
        Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, section 2.3.

        Examples
        --------
        >>> import kalman_em as kem
        >>> gas = [160.1, 129.7, 84.8, 120.1, 160.1, 124.9, 84.8, 116.9, 169.7, 140.9, 89.7, 123.3, 187.3, 144.1, 92.9]
        >>> parts = kem.fit(kem.LocalLevel() + kem.Seasonal(4), gas).components(levels=())
        >>> parts.columns.tolist()
        ['level', 'level_sd', 'seasonal', 'seasonal_sd', 'residual', 'residual_sd']
        >>> bool(abs(parts.level + parts.seasonal + parts.residual - gas).max() < 1e-9)
        True
        """
        return decomposed(self, series, levels)

    def impute(self, levels: Any = (), *, series: Hashable | None = None) -> pd.DataFrame:
        """Return the data with gaps filled by their expectation given everything observed.

        Observed values are kept, with standard deviation 0.

        Parameters
        ----------
        levels : sequence of float, or one
            Levels of the intervals, per cent.
        series : hashable, optional
            The series of a panel.

        Returns
        -------
        DataFrame
            ``<column>``, ``<column>_sd`` and, for each level, ``<column>_lower_95``, ``<column>_upper_95``.

        Raises
        ------
        InputError
            If a level is not above 0 and below 100 or repeats, or there is no such series.

        Examples
        --------
        >>> import kalman_em as kem
        >>> gappy = kem.datasets.load("nile")["flow"]
        >>> gappy.iloc[30:40] = float("nan")
        >>> filled = kem.fit(kem.LocalLevel(), gappy).impute(levels=(95,))
        >>> filled["flow"].notna().all(), list(filled.columns)
        (np.True_, ['flow', 'flow_sd', 'flow_lower_95', 'flow_upper_95'])
        """
        one = self._series(series)
        lead = n_leading(self.specification)
        system = self.system_of(series)
        smoothed = rts_smoother(system, self._filtered(series))
        rows = stack_rows([self._led[self._key(series)]])
        means, variances = impute_rows(lay(system, rows), rows, smoothed.smoothed_means, smoothed.smoothed_covs)
        return moments_frame(means[lead:], np.sqrt(variances[lead:]), one.names or (), one.index, levels=levels)

    def consistency(
        self, *, lags: int | None = None, level: float = 95.0, series: Hashable | None = None
    ) -> Consistency | PanelConsistency:
        """Return whether the innovations are as large as the model says and white: is the learnt noise consistent?

        The normalised innovation squared v' S^-1 v of a row is chi-square with as many degrees of freedom as the row
        has values; its mean and each row's own are compared with the bands of that distribution.

        Parameters
        ----------
        lags : int, optional
            Lags of the Ljung-Box test of whiteness; min(10, T // 5) when left out.
        level : float
            Level of the bands, per cent.
        series : hashable, optional
            The series of a panel; the verdict is on all of them together when left out.

        Returns
        -------
        Consistency, or PanelConsistency for all series of a panel
            Prints as a report.

        Raises
        ------
        InputError
            If `level` is not above 0 and below 100, `lags` not a whole number from 1 to T - 2, or there is no such
            series.

        References
        ----------
        Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.4.2.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> report = fitted.consistency(lags=5)
        >>> report.is_consistent, round(report.mean_nis, 2)
        (True, 1.0)
        """
        names, keys = self.panel.names, self.panel.keys or ()
        if series is None and len(keys) > 1:
            return panel_consistency(
                {key: consistency(self.filter(key), names, lags=lags, level=level) for key in keys}
            )
        return consistency(self.filter(series), names, lags=lags, level=level)

    def innovations(self, *, series: Hashable | None = None) -> pd.DataFrame:
        """Return the innovations of each row, y minus its prediction from the rows before, with their labels.

        Parameters
        ----------
        series : hashable, optional
            The series of a panel.

        Returns
        -------
        DataFrame, T rows
            ``innovation``, ``innovation_sd``, in the units of the data, and ``standardised``: independent numbers of
            variance 1 if the model is right, each column of a row given those before it. For several columns each name
            starts with that of its column. NaN where a value is missing or nothing yet predicts it.

        Raises
        ------
        InputError
            If there is no such series.

        References
        ----------
        Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 2.12.1.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.innovations().loc["1877":"1879"].round(2)
              innovation  innovation_sd  standardised
        year
        1877     -325.46         144.34         -2.25
        1878      181.15         143.96          1.26
        1879      271.97         143.76          1.89
        """
        return innovations_frame(self.filter(series), self.panel.names, self._series(series).index)

    def discretize(self, dt: float, *, series: Hashable | None = None) -> Discretized:
        """Return how the state moves over the time `dt`: F and Q, for a filter that runs elsewhere.

        For models in continuous time; `dt` is in their unit of time. `series` names one of a panel, where each has a
        density of its own.

        Raises
        ------
        InputError
            If the model moves once a row, or `dt` is not positive.

        Examples
        --------
        >>> import kalman_em as kem
        >>> track = kem.Observations([[0.0], [1.1], [1.9], [4.2]], times=[0.0, 1.0, 2.5, 4.0])
        >>> moved = kem.fit(kem.ConstantVelocity(), track).discretize(0.5)
        >>> moved.transition_matrix.tolist()
        [[1.0, 0.5], [0.0, 1.0]]
        """
        self._in_time("dt")
        own = "transition_cov" in self.specification.by_series
        return discretized_fit(self.system_of(series) if own else self.system.of_series(0), dt)

    def _in_time(self, argument: str) -> tuple[str, ...]:
        """Return the names of the states; `InputError` naming `argument` if the model moves once a row."""
        if self.specification.dynamics is None:
            raise InputError(f"{argument}: is for models in continuous time, got {type(self.model).__name__}")
        return self.specification.state_names

    @property
    def _time_unit(self) -> str:
        return str(getattr(self.model, "time_unit", "s"))
