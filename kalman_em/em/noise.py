"""The M-step of a covariance under whatever form: from the scatter of groups of rows to the covariance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import Array, BoolArray
from kalman_em.em.families import Family
from kalman_em.em.forms import BlockDiagonal, Fixed
from kalman_em.em.forms.protocols import CovarianceForm, LinearForm, is_direct
from kalman_em.em.maximisers import FamilyMaximiser
from kalman_em.em.repeated import Repeated


@dataclass(frozen=True, eq=False)
class NoiseStep:
    """A form of a covariance laid out for `dim` rows: its maximiser, and its free numbers.

    `leads` says that the first of entries over time stands twice, for a leading row.
    """

    form: CovarianceForm
    dim: int
    name: str
    leads: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether the M-step is a closed form; if not, a climb raises the expected log-likelihood."""
        return self._maximiser is None or self._maximiser.is_closed

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        return self.form.n_free_in_covariance(self.dim) if self._maximiser is None else self._maximiser.family.n_free

    @property
    def n_entries(self) -> int:
        """Number of entries over time; 1 where the covariance is constant, or the form is a known value."""
        return 1 if self._maximiser is None else self._maximiser.family.n_entries

    @property
    def varies(self) -> bool:
        """Whether the covariance is learnt with more than one entry over time."""
        return self.n_entries > 1

    @property
    def labels(self) -> tuple[str | None, ...]:
        """The name of each free number; empty for a form without names."""
        return () if self._maximiser is None else self._maximiser.family.labels

    @cached_property
    def family(self) -> Family | None:
        """The linear family; None for a form that does not say."""
        if self._maximiser is not None:
            return self._maximiser.family
        form: Any = self.form
        return form.family(self.dim, self.name) if isinstance(form, LinearForm) else None

    def most_likely(self, scatter: Array, counts: Array, near: Array) -> Array:
        """Return the covariance for mean scatters (n, q, q) of `counts` (n,) rows; a climb begins at `near`."""
        if self._maximiser is not None:
            return self._maximiser.most_likely(scatter, counts, near)
        if len(counts) > 1:
            scatter = np.einsum("g,gij->ij", counts / counts.sum(), scatter)[None]
        return self.form.most_likely(scatter[0])

    def fitted(self, cov: Array) -> Array:
        """Return the member most like `cov`."""
        if self._maximiser is None:
            return self.form.most_likely(cov)
        if cov.ndim == 3 and len(cov) == self.n_entries - 1:
            cov = np.concatenate([cov[:1], cov])
        return self._maximiser.fitted(cov)

    def free(self, cov: Array) -> Array:
        """Return the free numbers of a member of a form that has a family."""
        assert self.family is not None  # only such forms vary in time or have names
        return self.family.free(cov)

    def at(self, free: Array) -> Array:
        """Return the member with these numbers, for a form that has a family."""
        assert self.family is not None
        return self.family.at(free)

    def losable(self, cov: Array) -> list[Array]:
        """Return the blocks of a member, first entry, that may become singular though the form is not."""
        if self._maximiser is not None:
            return self._maximiser.losable(cov)
        first = cov if cov.ndim == 2 else cov[0]
        return [first[rows, rows] for rows in learnt_rows(self.form, self.dim)]

    def at_zero(self, cov: Array) -> BoolArray:
        """Return which free numbers of a form with a family stand in a part that has no variance left in some row."""
        variances = np.diagonal(cov if cov.ndim == 2 else cov.mean(axis=0))
        parts = self.family.parts if self.family is not None else ()
        found = [np.full(part.n_free, bool(np.any(variances[part.rows] <= 0.0))) for part in parts]
        return np.concatenate(found) if found else np.zeros(0, dtype=bool)

    @cached_property
    def _maximiser(self) -> FamilyMaximiser | None:
        form: Any = self.form
        if is_direct(form):
            return None
        family = form.family(self.dim, self.name)
        return FamilyMaximiser(family.led() if self.leads else family, self.name)


def learnt_rows(form: Any, dim: int, first: int = 0) -> Iterator[slice]:
    """Yield the rows from `first` on of each block of a form with its own maximiser, but for blocks that are known.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em.em.forms import BlockDiagonal, Fixed, Full
    >>> list(learnt_rows(BlockDiagonal([(Fixed(np.ones((2, 2))), 2), (Full(), 3)]), 5))
    [slice(2, 5, None)]
    """
    if isinstance(form, BlockDiagonal):
        for block, size in form.blocks:
            yield from learnt_rows(block, size, first)
            first += size
    elif isinstance(form, Repeated):
        size = dim // form.copies
        for copy in range(form.copies):
            yield from learnt_rows(form.form, size, first + copy * size)
    elif not isinstance(form, Fixed):
        yield slice(first, first + dim)
