"""The M-step of a covariance with an entry for each series: some blocks the series' own, the others shared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.em.families import Family, Part
from kalman_em.em.forms import BlockDiagonal, CovarianceForm, PerSeries, has_series
from kalman_em.em.noise import NoiseStep
from kalman_em.errors import InputError


@dataclass(frozen=True, eq=False)
class SeriesNoiseStep(NoiseStep):
    """A form of a covariance laid out for `dim` rows and the `series`, by label: its table has an entry for each.

    Free numbers: those that are shared, then those of each series in turn.
    """

    series: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for step in self._steps:
            if step.varies or np.ndim(getattr(step.form, "value", 0.0)) == 3:
                raise InputError(
                    f"{self.name}: expected a form that is constant in time beside parameters that are PerSeries, got "
                    f"{self.form!r}"
                )

    @property
    def is_closed(self) -> bool:
        """Whether every block has a closed form."""
        return all(step.is_closed for step in self._steps)

    @property
    def n_free(self) -> int:
        """Number of free numbers over all series."""
        return self._n_shared + len(self.series) * self._n_own

    @property
    def n_entries(self) -> int:
        """Entries over time: none."""
        return 1

    @property
    def labels(self) -> tuple[str | None, ...]:
        """The name of each free number, that of a series with its label."""
        shared = _labels(self.shared) if self.shared is not None else ()
        own = _labels(self.own) if self.own is not None else ()
        return (*shared, *(None if x is None else f"{x}[{key}]" for key in self.series for x in own))

    @cached_property
    def family(self) -> Family | None:
        """The linear family of the whole table; None for a form that does not say."""
        parts: list[Part] = []
        n = len(self.series)
        if self.shared is not None:
            if self.shared.family is None:
                return None
            parts += [Part(self.shared_rows[p.rows], p.fixed, p.basis, p.labels) for p in self.shared.family.parts]
        if self.own is not None:
            one = self.own.family
            if one is None:
                return None
            k, r = one.n_free, len(self.own_rows)
            basis = np.zeros((n, k, n, r, r))
            for s in range(n):
                basis[s, :, s] = one.basis()[:, 0]
            fixed = np.repeat(one.at(np.zeros(k))[None], n, axis=0)
            labels = self.labels[self._n_shared :]
            parts.append(Part(self.own_rows, fixed, basis.reshape(n * k, n, r, r), labels or (None,) * (n * k)))
        return Family(self.dim, tuple(parts), n)

    def most_likely(self, scatter: Array, counts: Array, near: Array) -> Array:
        """Return the covariances (n, q, q) for mean scatters (n, q, q) of `counts` (n,) rows of each series.

        A series without rows keeps what it has.
        """
        result = np.zeros((len(self.series), self.dim, self.dim))
        total = counts.sum()
        if self.shared is not None:
            weights = counts / total if total > 0.0 else counts
            inside = np.ix_(self.shared_rows, self.shared_rows)
            mean = np.einsum("g,gij->ij", weights, scatter)[inside]
            found = self.shared.most_likely(mean[None], np.array([total]), near[0][inside])
            result[:, inside[0], inside[1]] = found
        if self.own is not None:
            inside = np.ix_(self.own_rows, self.own_rows)
            for s, count in enumerate(counts):
                present = near[s][inside]
                one = np.array([count])
                result[s][inside] = (
                    self.own.most_likely(scatter[s][inside][None], one, present) if count > 0.0 else present
                )
        return result

    def fitted(self, cov: Array) -> Array:
        """Return the member most like `cov`, (q, q) for all series or (n, q, q)."""
        n = len(self.series)
        table = np.array(np.broadcast_to(cov, (n, self.dim, self.dim)))
        if self.shared is not None:
            inside = np.ix_(self.shared_rows, self.shared_rows)
            table[:, inside[0], inside[1]] = self.shared.fitted(table.mean(axis=0)[inside])
        if self.own is not None:
            inside = np.ix_(self.own_rows, self.own_rows)
            for one in table:
                one[inside] = self.own.fitted(one[inside])
        between = np.ones((self.dim, self.dim), dtype=bool)
        for rows in (self.shared_rows, self.own_rows):
            between[np.ix_(rows, rows)] = False
        table[:, between] = 0.0
        return table

    def free(self, cov: Array) -> Array:
        """Return the free numbers of a member."""
        found = []
        if self.shared is not None and self._n_shared:
            found.append(self.shared.free(cov[0][np.ix_(self.shared_rows, self.shared_rows)]))
        if self.own is not None and self._n_own:
            found += [self.own.free(one[np.ix_(self.own_rows, self.own_rows)]) for one in cov]
        return np.concatenate(found) if found else np.zeros(0)

    def at(self, free: Array) -> Array:
        """Return the member with these numbers."""
        table = np.zeros((len(self.series), self.dim, self.dim))
        if self.shared is not None:
            inside = np.ix_(self.shared_rows, self.shared_rows)
            table[:, inside[0], inside[1]] = self.shared.at(free[: self._n_shared])
        if self.own is not None:
            inside = np.ix_(self.own_rows, self.own_rows)
            numbers = free[self._n_shared :].reshape(len(self.series), self._n_own)
            for one, own in zip(table, numbers, strict=True):
                one[inside] = self.own.at(own)
        return table

    def losable(self, cov: Array) -> list[Array]:
        """Return the blocks of a member that may become singular though the form is not."""
        found = []
        if self.shared is not None and self._n_shared:
            found += self.shared.losable(cov[0][np.ix_(self.shared_rows, self.shared_rows)])
        if self.own is not None and self._n_own:
            for one in cov:
                found += self.own.losable(one[np.ix_(self.own_rows, self.own_rows)])
        return found

    def at_zero(self, cov: Array) -> BoolArray:
        """Return which free numbers stand in a part that has lost all variance in some row."""
        found = []
        if self.shared is not None and self._n_shared:
            found.append(self.shared.at_zero(cov[0][np.ix_(self.shared_rows, self.shared_rows)]))
        if self.own is not None and self._n_own:
            found += [self.own.at_zero(one[np.ix_(self.own_rows, self.own_rows)]) for one in cov]
        return np.concatenate(found) if found else np.zeros(0, dtype=bool)

    @cached_property
    def shared(self) -> NoiseStep | None:
        """The step of what all series share; None if they share nothing."""
        return self._step(False)

    @cached_property
    def own(self) -> NoiseStep | None:
        """The step of what each series has for itself; None if there is nothing."""
        return self._step(True)

    @cached_property
    def shared_rows(self) -> IntArray:
        """The rows of what is shared."""
        return self._rows(False)

    @cached_property
    def own_rows(self) -> IntArray:
        """The rows of what is not."""
        return self._rows(True)

    @property
    def _steps(self) -> list[NoiseStep]:
        return [step for step in (self.shared, self.own) if step is not None]

    @property
    def _n_shared(self) -> int:
        return 0 if self.shared is None else self.shared.n_free

    @property
    def _n_own(self) -> int:
        return 0 if self.own is None else self.own.n_free

    def _step(self, is_own: bool) -> NoiseStep | None:
        blocks = [(form, rows.stop - rows.start) for form, rows, own in self._blocks if own == is_own]
        if not blocks:
            return None
        form: CovarianceForm = blocks[0][0] if len(blocks) == 1 else BlockDiagonal(blocks)
        return NoiseStep(form, sum(size for _, size in blocks), self.name)

    def _rows(self, is_own: bool) -> IntArray:
        rows = [np.arange(rows.start, rows.stop) for _, rows, own in self._blocks if own == is_own]
        return np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)

    @cached_property
    def _blocks(self) -> list[tuple[Any, slice, bool]]:
        """Return the blocks with their rows, and whether each is the series' own."""
        return list(_taken_apart(self.form, 0, self.dim))


def _taken_apart(form: Any, first: int, dim: int) -> Iterator[tuple[Any, slice, bool]]:
    if isinstance(form, BlockDiagonal) and has_series(form):
        for block, size in form.blocks:
            yield from _taken_apart(block, first, size)
            first += size
    else:
        is_own = isinstance(form, PerSeries)
        yield form.form if is_own else form, slice(first, first + dim), is_own


def _labels(step: NoiseStep) -> tuple[str | None, ...]:
    return step.labels or (None,) * step.n_free
