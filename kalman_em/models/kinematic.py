"""Motion in one to three dimensions, in continuous time: random walk, constant velocity, constant acceleration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from kalman_em.dynamics import Dynamics, Noise
from kalman_em.em.forms import (
    Diagonal,
    Diffuse,
    Isotropic,
    check_initial_forms,
    checked_covariance_form,
    coefficient_form,
)
from kalman_em.errors import InputError
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.measuring import check_columns, forms_of, seen_by, sensors_of
from kalman_em.models.motion import (
    Discretized,
    check_time_unit,
    density_of,
    discretized,
    moving_random_start,
    moving_specification,
    moving_start,
)
from kalman_em.models.rate import Rate
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

AXES = ("x", "y", "z")
QUANTITIES = ("position", "velocity", "acceleration")


class Kinematic:
    """What the kinematic models share; each says how one axis moves, and what its noise is called."""

    quantities: ClassVar[tuple[str, ...]]
    density_name: ClassVar[str]
    dim: int
    observation_cov: Any
    measured: Any
    observation_offset: Any
    initial_cov: Any
    initial_mean: Any
    time_unit: str

    def __post_init__(self) -> None:
        if isinstance(self.dim, bool) or self.dim not in (1, 2, 3):
            raise InputError(f"dim: expected 1, 2 or 3, got {self.dim!r}")
        checked_covariance_form(self._density_form, self.density_name)
        if self.observation_offset is not None:
            coefficient_form(self.observation_offset, "observation_offset")
        check_initial_forms(self.initial_mean, self.initial_cov)
        check_time_unit(self.time_unit)
        sensors = sensors_of(self.measured, self.quantities)
        forms = forms_of(self.observation_cov, sensors)
        # Mappings are kept as pairs: frozen, and equal if they are.
        if isinstance(self.measured, Mapping):
            object.__setattr__(self, "measured", sensors)
        if isinstance(self.observation_cov, Mapping):
            pairs = tuple((sensor, form) for (sensor, _), form in zip(sensors, forms, strict=True))
            object.__setattr__(self, "observation_cov", pairs)

    @property
    def dynamics(self) -> Dynamics:
        """The motion in continuous time: a chain of integrators, white noise driving the last of them."""
        n = len(self.quantities)
        return Dynamics(np.diag(np.ones(n - 1), 1), [Noise(np.eye(n)[:, -1:])], axes=self.dim)

    @property
    def rates(self) -> tuple[Rate, ...]:
        """What is learnt of the drift; nothing of a chain of integrators."""
        return ()

    def discretize(self, dt: float, density: Any = None) -> Discretized:
        """Return F and Q over the time `dt`, shape (d, d) each.

        Parameters
        ----------
        dt : float
            The time, positive.
        density : float or array_like of shape (dim, dim), optional
            The spectral density of the driving noise; the fixed one of the model, or else 1 on every axis.

        Raises
        ------
        InputError
            If `dt` is not positive, or `density` has another shape.
        """
        given = density_of(self._density_form, self.density_name, self.dim, density)
        dynamics = self.dynamics
        apart = replace(dynamics, noises=[Noise(noise.diffusion) for noise in dynamics.noises])
        return discretized(apart, [given], dt)

    def specify(self, panel: Panel) -> Specification:
        """Return the specification for the time stamps of `panel`."""
        sensors = sensors_of(self.measured, self.quantities)
        check_columns(sensors, self.dim, panel.names or ())
        return moving_specification(
            panel,
            dynamics=self.first_dynamics(panel),
            density_forms={self.density_name: self._density_form},
            seen=seen_by(sensors, forms_of(self.observation_cov, sensors), self.quantities, self.dim),
            state_names=[
                quantity if self.dim == 1 else f"{quantity}.{axis}"
                for quantity in self.quantities
                for axis in AXES[: self.dim]
            ],
            initial_mean=self.initial_mean,
            initial_cov=self.initial_cov,
            rates=dict.fromkeys(self.rates, "time constant"),
            observation_offset=self.observation_offset,
        )

    def first_dynamics(self, panel: Panel) -> Dynamics:
        """Return the motion that a fit to `panel` begins with."""
        del panel
        return self.dynamics

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return the best of a grid of noise ratios."""
        return moving_start(specification, panel)

    def random_start(
        self, specification: Specification, panel: Panel, rng: np.random.Generator
    ) -> LinearGaussianSystem:
        """Return that start with its variances scattered."""
        return moving_random_start(specification, panel, rng)

    @property
    def _density_form(self) -> Any:
        return getattr(self, self.density_name)


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class RandomWalk(Kinematic):
    """A position that walks at random (Brownian motion), seen through noise, at any times.

    .. math:: dx = dW, \\quad y(t) = x(t) + v, \\; v \\sim N(0, R)

    Over a gap t the position spreads by q t, q the spectral density of dW.

    Parameters
    ----------
    dim : {1, 2, 3}
        Number of axes.
    velocity_density : form, default Isotropic()
        q, shape (dim, dim): the spectral density of the velocity, which is white noise, in value² / time. `Isotropic()`
        has one for all axes, `Diagonal()` one an axis, `Full()` correlated axes.
    observation_cov : form, default Diagonal(); or a mapping from sensors to forms
        R of each sensor.
    measured : "position", or a mapping from sensors to it
        The columns of the data: axis after axis, and with several sensors sensor after sensor; NaN where one is silent.
    observation_offset : form of shape (p,), optional
        What the columns add to the motion, column by column: stated, or learnt where the start of the states does not
        hide it, as that of a second sensor, ``Partly([0.0, 0.0], free=[False, True])``. None for nothing.
    initial_cov, initial_mean : form
        Of the state at the first row of each track; nothing is known by default, exactly.
    time_unit : {"s", "min", "h", "D", "W", "ms", "us", "ns"}
        The unit of time of the density if time stamps are dates or durations. Numbers are times as they stand.

    Raises
    ------
    InputError
        If what stands for a form is none, or another argument is not known; at the fit, if the data do not fit.

    References
    ----------
    Särkkä and Solin, Applied Stochastic Differential Equations, 2019, section 3.1.

    Examples
    --------
    >>> import kalman_em as kem
    >>> walk = kem.RandomWalk()
    >>> walk.discretize(0.5, density=4.0).transition_cov.round(9).tolist()
    [[2.0]]
    """

    quantities: ClassVar[tuple[str, ...]] = QUANTITIES[:1]
    density_name: ClassVar[str] = "velocity_density"

    dim: int = 1
    velocity_density: Any = field(default_factory=Isotropic)
    observation_cov: Any = field(default_factory=Diagonal)
    measured: Any = "position"
    observation_offset: Any = None
    initial_cov: Any = field(default_factory=Diffuse)
    initial_mean: Any = None
    time_unit: str = "s"


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class ConstantVelocity(Kinematic):
    """A target whose velocity is constant but for white noise acceleration, seen through noise, at any times.

    .. math:: dx = v\\, dt, \\quad dv = dW, \\quad y(t) = x(t) + e, \\; e \\sim N(0, R)

    Over a gap t and on each axis F = [[1, t], [0, 1]] and Q = q [[t³/3, t²/2], [t²/2, t]], exactly.

    Parameters
    ----------
    dim : {1, 2, 3}
        Number of axes.
    acceleration_density : form, default Isotropic()
        q, shape (dim, dim): the spectral density of the acceleration in value² / time³. `Isotropic()` has one for all
        axes, `Diagonal()` one an axis, `Full()` correlated axes.
    observation_cov : form, default Diagonal(); or a mapping from sensors to forms
        R of each sensor.
    measured : "position", ("position", "velocity"), or a mapping from sensors to these
        The columns of the data: all axes of the position, then of the velocity; and with several sensors sensor after
        sensor, NaN where one is silent (`sensor_columns` makes such columns of a stream of readings). Each sensor has
        an R of its own, `observation_cov_<sensor>`.
    initial_cov, initial_mean : form
        Of positions and velocities at the first row of each track; nothing is known by default, exactly.
    time_unit : {"s", "min", "h", "D", "W", "ms", "us", "ns"}
        The unit of time of the density if time stamps are dates or durations. Numbers are times as they stand.

    Raises
    ------
    InputError
        If what stands for a form is none, or another argument is not known; at the fit, if the data do not fit.

    References
    ----------
    Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 6.2.2.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> gaps = rng.uniform(0.1, 2.0, size=300)
    >>> velocity = np.cumsum(np.sqrt(0.2 * gaps) * rng.normal(size=300))
    >>> track = pd.DataFrame({"t": np.cumsum(gaps), "x": np.cumsum(velocity * gaps) + rng.normal(size=300)})
    >>> fitted = kem.fit(kem.ConstantVelocity(), track, time="t")
    >>> list(fitted.params)
    ['acceleration_density', 'observation_cov']
    >>> fitted.smooth(times=[100.0, 100.5]).to_frame().columns.tolist()
    ['position', 'position_sd', 'velocity', 'velocity_sd']
    """

    quantities: ClassVar[tuple[str, ...]] = QUANTITIES[:2]
    density_name: ClassVar[str] = "acceleration_density"

    dim: int = 1
    acceleration_density: Any = field(default_factory=Isotropic)
    observation_cov: Any = field(default_factory=Diagonal)
    measured: Any = "position"
    observation_offset: Any = None
    initial_cov: Any = field(default_factory=Diffuse)
    initial_mean: Any = None
    time_unit: str = "s"


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class ConstantAcceleration(Kinematic):
    """A target whose acceleration is constant but for white noise jerk, seen through noise, at any times.

    .. math:: dx = v\\, dt, \\quad dv = a\\, dt, \\quad da = dW, \\quad y(t) = x(t) + e, \\; e \\sim N(0, R)

    Parameters
    ----------
    dim : {1, 2, 3}
        Number of axes.
    jerk_density : form, default Isotropic()
        q, shape (dim, dim): the spectral density of the jerk in value² / time⁵.
    observation_cov, measured, observation_offset, initial_cov, initial_mean, time_unit
        As in `ConstantVelocity`; "acceleration" can be measured too.

    Raises
    ------
    InputError
        If what stands for a form is none, or another argument is not known; at the fit, if the data do not fit.

    References
    ----------
    Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 6.2.3.

    Examples
    --------
    >>> import kalman_em as kem
    >>> kem.ConstantAcceleration().discretize(1.0).transition_cov.round(4).tolist()
    [[0.05, 0.125, 0.1667], [0.125, 0.3333, 0.5], [0.1667, 0.5, 1.0]]
    """

    quantities: ClassVar[tuple[str, ...]] = QUANTITIES
    density_name: ClassVar[str] = "jerk_density"

    dim: int = 1
    jerk_density: Any = field(default_factory=Isotropic)
    observation_cov: Any = field(default_factory=Diagonal)
    measured: Any = "position"
    observation_offset: Any = None
    initial_cov: Any = field(default_factory=Diffuse)
    initial_mean: Any = None
    time_unit: str = "s"
