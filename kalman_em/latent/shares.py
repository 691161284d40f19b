"""Probabilities that add up to one, row by row, of which some may be known: their M-step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, as_floats, check_shape, frozen
from kalman_em.em.forms import coefficient_form
from kalman_em.errors import InputError

# Probabilities that a user gives may miss one by so much: they come rounded.
ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Shares:
    """Rows of K probabilities: known entries, and free ones that share what the known leave.

    As free numbers they are logarithms of ratios: every vector of them is admissible.

    Attributes
    ----------
    known : ndarray, shape (n, K)
        0 where free.
    free : ndarray of bool, shape (n, K)
    left : ndarray, shape (n,)
        What the free entries of a row add up to.
    """

    known: Array
    free: BoolArray
    left: Array

    @property
    def n_free(self) -> int:
        """Number of free numbers: one fewer than free entries in every row."""
        return int(np.maximum(self.free.sum(axis=1) - 1, 0).sum())

    def most_likely(self, counts: Array, near: Array) -> Array:
        """Return the rows that maximise Σ counts log(probability); a row without counts stays as `near` (n, K).

        References
        ----------
        Baum, Petrie, Soules and Weiss, A maximization technique occurring in the statistical analysis of probabilistic
        functions of Markov chains, Ann. Math. Statist. 41 (1970).
        """
        counted = np.where(self.free, counts, 0.0)
        totals = counted.sum(axis=1, keepdims=True)
        seen = totals > 0.0
        shared = counted / np.where(seen, totals, 1.0) * self.left[:, None]
        return np.where(self.free, np.where(seen, shared, near), self.known)

    def free_numbers(self, rows: Array) -> Array:
        """Return log(p_j / p_i) for the free shares of each row, p_i the largest of them; one at 0 has no number."""
        return np.concatenate([np.zeros(0), *(np.log(row[others] / row[top]) for row, top, others in self._live(rows))])

    def with_numbers(self, rows: Array, numbers: Array) -> Array:
        """Return rows like `rows` (n, K) whose shares have these numbers; those at 0 stay there."""
        weights, first = np.where(rows > 0.0, self.free, 0.0), 0
        for number, (_, top, others) in enumerate(self._live(rows)):
            own = numbers[first : first + len(others)]
            # No number is lost in the largest.
            highest = float(own.max(initial=0.0))
            weights[number, others], weights[number, top] = np.exp(own - highest), np.exp(-highest)
            first += len(others)
        return self.most_likely(weights, rows)

    def without(self, rows: Array, row: int, column: int) -> Array:
        """Return the rows with one free share at 0, the others of its row in proportion."""
        weights = np.where(self.free, rows, 0.0)
        weights[row, column] = 0.0
        return self.most_likely(weights, rows)

    def _live(self, rows: Array) -> Iterator[tuple[Array, int, IntArray]]:
        """Yield each row with its largest free share and the other free ones above 0."""
        for row, free in zip(rows, self.free, strict=True):
            live = np.flatnonzero(free & (row > 0.0))
            top = int(live[row[live].argmax()]) if len(live) else 0
            yield row, top, live[live != top]

    def spread(self, weights: Array) -> Array:
        """Return rows whose free entries are in the proportions of positive `weights`."""
        return self.most_likely(weights, weights)

    def checked(self, given: Array, name: str) -> Array:
        """Return probabilities (K,) or (n, K) that a user gave, made to add up to one to the last digit.

        Raises
        ------
        InputError
            If one is negative, a row does not add up to one, or differs from what is known.
        """
        rows = np.atleast_2d(checked_rows(given, given.shape, name))
        if np.any(np.abs(np.where(self.free, 0.0, rows - self.known)) > ROUNDING):
            raise InputError(f"{name}: expected the known entries of {self.known.tolist()}, got {given.tolist()}")
        return self.most_likely(rows, rows).reshape(given.shape)


def checked_rows(given: Any, shape: tuple[int, ...], name: str) -> Array:
    """Return probabilities whose last axis adds up to one; `InputError` naming `name` if they are none.

    Examples
    --------
    >>> checked_rows([0.5, 0.4], (2,), "initial_probabilities")
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: initial_probabilities: expected probabilities of at least 0 that add up to 1, got ...
    """
    rows = as_floats(given, name)
    check_shape(rows, shape, name)
    if rows.min() < 0.0 or np.any(np.abs(rows.sum(axis=-1) - 1.0) > ROUNDING):
        raise InputError(f"{name}: expected probabilities of at least 0 that add up to 1, got {rows.tolist()}")
    return rows


def shares_of(form: Any, shape: tuple[int, ...], name: str) -> Shares:
    """Return the shares that `form` stands for in an array of `shape` (K,) or (n, K).

    Raises
    ------
    InputError
        If `form` is none, fits no array of this shape, ties entries together, or leaves no probabilities that add up
        to one.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Partly
    >>> shares = shares_of(Partly([0.0, np.nan, np.nan], free=[False, True, True]), (3,), "initial_probabilities")
    >>> shares.n_free, shares.most_likely(np.array([[9.0, 3.0, 1.0]]), np.zeros((1, 3))).tolist()
    (1, [[0.0, 0.75, 0.25]])
    """
    constraint = coefficient_form(form, name).constraint(shape, name)
    n_columns = shape[-1]
    if constraint.fixed.shape != shape:
        raise InputError(f"{name}: expected a form of shape {shape}, got one that varies in time")
    # Every free number must be one entry, and stand for it alone.
    design = constraint.design
    if not (
        np.isin(design, (0.0, 1.0)).all() and (design.sum(axis=0) == 1.0).all() and design.sum(axis=1).max() <= 1.0
    ):
        raise InputError(
            f"{name}: expected a form whose free entries are learnt each for itself, got {form!r}, which ties entries "
            "together; each row adds up to 1 anyhow"
        )
    free = (design.sum(axis=1) > 0.0).reshape(-1, n_columns)
    known = np.where(free, 0.0, constraint.fixed.reshape(-1, n_columns))
    left = 1.0 - known.sum(axis=1)
    for row in range(len(free)):
        where = f"{name}, row {row}" if len(shape) == 2 else name
        if known[row].min() < 0.0:
            raise InputError(f"{where}: expected probabilities of at least 0, got {known[row].min():g}")
        if not free[row].any() and abs(left[row]) > ROUNDING:
            raise InputError(f"{where}: expected probabilities that add up to 1, got {known[row].sum():g}")
        if free[row].any() and left[row] <= ROUNDING:
            raise InputError(
                f"{where}: expected known probabilities that leave something to the free ones, got {known[row].sum():g}"
            )
    return Shares(frozen(known), frozen(free), frozen(np.maximum(left, 0.0)))
