"""The EM problem of a switching linear-Gaussian system: what its two approximations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy

from kalman_em.arrays import Array, IntArray
from kalman_em.em.forms import Full
from kalman_em.em.noise import NoiseStep
from kalman_em.em.quasi_newton import ascended
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.regimes import first_rows
from kalman_em.inference.switching_loops import (
    SwitchingMoments,
    SwitchingScratch,
    SwitchingSystem,
    WhitenedRows,
    kim_filter,
    kim_smoother,
)
from kalman_em.latent.chain import Chain, chain_height, named_shares
from kalman_em.latent.named import taken_apart, with_values
from kalman_em.latent.regime_problem import RegimePosterior
from kalman_em.latent.rows import PatternedRows
from kalman_em.latent.series_parts import starts_of
from kalman_em.latent.shares import Shares
from kalman_em.latent.switching_m_step import RegressionStep, noise_information
from kalman_em.latent.switching_params import COEFFICIENTS, COVARIANCES, OFFSETS, SwitchingParams
from kalman_em.latent.switching_rows import RegressionSums, expected_rows, observation_sums, whitened, with_ones
from kalman_em.latent.switching_slopes import slopes_of, unit_steps
from kalman_em.linalg import symmetrised
from kalman_em.observations import Panel

# A step of EM that raises the approximate log-likelihood by less than this is slow, or goes to another end.
SLOW = 0.01
NAMES = (
    *("transition_matrix", "transition_cov", "observation_matrix", "observation_cov", "initial_mean", "initial_cov"),
    *("regime_initial_probabilities", "regime_transition_matrix", "transition_offset", "observation_offset"),
)
BLOCKS = ("transition", "observation")


@dataclass(frozen=True, eq=False)
class SwitchingExpectations:
    """What the M-step needs of regimes and states, and the probabilities of the regimes (N, K)."""

    transitions: RegressionSums
    observations: RegressionSums
    first_means: Array
    first_covs: Array
    initial_counts: Array
    transition_counts: Array
    shares: Array


@dataclass(frozen=True, eq=False)
class KimFiltered:
    """The output of Kim's filter: probabilities given the rows before (N, K), moments given the rows so far."""

    predicted: Array
    moments: SwitchingMoments
    log_likelihoods: Array


