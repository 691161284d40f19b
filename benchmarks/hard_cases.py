"""Systems in which covariances may lose their digits, each with a number of its own, and a series from it."""

from __future__ import annotations

import numpy as np

import kalman_em as kem

Array = np.ndarray
# Rows of a series.
HARD_STEPS, TRACK_STEPS, SEASON_STEPS = 25, 20, 80


def hard(seed: int) -> tuple[kem.LinearGaussianSystem, kem.Observations]:
    """Return a system of 2, 3 or 5 states, and 25 rows from it.

    Transitions are near unit roots, chains of integrators, contracting or slightly explosive; covariances have
    standard deviations from 1e-6 to 1e5 and any rank; sensors may be all alike; starts may be diffuse.
    """
    rng = np.random.default_rng(seed)
    d, p = int(rng.choice([2, 3, 5])), int(rng.integers(1, 4))
    kind = rng.integers(6)
    F = rng.standard_normal((d, d))
    F *= 10 ** rng.uniform(-1, 0.15) / np.abs(np.linalg.eigvals(F)).max()
    if kind == 1:
        F = np.eye(d) + np.triu(rng.standard_normal((d, d)) * 10 ** rng.uniform(-3, 0), 1)
    if kind == 2:
        F = np.diag(1 - 10 ** rng.uniform(-9, 0, d))
    if kind == 3:
        F = np.diag(10 ** rng.uniform(-2, 0.1, d)) + np.triu(rng.standard_normal((d, d)), 1)
    Q = _cov(rng, d, -6, 0, rng.random() < 0.5)
    R = _cov(rng, p, -6, 2, rng.random() < 0.2)
    if rng.random() < 0.3:
        R = np.diag(np.diag(R))
    P = _cov(rng, d, -2, 5, rng.random() < 0.3)
    H = rng.standard_normal((p, d))
    if rng.random() < 0.3:
        H = H * (rng.random((p, d)) < 0.5)
    if rng.random() < 0.3 and p > 1:
        H[:] = H[:1] + 1e-4 * rng.standard_normal((p, d))
    diffuse = np.zeros(d, dtype=bool)
    if rng.random() < 0.4:
        diffuse = rng.random(d) < 0.6
        P[diffuse] = 0.0
        P[:, diffuse] = 0.0
    system = _system(F, Q, H, R, P, diffuse)
    return system, _observed(rng, system, HARD_STEPS, float(rng.choice([0, 0.2, 0.6])))


def target(seed: int) -> tuple[kem.LinearGaussianSystem, kem.Observations]:
    """Return a Singer target in the plane: time constants from 1e-5 to 1, gaps from 0.01 to 30, all states diffuse."""
    rng = np.random.default_rng(seed)
    time_constant = 10.0 ** rng.uniform(-5, 0)
    times = np.cumsum(10.0 ** rng.uniform(-2, 1.5, size=TRACK_STEPS))
    values = np.cumsum(rng.normal(size=(TRACK_STEPS, 2)), axis=0)
    values[rng.random((TRACK_STEPS, 2)) < 0.4] = np.nan
    values[0] = 0.0
    model = kem.Singer(time_constant=time_constant, dim=2, jerk_density=kem.Isotropic())
    return _laid(kem.fit(model, kem.Panel([kem.Observations(values, times=times)]), stopping=_few(2)))


def season(seed: int) -> tuple[kem.LinearGaussianSystem, kem.Observations]:
    """Return a trend with the harmonics of a year, 30 % of its months missing, all states diffuse."""
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.normal(size=SEASON_STEPS)) + 0.5 * rng.normal(size=SEASON_STEPS)
    values[rng.random(SEASON_STEPS) < 0.3] = np.nan
    return _laid(kem.fit(kem.LocalLinearTrend() + kem.Seasonal(12, kind="trigonometric"), values, stopping=_few(2)))


CASES = {"hard": hard, "target": target, "season": season}


def _few(n: int) -> kem.Stopping:
    return kem.Stopping(max_iterations=n)


def _laid(fitted: kem.Fit) -> tuple[kem.LinearGaussianSystem, kem.Observations]:
    """Return the system of a fit with an entry for every transition, and its only series without times."""
    system, one = fitted.system, fitted.panel.series[0]
    if one.times is None:
        return system, one
    gaps = np.diff(one.times)
    F, Q = zip(*(fitted.discretize(gap) for gap in gaps), strict=True)
    more = {name: getattr(system, name) for name in ("initial_mean", "initial_cov", "initial_diffuse")}
    laid = kem.LinearGaussianSystem(
        transition_matrix=np.stack(F),
        transition_cov=np.stack(Q),
        observation_matrix=system.observation_matrix,
        observation_cov=system.observation_cov,
        **more,
    )
    return laid, kem.Observations(one.values)


def _system(F: Array, Q: Array, H: Array, R: Array, P: Array, diffuse: Array) -> kem.LinearGaussianSystem:
    return kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=Q,
        observation_matrix=H,
        observation_cov=R,
        initial_mean=np.zeros(len(F)),
        initial_cov=P,
        initial_diffuse=diffuse,
    )


def _observed(
    rng: np.random.Generator, system: kem.LinearGaussianSystem, n_steps: int, missing: float
) -> kem.Observations:
    """Return a series drawn from the system; diffuse states start at about ten times the noise."""
    x = _draw(rng, system.initial_cov) + np.where(system.initial_diffuse, 10.0 * rng.normal(size=system.state_dim), 0.0)
    values = np.empty((n_steps, system.obs_dim))
    for t in range(n_steps):
        values[t] = system.observation_matrix @ x + _draw(rng, system.observation_cov)
        x = system.transition_matrix @ x + _draw(rng, system.transition_cov)
    values[rng.random(values.shape) < missing] = np.nan
    return kem.Observations(values)


def _cov(rng: np.random.Generator, n: int, lowest: float, highest: float, may_be_singular: bool) -> Array:
    rank = int(rng.integers(0 if may_be_singular else n, n + 1))
    factor = rng.standard_normal((n, rank)) if rng.random() < 0.5 else np.eye(n)[:, :rank]
    sd = 10 ** rng.uniform(lowest, highest, n)
    cov = (factor @ factor.T) * np.outer(sd, sd)
    return 0.5 * (cov + cov.T)


def _draw(rng: np.random.Generator, cov: Array) -> Array:
    eigenvalues, vectors = np.linalg.eigh(cov)
    eigenvalues[eigenvalues < 1e-12 * max(eigenvalues[-1], 0.0)] = 0.0
    return vectors @ (np.sqrt(np.maximum(eigenvalues, 0.0)) * rng.normal(size=len(cov)))
