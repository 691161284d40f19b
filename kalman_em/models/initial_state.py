"""The initial state element by element: which are diffuse, which stationary, and what of the rest is learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import Array, BoolArray, frozen
from kalman_em.em.forms import (
    BlockDiagonal,
    CovarianceForm,
    Diffuse,
    Fixed,
    Full,
    MeanOfBlocks,
    Stationary,
    covariance_form,
)
from kalman_em.errors import InputError
from kalman_em.linalg import smallest_scaled_eigenvalue

# A known covariance, scaled to a unit diagonal, counts as singular below this eigenvalue.
SINGULAR = 1e-12


@dataclass(frozen=True, eq=False)
class InitialState:
    """What the form of `initial_cov` says of each of d elements.

    Attributes
    ----------
    diffuse : ndarray of bool, shape (d,)
    stationary : tuple of slice
        The blocks that start in the stationary distribution of their own.
    form : CovarianceForm
        The covariance beside these, which it holds at 0.
    """

    diffuse: BoolArray
    stationary: tuple[slice, ...]
    form: CovarianceForm

    @property
    def is_stationary(self) -> BoolArray:
        """Which elements are in a stationary block, (d,)."""
        result = np.zeros(len(self.diffuse), dtype=bool)
        for rows in self.stationary:
            result[rows] = True
        return result

    @property
    def others(self) -> BoolArray:
        """Which elements have a covariance of their own, known or learnt, (d,)."""
        return np.asarray(~self.diffuse & ~self.is_stationary)

    def mean_form(self, stated: Any) -> Any:
        """Return the form of the initial mean: the one that was stated, or else what follows from the blocks."""
        if stated is not None:
            return stated
        if self.diffuse.all():
            return Fixed(0.0)
        return Full() if self.others.all() else MeanOfBlocks(tuple(self.others.tolist()))

    def described(self) -> str:
        """Return the kinds of elements in words: ``"diffuse"``, ``"2 diffuse, 1 learnt"``, ...

        Examples
        --------
        >>> from kalman_em import BlockDiagonal, Diffuse, Fixed, Full
        >>> initial_state(BlockDiagonal([(Diffuse(), 2), (Fixed([[1.0]]), 1), (Full(), 1)]), 4).described()
        '2 diffuse, 1 known, 1 learnt'
        """
        learnt = np.zeros(len(self.diffuse), dtype=bool)
        for form, rows in self._blocks():
            learnt[rows] = form.n_free_in_covariance(rows.stop - rows.start) > 0
        kinds = {
            "diffuse": self.diffuse,
            "stationary": self.is_stationary,
            "known": self.others & ~learnt,
            "learnt": self.others & learnt,
        }
        for name, found in kinds.items():
            if found.all():
                return name
        return ", ".join(f"{np.count_nonzero(found)} {name}" for name, found in kinds.items() if found.any())

    def has_singular_known(self, moves: BoolArray) -> bool:
        """Whether the mean moves (`moves` (d,)) where the covariance is known and singular: EM alone could not."""
        return any(
            moves[rows].any() and self.others[rows].all() and _is_known_singular(form, rows.stop - rows.start)
            for form, rows in self._blocks()
        )

    def _blocks(self) -> list[tuple[CovarianceForm, slice]]:
        """Return the blocks of `form` with their rows."""
        blocks = self.form.blocks if isinstance(self.form, BlockDiagonal) else [(self.form, len(self.diffuse))]
        ends = np.cumsum([size for _, size in blocks]).tolist()
        return [(form, slice(end - size, end)) for (form, size), end in zip(blocks, ends, strict=True)]


def initial_state(form: Any, dim: int) -> InitialState:
    """Return what the form of `initial_cov` says of `dim` elements; `InputError` if it does not fit.

    Examples
    --------
    >>> from kalman_em import BlockDiagonal, Diffuse, Full, Stationary
    >>> state = initial_state(BlockDiagonal([(Diffuse(), 1), (Stationary(), 2), (Full(), 1)]), 4)
    >>> state.diffuse.tolist(), state.stationary, state.others.tolist()
    ([True, False, False, False], (slice(1, 3, None),), [False, False, False, True])
    """
    blocks = _flat([(form, dim)])
    if not any(isinstance(block, Diffuse | Stationary) for block, _ in blocks):
        return InitialState(frozen(np.zeros(dim, dtype=bool)), (), covariance_form(form, "initial_cov", dim))
    total = sum(size for _, size in blocks)
    if total != dim:
        raise InputError(f"initial_cov: BlockDiagonal has blocks of {total} rows in all, expected {dim}")
    kept: list[tuple[CovarianceForm, int]] = []
    for block, size in blocks:
        kept.append((Fixed(np.zeros((size, size))) if isinstance(block, Diffuse | Stationary) else block, size))
    rest: CovarianceForm = BlockDiagonal(kept) if len(kept) > 1 else kept[0][0]
    rest.check_covariance(dim, "initial_cov")
    diffuse, stationary, first = np.zeros(dim, dtype=bool), [], 0
    for block, size in blocks:
        rows = slice(first, first + size)
        first += size
        if isinstance(block, Diffuse):
            diffuse[rows] = True
        elif isinstance(block, Stationary):
            stationary.append(rows)
    return InitialState(frozen(diffuse), tuple(stationary), rest)


def refuse_stationary(form: Any, what: str) -> None:
    """Raise `InputError` if `form` has a stationary block; `what` names the states that have no such distribution.

    Examples
    --------
    >>> from kalman_em import Stationary
    >>> refuse_stationary(Stationary(), "a level that walks at random")
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: initial_cov: a level that walks at random has no stationary distribution ...
    """
    if any(isinstance(block, Stationary) for block, _ in _flat([(form, 1)])):
        raise InputError(
            f"initial_cov: {what} has no stationary distribution (its transition_matrix has the eigenvalue 1); leave "
            "initial_cov out, or use Diffuse()"
        )


def _flat(blocks: Any) -> list[tuple[Any, int]]:
    """Return the blocks with those inside blocks laid out."""
    found: list[tuple[Any, int]] = []
    for form, size in blocks:
        has_initial = isinstance(form, BlockDiagonal) and any(
            isinstance(inner, Diffuse | Stationary | BlockDiagonal) for inner, _ in form.blocks
        )
        found += _flat(form.blocks) if has_initial else [(form, size)]
    return found


def _is_known_singular(form: CovarianceForm, size: int) -> bool:
    if form.n_free_in_covariance(size):
        return False
    cov: Array = form.most_likely(np.zeros((size, size)))
    return bool(smallest_scaled_eigenvalue(cov) <= SINGULAR or np.any(np.diagonal(cov) <= 0.0))
