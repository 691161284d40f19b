"""`Fit`: what was learnt, and everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import frozen
from kalman_em.em.result import EMIteration
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping
from kalman_em.fitting.ahead import drawn, forecasted
from kalman_em.fitting.certainty import with_certainty
from kalman_em.fitting.extending import extended, rows_of_frame
from kalman_em.fitting.hindsight import Hindsight
from kalman_em.fitting.in_time import drawn_in_time, extended_in_time, forecasted_in_time
from kalman_em.fitting.latent.series_stream import SeriesStream
from kalman_em.fitting.learning import learn
from kalman_em.fitting.lengthening import lengthened
from kalman_em.fitting.reported import check_known_elsewhere, check_n_steps, check_reports, noise_of_rows
from kalman_em.fitting.rereading import read_like
from kalman_em.fitting.starting import values_for
from kalman_em.fitting.streaming import streamed
from kalman_em.fitting.summary import Summary, in_short, summarised
from kalman_em.forecasting import Forecast
from kalman_em.inference.kalman import rts_smoother
from kalman_em.leaves import leaf
from kalman_em.observations import Observations
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Fit(Hindsight):
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
        Every matrix of the state-space form at those parameters, the prior where the model states it;
        `system_at_first_row` has it at the first row of the data in any case.
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

    def forecast(
        self,
        steps: int | None = None,
        *,
        inputs: Any = None,
        index: Any = None,
        times: Any = None,
        observation_cov: Any = None,
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
        observation_cov : array_like of shape (steps, p), (steps, p, p) or, of one column, (steps,), optional
            The noise of the readings ahead where that of the fit varies in time, as `Known` says it: variances or
            covariances; times the factor of a `Scaled` that was learnt.
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
        system = self.system_of(series)
        check_known_elsewhere(self.model, self.specification, system, "the rows ahead", observation_cov)
        if observation_cov is not None:
            quiet = system.replaced(observation_cov=np.zeros((system.obs_dim, system.obs_dim)))
            ahead = self._forecast(quiet, one, steps, inputs, index, times, series)
            noise = noise_of_rows(self.specification, system, observation_cov, len(ahead.means))
            return replace(ahead, covs=frozen(ahead.covs + noise))
        ahead = self._forecast(system, one, steps, inputs, index, times, series)
        return with_certainty(ahead, self.panel, self.em.stop_reason)

    def _forecast(
        self,
        system: LinearGaussianSystem,
        one: Observations,
        steps: int | None,
        inputs: Any,
        index: Any,
        times: Any,
        series: Hashable | None,
    ) -> Forecast:
        if self.specification.dynamics is not None or times is not None:
            return forecasted_in_time(
                system,
                self._in_time("times"),
                self._filtered(series),
                one,
                steps,
                index if times is None else times,
                self._time_unit,
            )
        return forecasted(
            system, self._filtered(series), one, self.specification.state_names, steps, inputs, index, self.model
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
        system = self.system_of(series)
        smoothed = rts_smoother(system, self._filtered(series)) if system.has_diffuse else None
        if self.specification.dynamics is not None:
            return drawn_in_time(system, one, smoothed, n_steps, rng)
        return drawn(system, self.specification, one, smoothed, n_steps, rng, inputs)

    def extend(
        self,
        data: Any,
        *,
        inputs: Any = None,
        time: Hashable | None = None,
        observation_cov: Any = None,
        series: Hashable | None = None,
    ) -> Fit:
        """Return this fit with new rows appended to a series, parameters unchanged.

        Smooth, forecast and log-likelihood of the result are those of all rows; `em` stays the history of the
        original fit.

        Parameters
        ----------
        data : Series, DataFrame, Observations or array_like of shape (T,) or (T, p)
            The new rows, with the columns of the series; labels must follow on, and are continued for an array.
        inputs : array_like of shape (T, k) or (T,), Series or DataFrame, optional
            Their inputs; needed if the fit had inputs.
        time : column name, optional
            The column of a DataFrame that labels the rows; the columns of the series are then chosen by their names,
            and others passed over. Its index and all of its columns when left out.
        observation_cov : array_like of shape (T, p), (T, p, p) or, of one column, (T,), optional
            The noise of the new readings where that of the fit varies in time, as in `forecast`.
        series : hashable, optional
            The key of the series of a panel that the rows belong to.

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
        check_known_elsewhere(self.model, self.specification, self.system, "new rows", observation_cov)
        data = rows_of_frame(data, time, self.panel.names)
        if self.specification.dynamics is not None:
            panel = extended_in_time(self.panel, self._key(series), data, self._time_unit)
        else:
            panel = extended(self.panel, self._key(series), data, inputs, self.model)
        model, specification, system = lengthened(
            self.model, self.specification, self.system, self.panel, panel, self._key(series), observation_cov
        )
        check_n_steps(specification, panel)
        check_reports(specification, panel)
        em = replace(self.em, params=system)
        return Fit(model=model, specification=specification, panel=panel, em=em, numerics=self.numerics)

    def stream(self, exponent: float = 0.6) -> SeriesStream:
        """Return a stream that goes on learning from here, series by series, and keeps none: see `SeriesStream`.

        Parameters
        ----------
        exponent : float
            Above 0.5, at most 1: of the steps γ = (m / n)^exponent; smaller ones forget sooner.

        Raises
        ------
        InputError
            If `exponent` is out of its range, or the sums of series do not add up, as for `method="stochastic"`.

        Examples
        --------
        >>> import numpy as np
        >>> import kalman_em as kem
        >>> rng = np.random.default_rng(0)
        >>> draw = lambda: np.cumsum(rng.normal(size=50)) + 2.0 * rng.normal(size=50)
        >>> stream = kem.fit(kem.LocalLevel(), draw()).stream()
        >>> for _ in range(60):
        ...     stream = stream.partial_fit(draw())
        >>> stream.n_series, stream.params.observation_cov.round().tolist()
        (61, [[4.0]])
        """
        return streamed(self, exponent)

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
            start = values_for(self.specification, self.system, data)
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
