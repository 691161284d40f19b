"""`Fit`: what was learnt, and everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.diagnostics import Consistency, consistency
from kalman_em.em.result import EMIteration
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping
from kalman_em.errors import InputError
from kalman_em.fitting.ahead import drawn, forecasted
from kalman_em.fitting.decomposition import decomposed
from kalman_em.fitting.estimates import Estimates
from kalman_em.fitting.extending import extended
from kalman_em.fitting.in_time import discretized_fit, drawn_in_time, extended_in_time, forecasted_in_time, smoothed_at
from kalman_em.fitting.learning import learn
from kalman_em.fitting.rereading import read_like
from kalman_em.fitting.starting import free_values
from kalman_em.fitting.states import LabelledFilteredStates, LabelledSmoothedStates
from kalman_em.fitting.summary import Summary, in_short, summarised
from kalman_em.forecasting import Forecast
from kalman_em.frames import moments_frame
from kalman_em.inference.imputation import impute_rows
from kalman_em.inference.kalman import rts_smoother
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.leaves import leaf
from kalman_em.models.leading import n_leading
from kalman_em.models.motion import Discretized
from kalman_em.posteriors import FilteredStates
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Fit(Estimates):
    """A fitted model with its data.

    Attributes
    ----------
    model : object
        The model as it was stated.
    specification : Specification
        The model laid out for these data.
    panel : Panel
        The data, with row labels and column names; a panel of one for a single series.
    em : EMResult
        How the fit went: history, stop reason, and the parameters as a system.
    params : Parameters
        The learnt and the fixed parameters, by name.
    system : LinearGaussianSystem
        Every matrix of the state-space form at those parameters.
    numerics : str
        "square_root" if EM carried factors of covariances, asked to or because it needed them; else "standard".

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> fitted
    Fit(LocalLevel of flow: 100 rows, log-likelihood -633.465, converged)
    >>> print(fitted.em)
    converged after ... iterations, log-likelihood -633.46456.
    >>> fitted.n_parameters, round(fitted.aicc, 2)
    (2, 1271.05)
    """

    def __repr__(self) -> str:
        return in_short(self)

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
            return smoothed_at(self.system, self._in_time("times"), self._series(series), times, self._time_unit)
        smoothed = rts_smoother(self.system, self._filtered(series))
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
        apart by its states.

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
        smoothed = rts_smoother(self.system, self._filtered(series))
        rows = stack_rows([self._led[self._key(series)]])
        means, variances = impute_rows(lay(self.system, rows), rows, smoothed.smoothed_means, smoothed.smoothed_covs)
        return moments_frame(means[lead:], np.sqrt(variances[lead:]), one.names or (), one.index, levels=levels)

    def forecast(
        self,
        steps: int | None = None,
        *,
        inputs: Any = None,
        index: Any = None,
        times: Any = None,
        series: Hashable | None = None,
    ) -> Forecast:
        """Return the predictive distribution of the `steps` rows after the end.

        Parameters
        ----------
        steps : int
            How far, at least 1. In continuous time a step is that of the labels where they tick regularly, and else the
            median gap of the series.
        inputs : array_like of shape (steps, k) or (steps,), Series or DataFrame, optional
            The inputs at those rows; needed if the fit had inputs. With labels, they must be those of the forecast.
        index : sequence of length `steps`, optional
            Labels of those rows; the data's index continued when left out. Labels of the kind of the data's must
            follow on from them.
        times : sequence of labels, optional
            For a model in continuous time, in the place of `steps`: the times to forecast, after the end of the series,
            in order.
        series : hashable, optional
            The series of a panel.

        Raises
        ------
        InputError
            If `steps` is not a whole number of at least 1, the index cannot be continued or `index` does not follow
            on, or inputs are missing, superfluous or of the wrong shape.

        References
        ----------
        Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 4.11.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.forecast(2).to_frame(levels=(95,)).round(0)
               mean     sd  lower_95  upper_95
        year
        1971  798.0  144.0     517.0    1080.0
        1972  798.0  149.0     507.0    1090.0
        """
        one = self._series(series)
        self.specification.check_known_elsewhere("the rows ahead")
        if self.specification.dynamics is not None or times is not None:
            return forecasted_in_time(
                self.system,
                self._in_time("times"),
                self._filtered(series),
                one,
                steps,
                index if times is None else times,
                self._time_unit,
            )
        return forecasted(
            self.system, self._filtered(series), one, self.specification.state_names, steps, inputs, index, self.model
        )

    def simulate(
        self,
        n_steps: int | None = None,
        *,
        rng: np.random.Generator | None = None,
        inputs: Any = None,
        series: Hashable | None = None,
    ) -> pd.DataFrame:
        """Return a series drawn from the fitted model.

        A diffuse start has no distribution; the first state is then drawn from its smoothed one.

        Parameters
        ----------
        n_steps : int, optional
            Its length; that of the data when left out. In continuous time another length has rows at the median gap.
        rng : numpy.random.Generator, optional
            The source of randomness; a fresh one when left out.
        inputs : array_like of shape (n_steps, k) or (n_steps,), Series or DataFrame, optional
            Inputs of the new rows; those of the data when left out and the length is that of the data.
        series : hashable, optional
            The series of a panel, for length, labels and start.

        Returns
        -------
        DataFrame
            The columns of the data, and their labels if the length is theirs.

        Raises
        ------
        InputError
            If `n_steps` is not a whole number of at least 1, `rng` not a generator, or inputs are missing, superfluous
            or of the wrong shape.

        Examples
        --------
        >>> import numpy as np
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.simulate(5, rng=np.random.default_rng(0)).shape
        (5, 1)
        """
        one = self._series(series)
        smoothed = rts_smoother(self.system, self._filtered(series)) if self.system.has_diffuse else None
        if self.specification.dynamics is not None:
            return drawn_in_time(self.system, one, smoothed, n_steps, rng)
        return drawn(self.system, self.specification, one, smoothed, n_steps, rng, inputs)

    def extend(self, data: Any, *, inputs: Any = None, series: Hashable | None = None) -> Fit:
        """Return this fit with new rows appended to a series, parameters unchanged.

        Smooth, forecast and log-likelihood of the result are those of all rows; `em` stays the history of the
        original fit.

        Parameters
        ----------
        data : Series, DataFrame, Observations or array_like of shape (T,) or (T, p)
            The new rows, with the columns of the series; labels must follow on, and are continued for an array.
        inputs : array_like of shape (T, k) or (T,), Series or DataFrame, optional
            Their inputs; needed if the fit had inputs.
        series : hashable, optional
            The series of a panel.

        Raises
        ------
        InputError
            If the columns differ, labels overlap or leave a gap, inputs are missing or superfluous, or a known
            parameter varies in time.

        Examples
        --------
        >>> import kalman_em as kem
        >>> nile = kem.datasets.load("nile")["flow"]
        >>> longer = kem.fit(kem.LocalLevel(), nile[:90]).extend(nile[90:])
        >>> len(longer.smooth().to_frame()), str(longer.forecast(1).index[0])
        (100, '1971')
        """
        self.specification.check_known_elsewhere("new rows")
        if self.specification.dynamics is not None:
            panel = extended_in_time(self.panel, self._key(series), data, self._time_unit)
        else:
            panel = extended(self.panel, self._key(series), data, inputs, self.model)
        return Fit(model=self.model, specification=self.specification, panel=panel, em=self.em, numerics=self.numerics)

    def refit(
        self,
        data: Any,
        *,
        start: Any = None,
        stopping: Stopping = DEFAULT_STOPPING,
        method: str = "em",
        numerics: str | None = None,
        n_starts: int = 1,
        seed: int | np.random.Generator | None = None,
        inputs: Any = None,
        time: Hashable | None = None,
        series: Hashable | None = None,
        values: Any = None,
        progress: bool = False,
        callback: Callable[[EMIteration[LinearGaussianSystem]], object] | None = None,
    ) -> Fit:
        """Return the model learnt anew from `data`, beginning at these estimates.

        The arguments are those of `kalman_em.fit`; a `start` of one's own takes the place of the estimates. Without
        `numerics`, a fit that needed square roots is refitted with them.

        Raises
        ------
        InputError
            If `data` has other columns or inputs than the fit, or an argument cannot be used.

        Examples
        --------
        >>> import kalman_em as kem
        >>> nile = kem.datasets.load("nile")["flow"]
        >>> fitted = kem.fit(kem.LocalLevel(), nile)
        >>> fitted.refit(nile).em.n_iterations < fitted.em.n_iterations
        True
        """
        if start is None:
            data = read_like(self.panel, data, inputs=inputs, time=time, series=series, values=values)
            start = free_values(self.specification, self.system)
            inputs = time = series = values = None
        learnt = learn(
            self.model,
            data,
            start=start,
            stopping=stopping,
            method=method,
            numerics=self._arithmetic if numerics is None else numerics,
            n_starts=n_starts,
            seed=seed,
            inputs=inputs,
            time=time,
            series=series,
            values=values,
            progress=progress,
            callback=callback,
        )
        return Fit(
            model=self.model,
            specification=learnt.specification,
            panel=learnt.panel,
            em=learnt.em,
            numerics=learnt.numerics,
        )

    def consistency(
        self, *, lags: int | None = None, level: float = 95.0, series: Hashable | None = None
    ) -> Consistency:
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
            The series of a panel.

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
        return consistency(self.filter(series), self.panel.names, lags=lags, level=level)

    def discretize(self, dt: float) -> Discretized:
        """Return how the state moves over the time `dt`: F and Q, for a filter that runs elsewhere.

        For models in continuous time; `dt` is in their unit of time.

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
        return discretized_fit(self.system, dt)

    def _in_time(self, argument: str) -> tuple[str, ...]:
        """Return the names of the states; `InputError` naming `argument` if the model moves once a row."""
        if self.specification.dynamics is None:
            raise InputError(f"{argument}: is for models in continuous time, got {type(self.model).__name__}")
        return self.specification.state_names

    @property
    def _time_unit(self) -> str:
        return str(getattr(self.model, "time_unit", "s"))

    def summary(self, *, standard_errors: bool = False) -> Summary:
        """Return the parameters, the fit criteria and why EM stopped, as a text that prints well.

        Parameters
        ----------
        standard_errors : bool
            Whether to show each number's standard error in parentheses; working them out takes two E-steps a number.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> print(fitted.summary())
        LocalLevel of flow
        ==============================================================================
        rows             100                       log-likelihood              -633.465
        ...
        EM: converged after ... iterations, log-likelihood -633.46456.
        """
        return summarised(self, self.standard_errors if standard_errors else None)

    def crosscheck(self, *, max_iterations: int = 100) -> Any:
        """Return a comparison with statsmodels: likelihood, smoother and optimum (see `kalman_em.crosscheck`).

        Parameters
        ----------
        max_iterations : int
            Iterations at most of each climb of statsmodels' optimiser.

        Returns
        -------
        CrossCheck
            Prints as a report.

        Raises
        ------
        InputError
            If `max_iterations` is not a whole number of at least 1.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.crosscheck(max_iterations=50).agrees
        True
        """
        return leaf("crosscheck").crosscheck(self, max_iterations=max_iterations)

    def plot(
        self,
        *,
        steps: int = 0,
        forecast: Forecast | None = None,
        levels: Any = (95,),
        series: Hashable | None = None,
        columns: Sequence[str] | None = None,
        last: int | None = None,
        units: Mapping[str, str] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the data, the smoothed signal with its band and a forecast.

        The arguments are those of `kalman_em.plotting.plot_fit`; the axes are returned, or an array of them.

        Raises
        ------
        InputError
            If an argument cannot be used.

        Examples
        --------
        >>> import kalman_em as kem
        >>> nile = kem.datasets.load("nile")
        >>> fitted = kem.fit(kem.LocalLevel(), nile["flow"])
        >>> fitted.plot(steps=10, units=nile.attrs["units"]).get_ylabel()
        'flow (1e8 m3)'
        """
        options = {"levels": levels, "series": series, "columns": columns, "last": last, "units": units, "ax": ax}
        return leaf("plotting").plot_fit(self, steps=steps, forecast=forecast, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fit with its data as JSON; `kalman_em.load` reads it back exactly.

        Parameters
        ----------
        path : path
            The file; one that is there is replaced.

        Raises
        ------
        InputError
            If `path` is no path, or the model or the row labels are of a kind that cannot be read back.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fitted.save(pathlib.Path(folder) / "nile.json")
        ...     kem.load(pathlib.Path(folder) / "nile.json").params == fitted.params
        True
        """
        leaf("persistence").save(self, path)
