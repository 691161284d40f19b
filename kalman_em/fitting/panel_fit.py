"""`PanelFit`: independent fits of many series, and tables of what they say."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import as_count
from kalman_em.em.stopping import StopReason
from kalman_em.errors import InputError, UnknownNameError
from kalman_em.fitting.gathering import series_of, wide_columns
from kalman_em.fitting.learning import Learnt
from kalman_em.fitting.result import Fit
from kalman_em.fitting.summary import Summary
from kalman_em.frames import checked_levels
from kalman_em.leaves import leaf
from kalman_em.models.model import Model
from kalman_em.models.titles import model_title

# Quantiles of the parameters that a summary shows.
QUANTILES = (0.05, 0.5, 0.95)
WIDTH = 78


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PanelFit(Mapping[Hashable, Fit]):
    """The independent fits of the series of a panel: a mapping from the key of a series to its `Fit`.

    Series that could not be fitted are not in it; `failures` lists them with the reasons.

    Attributes
    ----------
    model : object
        The model as it was stated.
    learnt : mapping
        What was learnt of each series, by key, in the order of the panel.
    errors : mapping
        The reason of every failure, by key.
    series_name, time_name : str
        What the columns of the long frames are called.

    Raises
    ------
    InputError
        If a key is asked for that is no series, or one that failed: then with the reason (a `KeyError` too).

    Examples
    --------
    >>> import kalman_em as kem
    >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]]
    >>> fits = kem.fit_each(kem.LocalLinearTrend(), jobs, wide=True)
    >>> fits
    PanelFit(LocalLinearTrend: 2 series, 2 converged)
    >>> fits["construction"].em.stop_reason.is_converged
    True
    """

    model: Model
    learnt: Mapping[Hashable, Learnt]
    errors: Mapping[Hashable, str]
    series_name: str = "series"
    time_name: str = "time"

    def __getitem__(self, key: Hashable) -> Fit:
        if key in self.errors:
            raise UnknownNameError(f"series: {key!r} has no fit: {self.errors[key]}")
        if key not in self.learnt:
            shown = ", ".join(map(repr, list(self.learnt)[:10])) + (", ..." if len(self.learnt) > 10 else "")
            raise UnknownNameError(f"series: no series is called {key!r}; expected one of: {shown}")
        one = self.learnt[key]
        return Fit(model=self.model, specification=one.specification, panel=one.panel, em=one.em, numerics=one.numerics)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self.learnt)

    def __len__(self) -> int:
        return len(self.learnt)

    def __repr__(self) -> str:
        counts = self._stop_reasons()
        parts = [f"{n} {reason}" for reason, n in counts.items()] + ([f"{len(self.errors)} failed"] * bool(self.errors))
        return f"PanelFit({model_title(self.model)}: {len(self) + len(self.errors)} series, {', '.join(parts)})"

    def failures(self) -> pd.DataFrame:
        """Return the series without a fit, one row each: ``reason``, indexed by series.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fits = kem.fit_each(kem.LocalLevel(), {"a": [1.0, 2.0, 2.0, 1.5], "b": [1.0]})
        >>> fits.failures().loc["b", "reason"]
        'InputError: data: expected at least two rows in a series, got one: no step in time is observed'
        """
        index = pd.Index(list(self.errors), name=self.series_name)
        return pd.DataFrame({"reason": pd.Series(list(self.errors.values()), index=index, dtype=object)})

    def params_frame(self) -> pd.DataFrame:
        """Return the parameters, one row a series: a column for each number that is not fixed, and how the fit went.

        An entry of a vector or a matrix is called ``name[i]`` or ``name[i, j]``, of a covariance the lower triangle is
        there. The last columns are ``log_likelihood``, ``n_iterations`` and ``stop_reason``.

        Examples
        --------
        >>> import kalman_em as kem
        >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]]
        >>> kem.fit_each(kem.LocalLevel(), jobs, wide=True).params_frame().columns.tolist()
        ['level_cov', 'observation_cov', 'log_likelihood', 'n_iterations', 'stop_reason']
        """
        rows = []
        for key, one in self.learnt.items():
            fitted = self[key]
            numbers: dict[str, Any] = {}
            for name, value in fitted.params.items():
                if one.specification.is_free(one.specification.slots[name].parameter):
                    numbers |= _numbers(name, np.asarray(value))
            em = one.em
            rows.append(
                numbers
                | {
                    "log_likelihood": em.log_likelihood,
                    "n_iterations": em.n_iterations,
                    "stop_reason": str(em.stop_reason),
                }
            )
        return pd.DataFrame(rows, index=pd.Index(list(self.learnt), name=self.series_name))

    def forecast(self, steps: int, *, levels: Any = (80, 95)) -> pd.DataFrame:
        """Return the forecasts of all series as one long frame.

        Parameters
        ----------
        steps : int
            How many rows ahead of the end of each series.
        levels : sequence of float, or one
            Levels of the central intervals, per cent.

        Returns
        -------
        DataFrame, `steps` rows a series
            The columns ``series`` and ``time`` (or what the data call them), then those of `Forecast.to_frame`.

        Raises
        ------
        InputError
            If `steps` is not a whole number of at least 1, a level is not above 0 and below 100, an index cannot be
            continued, or the model has inputs.

        Examples
        --------
        >>> import kalman_em as kem
        >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]]
        >>> kem.fit_each(kem.LocalLevel(), jobs, wide=True).forecast(3).shape
        (6, 8)
        """
        steps, levels = as_count(steps, "steps"), checked_levels(levels)
        return self._long(lambda fitted: fitted.forecast(steps).to_frame(levels=levels))

    def smooth(self, *, levels: Any = ()) -> pd.DataFrame:
        """Return the smoothed states of all series as one long frame.

        Parameters
        ----------
        levels : sequence of float, or one
            Levels of the central intervals, per cent.

        Returns
        -------
        DataFrame, a row for each row of the data
            The columns ``series`` and ``time`` (or what the data call them), then ``<state>``, ``<state>_sd``, ...

        Raises
        ------
        InputError
            If a level is not above 0 and below 100, or repeats.

        Examples
        --------
        >>> import kalman_em as kem
        >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]]
        >>> kem.fit_each(kem.LocalLevel(), jobs, wide=True).smooth().columns.tolist()
        ['series', 'month', 'level', 'level_sd']
        """
        levels = checked_levels(levels)
        return self._long(lambda fitted: fitted.smooth().to_frame(levels=levels))

    def score(
        self,
        actual: Any,
        *,
        wide: bool = False,
        time: Hashable | None = None,
        series: Hashable | None = None,
        values: Any = None,
        levels: Any = (80, 95),
    ) -> pd.DataFrame:
        """Return how well the forecasts met what came, a row a series: see `Forecast.score`.

        Parameters
        ----------
        actual : DataFrame, Panel, or mapping of series
            What came after the end of each series, laid out as the data of `fit_each`; `wide`, `time`, `series` and
            `values` are as there. Each series is forecast for as many rows as it has here.
        levels : sequence of float, or one
            Levels whose coverage to report, per cent.

        Returns
        -------
        DataFrame
            Indexed by series; with several observed columns a row for each, indexed by series and column. A series
            without a fit is left out, as `failures` says why.

        Raises
        ------
        InputError
            If `actual` cannot be read, holds a series that was not among the data, has other labels than the forecasts,
            or the model has inputs.

        Examples
        --------
        >>> import kalman_em as kem
        >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]]
        >>> fits = kem.fit_each(kem.LocalLinearTrend(), jobs[:-12], wide=True)
        >>> fits.score(jobs[-12:], wide=True)[["n", "coverage_95"]]
                        n  coverage_95
        series
        manufacturing  12        100.0
        construction   12        100.0
        """
        columns = {"inputs": None, "time": time, "series": series, "values": values}
        came = wide_columns(actual, time, values) if wide else series_of(actual, False, columns, None)[0]
        scores = {}
        for key, one in zip(came.keys or (), came, strict=True):
            if key not in self.errors:
                ahead = self[key].forecast(one.n_steps)
                rows = pd.DataFrame(one.values, index=one.index, columns=list(ahead.names))
                scores[key] = ahead.score(rows, levels=levels)
        if not scores:
            raise InputError("actual: expected at least one series that was fitted, got none; see failures()")
        table = pd.concat(scores.values(), keys=list(scores), names=[self.series_name, "column"])
        return table.droplevel("column") if all(len(one) == 1 for one in scores.values()) else table

    def plot(self, *, keys: Any = None, steps: int = 0, levels: Any = (95,), last: int | None = None) -> Any:
        """Draw several series below each other, each as `Fit.plot` does; the axes are returned as an array.

        Parameters
        ----------
        keys : sequence, optional
            Which series; the first six that were fitted when left out.
        steps : int
            Rows to forecast.
        levels : sequence of float, or one
            Levels of the bands, per cent.
        last : int, optional
            Draw only the last rows of the data, this many.

        Raises
        ------
        InputError
            If a key is no series or one without a fit, the series have several columns, or an argument cannot be used.

        Examples
        --------
        >>> import kalman_em as kem
        >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]]
        >>> axes = kem.fit_each(kem.LocalLinearTrend(), jobs, wide=True).plot(steps=12)
        >>> [ax.get_title() for ax in axes]
        ['manufacturing', 'construction']
        """
        return leaf("plotting").plot_panel(self, keys=keys, steps=steps, levels=levels, last=last)

    def save(self, path: str | PathLike[str]) -> None:
        """Write all fits with their data as one JSON file; `kalman_em.load` reads it back exactly.

        Parameters
        ----------
        path : path
            The file; one that is there is replaced.

        Raises
        ------
        InputError
            If `path` is no path, or the model or a label is of a kind that cannot be read back.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> import kalman_em as kem
        >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]]
        >>> fits = kem.fit_each(kem.LocalLevel(), jobs, wide=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fits.save(pathlib.Path(folder) / "jobs.json")
        ...     kem.load(pathlib.Path(folder) / "jobs.json").params_frame().equals(fits.params_frame())
        True
        """
        leaf("persistence").save(self, path)

    def summary(self) -> Summary:
        """Return counts of the stop reasons and failures, and quantiles of the parameters, as a text that prints well.

        Examples
        --------
        >>> import kalman_em as kem
        >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]]
        >>> print(kem.fit_each(kem.LocalLevel(), jobs, wide=True).summary())
        LocalLevel of each of 2 series
        ==============================================================================
        converged               2
        ...
        """
        lines = [f"{model_title(self.model)} of each of {len(self) + len(self.errors)} series", "=" * WIDTH]
        lines += [f"{reason:<24}{n}" for reason, n in self._stop_reasons().items()]
        lines += [f"{'failed':<24}{len(self.errors)}"] * bool(self.errors)
        if len(self):
            found = self.params_frame()
            converged = found["stop_reason"] == str(StopReason.converged)
            # A fit that ran away has variances and a likelihood that say nothing of the others.
            shown = found[converged] if converged.any() else found
            table = shown.drop(columns="stop_reason").quantile(list(QUANTILES)).T
            table.columns = pd.Index([f"{100 * q:g} %" for q in QUANTILES])
            of_those = f"quantiles of the {len(shown)} that converged" if len(shown) < len(found) else ""
            lines += [
                "-" * WIDTH,
                *filter(None, [of_those]),
                *table.map(lambda number: f"{number:.5g}").to_string().splitlines(),
            ]
        if self.errors:
            key, reason = next(iter(self.errors.items()))
            lines += ["-" * WIDTH, f"failed, the first: {key!r}: {reason}"]
        return Summary("\n".join(line.rstrip() for line in lines))

    def _stop_reasons(self) -> dict[str, int]:
        reasons = [str(one.em.stop_reason) for one in self.learnt.values()]
        return {reason: reasons.count(reason) for reason in sorted(set(reasons), key=reasons.count, reverse=True)}

    def _long(self, table: Callable[[Fit], pd.DataFrame]) -> pd.DataFrame:
        """Return a table of every fit, one below the other, with the series and the labels as columns in front."""
        if not len(self):
            raise InputError("series: expected at least one that was fitted, got none; see failures()")
        parts = [table(self[key]) for key in self.learnt]
        n_rows = [len(part) for part in parts]
        keys = np.empty(len(parts), dtype=object)
        keys[:] = list(self.learnt)
        long = pd.concat(parts)
        labels = long.index
        long = long.reset_index(drop=True)
        for place, (name, column) in enumerate(
            [(self.series_name, pd.Index(keys).infer_objects().repeat(n_rows)), (self.time_name, labels)]
        ):
            if name in long.columns:
                raise InputError(f"{name}: the long frame has a column of that name already; rename it in the data")
            long.insert(place, name, column)
        return long


def _numbers(name: str, value: Any) -> dict[str, float]:
    """Return the numbers of a parameter by name; of a symmetric matrix the lower triangle."""
    if value.size == 1:
        return {name: float(value.ravel()[0])}
    is_cov = value.ndim == 2 and value.shape[0] == value.shape[1] and name.endswith("cov")
    return {
        f"{name}[{', '.join(map(str, at))}]": float(value[at])
        for at in np.ndindex(value.shape)
        if not is_cov or at[1] <= at[0]
    }
