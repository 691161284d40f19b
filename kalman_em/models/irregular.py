"""Level, trend and seasonal on time stamps of any spacing: the continuous-time form of a structural model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.dynamics import Dynamics, Noise
from kalman_em.em.forms import Diffuse
from kalman_em.errors import InputError
from kalman_em.models.component import Component
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.motion import Seen, check_time_unit, moving_random_start, moving_specification, moving_start
from kalman_em.models.specification import Specification
from kalman_em.models.structural import Additive
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# A motion that, over one unit of time, is not the transition of the component by more than this has no such form.
ROUNDING = 1e-9


@checks_keywords
@dataclass(frozen=True)
class Irregular:
    """A structural model in continuous time, for rows at any times.

    Every component becomes the motion that over one unit of time is its transition: a level stays, a trend moves on,
    a seasonal turns. Its noise is white in continuous time, and the covariances are spectral densities: what a unit of
    time adds to the level or the slope. The noise of a slope moves the level too within a gap, so for rows one unit
    apart a trend is near to, and not quite, the model in discrete time; a level is the same.

    Parameters
    ----------
    model : LocalLevel, LocalLinearTrend, SmoothTrend, Seasonal (trigonometric), or a sum of them
        The model whose steps are one unit of time each: ``Seasonal(365.25)`` with the unit ``"D"`` is a year.
    time_unit : {"s", "min", "h", "D", "W", "ms", "us", "ns"}
        The unit of time if time stamps are dates or durations. Numbers are times as they stand.

    Raises
    ------
    InputError
        If `model` is not such a model, or a component learns its transition or has no form in continuous time; at the
        fit, if the data do not fit.

    References
    ----------
    Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, chapter 9, sections 9.1 and 9.2.

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
        check_time_unit(self.time_unit)

    def specify(self, panel: Panel) -> Specification:
        """Return the specification for the columns and the time stamps of `panel`."""
        components = self.model._components(panel)
        p = panel.obs_dim
        firsts = [0, *accumulate(component.state_dim for component in components)]
        drift = np.asarray(scipy.linalg.block_diag(*(_drift(component) for component in components)))
        noises, forms = _noises(components, firsts)
        observation = np.concatenate([component.observation for component in components])
        lone = components[0] if len(components) == 1 else None
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
            initial_cov=Diffuse() if lone is None else lone.initial_cov,
            is_shared=True,
            components={
                component.name: slice(first * p, (first + component.state_dim) * p)
                for component, first in zip(components, firsts[:-1], strict=True)
            },
        )

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return the best of a grid of noise ratios."""
        return moving_start(specification, panel)

    def random_start(
        self, specification: Specification, panel: Panel, rng: np.random.Generator
    ) -> LinearGaussianSystem:
        """Return that start with its variances scattered."""
        return moving_random_start(specification, panel, rng)


def _drift(component: Component) -> Array:
    """Return the motion that over one unit of time is the transition of the component: its logarithm."""
    if component.coefficient is not None:
        raise InputError(
            f"model: {component.name!r} learns its transition, which has no such form here; CorrelatedRandomWalk and "
            "ContinuousTime are in continuous time"
        )
    F = component.transition
    drift: Array = np.zeros_like(F)
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


def _noises(components: Sequence[Component], firsts: Sequence[int]) -> tuple[list[Noise], dict[str, Any]]:
    noises, forms = [], {}
    states = np.eye(firsts[-1])
    for component, first in zip(components, firsts[:-1], strict=True):
        for noise in component.noises:
            noises.append(Noise(states[:, [first + state for state in noise.states]], is_pooled=True))
            forms[noise.name] = noise.form
    return noises, forms
