"""The damped trend: a slope that dies away, at a rate that is learnt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.em.forms import Full, checked_covariance_form
from kalman_em.models.component import Coefficient, Component, Noise, Turning
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.structural import Additive
from kalman_em.observations import Panel

# Variances that a start tries, as multiples of that of the observations, and dampings.
LEVEL_RATIOS = (1e-4, 1e-2, 0.1, 1.0, 10.0)
SLOPE_RATIOS = (1e-5, 1e-3, 1e-2, 0.1, 1.0, 10.0)
DAMPINGS = (0.5, 0.8, 0.95)


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class DampedTrend(Additive):
    """A level that moves by a slope, and a slope that falls back to 0 by a factor each step.

    .. math::

        \\mu_{t+1} = \\mu_t + \\nu_t + w_t, \\; w_t \\sim N(0, Q_\\mu), \\qquad
        \\nu_{t+1} = \\phi \\nu_t + z_t, \\; z_t \\sim N(0, Q_\\nu), \\qquad
        y_t = \\mu_t + v_t, \\; v_t \\sim N(0, R)

    The damping, one number a column of data, is learnt by regression (exactly, as `slope_damping`); forecasts level
    out where it is below 1. Level and slope start diffuse: a slope that dies away from a size of its own is what the
    model is for, and a stationary one would begin near 0.

    Parameters
    ----------
    level_cov, slope_cov : form, default Full()
        The two noise covariances, shape (p, p).
    observation_cov : form, default Full()
        R, shape (p, p).

    Raises
    ------
    InputError
        If what stands for a form is none; at the fit, if a form does not fit the columns of the data.

    References
    ----------
    Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, equation (2.3.57).

    Examples
    --------
    >>> import kalman_em as kem
    >>> jobs = kem.datasets.load("us_employment")["nonfarm"][:60]
    >>> fitted = kem.fit(kem.DampedTrend(level_cov=kem.Fixed(0)), jobs, stopping=kem.Stopping(max_iterations=20))
    >>> list(fitted.params), fitted.params.slope_damping.shape
    (['level_cov', 'slope_cov', 'observation_cov', 'slope_damping'], (1,))
    """

    level_cov: Any = field(default_factory=Full)
    slope_cov: Any = field(default_factory=Full)
    observation_cov: Any = field(default_factory=Full)

    def __post_init__(self) -> None:
        for name in ("level_cov", "slope_cov", "observation_cov"):
            checked_covariance_form(getattr(self, name), name)

    @property
    def base(self) -> str:
        """What it is called in a sum."""
        return "trend"

    @property
    def distinction(self) -> str:
        """Nothing: a sum has one trend."""
        return ""

    def component(self, name: str, panel: Panel) -> Component:
        """Return the trend as a part of a sum."""
        del panel
        return Component(
            name=name,
            states=("level", "slope"),
            transition=np.array([[1.0, 1.0], [0.0, 0.0]]),
            observation=np.array([1.0, 0.0]),
            noises=(
                Noise(name="level_cov", form=self.level_cov, states=(0,), ratios=LEVEL_RATIOS),
                Noise(name="slope_cov", form=self.slope_cov, states=(1,), ratios=SLOPE_RATIOS),
            ),
            coefficient=Coefficient(free=((1, 1, 0, 1.0),), size=1, shown=(("slope_damping", "value", ((1, 1),)),)),
            transitions=tuple(np.array([[1.0, 1.0], [0.0, damping]]) for damping in DAMPINGS),
            turning=Turning(
                drift=np.eye(2, k=1),
                rates=(("slope_damping", "damping", ((1, 1, -1.0),)),),
                tried=tuple((-float(np.log(damping)),) for damping in DAMPINGS if damping < 1.0),
            ),
        )
