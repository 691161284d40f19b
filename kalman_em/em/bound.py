"""The lower bound that EM climbs: it touches the log-likelihood at the current parameters and lies below elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.em.problem import EMProblem, Expectations, Params
from kalman_em.errors import InputError


@runtime_checkable
class ExpectsGain(EMProblem[Params, Expectations], Protocol[Params, Expectations]):
    """A problem that can also say by how much new parameters raise the expected complete log-likelihood."""

    def expected_gain(self, old: Params, new: Params, expectations: Expectations) -> float:
        """Return Q(new, old) - Q(old, old) from the expectations at `old`; -inf where no bound is finite."""
        ...


def lower_bound(problem: ExpectsGain[Params, Expectations], old: Params, new: Params) -> float:
    """Return at `new` the lower bound on the log-likelihood that the E-step at `old` gives.

    For every distribution q of the hidden z, Jensen's inequality gives

        log p(y; θ) = log E_q[p(y, z; θ) / q(z)]  >=  E_q[log p(y, z; θ)] - E_q[log q(z)],

    and what is missing to equality is the divergence KL(q, p(z given y; θ)). With q = p(z given y; old) the bound is

        log p(y; old) + Q(new, old) - Q(old, old),

    which touches the log-likelihood, with the same slope, at new = old. The M-step climbs it.

    Parameters
    ----------
    problem : ExpectsGain
        An EM problem with the method ``expected_gain(old, new, expectations)``.
    old, new : object
        Parameters of the problem.

    Raises
    ------
    InputError
        If the problem has no such method.

    References
    ----------
    Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39 (1977),
    section 3, theorem 1; Neal and Hinton, A view of the EM algorithm that justifies incremental, sparse, and other
    variants, in Learning in Graphical Models (1998), section 2.

    Examples
    --------
    Lifetimes of lamps, exponential with mean θ: three burnt out after 12 months in all, two still burn after 8.

    >>> import math
    >>> class Lamps:
    ...     def e_step(self, mean):
    ...         return 12.0 + 2 * (8.0 + mean), -3 * math.log(mean) - 28.0 / mean
    ...     def m_step(self, mean, total_lifetime):
    ...         return total_lifetime / 5
    ...     def expected_gain(self, old, new, total_lifetime):
    ...         return -5 * math.log(new / old) - total_lifetime * (1 / new - 1 / old)
    >>> lamps = Lamps()
    >>> round(lower_bound(lamps, 5.0, 8.0), 3), round(lamps.e_step(8.0)[1], 3)
    (-9.928, -9.738)
    """
    _check_problem(problem)
    expectations, log_likelihood = problem.e_step(old)
    return log_likelihood + problem.expected_gain(old, new, expectations)


@dataclass(frozen=True, eq=False, kw_only=True)
class BoundCurve:
    """Log-likelihood and lower bound along one parameter.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Values of the parameter.
    log_likelihoods, bounds : ndarray, shape (n,)
        The log-likelihood there, and the bound that touches it at `old`.
    old, old_log_likelihood : float
        Where they touch.
    new, new_bound, new_log_likelihood : float
        What the M-step makes of `old`, and both curves there.
    """

    values: Array
    log_likelihoods: Array
    bounds: Array
    old: float
    old_log_likelihood: float
    new: float
    new_bound: float
    new_log_likelihood: float

    def __post_init__(self) -> None:
        for field in fields(self)[:3]:
            value = getattr(self, field.name)
            # -inf is a bound like any other: nothing is promised there.
            array = np.array(value, dtype=np.float64) if field.name == "bounds" else as_floats(value, field.name)
            array.setflags(write=False)
            object.__setattr__(self, field.name, array)
        if self.values.ndim != 1 or len(self.values) == 0:
            raise InputError(f"values: expected shape (n,), got {self.values.shape}")
        for name in ("log_likelihoods", "bounds"):
            check_shape(getattr(self, name), self.values.shape, name)

    @property
    def gaps(self) -> Array:
        """The divergence between the posteriors of the hidden values at `old` and at each of `values`, shape (n,)."""
        return np.asarray(self.log_likelihoods - self.bounds)


def _as_is(value: Any) -> Any:
    return value


def bound_curve(
    problem: ExpectsGain[Params, Expectations],
    old: float,
    values: Any,
    *,
    place: Callable[[float], Params] = _as_is,
    read: Callable[[Params], float] = _as_is,
) -> BoundCurve:
    """Return the log-likelihood at each of `values`, and the bound under it that touches at `old`.

    Parameters
    ----------
    problem : ExpectsGain
        An EM problem with the method ``expected_gain(old, new, expectations)``.
    old : float
        The current value of the parameter.
    values : array_like, shape (n,)
        Where to evaluate both.
    place, read : callable
        From the number to the parameters of the problem and back, where the parameters are more than that number.

    Examples
    --------
    >>> import numpy as np
    >>> class Halves:                                              # y ~ N(z, 1), z ~ N(θ, 1): half of z is noise
    ...     def e_step(self, mean):
    ...         return 0.5 * (3.0 + mean), -0.25 * (3.0 - mean) ** 2     # one observation, y = 3
    ...     def m_step(self, mean, hidden):
    ...         return hidden
    ...     def expected_gain(self, old, new, hidden):
    ...         return 0.5 * (hidden - old) ** 2 - 0.5 * (hidden - new) ** 2
    >>> curve = bound_curve(Halves(), old=1.0, values=[0.0, 1.0, 2.0])
    >>> curve.new, curve.gaps.tolist()
    (2.0, [0.25, 0.0, 0.25])
    """
    _check_problem(problem)
    points = as_floats(values, "values")
    params = place(float(old))
    expectations, log_likelihood = problem.e_step(params)

    def bound(at: Params) -> float:
        return float(log_likelihood + problem.expected_gain(params, at, expectations))

    best = problem.m_step(params, expectations)
    return BoundCurve(
        values=points,
        log_likelihoods=np.array([problem.e_step(place(float(value)))[1] for value in points.ravel()]),
        bounds=np.array([bound(place(float(value))) for value in points.ravel()]),
        old=float(old),
        old_log_likelihood=float(log_likelihood),
        new=float(read(best)),
        new_bound=bound(best),
        new_log_likelihood=float(problem.e_step(best)[1]),
    )


def _check_problem(problem: object) -> None:
    if isinstance(problem, type) or not isinstance(problem, ExpectsGain):
        raise InputError(f"problem: expected an object with e_step, m_step and expected_gain, got {problem!r}")
