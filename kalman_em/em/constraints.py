"""Linear constraints on coefficients: value = fixed part + design times the free numbers.

Every form of a matrix, an offset or an input matrix comes down to this one value, so the regression M-step
knows no forms: a new form is a new way of writing a design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, frozen
from kalman_em.linalg import least_squares


@dataclass(frozen=True, eq=False)
class LinearConstraint:
    """vec(M) = vec(fixed) + design @ free, vec row by row; `design` has shape (M.size, n_free).

    `fixed` may have a leading time axis: the free numbers then add to every entry alike. `names` are those that the
    user gave the free numbers, None for one without; empty if none has any.
    """

    fixed: Array
    design: Array
    names: tuple[str | None, ...] = ()

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        return int(self.design.shape[1])

    @property
    def labels(self) -> tuple[str | None, ...]:
        """The name of each free number, None where it has none."""
        return self.names or (None,) * self.n_free

    def deviation(self, value: Array) -> Array:
        """Return vec(`value` - fixed), the mean over time where it varies."""
        difference = value - self.fixed
        return np.asarray(difference.reshape(-1, len(self.design)).mean(axis=0) if difference.size else np.zeros(0))

    def free(self, value: Array) -> Array:
        """Return the free numbers of `value`, by least squares where it does not obey the constraint."""
        return solved(self.design, self.deviation(value))

    def at(self, free: Array) -> Array:
        """Return the value with these free numbers."""
        if self.n_free == 0:
            return self.fixed
        shape = self.fixed.shape if self.fixed.size == len(self.design) else self.fixed.shape[1:]
        return frozen(self.fixed + (self.design @ free).reshape(shape))

    def project(self, value: Array) -> Array:
        """Return the value of this constraint nearest to `value` (least squares)."""
        return self.fixed if self.n_free == 0 else self.at(self.free(value))


@dataclass(frozen=True, eq=False)
class JointConstraint:
    """The constraints of the blocks of M = [M1 M2 ...], as one design over vec(M), shape (q * r, n_free).

    `parts` says which of the free numbers of M are those of each block, in its order; a name that blocks share is in
    several. `own` (q * r, n_own) is the design of the numbers that every group of rows has for itself, beside those of
    `design` that all share; None where there are none. `own_parts` are to `own` what `parts` are to `design`.
    """

    n_rows: int
    n_columns: int
    design: Array
    parts: tuple[tuple[int, ...], ...] = ()
    labels: tuple[str | None, ...] = ()
    own: Array | None = None
    own_parts: tuple[tuple[int, ...], ...] = ()

    @property
    def n_free(self) -> int:
        """Number of free numbers that all groups share."""
        return int(self.design.shape[1])

    @property
    def n_own(self) -> int:
        """Number of free numbers that each group has for itself."""
        return 0 if self.own is None else int(self.own.shape[1])

    @cached_property
    def free_columns(self) -> BoolArray | None:
        """Which columns of M are free in every row, if each column is wholly free or wholly fixed.

        Then the regression separates by rows, and the noise covariance cancels out of its normal equations.
        """
        return self.free_block[1] if self.free_block is not None and np.all(self.free_block[0]) else None

    @cached_property
    def free_first(self) -> tuple[IntArray, int] | None:
        """The columns of M, free ones first, and how many are free; None unless each is so in all rows or in none."""
        columns = self.free_columns
        return None if columns is None else (np.argsort(~columns, kind="stable"), int(np.count_nonzero(columns)))

    @cached_property
    def free_block(self) -> tuple[BoolArray, BoolArray] | None:
        """Which rows and columns of M are free, if the free entries are all those where such rows and columns meet.

        The same holds then wherever the fixed rows have no noise, as those of a companion matrix.
        """
        if self.n_own or self.n_free == 0:
            return None
        touched = np.any(self.design != 0.0, axis=1).reshape(self.n_rows, self.n_columns)
        rows: BoolArray = np.any(touched, axis=1)
        columns: BoolArray = np.any(touched, axis=0)
        is_selection = self.n_free == np.count_nonzero(touched) == np.count_nonzero(self.design)
        if not is_selection or np.any(touched != np.outer(rows, columns)):
            return None
        return rows, columns


def of_each_series(constraint: LinearConstraint, series: Sequence[str]) -> LinearConstraint:
    """Return the constraint on the table (N, ...) of as many values, free for each; names get the label of the series.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Pattern
    >>> table = of_each_series(Pattern(["a", 1.0]).constraint((2,), "d"), ("x", "y"))
    >>> table.at(np.array([3.0, 4.0])).tolist(), table.names
    ([[3.0, 1.0], [4.0, 1.0]], ('a[x]', 'a[y]'))
    """
    fixed = np.repeat(constraint.fixed[None], len(series), axis=0)
    names = tuple(None if label is None else f"{label}[{key}]" for key in series for label in constraint.labels)
    return LinearConstraint(frozen(fixed), frozen(np.kron(np.eye(len(series)), constraint.design)), names)


def join(constraints: Sequence[LinearConstraint]) -> JointConstraint:
    """Lay the blocks beside each other; a block of vectors counts as one column, equal names are one number."""
    n_rows = constraints[0].fixed.shape[-1] if constraints[0].fixed.ndim == 1 else constraints[0].fixed.shape[-2]
    widths = [_width(c, n_rows) for c in constraints]
    parts, labels = numbered([c.labels for c in constraints])
    design = np.zeros((n_rows, sum(widths), len(labels)))
    column = 0
    for constraint, width, numbers in zip(constraints, widths, parts, strict=True):
        block = constraint.design.reshape(n_rows, width, constraint.n_free)
        design[:, column : column + width, list(numbers)] = block
        column += width
    return JointConstraint(n_rows, column, frozen(design.reshape(n_rows * column, -1)), parts, labels)


def numbered(
    blocks: Sequence[Sequence[str | None]],
) -> tuple[tuple[tuple[int, ...], ...], tuple[str | None, ...]]:
    """Number the free numbers of blocks one after another, equal names once; return the numbers and their labels.

    Examples
    --------
    >>> numbered([("a", None), (None, "a")])
    (((0, 1), (2, 0)), ('a', None, None))
    """
    known: dict[str, int] = {}
    labels: list[str | None] = []
    parts = []
    for block in blocks:
        numbers = []
        for label in block:
            if label is None or label not in known:
                if label is not None:
                    known[label] = len(labels)
                numbers.append(len(labels))
                labels.append(label)
            else:
                numbers.append(known[label])
        parts.append(tuple(numbers))
    return tuple(parts), tuple(labels)


def solved(design: Array, right: Array) -> Array:
    """Return the free numbers with which `design` comes nearest to `right`."""
    if design.size == 0:
        return np.zeros(design.shape[1])
    if np.count_nonzero(design, axis=1).max() <= 1:
        # No two columns meet in a row: each number stands alone.
        squares = np.sum(design**2, axis=0)
        return np.asarray(design.T @ right / np.where(squares > 0.0, squares, 1.0))
    return least_squares(design, right)


def _width(constraint: LinearConstraint, n_rows: int) -> int:
    return int(constraint.design.shape[0] // n_rows)
