"""Parameters at which the likelihood has no maximum but runs away to infinity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, BoolArray
from kalman_em.inference.rows import noise_covs
from kalman_em.linalg import has_correlations, smallest_scaled_eigenvalue, square_roots
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# A variance this far below that of the data is a fit without noise, not a small noise.
VANISHED = 1e-28
# Beyond this ratio of variances a covariance matrix holds the smaller one to less than six digits, and the likelihood
# at the next iteration may be lower by rounding alone.
LOST = 1e-10
# The same for a first row that a learnt start fits ever more closely; and for that of a single series, where nothing
# else holds the start back, before the other parameters follow it.
LOST_FIRST = 1e-11
LOST_ALONE = 1e-8
# A combination of sensors that is predicted with less than this of its variance: factors hold no smaller part. Below
# the second, what is left is rounding of something stated as exact.
LOST_TOGETHER, ROUNDED_TOGETHER = 1e-22, 1e-29
# The same for first states that are diffuse, given the data, beside each other and beside their noise.
UNSEEN = 1e-12
# A known covariance with less than this of a direction, its variances scaled to 1, is taken for singular.
EXACT = 1e-13


@dataclass(frozen=True)
class Start:
    """What is known of the initial state: whether any of it is learnt, where it stands, and from how little."""

    is_learnt: bool
    is_before: bool
    is_alone: bool
    # Whether its covariance is known: what that and a known R state as exact is not lost.
    has_known_cov: bool = False


def is_degenerate(
    system: LinearGaussianSystem, learnt: Mapping[str, Sequence[Array]], *, start: Start, scale: Array
) -> bool:
    """Whether the model predicts something without error, and the more surely the longer it learns.

    Four ways. A learnt noise covariance has lost a direction, and its matrix can no longer hold what is left of it:
    `learnt` has for each by name the blocks that its form does not state as singular. Or all noise is gone (a constant
    series). Or a learnt R vanishes beside what moves several sensors at once, as where one is a copy of another. Or,
    with a learnt start, some combination of the first row is predicted without error although later rows are not: the
    density of that one value then grows without bound. `scale` (p,) is the size of the data.
    """
    if any(_has_lost_a_direction(block) for blocks in learnt.values() for block in blocks):
        return True
    if "observation_cov" not in learnt and holds_all(_first(system.observation_cov)):
        return False
    if system.by_series:
        alone: dict[str, list[Array]] = {name: [] for name in learnt}
        singles = (system.of_series(s) for s in range(system.n_series or 0))
        return any(is_degenerate(one, alone, start=start, scale=scale) for one in singles)
    H, Q, R = (
        _first(array)
        for array in (
            system.observation_matrix,
            system.transition_cov,
            system.observation_cov,
        )
    )
    if system.noise_selection is not None:
        G = _first(system.noise_selection)
        Q = G @ Q @ G.T
    moved = H @ Q @ H.T
    later = moved + R
    gone = np.diagonal(later) < VANISHED * scale**2
    # A known noise of the states, however small, holds the likelihood; where there is none, an R of 0 is a choice, and
    # only a learnt one comes close to it.
    if np.any(gone if "transition_cov" in learnt else gone & (np.diagonal(moved) == 0.0) & (np.diagonal(R) > 0.0)):
        return True
    if "observation_cov" in learnt and predict_together(H[None], Q[None], R[None])[0]:
        return True
    if system.has_diffuse or not start.is_learnt:
        return False
    P = system.initial_cov
    if start.is_before:
        F = _first(system.transition_matrix)
        P = F @ P @ F.T + Q
    first = H @ P @ H.T + R
    deviation = np.sqrt(np.diagonal(later))
    if np.any(deviation <= 0.0):
        return False
    limit = LOST_ALONE if start.is_alone else LOST_FIRST
    if not has_correlations(R) and np.min(np.diagonal(R) / deviation**2) > limit * len(R):
        return False  # independent noise alone leaves every combination of the first row that much
    unit = np.outer(deviation, deviation)
    values, vectors = np.linalg.eigh(first / unit)
    weakest = vectors[:, 0]
    if start.has_known_cov and not start.is_before and "observation_cov" not in learnt and values[0] < EXACT:
        return False
    return bool(values[0] < limit * float(weakest @ (later / unit) @ weakest))


def predict_together(H: Array, Q: Array, R: Array) -> BoolArray:
    """Whether some combination of the sensors is predicted without error, but for a rest of R, by each of n systems.

    Where R is learnt the density of that combination grows as R vanishes. Judged by factors, which hold parts of 1e-29
    of a variance: H (n, p, d), Q (n, d, d), R (n, p, p).
    """
    noise = np.diagonal(R, axis1=1, axis2=2)
    variances = np.einsum("nij,njk,nik->ni", H, Q, H) + noise
    # Where each sensor has noise of its own that is more than this, every combination has, unless R lost a direction.
    found: BoolArray = np.all(variances > 0.0, axis=1)
    found[found] = np.min(noise[found] / variances[found], axis=1) < LOST_TOGETHER / LOST
    if found.any():
        factor = np.concatenate([H[found] @ square_roots(Q[found]), square_roots(R[found])], axis=2)
        parts = np.linalg.svd(factor / np.sqrt(variances[found])[:, :, None], compute_uv=False)[:, -1] ** 2
        found[found] = (parts < LOST_TOGETHER) & (parts > ROUNDED_TOGETHER)
    return found


def is_unseen(specification: Specification, system: LinearGaussianSystem, initial_covs: Array) -> bool:
    """Whether what the data say of a diffuse start vanishes, and the likelihood grows without end.

    The density of what resolves a diffuse start holds -1/2 log|information on it|. Where F or H is learnt they can make
    that as small as they like: states that cannot be told apart, or are not seen. Known F and H hold it.

    Parameters
    ----------
    initial_covs : ndarray, shape (n_series, d, d)
        Covariances of the first states given the data.

    References
    ----------
    Francke, Koopman and de Vos, Likelihood functions for state space models with diffuse initial conditions, Journal
    of Time Series Analysis 31 (2010): the diffuse likelihood depends on the scale of what is diffuse.
    """
    diffuse = specification.initial.diffuse
    learnt = {n for n in ("transition_matrix", "observation_matrix", "transition_cov") if specification.is_free(n)}
    if not diffuse.any() or not learnt - {"transition_cov"}:
        return False
    covs = initial_covs[:, diffuse][:, :, diffuse]
    noise = np.diagonal(_first(noise_covs(system)))[diffuse]
    if all(_has_unseen(cov, noise) for cov in covs):
        return True
    if "transition_cov" in learnt:
        return False
    sizes = np.diagonal(covs, axis1=1, axis2=2)[:, noise > 0.0] / noise[noise > 0.0]
    return bool(sizes.size and np.any(np.all(sizes > 1.0 / UNSEEN, axis=0)))


def holds_all(observation_cov: Array) -> bool:
    """Whether a known R leaves every combination of the sensors some noise: then no density grows without end.

    An R with entries over time must do so at each of them.
    """
    variances = np.diagonal(observation_cov, axis1=-2, axis2=-1)
    return bool(np.all(variances > 0.0) and np.all(smallest_scaled_eigenvalue(observation_cov) > EXACT))


def _has_unseen(cov: Array, noise: Array) -> bool:
    """Whether one combination of states is known far better than each of them; states that are known exactly apart."""
    kept = np.diagonal(cov) > np.finfo(float).eps * noise
    return bool(np.any(kept) and smallest_scaled_eigenvalue(cov[np.ix_(kept, kept)]) < UNSEEN)


def _has_lost_a_direction(cov: Array) -> bool:
    """Whether a combination of coordinates, none of them without variance, has none to working precision."""
    kept = np.diagonal(cov) > 0.0
    return bool(np.count_nonzero(kept) > 1 and smallest_scaled_eigenvalue(cov[np.ix_(kept, kept)]) < LOST)


def _first(array: Array) -> Array:
    return array if array.ndim == 2 else array[0]
