"""A covariance block that stands several times along the diagonal, equal each time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, as_count
from kalman_em.em.families import Family, Part
from kalman_em.em.forms import (
    CovarianceForm,
    LinearForm,
    PerSeries,
    checked_covariance_form,
    covariance_form,
    is_direct,
)
from kalman_em.errors import InputError


@dataclass(frozen=True)
class Repeated:
    """Equal independent blocks along the diagonal of a covariance: the noise of states that move alike.

    Parameters
    ----------
    form : form
        What the one block may be.
    copies : int
        How often it stands there.

    Raises
    ------
    InputError
        If `form` is none for a covariance, or `copies` not a whole number of at least 1; where it is used, if the rows
        are no multiple of `copies`.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em.em.forms import Full
    >>> from kalman_em.em.repeated import Repeated
    >>> Repeated(Full(), 2).most_likely(np.array([[1.0, 9.0], [9.0, 3.0]])).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """

    form: CovarianceForm
    copies: int

    def __post_init__(self) -> None:
        checked_covariance_form(self.form, "form")
        object.__setattr__(self, "copies", as_count(self.copies, "copies"))

    @property
    def is_direct(self) -> bool:
        """Whether the block has its own maximiser."""
        return is_direct(self.form)

    def family(self, dim: int, name: str) -> Family:
        """That of the one block, each number standing in every copy."""
        if not isinstance(self.form, LinearForm):
            raise InputError(f"{name}: {type(self.form).__name__} has no linear family")
        size = dim // self.copies
        inner = self.form.family(size, name)
        parts, n_entries = [], inner.n_entries
        for part in inner.parts:
            rows = np.concatenate([copy * size + part.rows for copy in range(self.copies)])
            each = np.eye(self.copies)
            fixed, basis = np.asarray(np.kron(each, part.fixed)), np.asarray(np.kron(each, part.basis))
            parts.append(Part(rows, fixed, basis, part.labels))
        return Family(dim, tuple(parts), n_entries)

    def most_likely(self, scatter: Array) -> Array:
        """The block's own maximiser for the mean of the diagonal blocks: each is a sample of one covariance."""
        size = len(scatter) // self.copies
        blocks = scatter.reshape(self.copies, size, self.copies, size)
        mean = np.einsum("aiaj->ij", blocks) / self.copies
        return np.asarray(np.kron(np.eye(self.copies), self.form.most_likely(mean)))

    def n_free_in_covariance(self, dim: int) -> int:
        """Those of the one block."""
        return self.form.n_free_in_covariance(dim // self.copies)

    def check_covariance(self, dim: int, name: str) -> None:
        """Check that the copies fill the rows and the block fits."""
        if dim % self.copies:
            raise InputError(f"{name}: {self.copies} equal blocks do not fill {dim} rows")
        covariance_form(self.form, name, dim // self.copies)


def copies_of(form: CovarianceForm, copies: int) -> CovarianceForm:
    """Return the form of `copies` equal blocks; of one per series, equal within every series.

    Examples
    --------
    >>> from kalman_em import Full, PerSeries
    >>> copies_of(PerSeries(Full()), 2)
    PerSeries(form=Repeated(form=Full(), copies=2))
    """
    if copies == 1:
        return form
    return PerSeries(Repeated(form.form, copies)) if isinstance(form, PerSeries) else Repeated(form, copies)
