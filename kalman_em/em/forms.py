"""Forms: how a parameter may vary, stated once where the model is built.

For a matrix, an offset or an input matrix a form is a linear constraint; for a covariance it is the closed-form
maximiser of the expected log-likelihood. A new form brings both, and the loop and the M-steps stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kalman_em.arrays import Array, array_key, as_count, as_floats, frozen, shape_text
from kalman_em.em.constraints import LinearConstraint
from kalman_em.errors import InputError
from kalman_em.linalg import checked_covariance, symmetrised


@runtime_checkable
class CoefficientForm(Protocol):
    """A form that a matrix, an offset or an input matrix can take."""

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Return the linear constraint on an array of `shape`; `InputError` naming `name` if it does not fit."""
        ...


@runtime_checkable
class CovarianceForm(Protocol):
    """A form that a covariance can take."""

    def most_likely(self, scatter: Array) -> Array:
        """Return the covariance of this form that maximises -log|S| - tr(S^-1 scatter)."""
        ...

    def n_free_in_covariance(self, dim: int) -> int:
        """Return the number of free numbers of a (dim, dim) covariance."""
        ...

    def check_covariance(self, dim: int, name: str) -> None:
        """Raise `InputError` naming `name` unless the form fits a (dim, dim) covariance."""
        ...


