"""Forms for `initial_cov` alone, of a first state without a covariance of its own to learn; the mean beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import frozen
from kalman_em.em.constraints import LinearConstraint


@dataclass(frozen=True)
class Diffuse:
    """Nothing is known of the initial state: a flat prior, treated exactly (for `initial_cov` alone).

    Examples
    --------
    >>> from kalman_em import Diffuse
    >>> Diffuse()
    Diffuse()
    """


@dataclass(frozen=True)
class Stationary:
    """What comes first is drawn from the stationary distribution: of the states, or of the regimes of a chain.

    For `initial_cov` of a state space, and `initial_probabilities` of a model with regimes (of which see the end).

    With every eigenvalue of F inside the unit circle that is N(m, P) with

    .. math:: m = F m + b, \\qquad P = F P F' + G Q G',

    and m and P move with F, b, G and Q as these are learnt. It is the same distribution one step earlier
    (`initial_step="before"`). Inputs count as 0 before the first row. A mean that is stated as `initial_mean` is kept.

    The first regime of a chain with moves A has π = π A, and π moves with A.

    Raises
    ------
    InputError
        Where it is used, if F, Q or b varies in time, other states move these, or a known F has an eigenvalue on or
        outside the unit circle.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 5.6.2; Hamilton, Time Series
    Analysis, 1994, equation (13.2.21).

    Examples
    --------
    >>> import kalman_em as kem
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = np.zeros(300)
    >>> for t in range(1, 300):
    ...     x[t] = 0.8 * x[t - 1] + rng.normal()
    >>> model = kem.LinearGaussian(
    ...     1, 1, observation_matrix=kem.Fixed([[1.0]]), observation_cov=kem.Fixed([[0.0]]),
    ...     initial_cov=kem.Stationary())
    >>> params = kem.fit(model, x).params
    >>> F, Q, P = (float(params[name][0, 0]) for name in ("transition_matrix", "transition_cov", "initial_cov"))
    >>> round(F, 2), abs(P - Q / (1 - F**2)) < 1e-12 * P
    (0.81, True)
    """


@dataclass(frozen=True)
class MeanOfBlocks:
    """The initial mean where none is stated: learnt where `free`; elsewhere 0, or what a stationary block makes it."""

    free: tuple[bool, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "free", tuple(bool(one) for one in self.free))

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Free where `free`, fixed at 0 elsewhere."""
        del name
        return LinearConstraint(frozen(np.zeros(shape)), frozen(np.eye(len(self.free))[:, np.array(self.free)]))


def is_initial_form(form: Any) -> bool:
    """Whether `form` is one for `initial_cov` alone."""
    return isinstance(form, Diffuse | Stationary)
