"""What sensors of a motion add to it: offsets, stated or learnt where the start of the states does not hide them."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.dynamics import Dynamics
from kalman_em.errors import InputError
from kalman_em.inference.rows import stack_rows
from kalman_em.models.means import MeanNumbers
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# A singular value below this part of the largest is 0.
NULL = 1e-10


def check_told_from_start(specification: Specification, dynamics: Dynamics) -> None:
    """Raise `InputError` if an offset that is learnt may as well be a state that starts elsewhere and stays there.

    States with A x = 0 stay where they start. Where such a start is diffuse, or has a mean that is learnt, what is seen
    of it, H x, is an offset too.
    """
    design = specification.constraint("observation_offset").design
    learnt = specification.constraint("initial_mean")
    moves = np.any(learnt.design != 0.0, axis=1) | np.asarray(specification.initial.diffuse)
    if not design.shape[1] or not moves.any():
        return
    drift = np.kron(dynamics.drift, np.eye(dynamics.axes))[:, moves]
    _, sizes, vectors = np.linalg.svd(drift, full_matrices=True)
    rank = int(np.count_nonzero(sizes > NULL * max(sizes.max(initial=0.0), np.finfo(float).tiny)))
    seen = specification.constraint("observation_matrix").fixed[:, moves] @ vectors[rank:].T
    if not seen.shape[1]:
        return
    if _rank(np.hstack([seen, design])) < _rank(seen) + _rank(design):
        raise InputError(
            "observation_offset: what is learnt of it cannot be told from where the states start; hold the offset "
            "of one sensor of each quantity at a known value, as in Partly([0.0, 0.0], free=[False, True]), or state "
            "initial_mean and initial_cov"
        )


def with_best_offsets(specification: Specification, panel: Panel, system: LinearGaussianSystem) -> LinearGaussianSystem:
    """Return `system` with the offsets that are learnt at their best."""
    if not specification.is_free("observation_offset"):
        return system
    return MeanNumbers(specification, stack_rows(panel.series)).best(system)


def _rank(columns: Array) -> int:
    size = np.linalg.norm(columns, axis=0)
    kept = columns[:, size > 0.0] / size[size > 0.0]
    return int(np.linalg.matrix_rank(kept)) if kept.size else 0
