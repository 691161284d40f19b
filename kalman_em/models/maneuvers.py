"""Motion with a memory: velocity or acceleration that dies away, and turns at a known rate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kalman_em.dynamics import Dynamics, Noise
from kalman_em.em.forms import Diagonal, Diffuse, Full, Isotropic
from kalman_em.errors import InputError
from kalman_em.inference.filtering import filter_all
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.kinematic import QUANTITIES, Kinematic
from kalman_em.models.motion import at_rates, moving_start
from kalman_em.models.rate import Rate
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# Time constants that a start tries, where one is learnt.
N_TIME_CONSTANTS = 6


class Decaying(Kinematic):
    """A chain of integrators whose last quantity dies away, with the time constant of the model."""

    time_constant: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        value = self.time_constant
        if value == Full():
            return
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0.0 < value < np.inf:
            raise InputError(f"time_constant: expected a positive number, or Full() to learn it, got {value!r}")
        object.__setattr__(self, "time_constant", float(value))

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The last entry of the drift, if the time constant is learnt."""
        n = len(self.quantities)
        last = Rate("time_constant", ((n - 1, n - 1, -1.0),), (0, n), (0, 1))
        return (last,) if self.time_constant == Full() else ()

    @property
    def dynamics(self) -> Dynamics:
        """The motion in continuous time."""
        if self.rates:
            raise InputError("time_constant: is learnt; ask the fit, as with fitted.discretize(dt)")
        return self._dying(self.time_constant)

    def first_dynamics(self, panel: Panel) -> Dynamics:
        """Return the motion; with the usual gap as its time constant where that is learnt."""
        if not self.rates:
            return self.dynamics
        gaps = np.concatenate([np.diff(one.times) for one in panel if one.times is not None])
        return self._dying(float(np.median(gaps)) if len(gaps) else 1.0)

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return the best of a grid of noise ratios, and of time constants from the usual gap to the longest series."""
        if not self.rates:
            return moving_start(specification, panel)
        (rate,) = self.rates
        usual = 1.0 / rate.value(self.first_dynamics(panel).drift)
        longest = max(float(np.ptp(one.times)) for one in panel if one.times is not None)
        grid = np.geomspace(usual, max(longest, 2.0 * usual), N_TIME_CONSTANTS)
        rows = stack_rows(panel.series)
        found = [moving_start(at_rates(specification, {rate: 1.0 / tau}), panel) for tau in grid]
        return max(found, key=lambda system: filter_all(lay(system, rows), rows).log_likelihoods.sum())

    def _dying(self, time_constant: float) -> Dynamics:
        n = len(self.quantities)
        drift = np.diag(np.ones(n - 1), 1)
        drift[-1, -1] = -1.0 / time_constant
        return Dynamics(drift, [Noise(np.eye(n)[:, -1:])], axes=self.dim)


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class CorrelatedRandomWalk(Decaying):
    """A position whose velocity is an Ornstein-Uhlenbeck process, seen through noise, at any times.

    .. math:: dx = v\\, dt, \\quad dv = -v / \\tau\\, dt + dW, \\quad y(t) = x(t) + e, \\; e \\sim N(0, R)

    Left alone, the velocity has variance q τ / 2, and forgets its direction within some τ. Where tracks are shorter
    than that, or keep their velocity, a learnt τ grows without end: the motion is then `ConstantVelocity`.

    Parameters
    ----------
    time_constant : float or Full()
        τ in units of time, if it is known; `Full()` learns it. Then each M-step is a search along τ with the density in
        closed form at every point, and not itself a closed form.
    dim : {1, 2, 3}
        Number of axes.
    acceleration_density : form, default Isotropic()
        q, shape (dim, dim): the spectral density of dW in value² / time³.
    observation_cov, measured, observation_offset, initial_cov, initial_mean, time_unit
        As in `ConstantVelocity`.

    Raises
    ------
    InputError
        If `time_constant` is not positive, what stands for a form is none, or another argument is not known; at the
        fit, if the data do not fit.

    References
    ----------
    Johnson, London, Lea and Durban, Continuous-time correlated random walk model for animal telemetry data, Ecology
    89 (2008), equations (3)-(6).

    Examples
    --------
    >>> import kalman_em as kem
    >>> kem.CorrelatedRandomWalk(time_constant=2.0).discretize(1.0).transition_matrix.round(4).tolist()
    [[1.0, 0.7869], [0.0, 0.6065]]
    """

    quantities: ClassVar[tuple[str, ...]] = QUANTITIES[:2]
    density_name: ClassVar[str] = "acceleration_density"

    time_constant: Any
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
class Singer(Decaying):
    """A manoeuvring target: an acceleration that dies away within its time constant, seen through noise, at any times.

    .. math:: dx = v\\, dt, \\quad dv = a\\, dt, \\quad da = -a / \\tau\\, dt + dW, \\quad y(t) = x(t) + e

    Left alone, the acceleration has variance q τ / 2. A short τ makes it `ConstantVelocity`, a long one
    `ConstantAcceleration`.

    Parameters
    ----------
    time_constant : float or Full()
        τ in units of time, how long a manoeuvre lasts, if it is known; `Full()` learns it. Then each M-step is a search
        along τ with the density in closed form at every point, and not itself a closed form.
    dim : {1, 2, 3}
        Number of axes.
    jerk_density : form, default Isotropic()
        q, shape (dim, dim): the spectral density of dW in value² / time⁵.
    observation_cov, measured, observation_offset, initial_cov, initial_mean, time_unit
        As in `ConstantAcceleration`.

    Raises
    ------
    InputError
        If `time_constant` is not positive, what stands for a form is none, or another argument is not known; at the
        fit, if the data do not fit.

    References
    ----------
    Singer, Estimating optimal tracking filter performance for manned maneuvering targets, IEEE Trans. Aerospace and
    Electronic Systems 6 (1970).

    Examples
    --------
    >>> import kalman_em as kem
    >>> kem.Singer(time_constant=10.0).discretize(1.0).transition_matrix[2].round(4).tolist()
    [0.0, 0.0, 0.9048]
    """

    quantities: ClassVar[tuple[str, ...]] = QUANTITIES
    density_name: ClassVar[str] = "jerk_density"

    time_constant: Any
    dim: int = 1
    jerk_density: Any = field(default_factory=Isotropic)
    observation_cov: Any = field(default_factory=Diagonal)
    measured: Any = "position"
    observation_offset: Any = None
    initial_cov: Any = field(default_factory=Diffuse)
    initial_mean: Any = None
    time_unit: str = "s"


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class CoordinatedTurn(Kinematic):
    """A target that turns in a plane at a known rate, but for white noise acceleration, seen through noise.

    .. math:: dx = v_x dt, \\; dy = v_y dt, \\; dv_x = -\\omega v_y dt + dW_x, \\; dv_y = \\omega v_x dt + dW_y

    Parameters
    ----------
    turn_rate : float
        ω in radians per unit of time, positive from x towards y.
    acceleration_density : form, default Isotropic()
        Shape (2, 2): the spectral density of the acceleration in value² / time³.
    observation_cov, measured, observation_offset, initial_cov, initial_mean, time_unit
        As in `ConstantVelocity` with `dim` 2.

    Raises
    ------
    InputError
        If `turn_rate` is 0 or no number, what stands for a form is none, or another argument is not known; at the fit,
        if the data do not fit.

    References
    ----------
    Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 11.7.1.

    Examples
    --------
    A quarter of a turn:

    >>> import numpy as np
    >>> import kalman_em as kem
    >>> moved = kem.CoordinatedTurn(turn_rate=0.1).discretize(np.pi / 0.2)
    >>> (moved.transition_matrix @ [0.0, 0.0, 1.0, 0.0]).round(6).tolist()
    [10.0, 10.0, 0.0, 1.0]
    """

    quantities: ClassVar[tuple[str, ...]] = QUANTITIES[:2]
    density_name: ClassVar[str] = "acceleration_density"

    turn_rate: float
    dim: int = field(default=2, init=False)
    acceleration_density: Any = field(default_factory=Isotropic)
    observation_cov: Any = field(default_factory=Diagonal)
    measured: Any = "position"
    observation_offset: Any = None
    initial_cov: Any = field(default_factory=Diffuse)
    initial_mean: Any = None
    time_unit: str = "s"

    def __post_init__(self) -> None:
        super().__post_init__()
        value = self.turn_rate
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not is_number or not np.isfinite(value) or value == 0.0:
            raise InputError(
                f"turn_rate: expected a number other than 0 (ConstantVelocity does not turn), got {value!r}"
            )
        object.__setattr__(self, "turn_rate", float(value))

    @property
    def dynamics(self) -> Dynamics:
        """The motion in continuous time; the axes are coupled by the turn."""
        drift = np.zeros((4, 4))
        drift[0, 2] = drift[1, 3] = 1.0
        drift[2, 3], drift[3, 2] = -self.turn_rate, self.turn_rate
        return Dynamics(drift, [Noise(np.eye(4)[:, 2:], is_pooled=isinstance(self.acceleration_density, Isotropic))])
