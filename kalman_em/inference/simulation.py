"""Draws from the model: new series, and states of a given series from their posterior."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_count, as_floats, as_input_rows, check_shape, frozen
from kalman_em.errors import InputError
from kalman_em.inference.arguments import check_generator, check_observations, check_system
from kalman_em.inference.kalman import smooth_by
from kalman_em.inference.rows import Rows, SystemRows, lay, stack_rows
from kalman_em.linalg import square_root
from kalman_em.observations import Observations
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated series: states (T, d) and values (T, p)."""

    states: Array
    values: Array


def simulate(
    system: LinearGaussianSystem,
    n_steps: int,
    rng: np.random.Generator,
    *,
    inputs: Any = None,
    initial_state: Any = None,
    times: Any = None,
) -> Simulation:
    """Draw a series from the model.

    Parameters
    ----------
    system : LinearGaussianSystem
        Where it varies in time, its length must serve `n_steps`.
    n_steps : int
        Number of steps T.
    rng : numpy.random.Generator
        The source of randomness.
    inputs : array_like, shape (T, k) or (T,) for k of 1, optional
        Needed if the system has inputs.
    initial_state : array_like, shape (d,), optional
        x[0]; drawn from N(m, P) when left out. Needed if the system has a diffuse start.
    times : array_like, shape (T,), optional
        The time of each step; needed if the system moves by gaps in time.

    Returns
    -------
    Simulation
        States (T, d) and values (T, p).

    Raises
    ------
    InputError
        If an argument does not fit the system, or a diffuse start is asked to be drawn.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, equation (3.1), drawn from the
    first step to the last.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import LinearGaussianSystem, simulate
    >>> walk = LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[1.0]], observation_matrix=[[1.0]],
    ...     observation_cov=[[2.0]], initial_mean=[0.0], initial_cov=[[2.0]])
    >>> simulate(walk, 5, np.random.default_rng(0)).values.shape
    (5, 1)
    """
    check_system(system)
    n_steps = as_count(n_steps, "n_steps")
    check_generator(rng)
    if initial_state is None and system.has_diffuse:
        raise InputError(
            f"initial_state: expected shape ({system.state_dim},), got None: a diffuse start has no distribution to "
            "draw from"
        )
    known = _known_inputs(system, inputs, n_steps)
    rows = stack_rows([Observations(np.full((n_steps, system.obs_dim), np.nan), times=times, inputs=known)])
    laid = lay(system, rows)
    if initial_state is None:
        root = square_root(system.initial_cov)
        start = system.initial_mean + root @ rng.standard_normal(system.state_dim)
    else:
        start = as_floats(initial_state, "initial_state")
        check_shape(start, (system.state_dim,), "initial_state")
    states, values = _draw(laid, n_steps, start[None], rng)
    return Simulation(frozen(states[0]), frozen(values[0]))


def sample_states(
    system: LinearGaussianSystem,
    observations: Observations,
    n_samples: int,
    rng: np.random.Generator,
) -> Array:
    """Draw whole paths of the states from their distribution given all observations.

    The mean-correction simulation smoother: a path simulated from the model, plus the smoothed difference
    between the data and what that path would have shown. Right for diffuse starts and singular noise too.

    Parameters
    ----------
    system : LinearGaussianSystem
        d states.
    observations : Observations
        T rows.
    n_samples : int
        Number of paths.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    ndarray, shape (n_samples, T, d)

    Raises
    ------
    InputError
        If an argument does not fit the system.

    References
    ----------
    Durbin and Koopman, A simple and efficient simulation smoother for state space time series analysis,
    Biometrika 89 (2002), section 2.3, with the correction of Jarocinski, A note on implementing the Durbin and
    Koopman simulation smoother, CSDA 91 (2015): the simulated path starts from mean 0 and has no offsets.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import LinearGaussianSystem, Observations, sample_states
    >>> walk = LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[1.0]], observation_matrix=[[1.0]],
    ...     observation_cov=[[2.0]], initial_mean=[0.0], initial_cov=[[2.0]])
    >>> observed = Observations([[1.0], [float("nan")], [3.0]])
    >>> sample_states(walk, observed, 4, np.random.default_rng(0)).shape
    (4, 3, 1)
    """
    check_system(system)
    check_observations(system, observations)
    n_samples = as_count(n_samples, "n_samples")
    check_generator(rng)
    one = stack_rows([observations])
    laid = lay(system, one)
    n, d = one.n_rows, system.state_dim
    noise = rng.standard_normal((n_samples, d)) @ square_root(system.initial_cov).T
    states, values = _draw(_without_offsets(laid), n, noise, rng)
    # Each draw is a series of a panel: its data are y - y+, its smoothed states the correction to x+.
    series = [replace(observations, values=observations.values - drawn) for drawn in values]
    rows = stack_rows(series)
    return frozen(states + _smoothed_means(lay(system, rows), rows).reshape(n_samples, n, d))


def _known_inputs(system: LinearGaussianSystem, inputs: Any, n_steps: int) -> Array | None:
    k = system.input_dim
    if k == 0 and inputs is not None:
        raise InputError("inputs: expected none, because the system has no input matrix")
    if k > 0 and inputs is None:
        raise InputError(f"inputs: expected shape ({n_steps}, {k}), one row a step, got none")
    return None if inputs is None else as_input_rows(inputs, n_steps, k)


def _smoothed_means(laid: SystemRows, rows: Rows) -> Array:
    return smooth_by(laid, rows).smoothed_means


def _without_offsets(laid: SystemRows) -> SystemRows:
    entries = {
        name: type(table)(np.zeros_like(table.entries), table.index)
        for name, table in (("offset", laid.offset), ("observation_offset", laid.observation_offset))
    }
    return SystemRows(**{**laid.__dict__, **entries})


def _draw(laid: SystemRows, n_steps: int, start: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return states (n, T, d) and values (n, T, p) of n series that start at the rows of `start`."""
    n, d = start.shape
    p = laid.observation_cov.entries.shape[-1]
    noise_roots = [square_root(cov) for cov in laid.noise_cov.entries]
    observation_roots = [square_root(cov) for cov in laid.observation_cov.entries]
    states, values = np.empty((n, n_steps, d)), np.empty((n, n_steps, p))
    state = start
    for t in range(n_steps):
        if t > 0:
            F = laid.transition.entries[laid.transition.index[t - 1]]
            c = laid.offset.entries[laid.offset.index[t - 1]]
            root = noise_roots[laid.noise_cov.index[t - 1]]
            state = state @ F.T + c + rng.standard_normal((n, d)) @ root.T
        states[:, t] = state
        H = laid.observation.entries[laid.observation.index[t]]
        offset = laid.observation_offset.entries[laid.observation_offset.index[t]]
        root = observation_roots[laid.observation_cov.index[t]]
        values[:, t] = state @ H.T + offset + rng.standard_normal((n, p)) @ root.T
    return states, values
