"""The EM problem of a Markov autoregression: expectations over histories of p + 1 regimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array, IntArray, frozen
from kalman_em.errors import ImpossibleRowError, NumericalError
from kalman_em.inference.regimes import (
    FilteredRegimes,
    SmoothedRegimes,
    best_path,
    filter_regimes,
    first_rows,
    smooth_regimes,
)
from kalman_em.latent.chain import Chain, chain_height, named_shares
from kalman_em.latent.mixture_starts import drawn_labels, first_labels
from kalman_em.latent.named import named_values, taken_apart, with_values
from kalman_em.latent.regime_autoregression import (
    LaggedRows,
    LaggedSums,
    MarkovAutoregressionParams,
    change,
    expected_height,
    lagged_sums,
    log_densities,
    m_step,
)
from kalman_em.latent.regime_problem import RegimePosterior
from kalman_em.latent.rows import PatternedRows
from kalman_em.latent.series_parts import rows_of_series, shared_out
from kalman_em.latent.shares import Shares


@dataclass(frozen=True, eq=False)
class LaggedExpectations:
    """What the M-step needs: sums over rows by history, and how often the chain starts and moves where."""

    sums: LaggedSums
    initial_counts: Array
    transition_counts: Array


@dataclass(frozen=True, eq=False)
class MarkovAutoregressionProblem:
    """EM for an autoregression about a mean that jumps (Hamilton, Analysis of time series subject to changes in regime,
    Journal of Econometrics 45 (1990)).

    `starts` are the first rows of the series, with the number of rows at the end; `lagged_starts` the same of the rows
    that have all their lags.
    """

    points: PatternedRows
    rows: LaggedRows
    starts: IntArray
    lagged_starts: IntArray
    chain: Chain
    switching_coefficients: bool
    switching_variance: bool
    temperature: float = 1.0

    @property
    def order(self) -> int:
        """Number of lags, p."""
        return int(self.rows.values.shape[1]) - 1

    @property
    def n_parameters(self) -> int:
        """Means, coefficients and variances, and what is free in the chain."""
        K, p = self.chain.n_regimes, self.order
        return (
            K
            + p * (K if self.switching_coefficients else 1)
            + (K if self.switching_variance else 1)
            + self.chain.n_free
        )

    def e_step(self, params: MarkovAutoregressionParams) -> tuple[LaggedExpectations, float]:
        """Return the expectations, and the log-likelihood given the first p rows of every series."""
        if self.temperature == 0.0:
            smoothed, height = self._hard(params)
        else:
            filtered = self._filtered(params)
            smoothed = smooth_regimes(self.lagged_starts, self._cooled(params.transition_matrix), filtered)
            height = self.temperature * float(filtered.log_likelihoods.sum())
        initial_counts, moves = self._before(smoothed.initial_counts)
        sums = lagged_sums(self.rows, smoothed.probabilities, params.n_regimes)
        return LaggedExpectations(sums, initial_counts, moves + smoothed.transition_counts), height

    def m_step(
        self, params: MarkovAutoregressionParams, expectations: LaggedExpectations
    ) -> MarkovAutoregressionParams:
        """Return the parameters after conditional maximisations repeated until they agree, and the chain's M-step."""
        initial, transition = self.chain.most_likely(
            expectations.initial_counts,
            expectations.transition_counts,
            params.initial_probabilities,
            params.transition_matrix,
        )
        moved = m_step(params, expectations.sums, self.rows)
        return replace(moved, initial_probabilities=initial, transition_matrix=transition)

    def expected_gain(
        self,
        old: MarkovAutoregressionParams,
        new: MarkovAutoregressionParams,
        expectations: LaggedExpectations,
    ) -> float:
        """Return Q(new, old) - Q(old, old)."""
        return self._expected(new, expectations) - self._expected(old, expectations)

    def parameter_change(self, old: MarkovAutoregressionParams, new: MarkovAutoregressionParams) -> float:
        """Return the largest change, in units that the data's do not move."""
        return change(old, new)

    def start(self) -> MarkovAutoregressionParams:
        """Return regimes at clusters of values, and the autoregression about them."""
        labels = first_labels(self.points, self.chain.n_regimes)
        return self._at(labels, *self.chain.start(self._moves(labels)))

    def random_start(self, rng: np.random.Generator) -> MarkovAutoregressionParams:
        """Return regimes at clusters by k-means++ and a chain drawn at random."""
        labels = drawn_labels(self.points, self.chain.n_regimes, rng)
        return self._at(labels, *self.chain.random_start(rng, self._moves(labels)))

    def started(self, base: MarkovAutoregressionParams, given: Mapping[str, Any]) -> MarkovAutoregressionParams:
        """Return `base` with the values in `given`; `InputError` if one breaks its form."""
        params = with_values(base, given)
        initial, transition = self.chain.checked(params.initial_probabilities, params.transition_matrix)
        return replace(params, initial_probabilities=initial, transition_matrix=transition)

    def named(self, params: MarkovAutoregressionParams) -> Mapping[str, Array]:
        """Return means, coefficients, variances and the chain."""
        return named_values(params)

    def free_numbers(self, params: MarkovAutoregressionParams) -> Array:
        """Return the free numbers: means, coefficients, variances, and those of the chain."""
        return np.concatenate(self._numbers(params))

    def with_numbers(self, params: MarkovAutoregressionParams, numbers: Array) -> MarkovAutoregressionParams:
        """Return parameters like `params` with these free numbers; `InputError` where there are none."""
        means, coefficients, variances, chain = taken_apart(numbers, self._numbers(params))
        initial, moves = self.chain.with_numbers(params.initial_probabilities, params.transition_matrix, chain)
        return MarkovAutoregressionParams(
            means, coefficients.reshape(params.coefficients.shape), variances, initial, moves
        )

    @property
    def shares(self) -> Mapping[str, Shares]:
        """The parameters that are shares with sum 1."""
        return named_shares(self.chain)

    def _numbers(self, params: MarkovAutoregressionParams) -> list[Array]:
        chain = self.chain.free_numbers(params.initial_probabilities, params.transition_matrix)
        return [params.means, params.coefficients.ravel(), params.variances, chain]

    def tempered(self, temperature: float) -> MarkovAutoregressionProblem:
        """Return the problem in which paths are weighed by p(data, path)^(1/T); at 0 the most probable alone counts."""
        return replace(self, temperature=temperature)

    @property
    def n_units(self) -> int:
        """Number of series."""
        return len(self.starts) - 1

    def divided(self, n_parts: int, rng: np.random.Generator) -> tuple[MarkovAutoregressionProblem, ...]:
        """Return the problems of random parts of the series."""
        found = []
        for series in shared_out(self.n_units, n_parts, rng):
            rows, starts = rows_of_series(self.starts, series)
            lagged, lagged_starts = rows_of_series(self.lagged_starts, series)
            own = replace(self.rows, values=frozen(self.rows.values[lagged]))
            points = self.points.chosen(rows)
            found.append(replace(self, points=points, rows=own, starts=starts, lagged_starts=lagged_starts))
        return tuple(found)

    def pooled(self, parts: Sequence[tuple[float, LaggedExpectations]]) -> LaggedExpectations:
        """Return the expectations of all parts together, each counted so many times."""

        def total(read: Callable[[LaggedExpectations], Array]) -> Array:
            return np.asarray(sum(times * read(part) for times, part in parts))

        sums = LaggedSums(
            total(lambda one: one.sums.counts), total(lambda one: one.sums.first), total(lambda one: one.sums.second)
        )
        return LaggedExpectations(sums, total(lambda one: one.initial_counts), total(lambda one: one.transition_counts))

    def beside_parts(self, params: MarkovAutoregressionParams) -> float:
        """Return 0: the log-likelihood is the sum of those of the series."""
        del params
        return 0.0

    def posterior(self, params: MarkovAutoregressionParams) -> RegimePosterior:
        """Return the probabilities of the regimes at all rows.

        The first p rows of a series are not explained, only conditioned on: given the rows so far, their regimes are
        those of the chain alone.
        """
        filtered = self._filtered(params)
        smoothed = smooth_regimes(self.lagged_starts, params.transition_matrix, filtered)
        K, p = params.n_regimes, self.order
        result = RegimePosterior(np.empty((self.starts[-1], K)), np.empty((self.starts[-1], K)))
        for begin, end, first in zip(self.starts[:-1], self.starts[1:], self.lagged_starts[:-1], strict=True):
            rows = slice(first, first + end - begin - p)
            for whole, histories in zip(result, (filtered.filtered_probabilities, smoothed.probabilities), strict=True):
                whole[begin + p : end] = histories[rows].reshape(-1, K, K**p).sum(axis=2)
            ahead = params.initial_probabilities
            for row in range(p):
                result.filtered[begin + row] = ahead
                result.smoothed[begin + row] = self._digit(smoothed.probabilities[first], p - row)
                ahead = ahead @ params.transition_matrix
        return result

    def last_history(self, params: MarkovAutoregressionParams, series: int) -> Array:
        """Return the probabilities of the histories at the end of a series given all its rows, shape (K^(p+1),)."""
        return np.asarray(self._filtered(params).filtered_probabilities[self.lagged_starts[series + 1] - 1])

    def path(self, params: MarkovAutoregressionParams) -> tuple[IntArray, Array]:
        """Return the most probable regimes of all rows together, and log p(data, path) of every series."""
        histories, log_joints = self._best(params)
        path, p = np.empty(self.starts[-1], dtype=np.int64), self.order
        for begin, end, first in zip(self.starts[:-1], self.starts[1:], self.lagged_starts[:-1], strict=True):
            own = self.rows.histories[histories[first : first + end - begin - p]]
            path[begin + p : end] = own[:, 0]
            path[begin : begin + p] = own[0, :0:-1]
        return path, log_joints

    def _hard(self, params: MarkovAutoregressionParams) -> tuple[SmoothedRegimes, float]:
        histories, log_joints = self._best(params)
        weights = np.eye(len(self.rows.histories))[histories]
        K, latest = params.n_regimes, self.rows.histories[histories, 0]
        within = np.setdiff1d(np.arange(len(latest)), first_rows(self.lagged_starts))
        moves = np.bincount(latest[within - 1] * K + latest[within], minlength=K * K).reshape(K, K).astype(np.float64)
        firsts = weights[first_rows(self.lagged_starts)].sum(axis=0)
        return SmoothedRegimes(weights, firsts, moves), float(log_joints.sum())

    def _best(self, params: MarkovAutoregressionParams) -> tuple[IntArray, Array]:
        densities = log_densities(params, self.rows)
        try:
            return best_path(
                self.lagged_starts, densities, self._first_histories(params, 1.0), params.transition_matrix
            )
        except ImpossibleRowError as error:
            raise self._located(error.row) from None

    def _filtered(self, params: MarkovAutoregressionParams) -> FilteredRegimes:
        densities = log_densities(params, self.rows)
        T = self.temperature if self.temperature > 0.0 else 1.0
        first, moves = self._first_histories(params, T), self._cooled(params.transition_matrix)
        try:
            return filter_regimes(self.lagged_starts, densities / T, first, moves)
        except ImpossibleRowError as error:
            raise self._located(error.row) from None

    def _cooled(self, probabilities: Array) -> Array:
        if self.temperature in (0.0, 1.0):
            return probabilities
        return np.asarray(probabilities ** (1.0 / self.temperature))

    def _first_histories(self, params: MarkovAutoregressionParams, temperature: float) -> Array:
        """Return the probabilities of the histories that end at the first row with all lags."""
        digits = self.rows.histories[:, ::-1]
        moves = params.transition_matrix[digits[:, :-1], digits[:, 1:]].prod(axis=1)
        return np.asarray((params.initial_probabilities[digits[:, 0]] * moves) ** (1.0 / temperature))

    def _before(self, first_counts: Array) -> tuple[Array, Array]:
        """Return the starts and the moves within histories that come so often as the first ones of series."""
        K, digits = self.chain.n_regimes, self.rows.histories[:, ::-1]
        moves = np.zeros((K, K))
        for old, new in zip(digits.T[:-1], digits.T[1:], strict=True):
            np.add.at(moves, (old, new), first_counts)
        return self._digit(first_counts, self.order), moves

    def _digit(self, weights: Array, lag: int) -> Array:
        """Return the sum of weights of histories (n,) by their regime at a lag, shape (K,)."""
        return np.bincount(self.rows.histories[:, lag], weights, self.chain.n_regimes).astype(np.float64)

    def _at(self, labels: IntArray, initial: Array, transition: Array) -> MarkovAutoregressionParams:
        """Return means at labels of all rows, and the autoregression that an M-step finds about them."""
        K, p, values = self.chain.n_regimes, self.order, self.points.completed()[:, 0]
        there = ~np.isnan(values)
        values, own = values[there], labels[there]
        counts = np.bincount(own, minlength=K)
        means = np.bincount(own, values, K) / np.maximum(counts, 1)
        within = float(np.mean((values - means[own]) ** 2)) + 0.01 * self.rows.scale**2
        return MarkovAutoregressionParams(
            means=means + self.rows.centre,
            coefficients=np.zeros((K, p) if self.switching_coefficients else p),
            variances=np.full(K if self.switching_variance else 1, within),
            initial_probabilities=initial,
            transition_matrix=transition,
        )

    def _moves(self, labels: IntArray) -> Array:
        K = self.chain.n_regimes
        within = np.setdiff1d(np.arange(len(labels)), first_rows(self.starts))
        return np.bincount(labels[within - 1] * K + labels[within], minlength=K * K).reshape(K, K).astype(np.float64)

    def _located(self, row: int) -> NumericalError:
        series = int(np.searchsorted(self.lagged_starts, row, side="right")) - 1
        own = row - int(self.lagged_starts[series]) + self.order
        where = f" of series {series}" if len(self.starts) > 2 else ""
        return NumericalError(f"the observation at row {own}{where} is impossible in every regime")

    def _expected(self, params: MarkovAutoregressionParams, expectations: LaggedExpectations) -> float:
        chain = chain_height(
            expectations.initial_counts,
            expectations.transition_counts,
            params.initial_probabilities,
            params.transition_matrix,
        )
        return chain + expected_height(params, expectations.sums, self.rows)