@dataclass(frozen=True)
class Full:
    """Every entry is free (a covariance: any symmetric positive semi-definite matrix).

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Full
    >>> Full().most_likely(np.array([[2.0, 1.0], [1.0, 3.0]])).tolist()
    [[2.0, 1.0], [1.0, 3.0]]
    """

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Nothing is fixed."""
        del name
        return LinearConstraint(frozen(np.zeros(shape)), frozen(np.eye(int(np.prod(shape)))))

    def most_likely(self, scatter: Array) -> Array:
        """The scatter itself (Anderson 2003, lemma 3.2.2)."""
        return symmetrised(scatter)

    def n_free_in_covariance(self, dim: int) -> int:
        """dim (dim + 1) / 2."""
        return dim * (dim + 1) // 2

    def check_covariance(self, dim: int, name: str) -> None:
        """Fits any."""


@dataclass(frozen=True)
class Diagonal:
    """The diagonal is free and the rest is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Diagonal
    >>> Diagonal().most_likely(np.array([[2.0, 1.0], [1.0, 3.0]])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Zero off the diagonal; for a vector the same as `Full`."""
        if len(shape) == 1:
            return Full().constraint(shape, name)
        if shape[0] != shape[1]:
            raise InputError(f"{name}: Diagonal needs a square matrix, got shape {shape}")
        design = np.zeros((shape[0] * shape[0], shape[0]))
        design[np.arange(shape[0]) * (shape[0] + 1), np.arange(shape[0])] = 1.0
        return LinearConstraint(frozen(np.zeros(shape)), frozen(design))

    def most_likely(self, scatter: Array) -> Array:
        """The diagonal of the scatter."""
        return np.diag(np.maximum(np.diagonal(scatter), 0.0))

    def n_free_in_covariance(self, dim: int) -> int:
        """One a row."""
        return dim

    def check_covariance(self, dim: int, name: str) -> None:
        """Fits any."""


@dataclass(frozen=True)
class Isotropic:
    """One number times the identity; for a vector, one number in every entry.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Isotropic
    >>> Isotropic().most_likely(np.array([[2.0, 1.0], [1.0, 4.0]])).tolist()
    [[3.0, 0.0], [0.0, 3.0]]
    """

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """One free number."""
        if len(shape) == 2 and shape[0] != shape[1]:
            raise InputError(f"{name}: Isotropic needs a square matrix, got shape {shape}")
        pattern = np.ones(shape) if len(shape) == 1 else np.eye(shape[0])
        return LinearConstraint(frozen(np.zeros(shape)), frozen(pattern.reshape(-1, 1)))

    def most_likely(self, scatter: Array) -> Array:
        """The mean of the scatter's diagonal."""
        dim = len(scatter)
        result: Array = np.eye(dim) * (max(np.trace(scatter), 0.0) / dim)
        return result

    def n_free_in_covariance(self, dim: int) -> int:
        """One."""
        return 1

    def check_covariance(self, dim: int, name: str) -> None:
        """Fits any."""


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


@dataclass(frozen=True)
class BlockDiagonal:
    """Independent blocks along the diagonal of a covariance, each with a form of its own.

    Parameters
    ----------
    blocks : sequence of (form, size)
        The forms of the blocks, first to last, and their sizes.

    Raises
    ------
    InputError
        If an entry is not such a pair, its form none for a covariance, or its size not a whole number of at least 1;
        where it is used, if a form does not fit or the sizes do not add up.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import BlockDiagonal, Full, Isotropic
    >>> form = BlockDiagonal([(Full(), 1), (Isotropic(), 2)])
    >>> form.most_likely(np.array([[5.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 4.0]])).tolist()
    [[5.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]]
    """

    blocks: Sequence[tuple[CovarianceForm, int]]

    def __post_init__(self) -> None:
        if not isinstance(self.blocks, Iterable) or isinstance(self.blocks, str):
            raise InputError(f"blocks: expected pairs (form, size), got {self.blocks!r}")
        blocks = tuple(self.blocks)
        for position, block in enumerate(blocks):
            if not isinstance(block, tuple | list) or len(block) != 2:
                raise InputError(f"blocks: expected pairs (form, size), got {block!r} at position {position}")
            checked_covariance_form(block[0], f"blocks: form of block {position}")
            as_count(block[1], f"blocks: size of block {position}")
        object.__setattr__(self, "blocks", tuple((form, int(size)) for form, size in blocks))

    def most_likely(self, scatter: Array) -> Array:
        """Each block's own maximiser: the expected log-likelihood is a sum over blocks."""
        result = np.zeros_like(scatter)
        first = 0
        for form, size in self.blocks:
            block = slice(first, first + size)
            result[block, block] = form.most_likely(scatter[block, block])
            first += size
        return result

    def n_free_in_covariance(self, dim: int) -> int:
        """The sum over blocks."""
        return sum(form.n_free_in_covariance(size) for form, size in self.blocks)

    def check_covariance(self, dim: int, name: str) -> None:
        """Check that the sizes add up and each block fits."""
        total = sum(size for _, size in self.blocks)
        if total != dim:
            raise InputError(f"{name}: BlockDiagonal has blocks of {total} rows in all, expected {dim}")
        for position, (form, size) in enumerate(self.blocks):
            covariance_form(form, f"{name}: block {position}", size)


@dataclass(frozen=True)
class Diffuse:
    """Nothing is known of the initial state: a flat prior, treated exactly (for `initial_cov` alone).

    Examples
    --------
    >>> from kalman_em import Diffuse
    >>> Diffuse()
    Diffuse()
    """


def coefficient_form(form: Any, name: str) -> CoefficientForm:
    """Return `form` if a coefficient can take it; `InputError` naming `name` otherwise."""
    if isinstance(form, type) or not isinstance(form, CoefficientForm):
        raise InputError(f"{name}: {_expected(form)}")
    return form


def covariance_form(form: Any, name: str, dim: int) -> CovarianceForm:
    """Return `form` if a (dim, dim) covariance can take it; `InputError` naming `name` otherwise."""
    checked = checked_covariance_form(form, name)
    checked.check_covariance(dim, name)
    return checked


def checked_covariance_form(form: Any, name: str) -> CovarianceForm:
    """Return `form` if it is one for a covariance, of whatever size; `InputError` naming `name` otherwise.

    Examples
    --------
    >>> checked_covariance_form("diagonal", "level_cov")
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: level_cov: expected a form such as ..., got 'diagonal' (did you mean Diagonal()?)
    """
    if isinstance(form, type) or not isinstance(form, CovarianceForm):
        raise InputError(f"{name}: {_expected(form)}")
    return form


def check_initial_forms(mean: Any, cov: Any) -> None:
    """Raise `InputError` unless `mean` is a form or None and `cov` is one for a covariance, or Diffuse()."""
    if mean is not None:
        coefficient_form(mean, "initial_mean")
    if not isinstance(cov, Diffuse):
        checked_covariance_form(cov, "initial_cov")


def _expected(form: Any) -> str:
    """Return what was expected, what came instead of a form, and what may have been meant."""
    expected = "expected a form such as Full(), Diagonal() or Fixed(value), got"
    if isinstance(form, type):
        return f"{expected} the class {form.__name__}; call it"
    if isinstance(form, str):
        known = {kind.__name__.lower(): kind.__name__ for kind in (Full, Diagonal, Isotropic, Diffuse)}
        near = get_close_matches(form.lower().strip("() "), known, n=1)
        return f"{expected} {form!r}{f' (did you mean {known[near[0]]}()?)' if near else ''}"
    if isinstance(form, np.ndarray | list | tuple):
        return f"{expected} an array; hold known numbers with Fixed(...)"
    return f"{expected} {form!r}"
