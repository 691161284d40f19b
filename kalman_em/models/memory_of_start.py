"""Whether a first state that is known exactly is never forgotten: then its digits can hold the data themselves."""

from __future__ import annotations

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.em.stopping import StopReason
from kalman_em.linalg import symmetrised
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# A noise with less than this part of the variances that it stands beside counts as gone.
GONE = 1e-8
# A zero of the model counts if an error in the first state grows by this factor over the data.
GROWTH = np.e
# What a run says that ended there.
NEVER_FORGOTTEN = (
    "the first state is known exactly (its mean is learnt, its covariance 0) and never forgotten, so its digits hold "
    "the data: initial_cov=Stationary() or a noise held fixed prevents that"
)

# What moves the zeros of a model; where none of it is learnt, the mean of the first state has a best value.
MOVERS = ("transition_matrix", "transition_cov", "observation_matrix", "observation_cov")


def named_end(
    specification: Specification, system: LinearGaussianSystem, n_steps: int
) -> tuple[StopReason, str] | None:
    """Return `degenerate_covariance` where a learnt first state, known exactly, is never forgotten: see `keeps_start`.

    None where only means are learnt: of these the likelihood is quadratic, and has a maximum.
    """
    if not specification.is_free("initial_mean") or not any(map(specification.is_free, MOVERS)):
        return None
    return (StopReason.degenerate_covariance, NEVER_FORGOTTEN) if keeps_start(system, n_steps) else None


def keeps_start(system: LinearGaussianSystem, n_steps: int) -> bool:
    """Whether an error in the first state would grow over `n_steps` rows in every later prediction.

    With a noise for each column and no more, the noises follow from the data and the first state. What an error in that
    state then becomes is governed by the zeros of the model: outside the unit circle it grows, beyond what the states
    do by themselves. Where the first state is known exactly, its mean learnt, the likelihood is the higher the more
    digits that mean has, and larger zeros need more of them: it has no maximum. A start of any variance ends that.

    Parameters
    ----------
    system : LinearGaussianSystem
        One with constant matrices; of others nothing is said (False).
    n_steps : int
        Rows of the longest series.

    References
    ----------
    Anderson and Moore, Optimal Filtering, 1979, section 4.4 (stability of the filter) and Hannan and Deistler, The
    Statistical Theory of Linear Systems, 1988, section 1.3 (zeros and the minimum-phase factor).

    Examples
    --------
    A moving average y[t] = e[t] + 2 e[t-1], whose e[t] follow from the data only if the first is known:

    >>> import kalman_em as kem
    >>> def average(weight):
    ...     return kem.LinearGaussianSystem(
    ...         transition_matrix=[[0.0, 0.0], [1.0, 0.0]],
    ...         transition_cov=[[1.0, 0.0], [0.0, 0.0]],
    ...         observation_matrix=[[1.0, weight]],
    ...         observation_cov=[[0.0]],
    ...         initial_mean=[0.0, 0.0],
    ...         initial_cov=[[0.0, 0.0], [0.0, 0.0]],
    ...     )
    >>> keeps_start(average(2.0), 100), keeps_start(average(0.5), 100)
    (True, False)
    """
    if system.has_diffuse or np.any(system.initial_cov) or system.by_series:
        return False
    F, Q, G = system.transition_matrix, system.transition_cov, system.noise_selection
    H, R = system.observation_matrix, system.observation_cov
    if any(array.ndim != 2 for array in (F, Q, H, R)) or (G is not None and G.ndim != 2):
        return False
    d, p = system.state_dim, system.obs_dim
    states = _root(Q, np.sqrt(np.diagonal(Q)))
    states = states if G is None else G @ states
    deviations = np.sqrt(np.diagonal(H @ states @ states.T @ H.T + R))
    if np.any(deviations <= 0.0):
        return False
    sensors = _root(R, deviations)
    n, own = states.shape[1], sensors.shape[1]
    if n + own != p:
        return False
    pencil = np.block([[F, states, np.zeros((d, own))], [H, np.zeros((p, n)), sensors]])
    pencil[d:] /= deviations[:, None]
    alphas, betas = scipy.linalg.eigvals(pencil, np.diag(np.repeat([1.0, 0.0], [d, p])), homogeneous_eigvals=True)
    largest = max(1.0, float(np.abs(np.linalg.eigvals(F)).max()))
    # Infinite zeros, only delays, have a denominator of 0.
    finite = np.abs(betas) > GONE * np.abs(alphas)
    zeros = np.abs(alphas[finite]) / np.abs(betas[finite])
    return bool(zeros.size and n_steps * np.log(zeros.max() / largest) > np.log(GROWTH))


def _root(cov: Array, deviations: Array) -> Array:
    """Return A with A A' = `cov` without the directions that are gone, as measured in units of `deviations`."""
    unit = np.where(deviations > 0.0, deviations, 1.0)
    values, vectors = np.linalg.eigh(symmetrised(cov / np.outer(unit, unit)))
    kept = values > GONE
    return np.asarray(unit[:, None] * vectors[:, kept] * np.sqrt(values[kept]))
