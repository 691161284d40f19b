"""The likelihood as a parabola in all that moves means alone: innovations of the data regressed on those of columns.

The filter is linear. Where the mean of the first state, the offsets of the states and those of the observations change
by columns times numbers δ, its covariances stay and the innovations become v + X δ, with X those of the columns: so
-2 log L is the sum of squares of (v + X δ) / s, up to a constant (Rosenberg 1973, Random coefficients models, Annals
of Economic and Social Measurement 2; de Jong 1991, The diffuse Kalman filter, Annals of Statistics 19). This holds
for singular noise, gaps and diffuse starts. It runs on factors of covariances, whatever the rest runs on.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, IntArray, Table, frozen
from kalman_em.compiled import kernel
from kalman_em.inference.covariance_roots import factor_of_each
from kalman_em.inference.filtering import transitions_of
from kalman_em.inference.kernel_arrays import Transitions
from kalman_em.inference.reduction import whiten_groups
from kalman_em.inference.rows import Rows, SystemRows, by_group
from kalman_em.inference.square_root_loop import RootSpace, next_exact, predict_root, root_space
from kalman_em.inference.square_root_steps import NOTHING, begin_diffuse, observe, size_of, triangularise
from kalman_em.inference.steps import CANCELLED
from kalman_em.linalg import has_correlations, solve_symmetric, symmetrised

# What a column leaves in the innovations, beside what it was made of, when that is rounding alone: the square of it.
UNSEEN = 1e-22
# A direction of δ moves a value that is known without error if this part of it does.
EXACT = 1e-12


class MeanColumns(NamedTuple):
    """What one unit of each of k numbers adds to the state after each row, to each observation, and to x[0].

    `state` (n, d, k) and `observation` (n, p, k) are tables; `initial` is (d, k).
    """

    state: Table
    observation: Table
    initial: Array


class MeanParabola(NamedTuple):
    """log L(δ) = log L + score'δ - δ' information δ / 2, for δ with `exact` δ = 0; elsewhere the data are impossible.

    `information` (k, k) has zeros for numbers that the data say nothing of.
    """

    score: Array
    information: Array
    exact: Array

    def best(self) -> Array:
        """Return the δ of highest likelihood; what the data say nothing of stays."""
        possible = self.possible
        normal = symmetrised(possible.T @ self.information @ possible)
        return np.asarray(possible @ solve_symmetric(normal, (possible.T @ self.score)[:, None])[:, 0])

    @property
    def possible(self) -> Array:
        """Directions of δ (k, j) in which the data stay possible."""
        k = len(self.score)
        sizes = np.sqrt(np.diagonal(self.exact))
        if not sizes.any():
            return np.eye(k)
        unit = np.where(sizes > 0.0, sizes, 1.0)
        values, vectors = np.linalg.eigh(self.exact / unit[:, None] / unit)
        return np.asarray(vectors[:, values < EXACT * values[-1]] / unit[:, None])


def mean_parabola(laid: SystemRows, rows: Rows, columns: MeanColumns) -> MeanParabola:
    """Return the likelihood of all series as a function of what `columns` are multiplied with, 0 at `laid`."""
    k = columns.initial.shape[1]
    d = laid.state_dim
    h, variances, counts, values, own = _whitened(laid, rows, columns.observation)
    grams = np.zeros((2, k + 1, k + 1))
    sizes = np.zeros(k + 1)
    regress_rows(
        rows.starts,
        transitions_of(laid),
        factor_of_each(laid.noise_cov.entries),
        h,
        variances,
        counts,
        laid.group_index,
        values,
        own.entries,
        own.index,
        frozen(columns.state.entries),
        frozen(columns.state.index),
        np.atleast_2d(laid.initial_mean),
        frozen(columns.initial),
        factor_of_each(laid.initial_cov if laid.initial_cov.ndim == 3 else laid.initial_cov[None]),
        laid.initial_factor,
        laid.initial_columns,
        np.zeros(d),
        np.zeros((d, k + 1)),
        np.zeros((d, k + 1)),
        np.zeros(k + 1),
        np.zeros(k + 1),
        root_space(d, h.shape[1]),
        grams,
        sizes,
    )
    gram, exact = grams
    is_unseen = np.diagonal(gram)[1:] <= UNSEEN * sizes[1:]
    information = np.where(is_unseen[:, None] | is_unseen, 0.0, gram[1:, 1:])
    return MeanParabola(np.where(is_unseen, 0.0, -gram[0, 1:]), information, exact[1:, 1:])


def _whitened(laid: SystemRows, rows: Rows, columns: Table) -> tuple[Array, Array, IntArray, Array, Table]:
    """Return the rows as independent scalars: h, variances and counts by group, values (N, p), and the columns alike.

    Unlike `reduce_observations` it keeps every scalar: what a column adds to those that see no state counts as well.
    """
    values = rows.values
    n_groups, p, d = len(laid.group_rows), values.shape[1], laid.state_dim
    seen = ~np.isnan(values[laid.group_rows])
    counts = seen.sum(axis=1)
    observed = np.argsort(~seen, axis=1, kind="stable")
    R = laid.observation_cov
    is_diagonal = not has_correlations(R.entries)
    lower = np.zeros((n_groups, 0, 0) if is_diagonal else (n_groups, p, p))
    h, variances = np.zeros((n_groups, p, d)), np.zeros((n_groups, p))
    whiten_groups(
        laid.observation.entries,
        R.entries,
        frozen(laid.observation.index[laid.group_rows]),
        frozen(R.index[laid.group_rows]),
        observed,
        counts,
        np.empty((0, 0) if is_diagonal else (p, p)),
        lower,
        variances,
        h,
    )
    error = values - laid.observation_offset.at_rows()
    # Columns that are the same at every row are whitened once a group.
    is_constant = len(columns.entries) == 1
    white, own = (
        np.zeros(values.shape),
        np.zeros((n_groups if is_constant else len(values), p, columns.entries.shape[2])),
    )
    order, bounds = by_group(np.arange(len(values)), laid.group_index, n_groups)
    for g in range(n_groups):
        o, chosen = observed[g, : counts[g]], order[bounds[g] : bounds[g + 1]]
        ours = error[np.ix_(chosen, o)]
        theirs = columns.entries[:, o] if is_constant else columns.entries[columns.index[chosen]][:, o]
        if not is_diagonal and counts[g]:
            inverse = np.linalg.inv(lower[g, : counts[g], : counts[g]])
            ours, theirs = ours @ inverse.T, inverse @ theirs
        white[chosen, : counts[g]] = ours
        own[[g] if is_constant else chosen, : counts[g]] = theirs
    index = laid.group_index if is_constant else np.arange(len(values))
    return h, variances, counts, frozen(white), Table(frozen(own), frozen(index))


@kernel
def regress_rows(
    starts: IntArray,
    transitions: Transitions,
    noise_roots: Array,
    h: Array,
    variances: Array,
    counts: IntArray,
    group_index: IntArray,
    values: Array,
    observed: Array,
    observed_index: IntArray,
    pushes: Array,
    push_index: IntArray,
    initial_means: Array,
    initial_columns: Array,
    initial_roots: Array,
    initial_diffuse: Array,
    n_initial: int,
    units: Array,
    means: Array,
    moved: Array,
    errors: Array,
    extents: Array,
    space: RootSpace,
    grams: Array,
    sizes: Array,
) -> None:
    """Add to `grams` the products of innovations over their variances, of the data (column 0) and of the columns.

    The second of `grams` has the products of what must be 0, where a value was known without error; `sizes` the squares
    of what the innovations were made of, over their variances.
    """
    d, c = means.shape
    factor, diffuse = space.factor, space.diffuse
    for s in range(starts.shape[0] - 1):
        own = s if initial_means.shape[0] > 1 else 0
        root = s if initial_roots.shape[0] > 1 else 0
        for i in range(d):
            means[i, 0] = initial_means[own, i]
            for j in range(1, c):
                means[i, j] = initial_columns[i, j - 1]
            for j in range(d):
                factor[i, j] = initial_roots[root, i, j]
        begin_diffuse(initial_diffuse, diffuse)
        n_columns, n_diffuse = triangularise(factor, d, d, d, 0), n_initial
        for t in range(starts[s], starts[s + 1]):
            if t > starts[s]:
                matrix = transitions.matrix[transitions.matrix_index[t - 1]]
                offset, push = transitions.offset[transitions.offset_index[t - 1]], pushes[push_index[t - 1]]
                advance_all(matrix, offset, push, means, moved)
                n_columns, n_diffuse = predict_root(
                    matrix,
                    noise_roots[transitions.noise_index[t - 1]],
                    factor,
                    n_columns,
                    diffuse,
                    n_diffuse,
                    space.moved,
                    space.moved_diffuse,
                )
            g = group_index[t]
            n_exact = 0
            for i in range(d):
                square = 0.0
                for j in range(d):
                    square += factor[i, j] * factor[i, j]
                for j in range(n_diffuse):
                    square += diffuse[i, j] * diffuse[i, j]
                units[i] = math.sqrt(square)
            for k in range(counts[g]):
                space.is_done[k] = 0 if variances[g, k] <= 0.0 else 1
                n_exact += 1 - space.is_done[k]
            for k in range(counts[g]):
                # Those without noise first, in the order in which the filter takes them.
                at = k
                if k < n_exact:
                    at = next_exact(h[g], counts[g], units, n_columns, n_diffuse, space)
                    space.is_done[at] = 1
                else:
                    at = noisy_after(variances[g], counts[g], k - n_exact)
                fill_errors(h[g, at], values[t, at], observed[observed_index[t], at], means, errors, extents)
                deviation = math.sqrt(max(variances[g, at], 0.0))
                smallest = NOTHING * size_of(h[g, at], units) if deviation == 0.0 else 0.0
                _, spread, n_columns, n_diffuse = observe(
                    h[g, at],
                    0.0,
                    deviation,
                    smallest,
                    factor,
                    d,
                    n_columns,
                    n_columns,
                    diffuse,
                    n_diffuse,
                    space.projected,
                    space.weights,
                    space.gain,
                    space.mean,
                )
                if spread == 0.0:
                    add_products(errors, extents, grams[1])
                    continue
                if spread > 0.0:
                    for j in range(c):
                        sizes[j] += (extents[j] / spread) ** 2
                        for i in range(c):
                            grams[0, i, j] += (errors[i] / spread) * (errors[j] / spread)
                for i in range(d):
                    for j in range(c):
                        means[i, j] += space.gain[i] * errors[j]


@kernel
def advance_all(matrix: Array, offset: Array, push: Array, means: Array, moved: Array) -> None:
    """Move the mean (column 0) and what the columns add to it one step on, in place."""
    d, c = means.shape
    for i in range(d):
        for j in range(c):
            total = offset[i] if j == 0 else push[i, j - 1]
            for k in range(d):
                total += matrix[i, k] * means[k, j]
            moved[i, j] = total
    for i in range(d):
        for j in range(c):
            means[i, j] = moved[i, j]


@kernel
def fill_errors(h: Array, value: float, column: Array, means: Array, errors: Array, extents: Array) -> None:
    """Fill `errors` with the innovation of a scalar and what the columns add to it, `extents` with their terms."""
    d, c = means.shape
    for j in range(c):
        total = value if j == 0 else -column[j - 1]
        extent = abs(total)
        for i in range(d):
            term = h[i] * means[i, j]
            total -= term
            extent += abs(term)
        errors[j], extents[j] = total, extent


@kernel
def add_products(errors: Array, extents: Array, gram: Array) -> None:
    """Add to `gram` the products of errors that must be 0, each beside what it was made of; rounding counts as 0."""
    for i in range(errors.shape[0]):
        if abs(errors[i]) <= CANCELLED * extents[i]:
            continue
        for j in range(errors.shape[0]):
            if abs(errors[j]) > CANCELLED * extents[j]:
                gram[i, j] += errors[i] * errors[j]


@kernel
def noisy_after(variances: Array, count: int, n: int) -> int:
    """Return the position of the scalar with noise that has `n` such before it."""
    found = -1
    for k in range(count):
        if variances[k] > 0.0:
            found += 1
        if found == n:
            return k
    return count
