"""The smooth trend: a slope that walks at random, and a level that is its sum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.em.forms import Full, checked_covariance_form, checked_noise_form
from kalman_em.models.component import Component, Noise
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.structural import Additive
from kalman_em.observations import Panel

# Variances that a start tries, as multiples of that of the observations.
RATIOS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class SmoothTrend(Additive):
    """A local linear trend whose level has no noise of its own, the cubic spline of state-space models.

    .. math::

        \\mu_{t+1} = \\mu_t + \\nu_t, \\qquad \\nu_{t+1} = \\nu_t + z_t, \\; z_t \\sim N(0, Q_\\nu), \\qquad
        y_t = \\mu_t + v_t, \\; v_t \\sim N(0, R)

    With R / Q as smoothing parameter the smoothed level is that of Hodrick and Prescott.

    Parameters
    ----------
    slope_cov : form or LowRank, default Full()
        The noise covariance of the slopes, shape (p, p); ``LowRank(r)`` for r trends in common.
    observation_cov : form, default Full()
        R, shape (p, p).

    Raises
    ------
    InputError
        If what stands for a form is none; at the fit, if a form does not fit the columns of the data.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 3.2.1.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.SmoothTrend(), kem.datasets.load("nile")["flow"])
    >>> list(fitted.params), list(fitted.smooth().state_names)
    (['slope_cov', 'observation_cov'], ['level', 'slope'])
    """

    slope_cov: Any = field(default_factory=Full)
    observation_cov: Any = field(default_factory=Full)

    def __post_init__(self) -> None:
        checked_noise_form(self.slope_cov, "slope_cov")
        checked_covariance_form(self.observation_cov, "observation_cov")

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
            transition=np.array([[1.0, 1.0], [0.0, 1.0]]),
            observation=np.array([1.0, 0.0]),
            noises=(Noise(name="slope_cov", form=self.slope_cov, states=(1,), ratios=RATIOS),),
        )
