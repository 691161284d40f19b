"""The local level model: a random walk seen through noise."""

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
RATIOS = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class LocalLevel(Additive):
    """A level that walks at random, one a column of the data, seen through noise.

    .. math:: \\mu_{t+1} = \\mu_t + w_t, \\; w_t \\sim N(0, Q), \\qquad y_t = \\mu_t + v_t, \\; v_t \\sim N(0, R)

    Parameters
    ----------
    level_cov : form or LowRank, default Full()
        Q, shape (p, p); ``LowRank(r)`` for r levels in common.
    observation_cov : form, default Full()
        R, shape (p, p).
    initial_cov : form or Diffuse(), default Diffuse()
        Covariance of the level at the first observation. By default nothing is known of it, exactly.
    initial_mean : form, optional
        Its mean; learnt when left out beside an `initial_cov` that is not diffuse.

    Raises
    ------
    InputError
        If what stands for a form is none; at the fit, if a form does not fit the columns of the data.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 2.1.

    Examples
    --------
    >>> import kalman_em as kem
    >>> nile = kem.datasets.load("nile")
    >>> fitted = kem.fit(kem.LocalLevel(), nile["flow"])
    >>> round(float(fitted.params.observation_cov[0, 0]), -2), round(float(fitted.params.level_cov[0, 0]), -2)
    (15100.0, 1500.0)
    """

    level_cov: Any = field(default_factory=Full)
    observation_cov: Any = field(default_factory=Full)
    initial_cov: Any = field(default_factory=Diffuse)
    initial_mean: Any = None

    def __post_init__(self) -> None:
        checked_noise_form(self.level_cov, "level_cov")
        checked_covariance_form(self.observation_cov, "observation_cov")
        check_initial_forms(self.initial_mean, self.initial_cov)
        refuse_stationary(self.initial_cov, "a level that walks at random")

    @property
    def base(self) -> str:
        """What it is called in a sum."""
        return "level"

    @property
    def distinction(self) -> str:
        """Nothing: a sum has one level."""
        return ""

    def component(self, name: str, panel: Panel) -> Component:
        """Return the level as a part of a sum."""
        del panel
        return Component(
            name=name,
            states=("level",),
            transition=np.eye(1),
            observation=np.ones(1),
            noises=(Noise(name="level_cov", form=self.level_cov, states=(0,), ratios=RATIOS),),
            initial_cov=self.initial_cov,
            initial_mean=self.initial_mean,
        )
