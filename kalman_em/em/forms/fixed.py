"""A form for what is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kalman_em.arrays import Array, array_key, as_floats, frozen, shape_text
from kalman_em.em.constraints import LinearConstraint
from kalman_em.em.families import Family, family_of
from kalman_em.errors import InputError
from kalman_em.linalg import checked_covariance


@dataclass(frozen=True, eq=False)
class Fixed:
    """Known, and returned bit for bit.

    Parameters
    ----------
    value : array_like
        The value; a leading time axis, one entry a row (or a step between rows), makes it vary in time, and known for
        those rows alone: nothing can then be forecast. A scalar stands for an array of one element, and
        0 for zeros of any shape.

    Raises
    ------
    InputError
        If `value` is not of finite numbers; where it is used, if its shape is not that of the parameter, or a
        covariance is not symmetric and PSD.

    Examples
    --------
    >>> from kalman_em import Fixed
    >>> Fixed([[2.0]])
    Fixed([[2.0]])
    """

    value: Any

    is_direct: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", as_floats(self.value, "Fixed"))

    def __repr__(self) -> str:
        return f"Fixed({self.value.tolist()})"

    def __eq__(self, other: object) -> bool:
        return array_key(self.value) == array_key(other.value) if isinstance(other, Fixed) else NotImplemented

    def __hash__(self) -> int:
        return hash(array_key(self.value))

    def fitted_to(self, shape: tuple[int, ...], name: str) -> Array:
        """Return the value with `shape` (or a time axis and `shape`)."""
        value: Array = self.value
        if value.ndim == 0 and (value == 0.0 or int(np.prod(shape)) == 1):
            return frozen(np.full(shape, float(value)))
        if value.shape != shape and value.shape[1:] != shape:
            came = f"Fixed({float(value):g}), one number" if value.ndim == 0 else f"Fixed of shape {value.shape}"
            raise InputError(f"{name}: expected shape {shape} or {shape_text(('T', *shape))}, got {came}")
        return value

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Nothing is free."""
        return LinearConstraint(self.fitted_to(shape, name), frozen(np.zeros((int(np.prod(shape)), 0))))

    def most_likely(self, scatter: Array) -> Array:
        """The value, whatever the scatter."""
        return self.fitted_to(scatter.shape, "Fixed")

    def n_free_in_covariance(self, dim: int) -> int:
        """None."""
        return 0

    def check_covariance(self, dim: int, name: str) -> None:
        """Check the shape, symmetry and definiteness."""
        checked_covariance(self.fitted_to((dim, dim), name), dim, name)

    def family(self, dim: int, name: str) -> Family:
        """The one member."""
        value = self.fitted_to((dim, dim), name)
        table = value if value.ndim == 3 else value[None]
        return family_of(table, np.zeros((0, *table.shape)), ())
