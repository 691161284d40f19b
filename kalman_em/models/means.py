"""The free numbers that move means alone: b, B, d, D, and m under a known P, set to the maximum of the likelihood.

Given F, H and the covariances the log-likelihood is a parabola in them (`kalman_em.inference.mean_regression`). EM
never moves those of an equation without noise, and hardly those of one with little: the states take up every change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array, BoolArray, Table, frozen
from kalman_em.em.regression import silent_projector
from kalman_em.inference.mean_regression import MeanColumns, MeanParabola, mean_parabola
from kalman_em.inference.rows import Rows, lay, noise_covs
from kalman_em.linalg import has_correlations
from kalman_em.models.specification import COEFFICIENTS, Specification
from kalman_em.systems import LinearGaussianSystem

KINDS = ("transition", "observation")
# A gain of log-likelihood that is rounding.
NOTHING = 1e-13


def moves_means(specification: Specification, kind: str) -> BoolArray:
    """Return which free numbers of [F b B] (`kind` "transition") or [H d D] ("observation") stand outside F and H.

    None where series have numbers of their own.
    """
    joint = specification.joint(kind)
    if specification.by_series:
        return np.zeros(joint.n_free, dtype=bool)
    design = joint.design.reshape(joint.n_rows, joint.n_columns, -1)
    return np.asarray(np.all(design[:, : specification.state_dim] == 0.0, axis=(0, 1)))


def learns_means_alone(specification: Specification) -> bool:
    """Whether no coefficient is learnt beside those that `MeanNumbers` sets."""
    if specification.by_series or specification.rates:
        return not any(specification.is_free(name) for name in COEFFICIENTS) and not specification.rates
    return all(moves_means(specification, kind).all() for kind in KINDS)


@dataclass(frozen=True, eq=False)
class MeanNumbers:
    """The numbers of `specification` that stand in offsets, input matrices and the mean of a known start alone.

    They are counted as those of the two regressions and of m are, one after another; `is_mean` says which they are.
    """

    specification: Specification
    rows: Rows

    @cached_property
    def _designs(self) -> dict[str, Array]:
        """The designs of [F b B] and [H d D], (q, d + 1 + k, n)."""
        joints = {kind: self.specification.joint(kind) for kind in KINDS}
        return {kind: one.design.reshape(one.n_rows, one.n_columns, -1) for kind, one in joints.items()}

    @cached_property
    def _initial(self) -> Array:
        return self.specification.constraint("initial_mean").design

    @cached_property
    def is_mean(self) -> BoolArray:
        """Which of the numbers of [F b B], [H d D] and m move means alone."""
        found = [moves_means(self.specification, kind) for kind in KINDS]
        # Where P is learnt too, EM moves m with it, and m alone may run ahead to where the likelihood has no maximum.
        is_known = not self.specification.by_series and not self.specification.is_free("initial_cov")
        return np.concatenate([*found, np.full(self._initial.shape[1], is_known)])

    @cached_property
    def n(self) -> int:
        """How many there are."""
        return int(np.count_nonzero(self.is_mean))

    @cached_property
    def _chosen(self) -> tuple[Array, Array, Array]:
        """The designs of [b B] (d, 1 + u, k), [d D] (p, 1 + u, k) and m (d, k) in the k numbers of means alone."""
        d, n = self.specification.state_dim, len(self.is_mean)
        moves, sees = (self._designs[kind] for kind in KINDS)
        wide = [np.zeros((part.shape[0], part.shape[1] - d, n)) for part in (moves, sees)]
        wide[0][:, :, : moves.shape[2]] = moves[:, d:]
        wide[1][:, :, moves.shape[2] : moves.shape[2] + sees.shape[2]] = sees[:, d:]
        first = np.zeros((d, n))
        first[:, n - self._initial.shape[1] :] = self._initial
        return wide[0][:, :, self.is_mean], wide[1][:, :, self.is_mean], first[:, self.is_mean]

    def are_silent(self, system: LinearGaussianSystem) -> bool:
        """Whether any of them stands in an equation that has no noise at `system`, so that EM never moves it."""
        for design, cov in zip(self._chosen[:2], (noise_covs(system), system.observation_cov), strict=True):
            if design.any() and _may_be_silent(cov):
                silent = silent_projector(cov if cov.ndim == 3 else cov[None])
                if np.abs(np.einsum("ij,jkn->ikn", silent, design)).max() > 1e-9 * np.abs(design).max():
                    return True
        return False

    def parabola(self, system: LinearGaussianSystem) -> MeanParabola:
        """Return the log-likelihood as a function of changes of these numbers."""
        moves, sees, first = self._chosen
        if self.specification.mean_follows:
            first = first.copy()
            for rows in self.specification.initial.stationary:
                inside = system.transition_matrix[rows, rows]
                first[rows] += np.linalg.solve(np.eye(len(inside)) - inside, moves[rows, 0])
        columns = MeanColumns(self._pushed(moves), self._pushed(sees), first)
        return mean_parabola(lay(system, self.rows), self.rows, columns)

    def moved(self, system: LinearGaussianSystem, change: Array) -> LinearGaussianSystem:
        """Return `system` with these numbers changed."""
        moves, sees, first = self._chosen
        values: dict[str, Array] = {}
        for kind, design in zip(KINDS, (moves, sees), strict=True):
            step = design @ change
            for part, own in ((f"{kind}_offset", step[:, 0]), (f"{kind}_input", step[:, 1:])):
                if own.any():
                    values[part] = getattr(system, part) + own
        if np.any(step := first @ change):
            values["initial_mean"] = system.initial_mean + step
        return self.specification.settled(system.replaced(**values)) if values else system

    def best(self, system: LinearGaussianSystem, worth: float = NOTHING) -> LinearGaussianSystem:
        """Return `system` with these numbers where the likelihood is highest, all else given (an ECME step).

        The system itself where there is no more than `worth` of log-likelihood to gain.

        References
        ----------
        Liu and Rubin, The ECME algorithm, Biometrika 81 (1994).
        """
        if not self.n:
            return system
        parabola = self.parabola(system)
        change = parabola.best()
        return self.moved(system, change) if 0.5 * float(parabola.score @ change) > worth else system

    def _pushed(self, design: Array) -> Table:
        """Return design @ (1, u[t]) of every row, one entry where no input enters."""
        n = self.rows.n_rows
        if self.rows.inputs is None or not design[:, 1:].any():
            return Table(frozen(design[None, :, 0]), frozen(np.zeros(n, dtype=np.int64)))
        entries = design[:, 0] + np.tensordot(self.rows.inputs, design[:, 1:], axes=(1, 1))
        return Table(frozen(entries), frozen(np.arange(n)))


def _may_be_silent(cov: Array) -> bool:
    """Return False where it is plain that every combination of rows has noise."""
    return has_correlations(cov) or not np.all(np.diagonal(cov, axis1=-2, axis2=-1) > 0.0)
