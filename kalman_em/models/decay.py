"""A time constant that is learnt: how fast the last quantity of a motion dies away.

The decay enters the transition and the noise of every gap nonlinearly, so its M-step is a search along one line. At
each point of it the density has its closed form: together they are the maximum of the expected log-likelihood there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.dynamics import Dynamics
from kalman_em.em.noise import NoiseStep
from kalman_em.em.regression import Moments
from kalman_em.models.draws import noise_scatter
from kalman_em.systems import LinearGaussianSystem

# One M-step changes the time constant by no more than this factor: the search is a local one.
FARTHEST = 2.0
# Where the search of one M-step ends, as a share of the time constant.
PRECISION = 1e-7


def with_decay(dynamics: Dynamics, entry: tuple[int, int], time_constant: float) -> Dynamics:
    """Return `dynamics` with -1 / `time_constant` in its drift."""
    drift = np.array(dynamics.drift)
    drift[entry] = -1.0 / time_constant
    return replace(dynamics, drift=drift)


def time_constant_of(dynamics: Dynamics, entry: tuple[int, int]) -> float:
    """Return the time constant that stands in the drift."""
    return float(-1.0 / dynamics.drift[entry])


def best_decay(
    system: LinearGaussianSystem, moments: Moments, step: NoiseStep, entry: tuple[int, int]
) -> dict[str, Any]:
    """Return the dynamics, their table over the gaps and the density that maximise the expected log-likelihood.

    They do so among time constants around the present one; where none of these is better, all but the density stays.

    References
    ----------
    Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39 (1977),
    section 3, for generalised M-steps.
    """
    dynamics, gaps = system.dynamics, system.transition_gaps
    assert dynamics is not None
    assert gaps is not None
    used = moments.count > 0
    d = system.state_dim
    residual, count = moments.residual[used], moments.count[used]
    cross, square = moments.cross[used][:, :, :d], moments.regressor[used][:, :d, :d]
    before = system.transition_matrix

    def tried(log_tau: float) -> tuple[float, dict[str, Any]]:
        moved = with_decay(dynamics, entry, float(np.exp(log_tau)))
        selection = moved.noise_selections(gaps)
        found = system.replaced(
            dynamics=moved, transition_matrix=moved.transition_matrices(gaps), noise_selection=selection
        )
        change = (found.transition_matrix - before)[used]
        back = np.swapaxes(change, 1, 2)
        mixed = cross @ back
        after = residual - mixed - np.swapaxes(mixed, 1, 2) + change @ square @ back
        whole = np.zeros_like(moments.residual)
        whole[used] = after
        scatter, n = noise_scatter(found, whole, moments.count)
        density = step.most_likely(scatter[None] / n, np.array([n]), system.transition_cov)
        values = {
            "dynamics": moved,
            "transition_matrix": found.transition_matrix,
            "noise_selection": selection,
            "transition_cov": density,
        }
        return _height(selection[used], count, scatter, density), values

    now = float(np.log(time_constant_of(dynamics, entry)))
    height, values = tried(now)
    if not np.isfinite(height):
        return {"transition_cov": values["transition_cov"]}
    width = np.log(FARTHEST)
    search = scipy.optimize.minimize_scalar(
        lambda log_tau: -tried(log_tau)[0],
        bounds=(now - width, now + width),
        method="bounded",
        options={"xatol": PRECISION},
    )
    better, moved = tried(float(search.x))
    return moved if better > height else {"transition_cov": values["transition_cov"]}


def _height(G: Array, count: Array, scatter: Array, density: Array) -> float:
    """Return the expected log-likelihood of the moves, up to a constant; -inf for a singular density."""
    sign, log_density = np.linalg.slogdet(density)
    if sign <= 0.0:
        return -np.inf
    unit = np.linalg.norm(G, axis=2)
    log_moves = np.log(unit).sum(axis=1) + np.linalg.slogdet(G / unit[:, :, None])[1]
    squares = np.trace(np.linalg.solve(density, scatter))
    return float(-0.5 * (count.sum() * log_density + 2.0 * count @ log_moves + squares))
