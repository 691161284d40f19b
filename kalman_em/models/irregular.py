"""Structural models on time stamps of any spacing: their form in continuous time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.dynamics import Dynamics, Noise
from kalman_em.em.forms import BlockDiagonal, Diffuse
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.filtering import filter_all
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.linalg import block_diagonal
from kalman_em.models.component import Component
from kalman_em.models.intervention import Intervention
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.motion import (
    Seen,
    at_rates,
    check_time_unit,
    moving_random_start,
    moving_specification,
    moving_start,
)
from kalman_em.models.rate import Rate
from kalman_em.models.regression import Regression, TimeVaryingRegression
from kalman_em.models.specification import Specification
from kalman_em.models.structural import Additive, Structural
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# A motion that, over one unit of time, is not the transition of the component by more than this has no such form.
ROUNDING = 1e-9
# The ratios of noises tried beside each damping and period.
FEW_RATIOS = (1e-4, 1e-2, 1.0)


@checks_keywords
@dataclass(frozen=True)
class Irregular:
    """A structural model in continuous time, for rows at any times.

    Every component becomes the motion that over one unit of time is its transition: a level stays, a trend moves on,
    a seasonal turns, a cycle turns and dies away, an autoregression of order 1 dies away (an Ornstein-Uhlenbeck
    process). Its noise is white in continuous time, and the covariances are spectral densities: what a unit of
    time adds to the level or the slope. The noise of a slope moves the level too within a gap, so for rows one unit
    apart a trend is near to, and not quite, the model in discrete time; a level is the same.

    Dampings and periods are learnt, one number for all columns, by a search in each M-step (a generalised M-step):
    `slope_damping`, `cycle_damping` and `autoregression` are what is left after one unit of time, and `cycle_period` is
    in units of time. Cycles and autoregressions start stationary: their first states have the variance
    density / (2 rate) in each, which moves with what is learnt.

    Parameters
    ----------
    model : LocalLevel, LocalLinearTrend, SmoothTrend, DampedTrend, Cycle, Autoregression(1), Seasonal, or a sum of them
        The model whose steps are one unit of time each: ``Seasonal(365.25)`` with the unit ``"D"`` is a year. A
        seasonal is a trigonometric one.
    time_unit : {"s", "min", "h", "D", "W", "ms", "us", "ns"}
        The unit of time if time stamps are dates or durations. Numbers are times as they stand.

    Raises
    ------
    InputError
        If `model` is not such a model, or a component depends on inputs; at the fit, if a component has no form in
        continuous time, or the data do not fit.

    References
    ----------
    Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, chapter 9, sections 9.1 to 9.3.

    Examples
    --------
    >>> import kalman_em as kem
    >>> nile = kem.datasets.load("nile")["flow"].reset_index(drop=True)
    >>> fitted = kem.fit(kem.Irregular(kem.LocalLevel()), nile.drop([9, 10, 11, 29]))
    >>> list(fitted.params), fitted.forecast(times=[99.5, 104.0]).to_frame(levels=()).index.tolist()
    (['level_cov', 'observation_cov'], [99.5, 104.0])
    """

    model: Any
    time_unit: str = field(default="D", kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.model, type) or not isinstance(self.model, Additive):
            raise InputError(
                f"model: expected a structural model such as LocalLevel(), or a sum, got {self.model!r}; kinematic "
                "models are in continuous time by themselves"
            )
        parts = self.model.components if isinstance(self.model, Structural) else (self.model,)
        for part in parts:
            if isinstance(part, Regression | TimeVaryingRegression | Intervention):
                raise InputError(
                    f"model: expected components that move in time, got {type(part).__name__}(): what depends on "
                    "inputs moves once a row; take its effect out of the data, or put the rows on a regular clock"
                )
        check_time_unit(self.time_unit)

    def specify(self, panel: Panel) -> Specification:
        """Return the specification for the columns and the time stamps of `panel`."""
        components = self.model._components(panel)
        p = panel.obs_dim
        firsts = [0, *accumulate(component.state_dim for component in components)]
        drift = block_diagonal(*(_drift(component) for component in components))
        noises, forms = _noises(components, firsts)
        observation = np.concatenate([component.observation for component in components])
        lone = components[0] if len(components) == 1 else None
        initial_cov = _first_cov(components, p)
        return moving_specification(
            panel,
            dynamics=Dynamics(drift, noises, axes=p),
            density_forms=forms,
            seen=[Seen("observation_cov", self.model.observation_cov, np.kron(observation, np.eye(p)))],
            state_names=[
                state if p == 1 else f"{state}.{column}"
                for component in components
                for state in component.states
                for column in panel.names
            ],
            initial_mean=None if lone is None else lone.initial_mean,
            initial_cov=initial_cov,
            rates=_rates(components, firsts),
            is_shared=True,
            components={
                component.name: slice(first * p, (first + component.state_dim) * p)
                for component, first in zip(components, firsts[:-1], strict=True)
            },
        )

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return the best of a grid of noise ratios, and of dampings and periods where they are learnt."""
        if not specification.rates:
            return moving_start(specification, panel)
        rows, gap = stack_rows(panel.series), _usual_gap(panel)

        def height(system: LinearGaussianSystem) -> float:
            try:
                return float(filter_all(lay(system, rows), rows).log_likelihoods.sum())
            except NumericalError:
                return -np.inf

        best = specification
        for component in self.model._components(panel):
            turning = component.turning
            if component.coefficient is None or turning is None:
                continue
            own = {name for name, _, _ in turning.rates}
            rates = [rate for rate in specification.rates if rate.name in own]
            choices = [dict(zip(rates, (value / gap for value in values), strict=True)) for values in turning.tried]
            laid = [at_rates(best, choice) for choice in choices]
            best = max(laid, key=lambda one: height(moving_start(one, panel, FEW_RATIOS)))
        return moving_start(best, panel)

    def random_start(
        self, specification: Specification, panel: Panel, rng: np.random.Generator
    ) -> LinearGaussianSystem:
        """Return that start with its variances scattered."""
        return moving_random_start(specification, panel, rng)


