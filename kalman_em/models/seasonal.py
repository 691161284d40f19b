"""Seasonal patterns that may change slowly: as sines and cosines, or as a value for each season."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.em.forms import Full, checked_covariance_form, checked_noise_form
from kalman_em.errors import InputError, unknown_name
from kalman_em.linalg import block_diagonal
from kalman_em.models.component import Component, Noise
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.structural import Additive
from kalman_em.observations import Panel

KINDS = ["trigonometric", "dummy"]
# Variances that a start tries, as multiples of that of the observations.
RATIOS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)


@checks_keywords
@dataclass(frozen=True)
class Seasonal(Additive):
    """A pattern that repeats every `period` steps and may change slowly.

    Trigonometric: a sum of harmonics, each a wave of period / j steps whose two states turn and are moved by noise,

    .. math::

        \\gamma_t = \\sum_j \\gamma_{j,t}, \\qquad
        \\begin{pmatrix} \\gamma_{j,t+1} \\\\ \\gamma^*_{j,t+1} \\end{pmatrix} =
        \\begin{pmatrix} \\cos\\lambda_j & \\sin\\lambda_j \\\\ -\\sin\\lambda_j & \\cos\\lambda_j \\end{pmatrix}
        \\begin{pmatrix} \\gamma_{j,t} \\\\ \\gamma^*_{j,t} \\end{pmatrix} + w_{j,t}, \\quad
        \\lambda_j = 2 \\pi j / \\text{period},

    all noises with one covariance (a wave of two steps has one state). Dummy: a value for each season, whose sum over
    a period is noise.

    Parameters
    ----------
    period : float
        Steps a period, at least 2; need not be whole, such as 365.25 / 7 weeks a year.
    harmonics : int, optional
        How many waves, the longest first, at most period / 2; all of them when left out.
    kind : {"trigonometric", "dummy"}
        How the pattern is made; "dummy" needs a whole period and takes no harmonics.
    seasonal_cov : form or LowRank, default Full()
        The noise covariance, shape (p, p); Fixed(0) for a pattern that never changes, ``LowRank(r)`` for changes in
        common.
    observation_cov : form, default Full()
        R, shape (p, p).

    Raises
    ------
    InputError
        If the period is below 2, the harmonics are not from 1 to period / 2, the kind does not allow them, or what
        stands for a form is none; at the fit, if a form does not fit the columns of the data.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 3.2.2: dummy (3.3),
    trigonometric (3.7).

    Examples
    --------
    >>> import kalman_em as kem
    >>> model = kem.LocalLevel() + kem.Seasonal(7) + kem.Seasonal(365.25, harmonics=2)
    >>> sales = [3.0, 1.0, 2.0, 5.0, 3.1, 1.2, 1.9, 5.2, 3.2, 1.1, 2.2, 5.1]
    >>> fitted = kem.fit(kem.LocalLevel() + kem.Seasonal(4), sales)
    >>> list(fitted.smooth().state_names)
    ['level', 'seasonal_cos_1', 'seasonal_sin_1', 'seasonal_cos_2']
    >>> kem.Seasonal(7, harmonics=4)
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: harmonics: expected a whole number from 1 to 3, half the period of 7, got 4
    """

    period: float
    harmonics: int | None = None
    kind: str = field(default="trigonometric", kw_only=True)
    seasonal_cov: Any = field(default_factory=Full, kw_only=True)
    observation_cov: Any = field(default_factory=Full, kw_only=True)

    def __post_init__(self) -> None:
        period = self.period
        is_number = isinstance(period, int | float | np.integer | np.floating) and not isinstance(period, bool)
        if not is_number or not 2.0 <= float(period) < np.inf:
            raise InputError(f"period: expected a number of steps of at least 2, got {period!r}")
        object.__setattr__(self, "period", int(period) if float(period).is_integer() else float(period))
        if self.kind not in KINDS:
            raise InputError(unknown_name("kind", self.kind, KINDS))
        self._check_harmonics()
        checked_noise_form(self.seasonal_cov, "seasonal_cov")
        checked_covariance_form(self.observation_cov, "observation_cov")

    def _check_harmonics(self) -> None:
        if self.kind == "dummy":
            if not isinstance(self.period, int):
                raise InputError(f"period: expected a whole number of steps for kind 'dummy', got {self.period!r}")
            if self.harmonics is not None:
                raise InputError(f"harmonics: expected none for kind 'dummy', got {self.harmonics!r}")
            return
        most = int(self.period // 2)
        n = self.harmonics
        if n is None:
            return
        if not isinstance(n, int | np.integer) or isinstance(n, bool) or not 1 <= n <= most:
            raise InputError(
                f"harmonics: expected a whole number from 1 to {most}, half the period of {self.period:g}, got {n!r}"
            )
        object.__setattr__(self, "harmonics", int(n))

    @property
    def base(self) -> str:
        """What it is called in a sum."""
        return "seasonal"

    @property
    def distinction(self) -> str:
        """The period, rounded to a name."""
        return f"{self.period:.0f}"

    @property
    def frequencies(self) -> tuple[float, ...]:
        """The angles a step of its waves, the longest first."""
        n = int(self.period // 2) if self.harmonics is None else self.harmonics
        return tuple(2.0 * np.pi * j / self.period for j in range(1, n + 1))

    def component(self, name: str, panel: Panel) -> Component:
        """Return the pattern as a part of a sum."""
        del panel
        return self._dummy(name) if self.kind == "dummy" else self._trigonometric(name)

    def _dummy(self, name: str) -> Component:
        n = int(self.period) - 1
        transition = np.eye(n, k=-1)
        transition[0] = -1.0
        return Component(
            name=name,
            states=(name, *(f"{name}_lag_{i}" for i in range(1, n))),
            transition=transition,
            observation=np.eye(n)[0],
            noises=(Noise(name=f"{name}_cov", form=self.seasonal_cov, states=(0,), ratios=RATIOS),),
            frequencies=self.frequencies,
        )

    def _trigonometric(self, name: str) -> Component:
        blocks, states, observation = [], [], []
        for j, angle in enumerate(self.frequencies, start=1):
            cosine, sine = np.cos(angle), np.sin(angle)
            is_last = 2 * j == self.period
            blocks.append(np.array([[-1.0]]) if is_last else np.array([[cosine, sine], [-sine, cosine]]))
            states += [f"{name}_cos_{j}"] + ([] if is_last else [f"{name}_sin_{j}"])
            observation += [1.0] if is_last else [1.0, 0.0]
        every = tuple(range(len(states)))
        return Component(
            name=name,
            states=tuple(states),
            transition=block_diagonal(*blocks),
            observation=np.array(observation),
            noises=(Noise(name=f"{name}_cov", form=self.seasonal_cov, states=every, ratios=RATIOS),),
            frequencies=self.frequencies,
        )
