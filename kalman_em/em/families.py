"""Covariances that are linear in their free numbers: C_t = K_t + Σ_k θ_k B_kt, in independent parts.

Every form of a covariance is such a family. Where the maximiser of the expected log-likelihood has a closed form, and
where it needs a safeguarded optimiser, is a matter of the family alone: see `kalman_em.em.maximisers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.em.constraints import numbered
from kalman_em.errors import InputError
from kalman_em.linalg import least_squares


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a covariance that share neither noise nor free numbers with the others.

    Attributes
    ----------
    rows : ndarray of int, shape (r,)
        Which rows and columns.
    fixed : ndarray, shape (n, r, r)
        K, one entry where it is constant, else one a step.
    basis : ndarray, shape (k, n, r, r)
        B of each free number.
    labels : tuple of str or None
        The names of the free numbers.
    """

    rows: IntArray
    fixed: Array
    basis: Array
    labels: tuple[str | None, ...]

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        return len(self.labels)

    @property
    def n_entries(self) -> int:
        """Number of entries over time, 1 where it is constant."""
        return int(self.fixed.shape[0])

    def at(self, free: Array) -> Array:
        """Return the covariances (n, r, r) with these free numbers."""
        return np.asarray(self.fixed + np.tensordot(free, self.basis, axes=1))

    def led(self) -> Part:
        """Return the part with the first of its entries twice, if there are several."""
        if self.n_entries == 1:
            return self
        return Part(self.rows, _doubled(self.fixed, 0), _doubled(self.basis, 1), self.labels)


@dataclass(frozen=True, eq=False)
class Family:
    """A linear family of (dim, dim) covariances: independent parts, each row in one of them.

    `n_entries` is the number of entries over time, 1 where the covariance is constant; a part may be constant beside
    others that vary.
    """

    dim: int
    parts: tuple[Part, ...]
    n_entries: int = 1

    @property
    def labels(self) -> tuple[str | None, ...]:
        """The name of each free number, part after part."""
        return tuple(label for part in self.parts for label in part.labels)

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        return len(self.labels)

    def at(self, free: Array) -> Array:
        """Return the covariance with these free numbers: (dim, dim), or (n, dim, dim) where it varies."""
        table = np.zeros((self.n_entries, self.dim, self.dim))
        first = 0
        for part in self.parts:
            table[:, part.rows[:, None], part.rows] = part.at(free[first : first + part.n_free])
            first += part.n_free
        return table if self.n_entries > 1 else table[0]

    def free(self, cov: Array) -> Array:
        """Return the free numbers of a member `cov`."""
        table = cov if cov.ndim == 3 else cov[None]
        found = [_free(part, table[:, part.rows[:, None], part.rows]) for part in self.parts]
        return np.concatenate(found) if found else np.zeros(0)

    def basis(self) -> Array:
        """Return B of every free number, shape (n_free, n, dim, dim)."""
        result = np.zeros((self.n_free, self.n_entries, self.dim, self.dim))
        first = 0
        for part in self.parts:
            result[first : first + part.n_free, :, part.rows[:, None], part.rows] = part.basis
            first += part.n_free
        return result

    def mean(self) -> Family:
        """Return the family of the means over time: the constant covariances that come nearest to this family."""
        parts = [
            Part(p.rows, p.fixed.mean(axis=0, keepdims=True), p.basis.mean(axis=1, keepdims=True), p.labels)
            for p in self.parts
        ]
        return Family(self.dim, tuple(parts))

    def led(self) -> Family:
        """Return the family with the first entry over time twice: for a leading row."""
        n_entries = self.n_entries + 1 if self.n_entries > 1 else 1
        return Family(self.dim, tuple(part.led() for part in self.parts), n_entries)


