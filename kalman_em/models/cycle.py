"""The stochastic cycle: a wave whose length and damping are learnt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.forms import Full, checked_covariance_form
from kalman_em.models.component import Coefficient, Component, Noise, Turning, first_cov
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.structural import Additive
from kalman_em.observations import Panel

# What a start tries: variances as multiples of that of the observations, dampings, and periods from the shortest to
# half the series, each so many times the one before.
RATIOS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
DAMPINGS = (0.7, 0.9, 0.98)
SHORTEST, FACTOR = 2.5, 1.4


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class Cycle(Additive):
    """A wave that turns, dies away and is set off anew by noise.

    .. math::

        \\begin{pmatrix} \\psi_{t+1} \\\\ \\psi^*_{t+1} \\end{pmatrix} =
        \\rho \\begin{pmatrix} \\cos\\lambda & \\sin\\lambda \\\\ -\\sin\\lambda & \\cos\\lambda \\end{pmatrix}
        \\begin{pmatrix} \\psi_t \\\\ \\psi^*_t \\end{pmatrix} + w_t

    with noises of equal covariance in both states. The transition is a matrix [[a, b], [-b, a]] in which a and b are
    learnt by regression (a generalised M-step, where the start is stationary); `cycle_damping` is sqrt(a² + b²) and
    `cycle_period` 2 pi / lambda, in steps, one of each a column of data.

    Parameters
    ----------
    cycle_cov : form, default Full()
        The noise covariance of each state, shape (p, p).
    observation_cov : form, default Full()
        R, shape (p, p).
    initial_cov : Stationary() or Diffuse(), optional
        How the two states begin: from their stationary distribution, of variance cycle_cov / (1 - ρ²), if left out
        (diffuse where `cycle_cov` is Fixed at 0 in some column, or varies in time). A wave that does not die away, of
        damping 1, has no such distribution and needs `Diffuse()`.

    Raises
    ------
    InputError
        If what stands for a form is none, or `initial_cov` is another; at the fit, if a form does not fit the columns
        of the data.

    References
    ----------
    Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, equation (2.3.38) and section 2.3.3.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> wave = 10.0 + np.cos(2.0 * np.pi * np.arange(60) / 8.0) + 0.1 * np.random.default_rng(0).normal(size=60)
    >>> fitted = kem.fit(kem.LocalLevel() + kem.Cycle(), wave, stopping=kem.Stopping(max_iterations=100))
    >>> fitted.params.cycle_period.round(1).tolist()
    [8.0]
    """

    cycle_cov: Any = field(default_factory=Full)
    observation_cov: Any = field(default_factory=Full)
    initial_cov: Any = None

    def __post_init__(self) -> None:
        for name in ("cycle_cov", "observation_cov"):
            checked_covariance_form(getattr(self, name), name)
        first_cov(self.initial_cov, self.cycle_cov)

    @property
    def base(self) -> str:
        """What it is called in a sum."""
        return "cycle"

    @property
    def distinction(self) -> str:
        """Nothing: several cycles are numbered."""
        return ""

    def component(self, name: str, panel: Panel) -> Component:
        """Return the cycle as a part of a sum."""
        longest = max(one.n_steps for one in panel) / 2.0
        n_periods = 1 + max(int(np.log(longest / SHORTEST) / np.log(FACTOR)), 0)
        periods = SHORTEST * FACTOR ** np.arange(n_periods)
        pair = ((0, 0), (0, 1))
        return Component(
            name=name,
            states=(name, f"{name}_turned"),
            transition=np.zeros((2, 2)),
            observation=np.array([1.0, 0.0]),
            noises=(Noise(name=f"{name}_cov", form=self.cycle_cov, states=(0, 1), ratios=RATIOS),),
            coefficient=Coefficient(
                free=((0, 0, 0, 1.0), (1, 1, 0, 1.0), (0, 1, 1, 1.0), (1, 0, 1, -1.0)),
                size=2,
                shown=((f"{name}_period", "period", pair), (f"{name}_damping", "damping", pair)),
            ),
            transitions=tuple(rotation(period, damping) for period in periods for damping in DAMPINGS),
            initial_cov=first_cov(self.initial_cov, self.cycle_cov),
            turning=Turning(
                drift=np.zeros((2, 2)),
                rates=(
                    (f"{name}_period", "period", ((0, 1, 1.0), (1, 0, -1.0))),
                    (f"{name}_damping", "damping", ((0, 0, -1.0), (1, 1, -1.0))),
                ),
                tried=tuple((2.0 * np.pi / period, -float(np.log(d))) for period in periods for d in DAMPINGS),
            ),
        )


def rotation(period: float, damping: float) -> Array:
    """Return damping times the turn by one step of `period`, shape (2, 2)."""
    angle = 2.0 * np.pi / period
    cosine, sine = damping * np.cos(angle), damping * np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])
