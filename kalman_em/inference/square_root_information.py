"""What later observations say of a state, as at most as many scalar observations of it as it has entries; compiled.

Let δ be a state less a mean that is known. Later observations are to it as rows E δ = e without noise and rows
G δ + v = g with v ~ N(0, I). Nothing known before enters them, so going back in time adds information and never takes
any away: a step through x[t+1] = F x[t] + w turns each row into one of x[t] with the noise G w added, by reflections
that divide by no covariance. Singular Q, F and R need nothing else. (The backward half of Mayne 1966 and of Fraser
and Potter 1969, in square-root form: Kailath, Sayed and Hassibi 2000, Linear Estimation, chapter 12.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.kernel_arrays import Scalars
from kalman_em.inference.square_root_steps import NOTHING, triangularise

# The entries of `Information.counts`.
EXACT, NOISY = 0, 1


class Information(NamedTuple):
    """The rows E, e without noise and G, g with noise of variance 1, how many there are of each, and scratch space."""

    exact: Array
    exact_values: Array
    noisy: Array
    noisy_values: Array
    counts: IntArray
    spread: Array
    pushed: Array
    pushed_values: Array
    pivots: IntArray
    is_used: IntArray
    is_taken: IntArray


def information_space(d: int, m: int) -> Information:
    """Return the space for d states and at most m scalar observations a row."""
    most = 2 * d + m
    return Information(
        exact=np.zeros((most, d)),
        exact_values=np.zeros(most),
        noisy=np.zeros((most, d)),
        noisy_values=np.zeros(most),
        counts=np.zeros(2, dtype=np.int64),
        spread=np.zeros((2 * d, 3 * d)),
        pushed=np.zeros((2 * d, d)),
        pushed_values=np.zeros(2 * d),
        pivots=np.zeros(2 * d, dtype=np.int64),
        is_used=np.zeros(d, dtype=np.int64),
        is_taken=np.zeros(2 * most, dtype=np.int64),
    )


@kernel
def shift_values(shift_from: Array, shift_to: Array, information: Information) -> None:
    """Let the values be of x less `shift_to`, in place, where they were of x less `shift_from`."""
    for i in range(information.counts[EXACT]):
        for j in range(shift_to.shape[0]):
            information.exact_values[i] += information.exact[i, j] * (shift_from[j] - shift_to[j])
    for i in range(information.counts[NOISY]):
        for j in range(shift_to.shape[0]):
            information.noisy_values[i] += information.noisy[i, j] * (shift_from[j] - shift_to[j])


@kernel
def absorb_row(t: int, scalars: Scalars, units: Array, information: Information) -> None:
    """Add the scalars of row t, whose values are compared with the prior means, and keep no more rows than states."""
    d = units.shape[0]
    g = scalars.group_index[t]
    for k in range(scalars.counts[g]):
        variance = scalars.variances[g, k]
        error = scalars.values[t, k]
        for j in range(d):
            error -= scalars.h[g, k, j] * scalars.prior_means[t, j]
        if variance > 0.0:
            deviation, kind = math.sqrt(variance), NOISY
            at, rows, values = information.counts[NOISY], information.noisy, information.noisy_values
        else:
            deviation, kind = 1.0, EXACT
            at, rows, values = information.counts[EXACT], information.exact, information.exact_values
        for j in range(d):
            rows[at, j] = scalars.h[g, k, j] / deviation
        values[at] = error / deviation
        information.counts[kind] += 1
    if information.counts[NOISY] > 1:
        information.counts[NOISY] = condense(
            information.noisy, information.noisy_values, information.counts[NOISY], units, information.is_used, 0.0
        )
    if information.counts[EXACT] > 0:
        information.counts[EXACT] = condense_exact(information, units)


@kernel
def condense_exact(information: Information, units: Array) -> int:
    """Bring the rows without noise to one size and drop those that repeat others; return how many are left."""
    rows, values, kept = information.exact, information.exact_values, 0
    for i in range(information.counts[EXACT]):
        size = 0.0
        for j in range(units.shape[0]):
            size += abs(rows[i, j]) * units[j]
        if size == 0.0:
            # Of what was known before: nothing new.
            continue
        for j in range(units.shape[0]):
            rows[kept, j] = rows[i, j] / size
        values[kept] = values[i] / size
        kept += 1
    return condense(rows, values, kept, units, information.is_used, NOTHING)


@kernel
def condense(rows: Array, values: Array, n_rows: int, units: Array, is_used: IntArray, nothing: float) -> int:
    """Reflect rows of equal noise, in place, onto as few as say the same; return how many.

    The column with most left, in units of the states, comes next, and its largest entry first, so that rows of very
    different size keep their own digits (Cox and Higham 1998). What is left below the part `nothing` of the first is 0.
    """
    d = units.shape[0]
    for j in range(d):
        is_used[j] = 0
    first = 0.0
    for c in range(min(n_rows, d)):
        at, most = -1, 0.0
        for j in range(d):
            if is_used[j] == 1:
                continue
            square = 0.0
            for i in range(c, n_rows):
                square += (rows[i, j] * units[j]) ** 2
            if square > most:
                at, most = j, square
        if c == 0:
            first = most
        if at < 0 or most <= nothing * nothing * first:
            return c
        is_used[at] = 1
        reflect_rows(rows, values, c, n_rows, at, is_used)
    kept: int = min(n_rows, d)
    return kept


@kernel
def reflect_rows(rows: Array, values: Array, first: int, n_rows: int, column: int, is_used: IntArray) -> None:
    """Take the entries of a column below row `first` to 0 by a Householder reflection of the rows from there on."""
    d = rows.shape[1]
    largest, at = 0.0, first
    for i in range(first, n_rows):
        if abs(rows[i, column]) > largest:
            largest, at = abs(rows[i, column]), i
    if at != first:
        for j in range(d):
            rows[first, j], rows[at, j] = rows[at, j], rows[first, j]
        values[first], values[at] = values[at], values[first]
    square = 0.0
    for i in range(first, n_rows):
        square += (rows[i, column] / largest) ** 2
    norm = largest * math.sqrt(square)
    head = rows[first, column]
    alpha = -norm if head > 0.0 else norm
    shifted = (head - alpha) / norm
    for j in range(d):
        if j != column and is_used[j] == 0:
            total = rows[first, j] * shifted
            for i in range(first + 1, n_rows):
                total += rows[i, j] * (rows[i, column] / norm)
            total /= abs(shifted)
            rows[first, j] -= total * shifted
            for i in range(first + 1, n_rows):
                rows[i, j] -= total * (rows[i, column] / norm)
    total = values[first] * shifted
    for i in range(first + 1, n_rows):
        total += values[i] * (rows[i, column] / norm)
    total /= abs(shifted)
    values[first] -= total * shifted
    for i in range(first + 1, n_rows):
        values[i] -= total * (rows[i, column] / norm)
        rows[i, column] = 0.0
    rows[first, column] = alpha


@kernel
def carry_rows(matrix: Array, root: Array, information: Information) -> None:
    """Take the rows back through x' = F x + w, w ~ N(0, S S'), in place: F is `matrix`, S is `root`.

    The noise of all rows together, [E S, 0; G S, I], is brought to echelon form; where a row has noise of its own the
    rows are solved for it, and the others go on as rows without noise.
    """
    spread, pivots = information.spread, information.pivots
    pushed, values = information.pushed, information.pushed_values
    d = matrix.shape[0]
    n_exact, n_noisy = information.counts[EXACT], information.counts[NOISY]
    n_rows = n_exact + n_noisy
    for i in range(n_rows):
        is_exact = i < n_exact
        row = information.exact[i] if is_exact else information.noisy[i - n_exact]
        values[i] = information.exact_values[i] if is_exact else information.noisy_values[i - n_exact]
        for j in range(d):
            total, noise, scale = 0.0, 0.0, 0.0
            for k in range(d):
                total += row[k] * matrix[k, j]
                term = row[k] * root[k, j]
                noise += term
                scale += abs(term)
            pushed[i, j] = total
            spread[i, j] = 0.0 if is_exact and abs(noise) <= NOTHING * scale else noise
        for j in range(d, d + n_noisy):
            spread[i, j] = 1.0 if j - d == i - n_exact else 0.0
    triangularise(spread, n_rows, n_rows, d + n_noisy, n_exact)
    n_exact, n_noisy, column = 0, 0, 0
    for i in range(n_rows):
        for c in range(column):
            weight = spread[i, c]
            for j in range(d):
                pushed[i, j] -= weight * pushed[pivots[c], j]
            values[i] -= weight * values[pivots[c]]
        deviation = spread[i, column] if column < spread.shape[1] else 0.0
        if deviation != 0.0:
            for j in range(d):
                pushed[i, j] /= deviation
                information.noisy[n_noisy, j] = pushed[i, j]
            values[i] /= deviation
            information.noisy_values[n_noisy] = values[i]
            pivots[column] = i
            column, n_noisy = column + 1, n_noisy + 1
        else:
            for j in range(d):
                information.exact[n_exact, j] = pushed[i, j]
            information.exact_values[n_exact] = values[i]
            n_exact += 1
    information.counts[EXACT], information.counts[NOISY] = n_exact, n_noisy
