"""The local linear trend model: a level with a slope, both walking at random."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.em.forms import Diffuse, Full, check_initial_forms, checked_covariance_form, checked_noise_form
from kalman_em.models.component import Component, Noise
from kalman_em.models.initial_state import refuse_stationary
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.structural import Additive
from kalman_em.observations import Panel

# Variances that a start tries, as multiples of that of the observations.
LEVEL_RATIOS = (1e-4, 1e-2, 0.1, 1.0, 10.0, 100.0)
SLOPE_RATIOS = (1e-6, 1e-4, 1e-2, 0.1, 1.0, 10.0)


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class LocalLinearTrend(Additive):
    """A level that moves by a slope, both walking at random, one pair a column of the data.

    .. math::

        \\mu_{t+1} = \\mu_t + \\nu_t + w_t, \\; w_t \\sim N(0, Q_\\mu), \\qquad
        \\nu_{t+1} = \\nu_t + z_t, \\; z_t \\sim N(0, Q_\\nu), \\qquad
        y_t = \\mu_t + v_t, \\; v_t \\sim N(0, R)

    Parameters
    ----------
    level_cov, slope_cov : form or LowRank, default Full()
        The two noise covariances, shape (p, p); ``LowRank(r)`` for r noises that the columns have in common.
    observation_cov : form, default Full()
        R, shape (p, p).
    initial_cov : form or Diffuse(), default Diffuse()
        Covariance of levels and slopes at the first observation, shape (2p, 2p). By default nothing is known of
        them, exactly.
    initial_mean : form, optional
        Their mean; learnt when left out beside an `initial_cov` that is not diffuse.

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
    >>> co2 = kem.datasets.load("co2")["co2_ppm"][:104]
    >>> fitted = kem.fit(kem.LocalLinearTrend(level_cov=kem.Fixed(0)), co2)
    >>> list(fitted.smooth().to_frame().columns)
    ['level', 'level_sd', 'slope', 'slope_sd']
    """

    level_cov: Any = field(default_factory=Full)
    slope_cov: Any = field(default_factory=Full)
    observation_cov: Any = field(default_factory=Full)
    initial_cov: Any = field(default_factory=Diffuse)
    initial_mean: Any = None

    def __post_init__(self) -> None:
        for name in ("level_cov", "slope_cov"):
            checked_noise_form(getattr(self, name), name)
        checked_covariance_form(self.observation_cov, "observation_cov")
        check_initial_forms(self.initial_mean, self.initial_cov)
        refuse_stationary(self.initial_cov, "a level with a slope")

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
            noises=(
                Noise(name="level_cov", form=self.level_cov, states=(0,), ratios=LEVEL_RATIOS),
                Noise(name="slope_cov", form=self.slope_cov, states=(1,), ratios=SLOPE_RATIOS),
            ),
            initial_cov=self.initial_cov,
            initial_mean=self.initial_mean,
        )
