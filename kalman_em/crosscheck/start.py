"""The initial state for statsmodels: known, diffuse and stationary blocks side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from statsmodels.tsa.statespace.initialization import Initialization

from kalman_em.arrays import Array, BoolArray
from kalman_em.errors import InputError
from kalman_em.models.specification import Specification


@dataclass(frozen=True, eq=False)
class OutsideStart:
    """Which blocks of the first state are stationary, and whether their mean is."""

    blocks: tuple[slice, ...] = ()
    mean_follows: bool = False

    def check(self, F: Array) -> None:
        """Raise `ValueError` where F has an eigenvalue outside the unit circle: statsmodels would go on with it."""
        for rows in self.blocks:
            if np.abs(np.linalg.eigvals(F[rows, rows])).max() >= 1.0:
                raise ValueError("transition_matrix: not stationary")

    def moments(self, parameters: Mapping[str, Array], selection: Array) -> tuple[Array, Array]:
        """Return m and P with the stationary blocks as scipy finds them."""
        F, b = parameters["transition_matrix"], parameters["transition_offset"]
        G = selection.reshape(len(F), -1)
        noise = G @ parameters["transition_cov"] @ G.T
        mean, cov = np.array(parameters["initial_mean"]), np.array(parameters["initial_cov"])
        for rows in self.blocks:
            inside = F[rows, rows]
            cov[rows, rows] = scipy.linalg.solve_discrete_lyapunov(inside, noise[rows, rows])
            if self.mean_follows:
                mean[rows] = np.linalg.solve(np.eye(len(inside)) - inside, b[rows])
        return mean, cov


def outside_start(specification: Specification) -> OutsideStart:
    """Return what statsmodels needs to know of a specification."""
    return OutsideStart(specification.initial.stationary, specification.mean_follows)


def initialization(mean: Array, cov: Array, diffuse: BoolArray, stationary: Sequence[slice] = ()) -> Initialization:
    """Return the initialization of statsmodels; the blocks that are `stationary` are left to it.

    Raises
    ------
    InputError
        If known elements that are correlated do not stand side by side.
    """
    dim = len(mean)
    kind = np.where(diffuse, 1, 0)
    for number, rows in enumerate(stationary):
        kind[rows] = 2 + number
    if not kind.any():
        return Initialization(dim, "known", constant=mean, stationary_cov=cov)
    if np.all(kind == kind[0]):
        return Initialization(dim, "diffuse" if kind[0] == 1 else "stationary")
    edges = np.flatnonzero(np.diff(kind)) + 1
    runs = [slice(a, b) for a, b in zip([0, *edges], [*edges, dim], strict=True)]
    known = [run for run in runs if kind[run.start] == 0]
    if any(np.any(cov[a, b]) for a in known for b in known if a != b):
        raise InputError("initial_cov: statsmodels needs the proper elements that are correlated side by side")
    result = Initialization(dim)
    for run in runs:
        where = (run.start, run.stop)
        if kind[run.start] == 0:
            result.set(where, "known", constant=mean[run], stationary_cov=cov[run, run])
        else:
            result.set(where, "diffuse" if kind[run.start] == 1 else "stationary")
    return result
