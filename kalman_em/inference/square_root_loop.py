"""The forward loop of the square-root filter, compiled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.kernel_arrays import Scalars, Transitions
from kalman_em.inference.square_root_steps import (
    NOTHING,
    REACHES,
    begin_diffuse,
    compact,
    observe,
    project,
    project_diffuse,
    push,
    push_diffuse,
    size_of,
    triangularise,
)
from kalman_em.inference.steps import CANCELLED


class Factored(NamedTuple):
    """The output of the square-root filter: means, factors and diffuse factors, with the reach of their rows, by row.

    `units` (N, d) are the sizes of the states before each row: their standard deviations, diffuse parts included.
    """

    predicted_means: Array
    predicted_factors: Array
    filtered_means: Array
    filtered_factors: Array
    units: Array
    diffuse: Array
    columns: IntArray


class RootSpace(NamedTuple):
    """Scratch space of the forward loop."""

    mean: Array
    factor: Array
    moved: Array
    diffuse: Array
    moved_diffuse: Array
    projected: Array
    weights: Array
    gain: Array
    slack: Array
    is_done: IntArray


def root_space(d: int, m: int) -> RootSpace:
    """Return the space for d states and at most m scalar observations a row."""
    return RootSpace(
        mean=np.zeros(d),
        factor=np.zeros((d, 2 * d + 1)),
        moved=np.zeros((d, 2 * d + 1)),
        diffuse=np.zeros((d, d + REACHES)),
        moved_diffuse=np.zeros((d, d + REACHES)),
        projected=np.zeros(2 * d + 1),
        weights=np.zeros(d),
        gain=np.zeros(d),
        slack=np.zeros(d),
        is_done=np.zeros(m, dtype=np.int64),
    )


@kernel
def filter_roots(
    starts: IntArray,
    transitions: Transitions,
    noise_roots: Array,
    scalars: Scalars,
    initial_means: Array,
    initial_roots: Array,
    initial_diffuse: Array,
    initial_columns: int,
    factored: Factored,
    log_likelihoods: Array,
    space: RootSpace,
) -> int:
    """Run the square-root filter over every series, filling `factored` and adding to `log_likelihoods`.

    `noise_roots` are factors of the table of Q. Returns how many diffuse factors were needed, as `filter_rows` does.
    """
    mean, factor, diffuse = space.mean, space.factor, space.diffuse
    d = initial_means.shape[1]
    stored = 0
    for s in range(starts.shape[0] - 1):
        own = s if initial_means.shape[0] > 1 else 0
        for i in range(d):
            mean[i] = initial_means[own, i]
            for j in range(d):
                factor[i, j] = initial_roots[own, i, j]
        begin_diffuse(initial_diffuse, diffuse)
        n_columns, n_diffuse = triangularise(factor, d, d, d, 0), initial_columns
        for t in range(starts[s], starts[s + 1]):
            if t > starts[s]:
                f = transitions.matrix_index[t - 1]
                advance(transitions.matrix[f], transitions.offset[transitions.offset_index[t - 1]], mean, space.gain)
                root = noise_roots[transitions.noise_index[t - 1]]
                n_columns, n_diffuse = predict_root(
                    transitions.matrix[f], root, factor, n_columns, diffuse, n_diffuse, space.moved, space.moved_diffuse
                )
            for i in range(d):
                factored.predicted_means[t, i] = mean[i]
                square = 0.0
                for j in range(d):
                    factored.predicted_factors[t, i, j] = factor[i, j]
                    square += factor[i, j] * factor[i, j]
                for j in range(n_diffuse):
                    square += diffuse[i, j] * diffuse[i, j]
                factored.units[t, i] = math.sqrt(square)
            total, n_columns, n_diffuse = update_row(t, scalars, factored.units[t], n_columns, n_diffuse, space)
            log_likelihoods[t] += total
            for i in range(d):
                factored.filtered_means[t, i] = mean[i]
                for j in range(d):
                    factored.filtered_factors[t, i, j] = factor[i, j]
            factored.columns[t] = n_diffuse
            if n_diffuse > 0:
                if stored < factored.diffuse.shape[0]:
                    for i in range(d):
                        for j in range(d + REACHES):
                            factored.diffuse[stored, i, j] = diffuse[i, j]
                stored += 1
    return stored


@kernel
def advance(matrix: Array, offset: Array, mean: Array, work: Array) -> None:
    """Move the mean one step on, in place: F m + c."""
    d = mean.shape[0]
    for i in range(d):
        total = offset[i]
        for j in range(d):
            total += matrix[i, j] * mean[j]
        work[i] = total
    for i in range(d):
        mean[i] = work[i]


@kernel
def predict_root(
    matrix: Array,
    root: Array,
    factor: Array,
    n_columns: int,
    diffuse: Array,
    n_diffuse: int,
    moved: Array,
    moved_diffuse: Array,
) -> tuple[int, int]:
    """Move both factors one step on, in place: [F L, S] in echelon form, S S' = Q, and F A."""
    d = matrix.shape[0]
    push(matrix, factor, n_columns, 0, moved)
    for i in range(d):
        for j in range(d):
            moved[i, n_columns + j] = root[i, j]
    width = n_columns + d
    n_columns = triangularise(moved, d, d, width, d)
    for i in range(d):
        for j in range(factor.shape[1]):
            factor[i, j] = moved[i, j] if j < n_columns else 0.0
    if n_diffuse > 0:
        push_diffuse(matrix, diffuse, n_diffuse, moved_diffuse)
        for i in range(d):
            for j in range(n_diffuse):
                diffuse[i, j] = moved_diffuse[i, j]
            for j in range(REACHES):
                diffuse[i, d + j] = moved_diffuse[i, d + j]
        n_diffuse = compact(diffuse, d, n_diffuse)
    return n_columns, n_diffuse


