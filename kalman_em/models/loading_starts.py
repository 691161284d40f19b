"""Which columns carry noises in common: a start is climbed from as if each of them were seen almost without noise."""

from __future__ import annotations

import numpy as np

from kalman_em.em.forms import is_of_independent_noise
from kalman_em.errors import NumericalError
from kalman_em.models.leading import rows_of
from kalman_em.models.loadings import common_noises
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# A column that carries a common noise has this part of its variance, to begin with.
CARRIER = 1e-3
# Iterations of EM that tell one start from another.
TRIED = 15


def with_carriers(specification: Specification, panel: Panel, system: LinearGaussianSystem) -> LinearGaussianSystem:
    """Return `system` with the R of as many columns as there are common noises lowered, where EM climbs higher from it.

    The likelihood has a maximum, as a rule, for each choice of the columns that follow the common motions most closely.
    They are chosen one by one, each the best beside those before, while that gains.
    """
    commons = common_noises(specification)
    if not commons or specification.by_series or not is_of_independent_noise(specification.forms["observation_cov"]):
        return system
    problem = LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel))
    found, reached = system, _reached(problem, system)
    for _ in range(min(max(form.rank for form, _ in commons), panel.obs_dim)):
        tried = [_with_carrier(specification, found, column) for column in range(panel.obs_dim)]
        heights = [_reached(problem, one) for one in tried]
        if max(heights) <= reached:
            break
        best = int(np.argmax(heights))
        found, reached = tried[best], heights[best]
    return found


def _with_carrier(specification: Specification, system: LinearGaussianSystem, column: int) -> LinearGaussianSystem:
    R = np.array(system.observation_cov)
    R[..., column, column] *= CARRIER
    return system.replaced(observation_cov=specification.noise("observation_cov").fitted(R))


def _reached(problem: LinearGaussianProblem, system: LinearGaussianSystem) -> float:
    """Return the log-likelihood after some iterations of EM; -inf where there is none."""
    try:
        for _ in range(TRIED):
            system = problem.m_step(system, problem.e_step(system)[0])
        return problem.e_step(system)[1]
    except NumericalError:
        return -np.inf
