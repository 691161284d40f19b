"""The EM problem of a Gaussian hidden Markov model: Baum and Welch's steps, and their hard and tempered kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array, IntArray
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
from kalman_em.latent.covariances import ComponentStep
from kalman_em.latent.emissions import log_densities, weighted_moments
from kalman_em.latent.gaussians import largest_move
from kalman_em.latent.hmm_params import HMMParams
from kalman_em.latent.mixture_starts import drawn_labels, first_labels, gaussians_at_labels
from kalman_em.latent.moments import Moments, combined, expected_log_density
from kalman_em.latent.named import taken_apart, with_values
from kalman_em.latent.regime_problem import RegimePosterior
from kalman_em.latent.rows import PatternedRows
from kalman_em.latent.series_parts import rows_of_series, shared_out, starts_of
from kalman_em.latent.shares import Shares
from kalman_em.observations import Panel

# Random segments of a series have this many rows on average, or a fiftieth of it if that is more.
SEGMENT = 5


@dataclass(frozen=True, eq=False)
class HMMExpectations:
    """What the M-step needs: moments of the rows by regime, and how often the chain starts and moves where."""

    moments: Moments
    initial_counts: Array
    transition_counts: Array


@dataclass(frozen=True, eq=False)
class HMMProblem:
    """EM for Gaussians whose regimes follow a Markov chain (Baum et al. 1970; Rabiner 1989, section III.C).

    `starts` are the first rows of the series, with the number of rows at the end. At `temperature` 1 the E-step is
    over the posterior of the paths, at 0 over the most probable path alone; see `tempered`.
    """

    rows: PatternedRows
    starts: IntArray
    keys: tuple[Any, ...]
    step: ComponentStep
    chain: Chain
    temperature: float = 1.0

    @property
    def n_parameters(self) -> int:
        """Means, covariances, and what is free in the chain."""
        return self.step.n_components * self.rows.dim + self.step.n_free + self.chain.n_free

    def e_step(self, params: HMMParams) -> tuple[HMMExpectations, float]:
        """Return the expectations at `params`, and the log-likelihood: that of the best path at temperature 0."""
        if self.temperature == 0.0:
            path, log_joints = self.path(params)
            weights = np.eye(params.n_components)[path]
            smoothed = SmoothedRegimes(weights, weights[first_rows(self.starts)].sum(axis=0), self._moves(path))
            height = float(log_joints.sum())
        else:
            filtered = self.filtered(params)
            smoothed = smooth_regimes(self.starts, self._cooled(params.transition_matrix), filtered)
            height = self.temperature * float(filtered.log_likelihoods.sum())
        moments = weighted_moments(params, self.rows, smoothed.probabilities)
        return HMMExpectations(moments, smoothed.initial_counts, smoothed.transition_counts), height

    def m_step(self, params: HMMParams, expectations: HMMExpectations) -> HMMParams:
        """Return the parameters that maximise the expected complete log-likelihood."""
        gaussians = self.step.step(params, expectations.moments, self.rows)
        initial, transition = self.chain.most_likely(
            expectations.initial_counts,
            expectations.transition_counts,
            params.initial_probabilities,
            params.transition_matrix,
        )
        return HMMParams(gaussians.means, gaussians.covs, initial, transition)

    def expected_gain(self, old: HMMParams, new: HMMParams, expectations: HMMExpectations) -> float:
        """Return Q(new, old) - Q(old, old)."""
        return self._expected(new, expectations) - self._expected(old, expectations)

    def parameter_change(self, old: HMMParams, new: HMMParams) -> float:
        """Return the largest change: of probabilities, of means in standard deviations, of covariances in variances."""
        moved = (
            np.abs(new.initial_probabilities - old.initial_probabilities).max(),
            np.abs(new.transition_matrix - old.transition_matrix).max(),
        )
        return max(largest_move(old, new), *map(float, moved))

    def start(self) -> HMMParams:
        """Return regimes at clusters of rows; at stretches of the series where the chain never goes back."""
        labels = first_labels(self.rows, self.step.n_components) if self.chain.goes_back else self._stretches()
        initial, transition = self.chain.start(self._moves(labels))
        return self._at(labels, initial, transition)

    def random_start(self, rng: np.random.Generator) -> HMMParams:
        """Return regimes at clusters by k-means++, or at stretches of the series cut and labelled at random."""
        if not self.chain.goes_back:
            labels = self._stretches(rng)
        elif rng.random() < 0.5:
            labels = drawn_labels(self.rows, self.step.n_components, rng)
        else:
            labels = self._segments(rng)
        initial, transition = self.chain.random_start(rng, self._moves(labels))
        return self._at(labels, initial, transition)

    def started(self, base: HMMParams, given: Mapping[str, Any]) -> HMMParams:
        """Return `base` with the values in `given`; `InputError` if one breaks its form."""
        params = with_values(base, given)
        initial, transition = self.chain.checked(params.initial_probabilities, params.transition_matrix)
        self.step.check_of_form(params.covs, "start['covs']")
        return replace(params, initial_probabilities=initial, transition_matrix=transition)

    def named(self, params: HMMParams) -> Mapping[str, Array]:
        """Return the chain, means and covariances."""
        names = ("initial_probabilities", "transition_matrix", "means", "covs")
        return {name: getattr(params, name) for name in names}

    def free_numbers(self, params: HMMParams) -> Array:
        """Return the free numbers: means, those of the covariances and of the chain."""
        return np.concatenate(self._numbers(params))

    def with_numbers(self, params: HMMParams, numbers: Array) -> HMMParams:
        """Return parameters like `params` with these free numbers; `InputError` where there are none."""
        means, covs, chain = taken_apart(numbers, self._numbers(params))
        initial, moves = self.chain.with_numbers(params.initial_probabilities, params.transition_matrix, chain)
        return HMMParams(means.reshape(params.means.shape), self.step.with_numbers(params.covs, covs), initial, moves)

    @property
    def shares(self) -> Mapping[str, Shares]:
        """The parameters that are shares with sum 1."""
        return named_shares(self.chain)

    def _numbers(self, params: HMMParams) -> list[Array]:
        chain = self.chain.free_numbers(params.initial_probabilities, params.transition_matrix)
        return [params.means.ravel(), self.step.free_numbers(params.covs), chain]

    def tempered(self, temperature: float) -> HMMProblem:
        """Return the problem in which paths are weighed by p(data, path)^(1/T).

        The objective is T log Σ p(data, path)^(1/T). Above 1 it is smoother than the log-likelihood (Rao & Rose,
        Deterministically annealed design of hidden Markov model speech recognizers, IEEE Trans. Speech Audio
        Processing 9 (2001)); at 0 only the most probable path counts: Viterbi training (Juang & Rabiner, The segmental
        K-means algorithm for estimating parameters of hidden Markov models, IEEE Trans. ASSP 38 (1990)).
        """
        return replace(self, temperature=temperature)

    def seeing(self, panel: Panel) -> HMMProblem:
        """Return the problem for other series, measured from the same centre in the same unit."""
        rows = self.rows.of(np.concatenate([one.values for one in panel]))
        return replace(self, rows=rows, starts=starts_of(panel), keys=panel.keys or ())

    @property
    def n_units(self) -> int:
        """Number of series."""
        return len(self.starts) - 1

    def divided(self, n_parts: int, rng: np.random.Generator) -> tuple[HMMProblem, ...]:
        """Return the problems of random parts of the series."""
        found = []
        for series in shared_out(self.n_units, n_parts, rng):
            rows, starts = rows_of_series(self.starts, series)
            keys = tuple(self.keys[s] for s in series) if self.keys else ()
            found.append(replace(self, rows=self.rows.chosen(rows), starts=starts, keys=keys))
        return tuple(found)

    def pooled(self, parts: Sequence[tuple[float, HMMExpectations]]) -> HMMExpectations:
        """Return the expectations of all parts together, each counted so many times."""
        return HMMExpectations(
            combined([(times, part.moments) for times, part in parts]),
            np.sum([times * part.initial_counts for times, part in parts], axis=0),
            np.sum([times * part.transition_counts for times, part in parts], axis=0),
        )

    def beside_parts(self, params: HMMParams) -> float:
        """Return 0: the log-likelihood is the sum of those of the series."""
        del params
        return 0.0

    def filtered(self, params: HMMParams) -> FilteredRegimes:
        """Return the probabilities of the regimes given the rows so far."""
        densities = log_densities(params, self.rows)
        if self.temperature != 1.0:
            densities = densities / self.temperature
        initial, transition = map(self._cooled, (params.initial_probabilities, params.transition_matrix))
        try:
            return filter_regimes(self.starts, densities, initial, transition)
        except ImpossibleRowError as error:
            raise self._located(error.row) from None

    def posterior(self, params: HMMParams) -> RegimePosterior:
        """Return the probabilities of the regimes given the rows so far and given all rows."""
        filtered = self.filtered(params)
        smoothed = smooth_regimes(self.starts, self._cooled(params.transition_matrix), filtered)
        return RegimePosterior(filtered.filtered_probabilities, smoothed.probabilities)

    def path(self, params: HMMParams) -> tuple[IntArray, Array]:
        """Return the most probable path, and log p(data, path) of every series."""
        densities = log_densities(params, self.rows)
        try:
            return best_path(self.starts, densities, params.initial_probabilities, params.transition_matrix)
        except ImpossibleRowError as error:
            raise self._located(error.row) from None

    def _cooled(self, probabilities: Array) -> Array:
        return probabilities if self.temperature == 1.0 else np.asarray(probabilities ** (1.0 / self.temperature))

    def _located(self, row: int) -> NumericalError:
        series = int(np.searchsorted(self.starts, row, side="right")) - 1
        where = f" of series {self.keys[series]!r}" if len(self.keys) > 1 else ""
        return NumericalError(
            f"the observation at row {row - int(self.starts[series])}{where} is impossible in every regime that can be "
            "reached there"
        )

    def _at(self, labels: IntArray, initial: Array, transition: Array) -> HMMParams:
        _, gaussians = gaussians_at_labels(self.rows, labels, self.step)
        return HMMParams(gaussians.means, gaussians.covs, initial, transition)

    def _moves(self, path: IntArray) -> Array:
        """Return how often a path moves from i to j, within series."""
        K = self.step.n_components
        within = np.ones(len(path), dtype=bool)
        within[first_rows(self.starts)] = False
        at = np.flatnonzero(within)
        return np.bincount(path[at - 1] * K + path[at], minlength=K * K).reshape(K, K).astype(np.float64)

    def _stretches(self, rng: np.random.Generator | None = None) -> IntArray:
        """Return labels that rise along every series, in stretches of about equal length, or random ones."""
        K = self.step.n_components
        shares = np.full(K, 1.0 / K) if rng is None else rng.dirichlet(np.full(K, 3.0))
        ends = np.cumsum(shares)[:-1]
        lengths = np.diff(self.starts)
        return np.concatenate([np.searchsorted(ends * n, np.arange(n), side="right") for n in lengths])

    def _segments(self, rng: np.random.Generator) -> IntArray:
        """Return labels drawn at random for stretches of random length, at least one for each regime."""
        n, K = self.rows.n_rows, self.step.n_components
        n_segments = max(K, n // max(SEGMENT, n // 50))
        cuts = np.sort(rng.choice(np.arange(1, n), min(n_segments, n) - 1, replace=False)) if n > 1 else np.arange(0)
        labels = np.concatenate([rng.permutation(K), rng.integers(K, size=len(cuts) + 1)])[: len(cuts) + 1]
        return np.asarray(rng.permutation(labels)[np.searchsorted(cuts, np.arange(n), side="right")])

    def _expected(self, params: HMMParams, expectations: HMMExpectations) -> float:
        chain = chain_height(
            expectations.initial_counts,
            expectations.transition_counts,
            params.initial_probabilities,
            params.transition_matrix,
        )
        return expected_log_density(params, expectations.moments) + chain
