"""`Fit`: what was learnt, and everything that can be asked of it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.diagnostics import Consistency, consistency
from kalman_em.em.result import EMResult
from kalman_em.errors import InputError
from kalman_em.fitting import criteria
from kalman_em.fitting.extending import extended
from kalman_em.fitting.learning import learn
from kalman_em.fitting.starting import free_values
from kalman_em.fitting.states import LabelledFilteredStates, LabelledSmoothedStates
from kalman_em.fitting.summary import Summary, summarised
from kalman_em.forecasting import Forecast
from kalman_em.frames import as_index, continued_index, input_rows, moments_frame
from kalman_em.inference.filtering import filter_all, kalman_filter
from kalman_em.inference.imputation import impute_rows
from kalman_em.inference.prediction import predict_rows
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.inference.simulation import simulate
from kalman_em.inference.smoothing import rts_smoother
from kalman_em.leaves import leaf
from kalman_em.linalg import square_root
from kalman_em.models.leading import n_leading, with_leading_rows
from kalman_em.models.model import Model
from kalman_em.models.parameters import Parameters
from kalman_em.models.specification import Specification
from kalman_em.observations import Observations, Panel
from kalman_em.posteriors import FilteredStates
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
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

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> print(fitted.em)
    converged after ... iterations, log-likelihood -633.46456.
    >>> fitted.n_parameters, round(fitted.aicc, 2)
    (2, 1271.05)
    """

    model: Model
    specification: Specification
    panel: Panel = field(repr=False)
    em: EMResult[LinearGaussianSystem] = field(repr=False)

    @property
    def system(self) -> LinearGaussianSystem:
        """The state-space form at the estimates."""
        return self.em.params

    @cached_property
    def params(self) -> Parameters:
        """The parameters by name, read-only."""
        lead = n_leading(self.specification)
        values = {}
        for name, slot in self.specification.slots.items():
            value = slot.read(self.system)
            varies = value.ndim > len(self.specification.shape(slot.parameter))
            # The entry of the leading row is not the user's.
            values[name] = value[lead:] if varies and slot.parameter.startswith("observation") else value
        return Parameters(values)

    @cached_property
    def log_likelihood(self) -> float:
        """log p(data) at the estimates, every 2π included (a diffuse start in the sense of Durbin and Koopman 7.4)."""
        rows = stack_rows(self._led.series)
        return float(filter_all(lay(self.system, rows), rows).log_likelihoods.sum())

    @property
    def n_parameters(self) -> int:
        """Number of free numbers that were learnt; diffuse initial elements are not counted."""
        return self.specification.n_parameters

    @property
    def n_observed(self) -> int:
        """Number of observed entries: the n of AICc and BIC."""
        return self.panel.n_observed

    @property
    def aic(self) -> float:
        """Akaike's information criterion; compare only fits of the same data with the same diffuse elements."""
        return criteria.aic(self.log_likelihood, self.n_parameters)

    @property
    def aicc(self) -> float:
        """AIC corrected for the sample size; inf where there are too few data for the parameters."""
        return criteria.aicc(self.log_likelihood, self.n_parameters, self.n_observed)

    @property
    def bic(self) -> float:
        """The Bayesian information criterion."""
        return criteria.bic(self.log_likelihood, self.n_parameters, self.n_observed)

    def filter(self, series: Hashable | None = None) -> LabelledFilteredStates:
        """Return the states given the data so far; `series` names one of a panel."""
        full = self._filtered(series)
        lead = n_leading(self.specification)
        arrays = {name: getattr(full, name)[lead:] for name in FilteredStates.__dataclass_fields__}
        return LabelledFilteredStates(
            **arrays, index=self._series(series).index, state_names=self.specification.state_names
        )

    def smooth(self, series: Hashable | None = None) -> LabelledSmoothedStates:
        """Return the states given all data; `series` names one of a panel.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.smooth().to_frame().round(1).head(1)
               level  level_sd
        year
        1871  1111.7      63.5
        """
        smoothed = rts_smoother(self.system, self._filtered(series))
        lead = n_leading(self.specification)
        return LabelledSmoothedStates(
            smoothed_means=smoothed.smoothed_means[lead:],
            smoothed_covs=smoothed.smoothed_covs[lead:],
            lag_one_covs=smoothed.lag_one_covs[lead:],
            index=self._series(series).index,
            state_names=self.specification.state_names,
        )

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
        self, steps: int, *, inputs: Any = None, index: Any = None, series: Hashable | None = None
    ) -> Forecast:
        """Return the predictive distribution of the `steps` rows after the end.

        Parameters
        ----------
        steps : int
            How far, at least 1.
        inputs : array_like, shape (steps, k), optional
            The inputs at those rows; needed if the fit had inputs.
        index : sequence of length `steps`, optional
            Labels of those rows; the data's index continued when left out.
        series : hashable, optional
            The series of a panel.

        Raises
        ------
        InputError
            If the index cannot be continued, or inputs are missing, superfluous or of the wrong shape.

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
        labels = as_index(index, "index") if index is not None else continued_index(one.index, steps)
        if len(labels) != steps:
            raise InputError(f"index: expected {steps} labels, one a step, got {len(labels)}")
        if inputs is not None and self.system.input_dim:
            inputs = input_rows(inputs, labels, labelled=index is not None)
        last = None if one.inputs is None else one.inputs[-1]
        ahead = predict_rows(self.system, self._filtered(series), int(steps), inputs=inputs, last_input=last)
        return Forecast(
            means=ahead.observation_means,
            covs=ahead.observation_covs,
            names=one.names or (),
            index=labels,
            state_means=ahead.state_means,
            state_covs=ahead.state_covs,
            state_names=self.specification.state_names,
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
            Its length; that of the data when left out.
        rng : numpy.random.Generator, optional
            The source of randomness; a fresh one when left out.
        inputs : array_like, shape (n_steps, k), optional
            Inputs of the new rows; those of the data when left out and the length is that of the data.
        series : hashable, optional
            The series of a panel, for length, labels and start.

        Examples
        --------
        >>> import numpy as np
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.simulate(5, rng=np.random.default_rng(0)).shape
        (5, 1)
        """
        one = self._series(series)
        n = one.n_steps if n_steps is None else n_steps
        rng = np.random.default_rng() if rng is None else rng
        if not isinstance(rng, np.random.Generator):
            raise InputError(f"rng: expected a numpy.random.Generator, got {type(rng).__name__}")
        lead = n_leading(self.specification)
        if inputs is None and one.inputs is not None and n == one.n_steps:
            inputs = one.inputs
        if inputs is not None and lead:
            inputs = np.vstack([np.zeros((1, np.shape(inputs)[1])), inputs])
        first = None
        if self.system.has_diffuse:
            smoothed = rts_smoother(self.system, self._filtered(series))
            root = square_root(smoothed.smoothed_covs[0])
            first = smoothed.smoothed_means[0] + root @ rng.standard_normal(self.system.state_dim)
        drawn = simulate(self.system, n + lead, rng, inputs=inputs, initial_state=first)
        index = one.index if n == one.n_steps else pd.RangeIndex(n)
        return pd.DataFrame(drawn.values[lead:].copy(), index=index, columns=list(one.names or ()))

    def extend(self, data: Any, *, inputs: Any = None, series: Hashable | None = None) -> Fit:
        """Return this fit with new rows appended to a series, parameters unchanged.

        `data` has the columns of the series; its labels, if any, must follow on. Smooth, forecast and
        log-likelihood of the result are those of all rows; `em` stays the history of the original fit.

        Examples
        --------
        >>> import kalman_em as kem
        >>> nile = kem.datasets.load("nile")["flow"]
        >>> longer = kem.fit(kem.LocalLevel(), nile[:90]).extend(nile[90:])
        >>> len(longer.smooth().to_frame()), str(longer.forecast(1).index[0])
        (100, '1971')
        """
        return self._with_panel(extended(self.panel, self._key(series), data, inputs))

    def refit(self, data: Any, **options: Any) -> Fit:
        """Return the model learnt anew from `data`, beginning at these estimates; `options` as for `fit`.

        Examples
        --------
        >>> import kalman_em as kem
        >>> nile = kem.datasets.load("nile")["flow"]
        >>> fitted = kem.fit(kem.LocalLevel(), nile)
        >>> fitted.refit(nile).em.n_iterations < fitted.em.n_iterations
        True
        """
        options.setdefault("start", free_values(self.specification, self.system))
        learnt = learn(self.model, data, **options)
        return Fit(model=self.model, specification=learnt.specification, panel=learnt.panel, em=learnt.em)

    def consistency(
        self, *, lags: int | None = None, level: float = 95.0, series: Hashable | None = None
    ) -> Consistency:
        """Return whether the innovations are as large as the model says and white: is the learnt noise consistent?"""
        return consistency(self.filter(series), self.panel.names, lags=lags, level=level)

    def summary(self) -> Summary:
        """Return the parameters, the fit criteria and why EM stopped, as a text that prints well."""
        return summarised(self)

    def crosscheck(self, **options: Any) -> Any:
        """Return a comparison with statsmodels: likelihood, smoother and optimum (see `kalman_em.crosscheck`)."""
        return leaf("crosscheck").crosscheck(self, **options)

    def plot(self, **options: Any) -> Any:
        """Draw the data, the smoothed signal with its band and a forecast (see `kalman_em.plotting`)."""
        return leaf("plotting").plot_fit(self, **options)

    def save(self, path: Any) -> None:
        """Write the fit with its data as JSON; `kalman_em.load` reads it back exactly."""
        leaf("persistence").save(self, path)

    @cached_property
    def _led(self) -> Panel:
        return with_leading_rows(self.panel, self.specification)

    def _key(self, series: Hashable | None) -> Hashable:
        keys = self.panel.keys or ()
        if series is None:
            if len(keys) > 1:
                shown = ", ".join(repr(key) for key in keys[:5]) + (", ..." if len(keys) > 5 else "")
                raise InputError(f"series: expected the key of one of {len(keys)} series ({shown}), got None")
            return keys[0]
        self.panel.position(series)
        return series

    def _series(self, series: Hashable | None) -> Observations:
        return self.panel[self._key(series)]

    def _filtered(self, series: Hashable | None) -> FilteredStates:
        return kalman_filter(self.system, self._led[self._key(series)])

    def _with_panel(self, panel: Panel) -> Fit:
        return Fit(model=self.model, specification=self.specification, panel=panel, em=self.em)


def signal_moments(fitted: Fit, series: Hashable | None = None) -> tuple[Array, Array]:
    """Return means and standard deviations (T, p) of the smoothed signal H x + d (+ D u), without noise."""
    smoothed = fitted.smooth(series)
    laid = lay(fitted.system, stack_rows([fitted._led[fitted._key(series)]]))
    lead = n_leading(fitted.specification)
    H = laid.observation.entries[laid.observation.index[lead:]]
    offset = laid.observation_offset.entries[laid.observation_offset.index[lead:]]
    means = np.einsum("tij,tj->ti", H, smoothed.smoothed_means) + offset
    variances = np.einsum("tij,tjk,tik->ti", H, smoothed.smoothed_covs, H)
    return means, np.sqrt(np.maximum(variances, 0.0))
