"""Any linear stochastic differential equation, seen through noise at any times."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from kalman_em.arrays import array_key, as_floats
from kalman_em.dynamics import Dynamics, Noise
from kalman_em.em.forms import Diffuse, Full, Isotropic, check_initial_forms, checked_covariance_form, coefficient_form
from kalman_em.errors import InputError
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.motion import (
    Discretized,
    Seen,
    check_time_unit,
    density_of,
    discretized,
    moving_random_start,
    moving_specification,
    moving_start,
)
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem


@checks_keywords
@dataclass(frozen=True, eq=False)
class ContinuousTime:
    """A state that follows a linear stochastic differential equation, seen through noise at any times.

    .. math:: dx = A x\\, dt + L\\, dW, \\quad y(t) = H x(t) + d + v, \\; v \\sim N(0, R)

    Over a gap t the state moves by F(t) = exp(A t) and the noise Q(t), the integral of exp(A s) L Σ L' exp(A s)' over s
    from 0 to t, both exact for any gap. Σ, the spectral density of dW, is learnt.

    Parameters
    ----------
    drift : array_like, shape (d, d)
        A, in 1 / time.
    diffusion : array_like, shape (d, r)
        L: how the r noises enter.
    observation_matrix : array_like, shape (p, d)
        H.
    spectral_density : form, default Full()
        Σ, shape (r, r), in the square of the state's unit per time where L has entries of 1.
    observation_cov : form, default Full()
        R, shape (p, p).
    observation_offset : form of shape (p,), optional
        d, what the sensors add: stated, or learnt where the start of the states does not hide it. None for nothing.
    initial_cov, initial_mean : form
        Of the state at the first row of each series; nothing is known by default, exactly.
    state_names : sequence of str, optional
        ``x1``, ``x2``, ... when left out.
    time_unit : {"s", "min", "h", "D", "W", "ms", "us", "ns"}
        The unit of time of A and Σ if time stamps are dates or durations. Numbers are times as they stand.

    Raises
    ------
    InputError
        If a shape does not fit, a noise moves no state, or what stands for a form is none.

    Notes
    -----
    Q(t) = G(t) (I ⊗ Σ) G(t)' with known G(t) (`Dynamics`): where a move of the state tells the draws of the noise, the
    M-step of Σ is the maximum in closed form, for `Isotropic()` always the mean of tr(Q_1(t)^+ S) / rank over the gaps
    with Q_1 that of unit density. Where several noises drive one state they are part of the complete data of EM, which
    is as exact and somewhat slower.

    References
    ----------
    Van Loan, Computing integrals involving the matrix exponential, IEEE Trans. Automatic Control 23 (1978); Särkkä and
    Solin, Applied Stochastic Differential Equations, 2019, section 6.2.

    Examples
    --------
    A damped oscillation, pushed at random, with a time constant of 5 and an angular frequency of 2:

    >>> import kalman_em as kem
    >>> model = kem.ContinuousTime([[0.0, 1.0], [-4.0, -0.4]], [[0.0], [1.0]], [[1.0, 0.0]])
    >>> moved = model.discretize(0.1)
    >>> moved.transition_matrix.round(3).tolist()
    [[0.98, 0.097], [-0.389, 0.941]]
    """

    drift: Any
    diffusion: Any
    observation_matrix: Any
    spectral_density: Any = field(default_factory=Full, kw_only=True)
    observation_cov: Any = field(default_factory=Full, kw_only=True)
    observation_offset: Any = field(default=None, kw_only=True)
    initial_cov: Any = field(default_factory=Diffuse, kw_only=True)
    initial_mean: Any = field(default=None, kw_only=True)
    state_names: Any = field(default=None, kw_only=True)
    time_unit: str = field(default="s", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("drift", "diffusion", "observation_matrix"):
            object.__setattr__(self, name, as_floats(getattr(self, name), name))
        d = self.dynamics.state_dim
        if self.observation_matrix.ndim != 2 or self.observation_matrix.shape[1] != d:
            raise InputError(f"observation_matrix: expected shape (p, {d}), got {self.observation_matrix.shape}")
        for name in ("spectral_density", "observation_cov"):
            checked_covariance_form(getattr(self, name), name)
        if self.observation_offset is not None:
            coefficient_form(self.observation_offset, "observation_offset")
        check_initial_forms(self.initial_mean, self.initial_cov)
        check_time_unit(self.time_unit)
        if self.state_names is not None:
            names = tuple(map(str, self.state_names))
            if len(names) != d or len(set(names)) != d:
                raise InputError(f"state_names: expected {d} distinct names, got {names}")
            object.__setattr__(self, "state_names", names)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, ContinuousTime) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        values = [getattr(self, entry.name) for entry in fields(self)]
        return tuple(array_key(value) if isinstance(value, np.ndarray) else value for value in values)

    @property
    def dynamics(self) -> Dynamics:
        """The motion; its noises are pooled where one number is their density."""
        return Dynamics(self.drift, [Noise(self.diffusion, is_pooled=isinstance(self.spectral_density, Isotropic))])

    def discretize(self, dt: float, density: Any = None) -> Discretized:
        """Return F and Q over the time `dt`, shape (d, d) each.

        Parameters
        ----------
        dt : float
            The time, positive.
        density : float or array_like of shape (r, r), optional
            Σ; the fixed one of the model, or else the identity.

        Raises
        ------
        InputError
            If `dt` is not positive, or `density` has another shape.
        """
        r = self.diffusion.shape[1]
        given = density_of(self.spectral_density, "spectral_density", r, density)
        return discretized(Dynamics(self.drift, [Noise(self.diffusion)]), [given], dt)

    def specify(self, panel: Panel) -> Specification:
        """Return the specification for the time stamps of `panel`."""
        return moving_specification(
            panel,
            dynamics=self.dynamics,
            density_forms={"spectral_density": self.spectral_density},
            seen=[Seen("observation_cov", self.observation_cov, self.observation_matrix)],
            state_names=self.state_names or [f"x{i + 1}" for i in range(len(self.drift))],
            initial_mean=self.initial_mean,
            initial_cov=self.initial_cov,
            observation_offset=self.observation_offset,
        )

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return the best of a grid of noise ratios."""
        return moving_start(specification, panel)

    def random_start(
        self, specification: Specification, panel: Panel, rng: np.random.Generator
    ) -> LinearGaussianSystem:
        """Return that start with its variances scattered."""
        return moving_random_start(specification, panel, rng)
