"""Seeded random systems and the series simulated from them."""

from __future__ import annotations

import numpy as np

from kalman_em.observations import Observations
from kalman_em.systems import LinearGaussianSystem

VARYING = frozenset({"F", "b", "B", "Q", "G", "H", "d", "D", "R"})


def random_cov(rng, dim, *, rank=None, scale=1.0):
    """Return a covariance of the given rank with eigenvalues within a factor of about ten."""
    rank = dim if rank is None else rank
    basis, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    factor = basis[:, :rank] * np.sqrt(rng.uniform(0.2, 2.0, size=rank))
    cov = scale * factor @ factor.T
    return 0.5 * (cov + cov.T)


def random_transition(rng, dim, *, radius=0.95):
    """Return a matrix whose largest eigenvalue is between half of `radius` and `radius` in absolute value."""
    matrix = rng.normal(size=(dim, dim))
    return matrix * radius * rng.uniform(0.5, 1.0) / np.abs(np.linalg.eigvals(matrix)).max()


def random_system(
    rng,
    state_dim,
    obs_dim,
    n_steps,
    *,
    varying=(),
    input_dim=0,
    offsets=True,
    noise_dim=None,
    cov_rank=None,
    exact_rows=0,
    initial_rank=None,
    diffuse=0,
    radius=0.95,
    n_transitions=None,
):
    """Return a `LinearGaussianSystem` with random matrices.

    Parameters
    ----------
    rng : numpy.random.Generator
    state_dim, obs_dim, n_steps : int
    varying : iterable of the letters F, b, B, Q, G, H, d, D, R, or "all"
        The matrices that change at every step.
    input_dim : int
        Number of known inputs; 0 leaves B and D out.
    offsets : bool
        Whether b and d are there.
    noise_dim : int, optional
        Columns of G; without it there is no G.
    cov_rank : int, optional
        Rank of Q; full when left out.
    exact_rows : int
        Number of observed quantities without noise: zero rows and columns of R.
    initial_rank : int, optional
        Rank of P; 0 gives a known initial state.
    diffuse : int or sequence of int
        How many elements of the initial state are diffuse (the first ones), or which.
    radius : float
        Bound on the spectral radius of every F.
    n_transitions : int, optional
        Number of entries of varying transition matrices; `n_steps` - 1 when left out.
    """
    varying = VARYING if varying == "all" else frozenset(varying)
    if not varying <= VARYING:
        raise ValueError(f"varying: unknown {sorted(varying - VARYING)}")
    d, p = state_dim, obs_dim
    n_transitions = n_steps - 1 if n_transitions is None else n_transitions

    def many(name, draw):
        if name not in varying:
            return draw()
        count = n_transitions if name in "FbBQG" else n_steps
        first = draw()
        return np.stack([draw() for _ in range(count)]) if count else np.empty((0, *first.shape))

    r = d if noise_dim is None else noise_dim
    exact = rng.permutation(p)[:exact_rows]
    is_diffuse = np.zeros(d, dtype=bool)
    is_diffuse[np.arange(diffuse) if isinstance(diffuse, int) else list(diffuse)] = True

    def observation_cov():
        cov = random_cov(rng, p)
        cov[exact, :] = 0.0
        cov[:, exact] = 0.0
        return cov

    initial_cov = random_cov(rng, d, rank=initial_rank)
    initial_cov[is_diffuse, :] = 0.0
    initial_cov[:, is_diffuse] = 0.0
    parts = {
        "transition_matrix": many("F", lambda: random_transition(rng, d, radius=radius)),
        "transition_cov": many("Q", lambda: random_cov(rng, r, rank=cov_rank, scale=0.5)),
        "observation_matrix": many("H", lambda: rng.normal(size=(p, d))),
        "observation_cov": many("R", observation_cov),
        "initial_mean": rng.normal(size=d),
        "initial_cov": initial_cov,
        "initial_diffuse": is_diffuse,
    }
    if offsets:
        parts["transition_offset"] = many("b", lambda: rng.normal(size=d))
        parts["observation_offset"] = many("d", lambda: rng.normal(size=p))
    if input_dim:
        parts["transition_input"] = many("B", lambda: rng.normal(size=(d, input_dim)))
        parts["observation_input"] = many("D", lambda: rng.normal(size=(p, input_dim)))
    if noise_dim is not None:
        parts["noise_selection"] = many("G", lambda: rng.normal(size=(d, noise_dim)))
    return LinearGaussianSystem(**parts)


def random_observations(rng, system, n_steps, *, missing=0.0, missing_rows=()):
    """Return `Observations` simulated from `system`.

    Each entry is missing with probability `missing`, and each row in `missing_rows` is missing as a
    whole. Diffuse elements of the state start at about ten times the noise. Inputs are drawn if the
    system has any. At least one entry stays observed when any row may be.
    """
    inputs = rng.normal(size=(n_steps, system.input_dim)) if system.input_dim else None
    start = np.where(system.initial_diffuse, 10.0 * rng.normal(size=system.state_dim), 0.0)
    x = system.initial_mean + start + draw(rng, system.initial_cov)
    values = np.empty((n_steps, system.obs_dim))
    for t in range(n_steps):
        u = np.zeros(0) if inputs is None else inputs[t]
        values[t] = at(system.observation_matrix, t, 2) @ x + at(system.observation_offset, t, 1)
        values[t] += draw(rng, at(system.observation_cov, t, 2))
        if inputs is not None:
            values[t] += at(system.observation_input, t, 2) @ u
        if t + 1 < n_steps:
            noise = draw(rng, at(system.transition_cov, t, 2))
            if system.noise_selection is not None:
                noise = at(system.noise_selection, t, 2) @ noise
            x = at(system.transition_matrix, t, 2) @ x + at(system.transition_offset, t, 1) + noise
            if inputs is not None:
                x = x + at(system.transition_input, t, 2) @ u
    hidden = rng.random(values.shape) < missing
    hidden[list(missing_rows)] = True
    open_rows = [t for t in range(n_steps) if t not in set(missing_rows)]
    if hidden.all() and open_rows:
        hidden[open_rows[-1], 0] = False
    values[hidden] = np.nan
    return Observations(values, inputs=inputs)


def at(array, t, ndim):
    """Return entry `t` of an array that is constant (`ndim` axes) or varies in time (one more)."""
    return array if array.ndim == ndim else array[t]


def draw(rng, cov):
    """Return one draw from N(0, `cov`), which may be singular."""
    eigenvalues, vectors = np.linalg.eigh(cov)
    eigenvalues[eigenvalues < 1e-12 * max(eigenvalues[-1], 0.0)] = 0.0
    return vectors @ (np.sqrt(np.maximum(eigenvalues, 0.0)) * rng.normal(size=len(cov)))
