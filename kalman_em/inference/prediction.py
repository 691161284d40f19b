"""Prediction k steps beyond the last observation: states, and the observations they would bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_count, as_floats, as_input_rows, check_shape, frozen
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.arguments import check_filtered, check_system
from kalman_em.inference.rows import noise_covs
from kalman_em.linalg import symmetrised
from kalman_em.posteriors import FilteredStates
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False, kw_only=True)
class PredictedRows:
    """Moments for h steps: states (h, d) and (h, d, d), observations (h, p) and (h, p, p)."""

    state_means: Array
    state_covs: Array
    observation_means: Array
    observation_covs: Array


def predict_rows(
    system: LinearGaussianSystem,
    filtered: FilteredStates,
    n_steps: int,
    *,
    inputs: Any = None,
    last_input: Any = None,
    times: Any = None,
    observation_matrix: Any = None,
) -> PredictedRows:
    """Predict `n_steps` steps beyond the end of a filtered series.

    Parameters
    ----------
    system : LinearGaussianSystem
        Constant, or moving by gaps in time; another time-varying system says nothing of the steps beyond its end.
    filtered : FilteredStates
        The series so far.
    n_steps : int
        How many steps h to go, at least 1.
    inputs : array_like, shape (h, k) or (h,) for k of 1, optional
        The inputs at the predicted steps; needed if the system has inputs.
    last_input : array_like, shape (k,) or a number for k of 1, optional
        The inputs at the last observed step, which push the first transition.
    times : array_like, shape (h,), optional
        The time of each predicted step, after the last observed one; needed if the system moves by gaps in time.
    observation_matrix : array_like, shape (h, p, d), optional
        H at the predicted steps, in the place of the system's; needed if that varies in time.

    Returns
    -------
    PredictedRows
        Means and covariances of x[T+i] and y[T+i], i = 0..h-1, given y[0..T-1].

    Raises
    ------
    InputError
        If an argument is of another type or does not fit the system, the system varies in time, or inputs are
        missing, superfluous or of the wrong shape.
    NumericalError
        If the state is still diffuse at the end of the series.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 4.11.

    Examples
    --------
    >>> from kalman_em import LinearGaussianSystem, Observations, kalman_filter, predict_rows
    >>> walk = LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[1.0]], observation_matrix=[[1.0]],
    ...     observation_cov=[[2.0]], initial_mean=[0.0], initial_cov=[[2.0]])
    >>> ahead = predict_rows(walk, kalman_filter(walk, Observations([[1.0]])), 2)
    >>> ahead.observation_means.tolist(), ahead.observation_covs.ravel().tolist()
    ([[0.5], [0.5]], [4.0, 5.0])
    """
    n_steps = as_count(n_steps, "n_steps")
    if observation_matrix is not None:
        H = as_floats(observation_matrix, "observation_matrix")
        check_shape(H, (n_steps, system.obs_dim, system.state_dim), "observation_matrix")
        system = system.replaced(observation_matrix=H[0])
    _check_predictable(system, filtered)
    u = _future_inputs(system, n_steps, inputs, last_input)
    system = _with_steps(system, filtered, n_steps, times)
    F, Q, b = (_each(table, ndim, n_steps) for table, ndim in _parts(system))
    states, covs = np.empty((n_steps, system.state_dim)), np.empty((n_steps, system.state_dim, system.state_dim))
    mean, cov = filtered.filtered_means[-1], filtered.filtered_covs[-1]
    for i in range(n_steps):
        mean = F[i] @ mean + b[i]
        cov = symmetrised(F[i] @ cov @ F[i].T) + Q[i]
        if u is not None and system.transition_input is not None:
            mean = mean + _each(system.transition_input, 2, n_steps)[i] @ u[i]
        states[i], covs[i] = mean, cov
    if observation_matrix is not None:
        system = system.replaced(observation_matrix=H)
    seen, seen_covs = _observed(system, states, covs, None if u is None else u[1:])
    return PredictedRows(
        state_means=frozen(states),
        state_covs=frozen(covs),
        observation_means=frozen(seen),
        observation_covs=frozen(seen_covs),
    )


def _check_predictable(system: LinearGaussianSystem, filtered: FilteredStates) -> None:
    check_system(system)
    check_filtered(system, filtered)
    if not system.is_constant and (system.transition_gaps is None or system.observes_variably):
        raise InputError("system: expected a constant system to predict with, got one that varies in time")
    if filtered.n_diffuse_steps == len(filtered.filtered_means):
        raise NumericalError("the state is still diffuse at the end of the series: nothing can be predicted")


def _with_steps(
    system: LinearGaussianSystem, filtered: FilteredStates, n_steps: int, times: Any
) -> LinearGaussianSystem:
    """Return the system with one transition a predicted step, if it moves by gaps in time."""
    if system.transition_gaps is None:
        if times is not None:
            raise InputError("times: expected None, because the system moves once a step, whatever the time")
        return system
    if times is None:
        raise InputError(f"times: expected shape ({n_steps},), because the system moves by gaps in time, got None")
    if filtered.times is None:
        raise InputError("filtered: expected states with times, because the system moves by gaps in time, got none")
    ahead = as_floats(times, "times")
    check_shape(ahead, (n_steps,), "times")
    whole = np.concatenate([filtered.times[-1:], ahead])
    if np.any(np.diff(whole) <= 0.0):
        row = int(np.argmax(np.diff(whole) <= 0.0))
        raise InputError(f"times: expected increasing times after {whole[row]}, got {whole[row + 1]}")
    return system.along(whole)


def _parts(system: LinearGaussianSystem) -> tuple[tuple[Array, int], ...]:
    offset = system.transition_offset
    assert offset is not None  # the system fills it in
    return (system.transition_matrix, 2), (noise_covs(system), 2), (offset, 1)


def _each(array: Array, ndim: int, n_steps: int) -> Array:
    """Return one entry a step of what is constant or varies."""
    return array if array.ndim > ndim else np.broadcast_to(array, (n_steps, *array.shape))


def _observed(system: LinearGaussianSystem, means: Array, covs: Array, inputs: Array | None) -> tuple[Array, Array]:
    """Return the moments of the observations that states with `means` and `covs` would bring."""
    H, D, offset = system.observation_matrix, system.observation_input, system.observation_offset
    assert offset is not None  # the system fills it in
    seen = (means @ H.T if H.ndim == 2 else np.einsum("hpd,hd->hp", H, means)) + offset
    if inputs is not None and D is not None:
        seen = seen + inputs @ D.T
    return seen, symmetrised(H @ covs @ np.swapaxes(H, -1, -2)) + system.observation_cov


def _future_inputs(system: LinearGaussianSystem, n_steps: int, inputs: Any, last_input: Any) -> Array | None:
    """Return u at the last observed step and at the predicted ones, (h+1, k), or None without inputs."""
    k = system.input_dim
    if k == 0:
        if inputs is not None:
            raise InputError("inputs: expected none, because the system has no input matrix")
        return None
    if inputs is None:
        raise InputError(f"inputs: expected shape ({n_steps}, {k}), one row a predicted step, got none")
    future = as_input_rows(inputs, n_steps, k)
    if last_input is None:
        raise InputError(f"last_input: expected shape ({k},), the inputs at the last observed step, got none")
    last = np.atleast_1d(as_floats(last_input, "last_input"))
    check_shape(last, (k,), "last_input")
    return frozen(np.vstack([last, future]))
