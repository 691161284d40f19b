"""A parameter written out entry by entry: numbers are known, equal names are one learnt number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import frozen, shape_text
from kalman_em.em.constraints import LinearConstraint
from kalman_em.em.families import Family, family_of
from kalman_em.em.forms.expressions import Linear, linear
from kalman_em.em.forms.protocols import FamilyForm
from kalman_em.errors import InputError


@dataclass(frozen=True)
class Pattern(FamilyForm):
    """Known numbers, shared names, and linear combinations of them, entry by entry.

    Parameters
    ----------
    rows : list of rows, or a list for a vector
        An entry is a number (known), a name (learnt; equal names are one number) or a linear combination of names such
        as ``"1+2*a-b"``. A covariance is written out symmetric; one more level of lists makes it vary in time, one
        matrix for each row of the data.

    Raises
    ------
    InputError
        If an entry cannot be read or is not linear, or the rows differ in length; where it is used, if the shape is
        not that of the parameter, a covariance is not symmetric, or no values of its names make it one.

    Notes
    -----
    A name may stand in the matrix, the offset and the input matrix of the transition, and likewise of the observation,
    because these are learnt jointly. A covariance has a closed form where its names stand for variances, scaled or
    shared ones too, for whole blocks, or for one variance and one covariance of a block; any other is climbed by
    scoring steps, and the summary says so.

    References
    ----------
    Holmes, Derivation of the EM algorithm for constrained and unconstrained MARSS models, arXiv:1302.3919.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> nile = kem.datasets.load("nile")["flow"]
    >>> model = kem.LinearGaussian(
    ...     1, 1, transition_matrix=kem.Pattern([["b"]]), transition_offset=kem.Pattern(["1000-1000*b"]),
    ...     observation_matrix=kem.Fixed([[1.0]]), initial_mean=kem.Fixed([1000.0]))
    >>> fitted = kem.fit(model, nile)
    >>> bool(np.isclose(fitted.params["b"], fitted.params.transition_matrix[0, 0]))
    True
    """

    rows: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", _nested(self.rows))
        self._shape_and_entries  # noqa: B018 - the rows are read here

    def __repr__(self) -> str:
        return f"Pattern({_listed(self.rows)!r})"

    @cached_property
    def _shape_and_entries(self) -> tuple[tuple[int, ...], list[Linear]]:
        if not isinstance(self.rows, tuple):
            raise InputError(f"Pattern: expected a list of rows, or a list for a vector, got {self.rows!r}")
        shape = _shape(self.rows)
        known: dict[Any, Linear] = {}
        entries = []
        for entry in _flat(self.rows):
            # Over time the same few entries come again and again.
            key = (type(entry), entry)
            if key not in known:
                known[key] = linear(entry, "Pattern")
            entries.append(known[key])
        return shape, entries

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order in which they come."""
        _, entries = self._shape_and_entries
        return tuple(dict.fromkeys(name for entry in entries for name in entry.coefficients))

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """One column of the design a name."""
        own, entries = self._shape_and_entries
        if own != shape:
            raise InputError(f"{name}: expected a Pattern of shape {shape}, got {own}")
        names = self.names
        design = np.array([[entry.coefficients.get(n, 0.0) for n in names] for entry in entries])
        fixed = np.array([entry.constant for entry in entries]).reshape(shape)
        return LinearConstraint(frozen(fixed), frozen(design.reshape(len(entries), len(names))), names)

    def family(self, dim: int, name: str) -> Family:
        """One symmetric matrix a name."""
        own, entries = self._shape_and_entries
        if own[-2:] != (dim, dim) or len(own) not in (2, 3):
            shapes = f"{shape_text((dim, dim))} or {shape_text(('T', dim, dim))}"
            raise InputError(f"{name}: expected a Pattern of shape {shapes}, got {own}")
        names = self.names
        whole = (-1, dim, dim)
        fixed = np.array([entry.constant for entry in entries]).reshape(whole)
        basis = [np.array([entry.coefficients.get(n, 0.0) for entry in entries]).reshape(whole) for n in names]
        table = np.array(basis).reshape(len(names), *fixed.shape)
        for part in (fixed, *table):
            off = np.argwhere(part != np.swapaxes(part, 1, 2))
            if len(off):
                i, j = (int(x) for x in off[0, 1:])
                position = int(off[0, 0]) * dim * dim
                one, other = (_flat_entry(self.rows, position + k) for k in (i * dim + j, j * dim + i))
                raise InputError(
                    f"{name}: expected a symmetric Pattern, got {one!r} at {(i, j)} and {other!r} at {(j, i)}"
                )
        return family_of(fixed, table, names)


def _nested(rows: Any) -> Any:
    """Return lists, tuples and arrays as tuples of plain entries."""
    if isinstance(rows, np.ndarray):
        rows = rows.tolist()
    if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        return tuple(_nested(row) for row in rows)
    return rows.item() if isinstance(rows, np.generic) else rows


def _listed(rows: Any) -> Any:
    return [_listed(row) for row in rows] if isinstance(rows, tuple) else rows


def _shape(rows: Any) -> tuple[int, ...]:
    if not isinstance(rows, tuple):
        return ()
    shapes = {_shape(row) for row in rows}
    if len(shapes) != 1:
        raise InputError("Pattern: expected rows of equal length, got " + (f"{sorted(shapes)}" if shapes else "none"))
    return len(rows), *shapes.pop()


def _flat(rows: Any) -> Iterator[Any]:
    if isinstance(rows, tuple):
        for row in rows:
            yield from _flat(row)
    else:
        yield rows


def _flat_entry(rows: Any, position: int) -> Any:
    return list(_flat(rows))[position]