def _drift(component: Component) -> Array:
    """Return the motion that over one unit of time is the transition of the component: its logarithm."""
    if component.coefficient is not None:
        if component.turning is None:
            raise InputError(
                f"model: {component.name!r} learns a transition that has no such form here; Autoregression(1), Cycle "
                "and DampedTrend have one"
            )
        drift = np.array(component.turning.drift)
        for (_, _, entries), value in zip(component.turning.rates, component.turning.tried[0], strict=True):
            for row, column, weight in entries:
                drift[row, column] = weight * value
        return drift
    F = component.transition
    drift = np.zeros_like(F)
    if np.all(np.diagonal(F) == 1.0) and not np.any(np.tril(F, -1)):
        # A chain of integrators: the series of the logarithm ends.
        power = nilpotent = F - np.eye(len(F))
        for n in range(1, len(F) + 1):
            drift = drift - (-1.0) ** n / n * power
            power = power @ nilpotent
        return drift
    values = np.linalg.eigvals(F)
    if np.all((np.abs(values) > 0.0) & ((values.real > 0.0) | (np.abs(values.imag) > ROUNDING))):
        found = scipy.linalg.logm(F)
        if np.abs(scipy.linalg.expm(np.real(found)) - F).max() < ROUNDING:
            return np.asarray(np.real(found))
    raise InputError(
        f"model: {component.name!r} has no form in continuous time: a wave of two steps, or a dummy seasonal; give the "
        "trigonometric kind fewer harmonics, or a shorter time_unit"
    )


def _rates(components: Sequence[Component], firsts: Sequence[int]) -> dict[Rate, str]:
    """Return what is learnt of the drift of a sum, and the kind of slot that tells of each."""
    found, n_noises = {}, 0
    for component, first in zip(components, firsts[:-1], strict=True):
        noises = n_noises, n_noises + len(component.noises)
        n_noises = noises[1]
        if component.coefficient is None or component.turning is None:
            continue
        for name, kind, entries in component.turning.rates:
            places = tuple((first + row, first + column, weight) for row, column, weight in entries)
            found[Rate(name, places, (first, first + component.state_dim), noises)] = kind
    return found


def _first_cov(components: Sequence[Component], p: int) -> Any:
    """Return how the states of a sum begin: as those of each component do."""
    if len(components) == 1:
        return components[0].initial_cov
    blocks = [(component.initial_cov, component.state_dim * p) for component in components]
    return Diffuse() if all(isinstance(form, Diffuse) for form, _ in blocks) else BlockDiagonal(blocks)


def _usual_gap(panel: Panel) -> float:
    gaps = np.concatenate([np.diff(one.times) for one in panel if one.times is not None])
    return float(np.median(gaps)) if len(gaps) else 1.0


def _noises(components: Sequence[Component], firsts: Sequence[int]) -> tuple[list[Noise], dict[str, Any]]:
    noises, forms = [], {}
    states = np.eye(firsts[-1])
    for component, first in zip(components, firsts[:-1], strict=True):
        for noise in component.noises:
            noises.append(Noise(states[:, [first + state for state in noise.states]], is_pooled=True))
            forms[noise.name] = noise.form
    return noises, forms