@dataclass(frozen=True, eq=False)
class KimProblem:
    """EM by Kim's filter, and his smoother with the expectation correction (`kalman_em.inference.switching_loops`).

    The objective is the approximate log-likelihood of the filter. A step of EM is one up only as far as the
    approximation is good: where it gains next to nothing, quasi-Newton steps climb the objective itself from there, as
    Kim did from the start, to where its gradient vanishes.
    """

    rows: PatternedRows
    starts: IntArray
    chain: Chain
    transition: RegressionStep
    observation: RegressionStep
    learns_mean: bool
    learns_cov: bool
    state_dim: int
    first_guess: Callable[[], SwitchingParams]

    @cached_property
    def base(self) -> SwitchingParams:
        """The start, which takes a search: made when first asked for."""
        return self.of_form(self.first_guess())

    @property
    def n_parameters(self) -> int:
        """What is free in the system, its first state, and the chain."""
        d = self.state_dim
        initial = d * self.learns_mean + d * (d + 1) // 2 * self.learns_cov
        return self.transition.n_free + self.observation.n_free + self.chain.n_free + initial

    def e_step(self, params: SwitchingParams) -> tuple[SwitchingExpectations, float]:
        """Return the approximate expectations, and the approximate log-likelihood."""
        filtered, scratch = self.filtered(params)
        smoothed, sums = self.smoothed(params, filtered, scratch)
        moves, before, cross, after, *means_of = sums
        counts = moves.sum(axis=0)
        squares, crossed = with_ones(counts, symmetrised(before), cross, (means_of[0], means_of[1]))
        first = first_rows(self.starts)
        weights = smoothed.probabilities[first]
        means = np.einsum("sk,skd->sd", weights, smoothed.means[first])
        off = smoothed.means[first] - means[:, None]
        covs = np.einsum("sk,skij->sij", weights, smoothed.covs[first] + off[..., :, None] * off[..., None, :])
        expectations = SwitchingExpectations(
            transitions=RegressionSums(counts, squares, crossed, symmetrised(after)),
            observations=observation_sums(params, self.rows, smoothed),
            first_means=means,
            first_covs=covs,
            initial_counts=weights.sum(axis=0),
            transition_counts=moves,
            shares=smoothed.probabilities,
        )
        return expectations, float(filtered.log_likelihoods.sum())

    def m_step(self, params: SwitchingParams, expectations: SwitchingExpectations) -> SwitchingParams:
        """Return those of `most_likely` if they raise the objective, else where quasi-Newton steps lead on it."""
        moved = self.most_likely(params, expectations)
        reached = self.height(moved)
        gain = reached - self.height(params)
        if gain >= SLOW:
            return moved
        best = moved if gain > 0.0 else params
        numbers, steps = self.free_numbers(best), unit_steps(self.information(best, expectations))

        def height(tried: Array) -> tuple[float, Array]:
            return self.height_and_slope(self.with_numbers(best, tried))

        climbed = ascended(height, numbers, steps)
        return best if np.array_equal(climbed, numbers) else self.with_numbers(best, climbed)

    def height(self, params: SwitchingParams) -> float:
        """Return the approximate log-likelihood."""
        return float(self.filtered(params)[0].log_likelihoods.sum())

    def height_and_slope(self, params: SwitchingParams) -> tuple[float, Array]:
        """Return the approximate log-likelihood, and its slope in every free number."""
        filtered, _ = self.filtered(params)
        found = slopes_of(params, self.system(params), self.levels(params), self.rows, self.starts, filtered.moments)
        parts = []
        for block, matrices, offsets, covs in (
            ("transition", found.transitions, found.drifts, found.noise_covs),
            ("observation", found.matrices, found.levels, found.observation_covs),
        ):
            joint = np.concatenate([matrices, offsets.sum(axis=0)[:, :, None]], axis=2)
            parts.append(self.step_of(block).number_slopes(joint, covs))
        if self.learns_mean:
            parts.append(found.initial_mean)
        if self.learns_cov:
            parts.append(np.einsum("nij,ij->n", _first_basis(self.state_dim), found.initial_cov))
        of_chain = np.concatenate([found.initial, found.moves.ravel()])
        parts.append(of_chain @ self._chain_slopes(params))
        return float(filtered.log_likelihoods.sum()), np.concatenate(parts)

    def information(self, params: SwitchingParams, expectations: SwitchingExpectations) -> Array:
        """Return the expected information of complete data on the free numbers, a block for each equation."""
        found = [
            self.step_of(block).information(sums, params.of_regimes(f"{block}_cov"))
            for block, sums in zip(BLOCKS, (expectations.transitions, expectations.observations), strict=True)
        ]
        n_series = len(expectations.first_means)
        inverse = np.asarray(np.linalg.pinv(params.initial_cov), dtype=np.float64)
        if self.learns_mean:
            found.append(n_series * inverse)
        if self.learns_cov:
            found.append(n_series * noise_information(inverse, _first_basis(self.state_dim)))
        # Counts that a chain expects, N_i A_ij, have information N_i / A_ij on A_ij.
        left = expectations.transition_counts.sum(axis=1, keepdims=True)
        shares = params.regime_initial_probabilities, params.regime_transition_matrix
        counts = np.full(params.n_regimes, expectations.initial_counts.sum()), np.broadcast_to(left, shares[1].shape)
        weights = np.concatenate(
            [np.where(p > 0.0, n / np.where(p > 0.0, p, 1.0), 0.0).ravel() for n, p in zip(counts, shares, strict=True)]
        )
        slopes = self._chain_slopes(params)
        found.append((slopes * weights[:, None]).T @ slopes)
        return np.asarray(scipy.linalg.block_diag(*found))

    def _chain_slopes(self, params: SwitchingParams) -> Array:
        return self.chain.slopes(params.regime_initial_probabilities, params.regime_transition_matrix)

    def most_likely(self, params: SwitchingParams, expectations: SwitchingExpectations) -> SwitchingParams:
        """Return the parameters that maximise the expected complete log-likelihood, in turn where they depend on
        one another (ECM)."""
        moved: dict[str, Any] = {}
        for block, sums in zip(BLOCKS, (expectations.transitions, expectations.observations), strict=True):
            joint, covs = params.coefficients_of(block), params.of_regimes(f"{block}_cov")
            moved |= _named(block, self.step_of(block).most_likely(sums, joint, covs))
        if self.learns_mean:
            moved["initial_mean"] = expectations.first_means.mean(axis=0)
        if self.learns_cov:
            off = expectations.first_means - moved.get("initial_mean", params.initial_mean)
            moved["initial_cov"] = symmetrised(
                (expectations.first_covs + off[:, :, None] * off[:, None, :]).mean(axis=0)
            )
        initial, moves = self.chain.most_likely(
            expectations.initial_counts,
            expectations.transition_counts,
            params.regime_initial_probabilities,
            params.regime_transition_matrix,
        )
        return replace(
            params,
            **moved,
            regime_initial_probabilities=initial,
            regime_transition_matrix=moves,
            shares=None if params.shares is None else expectations.shares,
        )

    def expected(self, params: SwitchingParams, expectations: SwitchingExpectations) -> float:
        """Return the expected complete log-likelihood, less a constant."""
        total = chain_height(
            expectations.initial_counts,
            expectations.transition_counts,
            params.regime_initial_probabilities,
            params.regime_transition_matrix,
        )
        off = expectations.first_means - params.initial_mean
        scatter = (expectations.first_covs + off[:, :, None] * off[:, None, :]).sum(axis=0)
        total -= 0.5 * len(off) * float(np.linalg.slogdet(params.initial_cov)[1])
        total -= 0.5 * float(np.trace(np.linalg.solve(params.initial_cov, scatter)))
        for block, sums in zip(BLOCKS, (expectations.transitions, expectations.observations), strict=True):
            total += self.step_of(block).height(sums, params.coefficients_of(block), params.of_regimes(f"{block}_cov"))
        return total

    def parameter_change(self, old: SwitchingParams, new: SwitchingParams) -> float:
        """Return the largest change of a parameter, relative to its largest entry."""
        moved = 0.0
        for name in NAMES:
            before, after = getattr(old, name), getattr(new, name)
            size = float(np.abs(before).max())
            change = float(np.abs(after - before).max())
            moved = max(moved, change / size if size > 0.0 else (0.0 if change == 0.0 else np.inf))
        return moved

    def start(self) -> SwitchingParams:
        """Return the system that a model of one regime starts with, spread out over the regimes."""
        return self.base

    def random_start(self, rng: np.random.Generator) -> SwitchingParams:
        """Return that with what switches multiplied by random factors, and a chain drawn at random."""
        moved: dict[str, Any] = {}
        for name in (*COEFFICIENTS, *COVARIANCES):
            value = getattr(self.base, name)
            if value.ndim == 3 and self._is_free(name):
                spread = 1.0 if name in COVARIANCES else 0.2
                moved[name] = value * np.exp(spread * rng.standard_normal((len(value), 1, 1)))
        for block in BLOCKS:
            offset = getattr(self.base, f"{block}_offset")
            if offset.ndim == 2:
                deviations = np.sqrt(np.diagonal(self.base.of_regimes(f"{block}_cov"), axis1=1, axis2=2))
                moved[f"{block}_offset"] = offset + deviations * rng.standard_normal(offset.shape)
        initial, moves = self.chain.random_start(rng)
        drawn = replace(self.base, **moved, regime_initial_probabilities=initial, regime_transition_matrix=moves)
        return self.of_form(drawn)

    def started(self, base: SwitchingParams, given: Mapping[str, Any]) -> SwitchingParams:
        """Return `base` with the values in `given`; `InputError` if one breaks its form."""
        if "shares" in given:
            raise InputError("start: 'shares' are found by the first E-step, not given")
        params = with_values(replace(base, shares=None), given)
        initial, moves = self.chain.checked(params.regime_initial_probabilities, params.regime_transition_matrix)
        params = replace(params, regime_initial_probabilities=initial, regime_transition_matrix=moves)
        kept = self.of_form(params)
        for name in (*COEFFICIENTS, *COVARIANCES, *OFFSETS):
            value = getattr(params, name)
            if not np.allclose(getattr(kept, name), value, rtol=1e-9, atol=1e-12 * float(np.abs(value).max())):
                raise InputError(f"start[{name!r}]: expected a value of the form stated, got {value.tolist()}")
        return params

    def of_form(self, params: SwitchingParams) -> SwitchingParams:
        """Return the parameters with every matrix as its form lets it be."""
        moved: dict[str, Any] = {}
        for block in BLOCKS:
            step, covs = self.step_of(block), getattr(params, f"{block}_cov")
            if step.fixed_noise is not None:
                covs = step.fixed_noise
            else:
                covs = np.array([step.noise.fitted(one) for one in covs]) if covs.ndim == 3 else step.noise.fitted(covs)
            joint = step.coefficients.project(params.coefficients_of(block))
            moved |= _named(block, (*step.apart(joint), covs))
        return replace(params, **moved)

    def named(self, params: SwitchingParams) -> Mapping[str, Array]:
        """Return the matrices, the first state and the chain."""
        return {name: getattr(params, name) for name in NAMES}

    def free_numbers(self, params: SwitchingParams) -> Array:
        """Return the free numbers: those of the two equations, of the first state, and of the chain."""
        return np.concatenate(self._numbers(params))

    def with_numbers(self, params: SwitchingParams, numbers: Array) -> SwitchingParams:
        """Return parameters like `params` with these free numbers; `InputError` where there are none."""
        transition, observation, mean, cov, chain = taken_apart(numbers, self._numbers(params))
        moved: dict[str, Any] = {}
        for block, own in zip(BLOCKS, (transition, observation), strict=True):
            moved |= _named(block, self.step_of(block).with_numbers(getattr(params, f"{block}_cov"), own))
        if self.learns_mean:
            moved["initial_mean"] = mean
        if self.learns_cov:
            moved["initial_cov"] = _first_cov(self.state_dim).at(cov)
        initial, moves = self.chain.with_numbers(
            params.regime_initial_probabilities, params.regime_transition_matrix, chain
        )
        return replace(params, **moved, regime_initial_probabilities=initial, regime_transition_matrix=moves)

    @property
    def shares(self) -> Mapping[str, Shares]:
        """The parameters that are shares with sum 1."""
        return named_shares(self.chain, "regime_")

    def _numbers(self, params: SwitchingParams) -> list[Array]:
        return [
            *(
                self.step_of(block).free_numbers(params.coefficients_of(block), getattr(params, f"{block}_cov"))
                for block in BLOCKS
            ),
            params.initial_mean if self.learns_mean else np.zeros(0),
            _first_cov(self.state_dim).free(params.initial_cov) if self.learns_cov else np.zeros(0),
            self.chain.free_numbers(params.regime_initial_probabilities, params.regime_transition_matrix),
        ]

    def seeing(self, panel: Panel) -> KimProblem:
        """Return the problem for other series."""
        rows = self.rows.of(np.concatenate([one.values for one in panel]))
        return replace(self, rows=rows, starts=starts_of(panel))

    def expected_rows(self, params: SwitchingParams) -> Array:
        """Return every row given all data, (N, p): what is missing as expected."""
        return expected_rows(params, self.rows, self.states(params)) + self.rows.centre

    def posterior(self, params: SwitchingParams) -> RegimePosterior:
        """Return the probabilities of the regimes by Kim's filter and smoother."""
        filtered, scratch = self.filtered(params)
        smoothed, _ = self.smoothed(params, filtered, scratch)
        return RegimePosterior(filtered.moments.probabilities, smoothed.probabilities)

    def ahead(self, params: SwitchingParams, series: int, steps: int) -> SwitchingMoments:
        """Return the regimes after the end of a series, probabilities (h, K), and the moments of the state in each.

        The mixture over the regimes before is replaced at every step by a Gaussian with its mean and covariance.
        """
        last = int(self.starts[series + 1]) - 1
        moments = self.filtered(params)[0].moments
        shares, means, covs = (part[last] for part in moments)
        found = empty_moments(steps, params.n_regimes, params.state_dim)
        moves, noises = params.of_regimes("transition_matrix"), params.of_regimes("transition_cov")
        for h in range(steps):
            joint = shares[:, None] * params.regime_transition_matrix
            ahead = joint.sum(axis=0)
            came_from = np.where(ahead > 0.0, joint / np.where(ahead > 0.0, ahead, 1.0), 1.0 / len(shares))
            middle = came_from.T @ means
            off = means[:, None] - middle
            inside = covs[:, None] + off[..., :, None] * off[..., None, :]
            spread = np.einsum("ij,ijab->jab", came_from, inside)
            shares, means = ahead, np.einsum("jab,jb->ja", moves, middle) + params.of_regimes("transition_offset")
            covs = symmetrised(moves @ spread @ np.swapaxes(moves, 1, 2) + noises)
            found.probabilities[h], found.means[h], found.covs[h] = shares, means, covs
        return found

    def states(self, params: SwitchingParams) -> SwitchingMoments:
        """Return smoothed probabilities, and moments of the states in each regime."""
        filtered, scratch = self.filtered(params)
        return self.smoothed(params, filtered, scratch)[0]

    def filtered(self, params: SwitchingParams) -> tuple[KimFiltered, SwitchingScratch]:
        """Run Kim's filter; `NumericalError` if an observation is impossible."""
        K, d, n = params.n_regimes, params.state_dim, self.rows.n_rows
        scratch = SwitchingScratch(np.empty((K, K)), np.empty((K, K, d)), np.empty((K, K, d, d)), np.empty((6, d, d)))
        found = KimFiltered(np.empty((n, K)), empty_moments(n, K, d), np.empty(n))
        seen = self.seen(params)
        row = kim_filter(
            self.starts, self.system(params), seen, found.predicted, found.moments, found.log_likelihoods, scratch
        )
        if row >= 0:
            raise NumericalError(f"the observation at row {row} (of all series) is impossible in every regime")
        return found, scratch

    def smoothed(
        self, params: SwitchingParams, filtered: KimFiltered, scratch: SwitchingScratch
    ) -> tuple[SwitchingMoments, tuple[Array, Array, Array, Array, Array, Array]]:
        """Run Kim's smoother; `NumericalError` if a predicted covariance is singular."""
        K, d = params.n_regimes, params.state_dim
        squares = np.zeros((3, K, d, d))
        sums = (np.zeros((K, K)), squares[0], squares[1], squares[2], np.zeros((K, d)), np.zeros((K, d)))
        result = empty_moments(self.rows.n_rows, K, d)
        row = kim_smoother(self.starts, self.system(params), filtered.moments, result, sums, scratch)
        if row >= 0:
            raise NumericalError(f"the state at row {row} (of all series) has a singular predicted covariance")
        return result, sums

    def system(self, params: SwitchingParams) -> SwitchingSystem:
        """Return what the compiled loops read."""
        drifts = np.tile(params.of_regimes("transition_offset"), (self.rows.n_rows, 1, 1))
        return SwitchingSystem(
            transitions=np.array(params.of_regimes("transition_matrix"), order="C"),
            drifts=drifts,
            noise_covs=np.array(params.of_regimes("transition_cov"), order="C"),
            initial_mean=np.array(params.initial_mean),
            initial_cov=np.array(params.initial_cov),
            initial=np.array(params.regime_initial_probabilities),
            moves=np.array(params.regime_transition_matrix),
        )

    def levels(self, params: SwitchingParams) -> Array:
        """Return what each regime adds to each row, (N, K, p)."""
        return np.tile(params.of_regimes("observation_offset"), (self.rows.n_rows, 1, 1))

    def seen(self, params: SwitchingParams) -> WhitenedRows:
        """Return the rows whitened by the noise of each regime."""
        return whitened(params, self.rows)

    def step_of(self, block: str) -> RegressionStep:
        """Return the M-step of an equation, "transition" or "observation"."""
        return self.transition if block == "transition" else self.observation

    def _is_free(self, name: str) -> bool:
        step = self.step_of(name.split("_", maxsplit=1)[0])
        return step.fixed_noise is None if name in COVARIANCES else step.coefficients.n_free > 0


def _named(block: str, found: tuple[Array, Array, Array]) -> dict[str, Array]:
    return dict(zip((f"{block}_matrix", f"{block}_offset", f"{block}_cov"), found, strict=True))


def _first_cov(state_dim: int) -> NoiseStep:
    return NoiseStep(Full(), state_dim, "initial_cov")


def _first_basis(state_dim: int) -> Array:
    family = _first_cov(state_dim).family
    assert family is not None  # that of Full()
    return family.basis()[:, 0]


def empty_moments(n: int, K: int, d: int) -> SwitchingMoments:
    """Return space for the moments of n rows."""
    return SwitchingMoments(np.empty((n, K)), np.empty((n, K, d)), np.empty((n, K, d, d)))
