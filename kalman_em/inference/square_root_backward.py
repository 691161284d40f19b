"""The backward loop of the square-root smoother, compiled.

Each state is its filtered one, conditioned on what later observations say of it (`square_root_information`): an update
as the filter makes, so that nothing is subtracted, no error is carried from one smoothed covariance to the next, and
states that are known, diffuse or contracting need no path of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.backward import RESOLVED, UNRESOLVED
from kalman_em.inference.kernel_arrays import Scalars, Transitions
from kalman_em.inference.square_root_information import (
    EXACT,
    NOISY,
    Information,
    absorb_row,
    carry_rows,
    shift_values,
)
from kalman_em.inference.square_root_loop import Factored
from kalman_em.inference.square_root_steps import (
    NOTHING,
    REACHES,
    observe,
    project_diffuse,
    push,
    push_diffuse,
    size_of,
    triangularise,
)


class PairSpace(NamedTuple):
    """Scratch space of a backward pass: the smoothed state, and jointly two neighbours and the noise between them."""

    mean: Array
    factor: Array
    diffuse: Array
    pair_mean: Array
    pair: Array
    pair_diffuse: Array
    projected: Array
    weights: Array
    gain: Array


def pair_space(d: int) -> PairSpace:
    """Return the space for d states."""
    return PairSpace(
        mean=np.zeros(d),
        factor=np.zeros((d, 2 * d + 1)),
        diffuse=np.zeros((d, d + REACHES)),
        pair_mean=np.zeros(3 * d),
        pair=np.zeros((3 * d, 3 * d + 1)),
        pair_diffuse=np.zeros((3 * d, d + REACHES)),
        projected=np.zeros(3 * d + 1),
        weights=np.zeros(d),
        gain=np.zeros(3 * d),
    )


@kernel
def smooth_roots(
    starts: IntArray,
    transitions: Transitions,
    noise_roots: Array,
    scalars: Scalars,
    factored: Factored,
    information: Information,
    space: PairSpace,
    smoothed_means: Array,
    smoothed_factors: Array,
    lag_one_covs: Array,
) -> tuple[int, int]:
    """Run the smoother backwards over every series, filling the last three arguments; return a status and a row."""
    d = smoothed_means.shape[1]
    n_stored = 0
    for t in range(factored.columns.shape[0]):
        n_stored += 1 if factored.columns[t] > 0 else 0
    for s in range(starts.shape[0] - 2, -1, -1):
        information.counts[EXACT], information.counts[NOISY] = 0, 0
        end = starts[s + 1] - 1
        for t in range(end, starts[s] - 1, -1):
            if factored.columns[t] > 0:
                n_stored -= 1
            if not step_back(t, t == end, n_stored, transitions, noise_roots, factored, information, space, 2 * d):
                return UNRESOLVED, t
            if t < end:
                for i in range(d):
                    for j in range(d):
                        total = 0.0
                        for k in range(space.pair.shape[1]):
                            total += space.pair[i, k] * space.pair[d + j, k]
                        lag_one_covs[t, i, j] = total
            for i in range(d):
                smoothed_means[t, i] = factored.filtered_means[t, i] + space.mean[i]
                for j in range(d):
                    smoothed_factors[t, i, j] = space.factor[i, j]
            take_up(t, scalars, factored, information)
    return RESOLVED, 0


@kernel
def step_back(
    t: int,
    is_last: bool,
    stored: int,
    transitions: Transitions,
    noise_roots: Array,
    factored: Factored,
    information: Information,
    space: PairSpace,
    n_rows: int,
) -> bool:
    """Smooth row t, and row t+1 beside it, into `space`; return whether no diffuse direction is left.

    `space.mean` is the smoothed mean less the filtered one. `information` comes as of x[t+1] less its predicted mean,
    and leaves as of x[t] less its filtered mean. Of the pair the first `n_rows` are filled: x[t+1], x[t] and the noise.
    """
    d = space.mean.shape[0]
    if not is_last:
        matrix, root = transitions.matrix[transitions.matrix_index[t]], noise_roots[transitions.noise_index[t]]
        smooth_pair(t, stored, matrix, root, factored, information, space, n_rows)
        carry_rows(matrix, root, information)
    for i in range(d):
        space.mean[i] = 0.0
        for j in range(d):
            space.factor[i, j] = factored.filtered_factors[t, i, j]
    n_diffuse = factored.columns[t]
    if n_diffuse > 0:
        for i in range(d):
            for j in range(d + REACHES):
                space.diffuse[i, j] = factored.diffuse[stored, i, j]
    n_diffuse = take_in(
        information, factored.units[t], space.factor, d, d, d, space.diffuse, n_diffuse, space.mean, space
    )
    return n_diffuse == 0


@kernel
def take_up(t: int, scalars: Scalars, factored: Factored, information: Information) -> None:
    """Add row t to the information, and let it be of x[t] less its predicted mean."""
    shift_values(factored.filtered_means[t], factored.predicted_means[t], information)
    absorb_row(t, scalars, factored.units[t], information)


@kernel
def take_in(
    information: Information,
    units: Array,
    factor: Array,
    n_rows: int,
    n_columns: int,
    width: int,
    diffuse: Array,
    n_diffuse: int,
    mean: Array,
    space: PairSpace,
) -> int:
    """Condition mean and factors, in place, on the information; return how many diffuse columns are left.

    Rows without noise come first, and of each kind, as long as anything is diffuse, the one that sees most of that: a
    direction resolved by a row that hardly sees it has a variance in which all digits of what follows are lost.
    """
    n_exact, n_all = information.counts[EXACT], information.counts[EXACT] + information.counts[NOISY]
    for i in range(n_all):
        information.is_taken[i] = 0
    for n_taken in range(n_all):
        i = next_row(information, n_taken < n_exact, diffuse, n_diffuse, space)
        information.is_taken[i] = 1
        is_exact = i < n_exact
        row = information.exact[i] if is_exact else information.noisy[i - n_exact]
        error = information.exact_values[i] if is_exact else information.noisy_values[i - n_exact]
        for j in range(units.shape[0]):
            error -= row[j] * mean[j]
        _, spread, n_columns, n_diffuse = observe(
            row,
            error,
            0.0 if is_exact else 1.0,
            NOTHING * size_of(row, units),
            factor,
            n_rows,
            n_columns,
            width,
            diffuse,
            n_diffuse,
            space.projected,
            space.weights,
            space.gain,
            mean,
        )
        if spread < 0.0 and width < factor.shape[1] - 1:
            width += 1
    return n_diffuse


@kernel
def next_row(information: Information, is_exact: bool, diffuse: Array, n_diffuse: int, space: PairSpace) -> int:
    """Return the next row to take: of those left of its kind the one that sees most of what is diffuse."""
    n_exact = information.counts[EXACT]
    first, last = (0, n_exact) if is_exact else (n_exact, n_exact + information.counts[NOISY])
    at, most = -1, 0.0
    for i in range(first, last):
        if information.is_taken[i] == 1:
            continue
        seen = 0.0
        if n_diffuse > 0:
            row = information.exact[i] if is_exact else information.noisy[i - n_exact]
            seen = project_diffuse(row, diffuse, n_diffuse, space.weights)
        if at < 0 or seen > most:
            at, most = i, seen
    return at


@kernel
def smooth_pair(
    t: int,
    stored: int,
    matrix: Array,
    root: Array,
    factored: Factored,
    information: Information,
    space: PairSpace,
    n_rows: int,
) -> None:
    """Fill `space.pair` with a factor of x[t+1], x[t] and the noise w between them given all observations.

    Before the later ones are taken in it is [F L, S; L, 0; 0, S], brought to echelon form in x[t+1].
    """
    pair, d = space.pair, matrix.shape[0]
    for i in range(n_rows):
        space.pair_mean[i] = 0.0
        for j in range(pair.shape[1]):
            pair[i, j] = 0.0
    for i in range(d):
        for j in range(d):
            pair[i, d + j] = root[i, j]
            pair[d + i, j] = factored.filtered_factors[t, i, j]
            if n_rows > 2 * d:
                pair[2 * d + i, d + j] = root[i, j]
    push(matrix, factored.filtered_factors[t], d, 0, pair)
    n_columns = triangularise(pair, n_rows, d, 2 * d, d)
    n_diffuse = factored.columns[t]
    if n_diffuse > 0:
        for i in range(n_rows):
            for j in range(d + REACHES):
                is_of_state = d <= i < 2 * d
                space.pair_diffuse[i, j] = factored.diffuse[stored, i - d, j] if is_of_state else 0.0
        push_diffuse(matrix, factored.diffuse[stored], n_diffuse, space.pair_diffuse)
    take_in(
        information,
        factored.units[t + 1],
        pair,
        n_rows,
        n_columns,
        2 * d,
        space.pair_diffuse,
        n_diffuse,
        space.pair_mean,
        space,
    )