def family_of(fixed: Array, basis: Array, labels: Sequence[str | None]) -> Family:
    """Return the family K + Σ θ B for `fixed` (n, q, q) and `basis` (k, n, q, q), taken apart into its parts."""
    q = fixed.shape[-1]
    touched = np.any(fixed != 0.0, axis=0)
    uses = np.any(basis != 0.0, axis=1)
    # Rows with an entry in common, and rows that a number stands in.
    links = [np.array(pair) for pair in np.argwhere(touched | uses.any(axis=0))]
    links += [np.flatnonzero(use.any(axis=1)) for use in uses]
    group = _grouped(q, links)
    parts = []
    for number in dict.fromkeys(group):
        rows = np.flatnonzero(np.array(group) == number)
        inside = np.ix_(rows, rows)
        kept = [k for k, use in enumerate(uses) if use[inside].any()]
        part_basis = basis[kept][:, :, rows[:, None], rows]
        parts.append(_compact(Part(rows, fixed[:, rows[:, None], rows], part_basis, tuple(labels[k] for k in kept))))
    return Family(q, tuple(parts), len(fixed))


def side_by_side(families: Sequence[Family], name: str) -> Family:
    """Return the family of independent blocks along the diagonal; parts with a name in common become one."""
    parts, first = [], 0
    for family in families:
        parts += [Part(part.rows + first, part.fixed, part.basis, part.labels) for part in family.parts]
        first += family.dim
    lengths = {family.n_entries for family in families} - {1}
    if len(lengths) > 1:
        raise InputError(
            f"{name}: blocks vary over {' and '.join(map(str, sorted(lengths)))} entries; expected as many"
        )
    named: dict[str, int] = {}
    links = []
    for position, part in enumerate(parts):
        links.append(np.array([position, *(named.setdefault(x, position) for x in part.labels if x is not None)]))
    group = _grouped(len(parts), links)
    merged = [[p for p, g in zip(parts, group, strict=True) if g == number] for number in dict.fromkeys(group)]
    return Family(first, tuple(_merged(together) for together in merged), max(lengths, default=1))


def _merged(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    n = max(part.n_entries for part in parts)
    rows = np.concatenate([part.rows for part in parts])
    numbers, labels = numbered([part.labels for part in parts])
    fixed, basis = np.zeros((n, len(rows), len(rows))), np.zeros((len(labels), n, len(rows), len(rows)))
    first = 0
    for part, own in zip(parts, numbers, strict=True):
        inside = slice(first, first + len(part.rows))
        fixed[:, inside, inside] = part.fixed
        basis[list(own), :, inside, inside] = part.basis
        first += len(part.rows)
    return Part(rows, fixed, basis, labels)


def _grouped(n: int, links: Sequence[IntArray]) -> list[int]:
    """Return for each of `n` things the number of its group, linked things being in one."""
    group = list(range(n))
    for link in links:
        together = {group[i] for i in link}
        if len(together) > 1:
            lowest = min(together)
            group = [lowest if g in together else g for g in group]
    return group


def _free(part: Part, table: Array) -> Array:
    """Return the free numbers of a part by least squares, each variance in its own unit."""
    if part.n_free == 0:
        return np.zeros(0)
    size = np.diagonal(np.abs(part.basis).sum(axis=0) + np.abs(part.fixed), axis1=1, axis2=2)
    deviation = np.sqrt(np.where(size > 0.0, size, 1.0))
    unit = deviation[:, :, None] * deviation[:, None, :]
    target = (table[: part.n_entries] - part.fixed) / unit
    return least_squares((part.basis / unit).reshape(part.n_free, -1).T, target.ravel())


def _compact(part: Part) -> Part:
    """Return the part with one entry if all are equal."""
    n = part.n_entries
    if n == 1 or np.any(part.fixed != part.fixed[:1]) or np.any(part.basis != part.basis[:, :1]):
        return part
    return Part(part.rows, part.fixed[:1], part.basis[:, :1], part.labels)


def _doubled(array: Array, axis: int) -> Array:
    return np.asarray(frozen(np.concatenate([np.take(array, [0], axis=axis), array], axis=axis)))
