"""The coefficients of a model as numbers near those of a system, in units of their own, with their score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array
from kalman_em.inference.e_step import initial_scores_by
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.numerics import AUTO
from kalman_em.inference.rows import Rows, lay, noise_covs
from kalman_em.linalg import pseudo_inverses
from kalman_em.models.completion import completed
from kalman_em.models.generalised import first_state_gradients
from kalman_em.models.silent_loadings import with_silent_loadings
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False)
class FreeCoefficients:
    """The free numbers of [F b B], of [H d D] and of m, 0 at `origin`.

    One unit of a number is as far as complete data would tell it (`expectations` are those at `origin`): no unit of
    the data or of a state is left in it.
    """

    specification: Specification
    origin: LinearGaussianSystem
    rows: Rows
    expectations: Expectations
    numerics: str = AUTO

    @cached_property
    def designs(self) -> dict[str, Array]:
        """How the free numbers enter vec [F b B], vec [H d D] and m; those that are all known are left out."""
        found = {kind: self.specification.joint(kind).design for kind in ("transition", "observation")}
        found["initial_mean"] = self.specification.constraint("initial_mean").design
        return {kind: design for kind, design in found.items() if design.shape[1] > 0}

    @cached_property
    def units(self) -> Array:
        """What one unit of each number is."""
        information = [info for _, info in self._parts(self.origin, self.expectations)]
        found = np.concatenate(information) if information else np.zeros(0)
        largest = found.max(initial=0.0)
        # What complete data hardly tell is left where it is.
        told = found > 1e-12 * largest
        return np.where(told, 1.0 / np.sqrt(np.where(told, found, 1.0)), 0.0)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(design.shape[1] for design in self.designs.values())

    def at(self, numbers: Array) -> LinearGaussianSystem:
        """Return `origin` with its coefficients moved by these numbers; the noise stays."""
        values: dict[str, Array] = {}
        first, d = 0, self.origin.state_dim
        moved = numbers * self.units
        for kind, design in self.designs.items():
            change = design @ moved[first : first + design.shape[1]]
            first += design.shape[1]
            if kind == "initial_mean":
                values[kind] = self.origin.initial_mean + change
                continue
            change = change.reshape(self.specification.joint(kind).n_rows, -1)
            blocks = {"matrix": change[:, :d], "offset": change[:, d], "input": change[:, d + 1 :]}
            for part, block in blocks.items():
                if self.specification.is_free(f"{kind}_{part}"):
                    values[f"{kind}_{part}"] = getattr(self.origin, f"{kind}_{part}") + block
        return self.origin.replaced(**values)

    def score(self, system: LinearGaussianSystem, expectations: Expectations) -> Array:
        """Return the score of the likelihood in the numbers at `system`, by Fisher's identity.

        References
        ----------
        McLachlan and Krishnan, The EM Algorithm and Extensions, 2nd ed. 2008, equation (3.42).
        """
        parts = [score for score, _ in self._parts(system, expectations)]
        return self.units * np.concatenate(parts) if parts else np.zeros(0)

    def _parts(self, system: LinearGaussianSystem, expectations: Expectations) -> Iterator[tuple[Array, Array]]:
        """Yield, design by design, the score and the diagonal of the information of complete data, in plain units."""
        for kind, design in self.designs.items():
            if kind == "initial_mean":
                scores, information = initial_scores_by(lay(system, self.rows), self.rows, self.numerics)
                slope, gram = scores.sum(axis=0), information.sum(axis=0)
            else:
                if kind == "transition":
                    sums, cov = expectations.transition, noise_covs(system)
                    cross, regressor = sums.cross, sums.regressor
                else:
                    moments, cov = completed(expectations, system.observation_cov)
                    cross, regressor = moments.cross, moments.regressor
                weight = pseudo_inverses(cov if cov.ndim == 3 else cov[None])
                weight = np.broadcast_to(weight, (len(cross), *weight.shape[1:]))
                slope = (weight @ cross).sum(axis=0)
                gram = np.einsum("gij,gkl->ikjl", weight, regressor, optimize=True)
                if kind == "observation":
                    slope, gram = with_silent_loadings(self.specification, system, self.rows, expectations, slope, gram)
                if kind == "transition" and self.specification.start_moves:
                    slope = slope + first_state_gradients(self.specification, system, expectations)[0]
            gram = gram.reshape(len(design), len(design))
            yield design.T @ slope.ravel(), np.einsum("in,ij,jn->n", design, gram, design, optimize=True)