@kernel
def update_row(
    t: int, scalars: Scalars, units: Array, n_columns: int, n_diffuse: int, space: RootSpace
) -> tuple[float, int, int]:
    """Condition on the scalars of row t; return their log density and the numbers of columns left.

    Those without noise come first, each time the one that sees most beside its size: where several say the same, that
    one says it most exactly. What the rest then say of a state known without error must agree, or the density is 0.
    """
    d = units.shape[0]
    g = scalars.group_index[t]
    h, values, variances, count = scalars.h[g], scalars.values[t], scalars.variances[g], scalars.counts[g]
    total, n_exact = 0.0, 0
    for i in range(d):
        space.slack[i] = 0.0
    for k in range(count):
        space.is_done[k] = 0 if variances[k] <= 0.0 else 1
        n_exact += 1 - space.is_done[k]
    for _ in range(n_exact):
        at = next_exact(h, count, units, n_columns, n_diffuse, space)
        space.is_done[at] = 1
        error, extent = values[at], abs(values[at])
        for i in range(d):
            error -= h[at, i] * space.mean[i]
            extent += abs(h[at, i] * space.mean[i]) + abs(h[at, i]) * space.slack[i]
        log_density, spread, n_columns, n_diffuse = observe(
            h[at],
            error,
            0.0,
            NOTHING * size_of(h[at], units),
            space.factor,
            d,
            n_columns,
            n_columns,
            space.diffuse,
            n_diffuse,
            space.projected,
            space.weights,
            space.gain,
            space.mean,
        )
        if spread == 0.0:
            if abs(error) > CANCELLED * extent:
                total = -math.inf
        else:
            total += log_density
            # Rounding of this value, as far as the mean has taken it over.
            for i in range(d):
                space.slack[i] += abs(space.gain[i]) * extent
    for k in range(count):
        if variances[k] <= 0.0:
            continue
        error = values[k]
        for i in range(d):
            error -= h[k, i] * space.mean[i]
        log_density, spread, n_columns, n_diffuse = observe(
            h[k],
            error,
            math.sqrt(variances[k]),
            0.0,
            space.factor,
            d,
            n_columns,
            n_columns,
            space.diffuse,
            n_diffuse,
            space.projected,
            space.weights,
            space.gain,
            space.mean,
        )
        total += log_density
    return total, n_columns, n_diffuse


@kernel
def next_exact(h: Array, count: int, units: Array, n_columns: int, n_diffuse: int, space: RootSpace) -> int:
    """Return which of the noise-free scalars still to come sees most of the state, diffuse directions first."""
    at, most = -1, -1.0
    for k in range(count):
        if space.is_done[k] != 0:
            continue
        size = size_of(h[k], units)
        seen = 0.0
        if n_diffuse > 0:
            seen = project_diffuse(h[k], space.diffuse, n_diffuse, space.weights)
        if seen > 0.0:
            seen = 1.0 + seen / size
        elif size > 0.0:
            seen = project(h[k], space.factor, n_columns, space.projected) / size
        if seen > most:
            at, most = k, seen
    return at
