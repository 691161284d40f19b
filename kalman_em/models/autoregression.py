"""Autoregression as a component: what is left of a trend and a season has a memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_count
from kalman_em.em.forms import Full, checked_covariance_form
from kalman_em.models.component import Coefficient, Component, Noise, Turning, first_cov
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.structural import Additive
from kalman_em.observations import Panel

# What a start tries: variances as multiples of that of the observations, and roots of the autoregression.
RATIOS = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
ROOTS = (-0.6, 0.3, 0.6, 0.85, 0.95)
# Pairs of roots for two lags and more (damping and period of a wave), and the size of the other roots.
SMALL = 0.3
WAVES = ((0.7, 4.0), (0.9, 4.0), (0.7, 10.0), (0.9, 10.0), (0.95, 25.0))


@checks_keywords
@dataclass(frozen=True)
class Autoregression(Additive):
    """A stationary deviation that remembers its last `order` values.

    .. math:: \\xi_{t+1} = \\phi_1 \\xi_t + \\dots + \\phi_m \\xi_{t+1-m} + w_t, \\; w_t \\sim N(0, Q)

    The coefficients, m a column of data, are learnt by regression; a stationary start makes its M-step a generalised
    one.

    Parameters
    ----------
    order : int
        m, the number of lags, at least 1.
    autoregression_cov : form, default Full()
        Q, shape (p, p).
    observation_cov : form, default Full()
        R, shape (p, p); Fixed(0) for an autoregression that is seen without noise.
    initial_cov : Stationary() or Diffuse(), optional
        How the first `order` values begin: from their stationary distribution, if left out (diffuse where
        `autoregression_cov` is Fixed at 0 in some column, or varies in time).

    Raises
    ------
    InputError
        If `order` is not a whole number of at least 1, what stands for a form is none, or `initial_cov` is another; at
        the fit, if a form does not fit the columns of the data.

    Notes
    -----
    The learnt coefficients stay inside the unit circle where the start is stationary. With `Diffuse()` they need not,
    but where the coefficient of the last of several lags heads for 0 the likelihood grows without end, and the fit
    stops.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, sections 3.4 and 5.6.2.

    Examples
    --------
    >>> import kalman_em as kem
    >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    >>> model = kem.LocalLevel(level_cov=kem.Fixed(0), observation_cov=kem.Fixed(0)) + kem.Autoregression(1)
    >>> fitted = kem.fit(model, growth)
    >>> fitted.params.autoregression.round(2).tolist()
    [0.35]
    """

    order: int
    autoregression_cov: Any = field(default_factory=Full, kw_only=True)
    observation_cov: Any = field(default_factory=Full, kw_only=True)
    initial_cov: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", as_count(self.order, "order"))
        for name in ("autoregression_cov", "observation_cov"):
            checked_covariance_form(getattr(self, name), name)
        first_cov(self.initial_cov, self.autoregression_cov)

    @property
    def base(self) -> str:
        """What it is called in a sum."""
        return "autoregression"

    @property
    def distinction(self) -> str:
        """The order."""
        return str(self.order)

    def component(self, name: str, panel: Panel) -> Component:
        """Return the autoregression as a part of a sum."""
        del panel
        m = self.order
        row = tuple((0, lag) for lag in range(m))
        return Component(
            name=name,
            states=(name, *(f"{name}_lag_{lag}" for lag in range(1, m))),
            transition=np.eye(m, k=-1),
            observation=np.eye(m)[0],
            noises=(Noise(name=f"{name}_cov", form=self.autoregression_cov, states=(0,), ratios=RATIOS),),
            coefficient=Coefficient(
                free=tuple((0, lag, lag, 1.0) for lag in range(m)), size=m, shown=((name, "value", row),)
            ),
            transitions=tuple(companion(coefficients, m) for coefficients in _tried(m)),
            initial_cov=first_cov(self.initial_cov, self.autoregression_cov),
            turning=_dying(name) if m == 1 else None,
        )


def _dying(name: str) -> Turning:
    """Return the first-order autoregression as a motion in continuous time: an Ornstein-Uhlenbeck process."""
    tried = tuple((-float(np.log(root)),) for root in ROOTS if 0.0 < root < 1.0)
    return Turning(drift=np.zeros((1, 1)), rates=((name, "damping", ((0, 0, -1.0),)),), tried=tried)


def companion(coefficients: Array, order: int) -> Array:
    """Return the transition (order, order) of an autoregression with these coefficients."""
    result: Array = np.eye(order, k=-1)
    result[0] = coefficients
    return result


def _tried(order: int) -> list[Array]:
    """Return the coefficients that a start tries: one root or a pair that makes a wave, and small ones for the rest.

    No coefficient of the last lag is 0: what it multiplies could then not be seen.
    """
    leading: list[list[complex]] = [[root] for root in ROOTS]
    if order > 1:
        turned = [damping * np.exp(2j * np.pi / period) for damping, period in WAVES]
        leading += [[root, np.conj(root)] for root in turned]
    return [_with_roots([*roots, *_small(order - len(roots))]) for roots in leading]


def _small(n: int) -> list[complex]:
    """Return n roots of equal small size, in conjugate pairs."""
    return [SMALL * np.exp(1j * np.pi * (2 * i + 1) / n) for i in range(n)]


def _with_roots(roots: list[complex]) -> Array:
    result: Array = -np.real(np.poly(roots))[1:]
    return result
