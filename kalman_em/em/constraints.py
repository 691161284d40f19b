"""Linear constraints on coefficients: value = fixed part + design times the free numbers.

Every form of a matrix, an offset or an input matrix comes down to this one value, so the regression M-step
knows no forms: a new form is a new way of writing a design.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array, BoolArray, frozen


@dataclass(frozen=True, eq=False)
class LinearConstraint:
    """vec(M) = vec(fixed) + design @ free, vec row by row; `design` has shape (M.size, n_free).

    `fixed` may have a leading time axis where nothing is free.
    """

    fixed: Array
    design: Array

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        return int(self.design.shape[1])

    def project(self, value: Array) -> Array:
        """Return the value of this constraint nearest to `value` (least squares)."""
        if self.n_free == 0:
            return self.fixed
        free, *_ = np.linalg.lstsq(self.design, (value - self.fixed).ravel(), rcond=None)
        return frozen(self.fixed + (self.design @ free).reshape(self.fixed.shape))


@dataclass(frozen=True, eq=False)
class JointConstraint:
    """The constraints of the blocks of M = [M1 M2 ...], as one design over vec(M), shape (q * r, n_free)."""

    n_rows: int
    n_columns: int
    design: Array

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        return int(self.design.shape[1])

    @cached_property
    def free_columns(self) -> BoolArray | None:
        """Which columns of M are free in every row, if each column is wholly free or wholly fixed.

        Then the regression separates by rows, and the noise covariance cancels out of its normal equations.
        """
        touched = np.any(self.design != 0.0, axis=1).reshape(self.n_rows, self.n_columns)
        columns: BoolArray = touched[0]
        is_selection = self.n_free == np.count_nonzero(touched) == np.count_nonzero(self.design)
        if not is_selection or np.any(touched != columns):
            return None
        return columns


def join(constraints: Sequence[LinearConstraint]) -> JointConstraint:
    """Lay the blocks beside each other; a block of vectors counts as one column."""
    n_rows = constraints[0].fixed.shape[-1] if constraints[0].fixed.ndim == 1 else constraints[0].fixed.shape[-2]
    widths = [_width(c, n_rows) for c in constraints]
    n_columns = sum(widths)
    design = np.zeros((n_rows, n_columns, sum(c.n_free for c in constraints)))
    column, number = 0, 0
    for constraint, width in zip(constraints, widths, strict=True):
        block = constraint.design.reshape(n_rows, width, constraint.n_free)
        design[:, column : column + width, number : number + constraint.n_free] = block
        column += width
        number += constraint.n_free
    return JointConstraint(n_rows, n_columns, frozen(design.reshape(n_rows * n_columns, -1)))


def _width(constraint: LinearConstraint, n_rows: int) -> int:
    return int(constraint.design.shape[0] // n_rows)
