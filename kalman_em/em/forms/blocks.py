"""Independent blocks along the diagonal of a covariance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_count
from kalman_em.em.families import Family, side_by_side
from kalman_em.em.forms.initial import is_initial_form
from kalman_em.em.forms.protocols import (
    LinearForm,
    checked_covariance_form,
    covariance_form,
    is_direct,
)
from kalman_em.em.maximisers import FamilyMaximiser
from kalman_em.errors import InputError


@dataclass(frozen=True)
class BlockDiagonal:
    """Independent blocks along the diagonal of a covariance, each with a form of its own.

    Parameters
    ----------
    blocks : sequence of (form, size)
        The forms of the blocks, first to last, and their sizes. For `initial_cov` also `Diffuse()` and `Stationary()`:
        ``BlockDiagonal([(Diffuse(), 2), (Stationary(), 3), (Full(), 1)])`` mixes them with known and learnt blocks.

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

    blocks: Sequence[tuple[Any, int]]

    def __post_init__(self) -> None:
        if not isinstance(self.blocks, Iterable) or isinstance(self.blocks, str):
            raise InputError(f"blocks: expected pairs (form, size), got {self.blocks!r}")
        blocks = tuple(self.blocks)
        for position, block in enumerate(blocks):
            if not isinstance(block, tuple | list) or len(block) != 2:
                raise InputError(f"blocks: expected pairs (form, size), got {block!r} at position {position}")
            if not is_initial_form(block[0]):
                checked_covariance_form(block[0], f"blocks: form of block {position}")
            as_count(block[1], f"blocks: size of block {position}")
        object.__setattr__(self, "blocks", tuple((form, int(size)) for form, size in blocks))

    @cached_property
    def is_direct(self) -> bool:
        """Whether each block has its own maximiser, and none varies in time."""
        return all(is_direct(form) and np.ndim(getattr(form, "value", 0.0)) <= 2 for form, _ in self.blocks)

    def family(self, dim: int, name: str) -> Family:
        """Those of the blocks side by side; blocks with a name in common share its number."""
        families = []
        for position, (form, size) in enumerate(self.blocks):
            if not isinstance(form, LinearForm):
                kind = type(form).__name__
                raise InputError(f"{name}: block {position} is a {kind}, which cannot stand beside blocks with names")
            families.append(form.family(size, f"{name}: block {position}"))
        return side_by_side(families, name)

    def most_likely(self, scatter: Array) -> Array:
        """Each block's own maximiser: the expected log-likelihood is a sum over blocks."""
        if not self.is_direct:
            dim = sum(size for _, size in self.blocks)
            return FamilyMaximiser(self.family(dim, "BlockDiagonal"), "BlockDiagonal").fitted(scatter)
        result = np.zeros_like(scatter)
        first = 0
        for form, size in self.blocks:
            block = slice(first, first + size)
            result[block, block] = form.most_likely(scatter[block, block])
            first += size
        return result

    def n_free_in_covariance(self, dim: int) -> int:
        """The sum over blocks, shared ones once."""
        if not self.is_direct:
            return self.family(dim, "BlockDiagonal").n_free
        return sum(form.n_free_in_covariance(size) for form, size in self.blocks)

    def check_covariance(self, dim: int, name: str) -> None:
        """Check that the sizes add up and each block fits."""
        total = sum(size for _, size in self.blocks)
        if total != dim:
            raise InputError(f"{name}: BlockDiagonal has blocks of {total} rows in all, expected {dim}")
        for position, (form, size) in enumerate(self.blocks):
            covariance_form(form, f"{name}: block {position}", size)
        if not self.is_direct:
            FamilyMaximiser(self.family(dim, name), name)
