"""One step at a time, for a filter that runs as the data arrive: the same compiled steps as the batch loops."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.compiled import kernel
from kalman_em.errors import InputError
from kalman_em.inference.kernel_arrays import empty_work
from kalman_em.inference.sizes import sized
from kalman_em.inference.steps import Size, ldl, predict_step, update_step
from kalman_em.linalg import checked_covariance


class StateMoments(NamedTuple):
    """The mean (d,) and covariance (d, d) of a state."""

    mean: Array
    cov: Array


class StateUpdate(NamedTuple):
    """The moments of a state after an observation, and the log density of that observation."""

    mean: Array
    cov: Array
    log_likelihood: float


def predict(
    mean: Any,
    cov: Any,
    transition_matrix: Any,
    transition_cov: Any,
    transition_offset: Any = None,
) -> StateMoments:
    """Move a state one step on: F m + b and F P F' + Q.

    Parameters
    ----------
    mean, cov : array_like, shape (d,) and (d, d)
        Moments of x[t].
    transition_matrix, transition_cov : array_like, shape (d, d)
        F, and Q as it enters the state.
    transition_offset : array_like, shape (d,), optional
        b, with B u added where there are inputs.

    Returns
    -------
    StateMoments
        Mean and covariance of x[t+1].

    Raises
    ------
    InputError
        If a shape does not fit or a covariance is not symmetric and PSD.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, equation (4.21).

    Examples
    --------
    >>> from kalman_em import predict
    >>> moved = predict([1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.5]])
    >>> moved.mean.tolist(), moved.cov.tolist()
    ([3.0, 2.0], [[2.0, 1.0], [1.0, 1.5]])
    """
    m, P = _state(mean, cov)
    d = len(m)
    F = as_floats(transition_matrix, "transition_matrix")
    check_shape(F, (d, d), "transition_matrix")
    Q = checked_covariance(as_floats(transition_cov, "transition_cov"), d, "transition_cov")
    b = as_floats(np.zeros(d) if transition_offset is None else transition_offset, "transition_offset")
    check_shape(b, (d,), "transition_offset")
    predict_step(sized(d), F, b, Q, m, P, empty_work(d))
    return StateMoments(m, P)


def update(
    mean: Any,
    cov: Any,
    value: Any,
    observation_matrix: Any,
    observation_cov: Any,
    observation_offset: Any = None,
) -> StateUpdate:
    """Condition a state on one observation y = H x + d + v.

    Parameters
    ----------
    mean, cov : array_like, shape (d,) and (d, d)
        Moments of the state before the observation.
    value : array_like, shape (p,)
        y; NaN entries are missing and the others are used.
    observation_matrix, observation_cov : array_like, shape (p, d) and (p, p)
        H and R.
    observation_offset : array_like, shape (p,), optional
        The offset d, with D u added where there are inputs.

    Returns
    -------
    StateUpdate
        Mean, covariance, and log p(y), which is 0 where nothing was observed and -inf where the value is
        impossible (a state known without error says otherwise).

    Raises
    ------
    InputError
        If a shape does not fit or a covariance is not symmetric and PSD.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 6.4.

    Examples
    --------
    >>> from kalman_em import update
    >>> after = update([0.0], [[2.0]], [1.0], [[1.0]], [[2.0]])
    >>> after.mean.tolist(), after.cov.tolist(), round(after.log_likelihood, 4)
    ([0.5], [[1.0]], -1.7371)
    """
    m, P = _state(mean, cov)
    d = len(m)
    y = as_floats(value, "value", allow_nan=True)
    if y.ndim != 1 or y.size == 0:
        raise InputError(f"value: expected shape (p,), p at least 1, got {y.shape}")
    p = len(y)
    H = as_floats(observation_matrix, "observation_matrix")
    check_shape(H, (p, d), "observation_matrix")
    R = checked_covariance(as_floats(observation_cov, "observation_cov"), p, "observation_cov")
    offset = as_floats(np.zeros(p) if observation_offset is None else observation_offset, "observation_offset")
    check_shape(offset, (p,), "observation_offset")
    seen = np.flatnonzero(~np.isnan(y))
    lower, pivots = np.zeros((len(seen), len(seen))), np.zeros(len(seen))
    ldl(len(seen), np.ascontiguousarray(R[np.ix_(seen, seen)]), lower, pivots)
    h = np.linalg.solve(lower, H[seen])
    scalars: Array = np.asarray(np.linalg.solve(lower, (y - offset)[seen]), dtype=np.float64)
    reference, work, no_factor, gain = P.copy(), empty_work(d), np.zeros((d, d)), np.zeros(d)
    total = take_scalars(sized(d), np.ascontiguousarray(h), scalars, pivots, m, P, no_factor, reference, gain, work)
    return StateUpdate(m, P, total)


@kernel
def take_scalars(
    size: Size,
    rows: Array,
    scalars: Array,
    variances: Array,
    mean: Array,
    cov: Array,
    no_factor: Array,
    reference: Array,
    gain: Array,
    work: Array,
) -> float:
    """Condition mean and cov on independent scalar observations, one a row of `rows`; return their log density."""
    total = 0.0
    for i in range(scalars.shape[0]):
        found = update_step(
            size, rows[i], scalars[i], variances[i], mean, cov, no_factor, 0, reference, math.inf, gain, work
        )
        total += found[0]
    return total


def _state(mean: Any, cov: Any) -> tuple[Array, Array]:
    m = as_floats(mean, "mean")
    if m.ndim != 1 or m.size == 0:
        raise InputError(f"mean: expected shape (d,), d at least 1, got {m.shape}")
    P = checked_covariance(as_floats(cov, "cov"), len(m), "cov")
    return m.copy(), P.copy()
