"""Rows of data sorted by which of their entries are missing, so that whole patterns go through BLAS at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.observations import Panel


@dataclass(frozen=True, eq=False)
class Pattern:
    """The rows that lack the same entries.

    Attributes
    ----------
    observed : ndarray of int, shape (q,)
        The columns that are there; none for rows that are missing throughout.
    at : ndarray of int, shape (m,)
        Which rows.
    columns : ndarray, shape (q, m)
        What was observed, less the centre, column by column: reductions over few columns then run along many rows.
    """

    observed: IntArray
    at: IntArray
    columns: Array


@dataclass(frozen=True, eq=False)
class PatternedRows:
    """All rows of a panel, one series after another, by missing pattern.

    Attributes
    ----------
    centre, scale : ndarray, shape (p,)
        Mean and standard deviation of the observed entries of each column (ddof 0): where they are measured from,
        and in what unit.
    patterns : tuple of Pattern
        In the order of their first rows.
    n_rows : int
    """

    centre: Array
    scale: Array
    patterns: tuple[Pattern, ...]
    n_rows: int

    @property
    def dim(self) -> int:
        """Number of columns, p."""
        return len(self.centre)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return len(self.patterns) == 1 and len(self.patterns[0].observed) == self.dim

    def of(self, values: Array) -> PatternedRows:
        """Return other rows `values` (n, p), measured from the same centre in the same unit."""
        return replace(patterned_values(values, self.centre), scale=self.scale)

    def seen(self) -> PatternedRows:
        """Return the rows of which something was observed, numbered anew; the same if that is all."""
        patterns = [pattern for pattern in self.patterns if len(pattern.observed)]
        if len(patterns) == len(self.patterns):
            return self
        whole = [replace(pattern, at=np.arange(len(pattern.at))) for pattern in patterns]
        return PatternedRows(self.centre, self.scale, tuple(_numbered(whole)), sum(len(one.at) for one in whole))

    def chosen(self, rows: IntArray) -> PatternedRows:
        """Return some of the rows, in the order of `rows`, measured from the same centre in the same unit."""
        position = np.full(self.n_rows, -1)
        position[rows] = np.arange(len(rows))
        found = []
        for pattern in self.patterns:
            at = position[pattern.at]
            order = np.argsort(at, kind="stable")[np.count_nonzero(at < 0) :]
            if len(order):
                found.append(Pattern(pattern.observed, at[order], frozen(pattern.columns[:, order])))
        return PatternedRows(self.centre, self.scale, tuple(found), len(rows))

    def divided(self, n_parts: int, rng: np.random.Generator) -> tuple[PatternedRows, ...]:
        """Return the rows in random parts of about equal size, measured from the same centre in the same unit."""
        part_of = rng.permutation(self.n_rows) % n_parts
        found: list[list[Pattern]] = [[] for _ in range(n_parts)]
        counts = np.bincount(part_of, minlength=n_parts)
        for pattern in self.patterns:
            of = part_of[pattern.at]
            order = np.argsort(of, kind="stable")
            ends = np.cumsum(np.bincount(of, minlength=n_parts))
            sorted_columns = pattern.columns[:, order]
            for number, (begin, end) in enumerate(zip(ends - np.diff(ends, prepend=0), ends, strict=True)):
                if end > begin:
                    found[number].append(
                        Pattern(pattern.observed, np.arange(end - begin), frozen(sorted_columns[:, begin:end]))
                    )
        return tuple(
            PatternedRows(self.centre, self.scale, tuple(_numbered(part)), int(n))
            for part, n in zip(found, counts, strict=True)
        )

    def covariance(self) -> Array:
        """Return the covariance of the rows (with n - 1), shape (p, p); of incomplete rows the variances alone."""
        if self.is_complete:
            columns = self.patterns[0].columns
            return np.asarray(columns @ columns.T / (self.n_rows - 1.0))
        counts = np.zeros(self.dim)
        for pattern in self.patterns:
            counts[pattern.observed] += len(pattern.at)
        result: Array = np.diag(self.scale**2 * counts / np.maximum(counts - 1.0, 1.0))
        return result

    def completed(self) -> Array:
        """Return the rows less the centre, shape (n, p), NaN where nothing was observed."""
        result = np.full((self.n_rows, self.dim), np.nan)
        for pattern in self.patterns:
            result[pattern.at[:, None], pattern.observed] = pattern.columns.T
        return result


def _numbered(patterns: list[Pattern]) -> list[Pattern]:
    """Return patterns whose rows are numbered one pattern after another."""
    begins = np.cumsum([0, *(len(pattern.at) for pattern in patterns)])
    return [replace(pattern, at=pattern.at + begin) for pattern, begin in zip(patterns, begins[:-1], strict=True)]


def patterned(panel: Panel) -> PatternedRows:
    """Return the rows of `panel` by missing pattern.

    Examples
    --------
    >>> from kalman_em import Observations, Panel
    >>> nan = float("nan")
    >>> rows = patterned(Panel([Observations([[1.0, 4.0], [nan, 6.0], [3.0, 8.0]])]))
    >>> rows.centre.tolist(), [pattern.at.tolist() for pattern in rows.patterns]
    ([2.0, 6.0], [[0, 2], [1]])
    """
    return patterned_values(np.concatenate([one.values for one in panel]))


def patterned_values(values: Array, centre: Array | None = None) -> PatternedRows:
    """Return the rows `values` (n, p) by missing pattern, measured from `centre` or their mean."""
    there = ~np.isnan(values)
    counts = np.maximum(there.sum(axis=0), 1)
    own = np.where(there, values, 0.0).sum(axis=0) / counts
    middle = own if centre is None else centre
    deviations = np.where(there, values - own, 0.0)
    scale = np.sqrt((deviations**2).sum(axis=0) / counts)
    if there.all():
        at = np.arange(len(values))
        patterns = (Pattern(np.arange(values.shape[1]), at, frozen((values - middle).T)),)
        return PatternedRows(frozen(middle), frozen(scale), patterns, len(values))
    kinds, first, kind_of = np.unique(there, axis=0, return_index=True, return_inverse=True)
    kind_of = kind_of.ravel()
    rows_of = np.split(np.argsort(kind_of, kind="stable"), np.cumsum(np.bincount(kind_of))[:-1])
    found = []
    for number in np.argsort(first):
        observed, at = np.flatnonzero(kinds[number]), rows_of[number]
        found.append(Pattern(observed, at, frozen((values[at[:, None], observed] - middle[observed]).T)))
    return PatternedRows(frozen(middle), frozen(scale), tuple(found), len(values))
