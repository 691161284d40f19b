"""The systems that the workloads run on, data simulated from them, and starts away from the truth."""

from __future__ import annotations

import numpy as np

from benchmarks.cases import Array, Matrices

# Longer series repeat this many simulated rows: what the numbers are does not change what they cost.
SIMULATED_ROWS = 100_000


def walk() -> Matrices:
    """Return a random walk seen through noise: d = p = 1."""
    return started(np.eye(1), np.eye(1), np.array([[0.1]]), np.array([[1.0]]))


def trend() -> Matrices:
    """Return a local linear trend: d = 2, p = 1."""
    F = np.array([[1.0, 1.0], [0.0, 1.0]])
    return started(F, np.array([[1.0, 0.0]]), np.diag([0.1, 0.01]), np.array([[1.0]]))


def tracking(damping: tuple[float, float] = (1.0, 1.0), density: float = 0.05, correlated: bool = False) -> Matrices:
    """Return a target in the plane, position seen: d = 4, p = 2; `damping` of position and velocity."""
    block = np.array([[damping[0], 1.0], [0.0, damping[1]]])
    noise = density * np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]])
    H = np.kron(np.eye(2), [[1.0, 0.0]])
    R = np.array([[1.0, 0.2], [0.2, 0.8]]) if correlated else np.diag([1.0, 0.8])
    return started(np.kron(np.eye(2), block), H, np.kron(np.eye(2), noise), R)


def rotating(state_dim: int, obs_dim: int, rng: np.random.Generator, diagonal: bool = False) -> Matrices:
    """Return a stable system of any size: a shrunk rotation, every state seen by every sensor."""
    F = 0.95 * _rotation(state_dim, rng)
    H = rng.standard_normal((obs_dim, state_dim)) / np.sqrt(state_dim)
    R = np.diag(rng.uniform(0.5, 2.0, obs_dim)) if diagonal else _definite(obs_dim, 0.5, 2.0, rng)
    return started(F, H, _definite(state_dim, 0.2, 1.0, rng), R)


def started(F: Array, H: Array, Q: Array, R: Array) -> Matrices:
    """Return the matrices with the first state one step after N(0, I)."""
    return Matrices(F, H, Q, R, np.zeros(len(F)), F @ F.T + Q)


def moved_off(truth: Matrices, rng: np.random.Generator) -> Matrices:
    """Return a start of EM away from the truth."""
    H = truth.H + 0.05 * rng.standard_normal(truth.H.shape)
    Q = 1.5 * truth.Q + 0.01 * np.eye(truth.state_dim)
    return started(0.9 * truth.F, H, Q, 1.3 * truth.R)


def simulated(truth: Matrices, n_steps: int, rng: np.random.Generator, n_series: int = 1) -> Array:
    """Return values (n_series, n_steps, p) drawn from the system."""
    n_drawn = min(n_steps, SIMULATED_ROWS)
    d, p = truth.state_dim, truth.obs_dim
    state_noise = rng.standard_normal((n_drawn, n_series, d)) @ np.linalg.cholesky(truth.Q).T
    x = truth.m + rng.standard_normal((n_series, d)) @ np.linalg.cholesky(truth.P).T
    states = np.empty((n_drawn, n_series, d))
    for t in range(n_drawn):
        states[t] = x
        x = x @ truth.F.T + state_noise[t]
    noise = rng.standard_normal((n_drawn, n_series, p)) @ np.linalg.cholesky(truth.R).T
    drawn = (states @ truth.H.T + noise).swapaxes(0, 1)
    n_copies = -(-n_steps // n_drawn)
    return np.ascontiguousarray(np.tile(drawn, (1, n_copies, 1))[:, :n_steps])


def with_gaps(values: Array, share: float, rng: np.random.Generator) -> Array:
    """Return the values with a share of the entries missing at random."""
    return np.where(rng.random(values.shape) < share, np.nan, values)


def _rotation(size: int, rng: np.random.Generator) -> Array:
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def _definite(size: int, smallest: float, largest: float, rng: np.random.Generator) -> Array:
    rotation = _rotation(size, rng)
    return (rotation * np.linspace(smallest, largest, size)) @ rotation.T
