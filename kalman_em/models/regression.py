"""Regression as a component: known inputs, with coefficients that are fixed in time or walk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.em.forms import Full, checked_covariance_form
from kalman_em.models.component import GIVEN, Component, Noise
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.structural import Additive
from kalman_em.observations import Panel

# Variances that a start tries, as multiples of that of the observations over that of the input.
RATIOS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class Regression(Additive):
    """What known inputs add to the data, by coefficients that are fixed in time.

    .. math:: y_t = \\dots + D u_t

    D, one coefficient an input and column of data, is learnt by regression, exactly, and starts at its generalised
    least-squares value. The inputs are those of the fit (``inputs=``), and forecasts need theirs.

    Parameters
    ----------
    observation_cov : form, default Full()
        R, shape (p, p).

    Raises
    ------
    InputError
        If what stands for a form is none; at the fit, if there are no inputs.

    References
    ----------
    Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, section 7.3.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> heat = np.random.default_rng(0).normal(size=50)
    >>> sales = 10.0 + 2.0 * heat + 0.1 * np.random.default_rng(1).normal(size=50)
    >>> fitted = kem.fit(kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.Regression(), sales, inputs=heat)
    >>> fitted.params.regression.round(2).tolist()
    [2.0]
    >>> fitted.forecast(1, inputs=[1.0]).means.round(1).tolist()
    [[12.0]]
    """

    observation_cov: Any = field(default_factory=Full)

    def __post_init__(self) -> None:
        checked_covariance_form(self.observation_cov, "observation_cov")

    @property
    def base(self) -> str:
        """What it is called in a sum."""
        return "regression"

    @property
    def distinction(self) -> str:
        """Nothing: a sum has one regression on its inputs."""
        return ""

    def component(self, name: str, panel: Panel) -> Component:
        """Return the regression as a part of a sum."""
        del panel
        return Component(
            name=name,
            states=(),
            transition=np.zeros((0, 0)),
            observation=np.zeros(0),
            noises=(),
            regressors=GIVEN,
        )


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class TimeVaryingRegression(Additive):
    """What known inputs add to the data, by coefficients that walk at random.

    .. math:: y_t = \\dots + \\sum_j \\beta_{j,t} u_{j,t}, \\qquad
        \\beta_{j,t+1} = \\beta_{j,t} + w_{j,t}, \\; w_{j,t} \\sim N(0, Q_j)

    The coefficients are states, so each has a path with bands; every series of a panel has paths of its own, by its own
    inputs, and shares the covariances. What is observed of them, the inputs, varies in time: `Fit.forecast` and
    `Fit.extend` need those of the rows ahead.

    Parameters
    ----------
    coefficient_cov : form, default Full()
        The form of each Q_j, shape (p, p); Fixed(0) for coefficients that do not move, with an exactly diffuse start.
    observation_cov : form, default Full()
        R, shape (p, p).

    Raises
    ------
    InputError
        If what stands for a form is none; at the fit, if there are no inputs.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 3.6.1.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> heat = rng.normal(size=80)
    >>> sales = 10.0 + np.linspace(1.0, 3.0, 80) * heat + 0.1 * rng.normal(size=80)
    >>> model = kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.TimeVaryingRegression()
    >>> paths = kem.fit(model, sales, inputs=heat).smooth().to_frame()
    >>> paths["coefficient_1"].iloc[[0, -1]].round(0).tolist()
    [1.0, 3.0]
    """

    coefficient_cov: Any = field(default_factory=Full)
    observation_cov: Any = field(default_factory=Full)

    def __post_init__(self) -> None:
        for name in ("coefficient_cov", "observation_cov"):
            checked_covariance_form(getattr(self, name), name)

    @property
    def base(self) -> str:
        """What it is called in a sum."""
        return "regression"

    @property
    def distinction(self) -> str:
        """Nothing: a sum has one regression on its inputs."""
        return ""

    def component(self, name: str, panel: Panel) -> Component:
        """Return the regression as a part of a sum."""
        k = panel.input_dim
        return Component(
            name=name,
            states=tuple(f"coefficient_{j + 1}" for j in range(k)),
            transition=np.eye(k),
            observation=np.zeros(k),
            noises=tuple(
                Noise(name=f"coefficient_{j + 1}_cov", form=self.coefficient_cov, states=(j,), ratios=RATIOS)
                for j in range(k)
            ),
            regressors=GIVEN,
            is_moving=True,
        )
