"""The M-step of the covariances of components under a form, and when one of them has collapsed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.forms import Diagonal, Shared, checked_covariance_form, covariance_form, is_of_independent_noise
from kalman_em.em.noise import NoiseStep
from kalman_em.em.stopping import EMStop, StopReason
from kalman_em.errors import InputError
from kalman_em.latent.gaussians import Gaussians
from kalman_em.latent.moments import Moments
from kalman_em.latent.rows import PatternedRows
from kalman_em.latent.structures import Structure
from kalman_em.linalg import smallest_scaled_eigenvalue

ROUNDING = float(np.finfo(float).eps)
# A correlation matrix whose smallest eigenvalue is below this times its size is singular but for rounding.
SINGULAR = 1e-13
# A component with fewer rows than this, in expectation, has died.
EMPTY = 1e-10


def checked_component_form(form: Any, name: str) -> None:
    """Raise `InputError` naming `name` unless `form` is one for the covariances of components, of whatever size."""
    inner = form.form if isinstance(form, Shared) else form
    checked_covariance_form(inner, name)


ADVICE = " (Shared(...) covariances keep it from that, and in a mixture prior=MixturePrior())"


@dataclass(frozen=True, eq=False)
class ComponentStep:
    """A form laid out for the covariances of `n_components` over `dim` columns.

    `Shared(form)` is one covariance for all, or some of what makes one; any other form one for each.
    """

    form: Any
    n_components: int
    dim: int
    name: str
    # What components are to the user of the model.
    noun: str = "component"

    def __post_init__(self) -> None:
        inner = self.form.form if isinstance(self.form, Shared) else self.form
        covariance_form(inner, self.name, self.dim)
        if self._step.varies:
            raise InputError(f"{self.name}: expected a constant form, got {inner!r}, which varies from row to row")

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        if self._structure is not None:
            return self._structure.n_free
        return self._step.n_free * (1 if self.is_shared else self.n_components)

    @property
    def needs_diagonal_alone(self) -> bool:
        """Whether of a scatter its diagonal says all."""
        return is_of_independent_noise(self._step.form)

    @property
    def is_shared(self) -> bool:
        """Whether all components have one covariance."""
        return isinstance(self.form, Shared) and self.form.only is None

    def most_likely(self, counts: Array, scatters: Array, near: Array) -> Array:
        """Return the covariances (K, p, p) of the form that maximise -Σ_k n_k (log|Σ_k| + tr(Σ_k^-1 S_k)).

        For one covariance of all, S is the mean over all rows (Celeux & Govaert, Gaussian parsimonious clustering
        models, Pattern Recognition 28 (1995), section 3).
        """
        if self._structure is not None:
            return self._structure.most_likely(counts, scatters, near)
        if self.is_shared:
            pooled = np.einsum("k,kij->ij", counts / counts.sum(), scatters)
            cov = self._step.most_likely(pooled[None], np.array([counts.sum()]), near[0])
            return np.broadcast_to(cov, near.shape)
        covs = [
            self._step.most_likely(scatter[None], np.array([count]), old)
            for count, scatter, old in zip(counts, scatters, near, strict=True)
        ]
        return np.array(covs)

    def free_numbers(self, covs: Array) -> Array:
        """Return the free numbers of covariances (K, p, p) of the form.

        Raises
        ------
        InputError
            If the form does not say how covariances depend on numbers.
        """
        if self._structure is not None:
            return self._structure.free_numbers(covs)
        self._check_family()
        each = covs[:1] if self.is_shared else covs
        return np.concatenate([np.zeros(0), *(self._step.free(cov) for cov in each if self._step.n_free)])

    def with_numbers(self, covs: Array, numbers: Array) -> Array:
        """Return the covariances (K, p, p) with these numbers, `covs` where nothing is free."""
        if self._step.n_free == 0:
            return covs
        if self._structure is not None:
            return self._structure.with_numbers(covs, numbers)
        found = [self._step.at(own) for own in numbers.reshape(-1, self._step.n_free)]
        return np.array(found * self.n_components if self.is_shared else found)

    def _check_family(self) -> None:
        if self._step.n_free and self._step.family is None:
            raise InputError(
                f"{self.name}: the form {type(self._step.form).__name__} does not say how it depends on its numbers"
            )

    def check_of_form(self, covs: Array, name: str) -> None:
        """Raise `InputError` naming `name` unless `covs` (K, p, p) are covariances of the form."""
        kept = self.most_likely(np.ones(self.n_components), covs, covs)
        if not np.allclose(kept, covs, rtol=1e-9, atol=1e-12 * float(np.abs(covs).max())):
            raise InputError(f"{name}: expected covariances of the form {self.form!r}")

    def step(self, old: Gaussians, moments: Moments, rows: PatternedRows) -> Gaussians:
        """Return the Gaussians of the form that are most likely given `moments`, means free.

        Raises
        ------
        EMStop
            If a covariance has collapsed (``degenerate_covariance``) or a component has died (``empty_component``).
        """
        self.check_alive(moments.counts)
        covs = self.most_likely(moments.counts, moments.scatters, old.covs)
        self.check_covs(covs, moments.counts, rows)
        return Gaussians(moments.means, covs)

    def check_alive(self, counts: Array) -> None:
        """Raise `EMStop` if a component has no rows left."""
        if counts.min() < EMPTY:
            raise EMStop(StopReason.empty_component, f"{self.noun} {int(counts.argmin())} has no rows left")

    def check_covs(self, covs: Array, counts: Array, rows: PatternedRows) -> None:
        """Raise `EMStop` if a covariance has lost a direction, beyond the rounding of the data."""
        if self._step.n_free == 0:
            return
        # No two numbers in the data that differ are nearer to each other than this.
        floor = (4.0 * ROUNDING * (np.abs(rows.centre) + rows.scale)) ** 2
        for k, cov in enumerate(covs[:1] if self.is_shared else covs):
            is_flat = bool(np.any(np.diagonal(cov) <= floor))
            losable = self._step.losable(cov)
            if is_flat or any(smallest_scaled_eigenvalue(block) < SINGULAR * len(block) for block in losable):
                who = f"the covariance of all {self.noun}s" if self.is_shared else f"{self.noun} {k}"
                n = f"{counts.sum() if self.is_shared else counts[k]:.3g}"
                raise EMStop(
                    StopReason.degenerate_covariance,
                    f"{who} has collapsed, with {n} row{'' if n == '1' else 's'}{'' if self.is_shared else ADVICE}",
                )

    @cached_property
    def _step(self) -> NoiseStep:
        return NoiseStep(self.form.form if isinstance(self.form, Shared) else self.form, self.dim, self.name)

    @cached_property
    def _structure(self) -> Structure | None:
        """What components share where that is not all of a covariance."""
        if not isinstance(self.form, Shared) or self.form.only is None:
            return None
        return Structure(self.form.only, isinstance(self.form.form, Diagonal), self.n_components, self.dim)
