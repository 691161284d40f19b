"""Structured variational EM for a switching linear-Gaussian system: a bound that never falls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, pi
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array
from kalman_em.errors import NumericalError
from kalman_em.inference.mean_field_loops import solve_chain
from kalman_em.inference.regimes import filter_regimes, first_rows, smooth_regimes
from kalman_em.inference.switching_loops import SwitchingMoments, WhitenedRows
from kalman_em.latent.regime_problem import RegimePosterior
from kalman_em.latent.series_parts import starts_of
from kalman_em.latent.switching_params import SwitchingParams
from kalman_em.latent.switching_problem import KimProblem, SwitchingExpectations
from kalman_em.latent.switching_rows import RegressionSums, observation_sums, with_ones
from kalman_em.linalg import symmetrised
from kalman_em.observations import Panel

# How often states and regimes are set to their best given the other in an E-step.
SWEEPS = 3
# ... and for series that were not learnt from, whose q begins anew.
MANY_SWEEPS = 40
LOG_2PI = log(2.0 * pi)


class States(NamedTuple):
    """q(x): means (N, d), covs and lag-one covs (N, d, d), and its entropy."""

    means: Array
    covs: Array
    lag_one_covs: Array
    entropy: float


@dataclass(frozen=True, eq=False)
class VariationalProblem(KimProblem):
    """EM with q(x, z) = q(x) q(z) in the place of the posterior.

    q(x) is a Gaussian chain whose precisions are averages over the regimes, q(z) a Markov chain of regimes that a row
    makes likely by its expected log density; each is set to the best given the other (Ghahramani & Hinton, Variational
    learning for switching state-space models, Neural Computation 12 (2000), for one state that switches). It,

        E_q[log p(y, x, z)] + H[q(x)] + H[q(z)] <= log p(y),

    rises in every sweep and M-step. `SwitchingParams.shares` hold q(z) from one E-step to the next.
    """

    sweeps: int = SWEEPS
    keeps_shares: bool = True

    @property
    def why_no_errors(self) -> str:
        """Why there are no standard errors."""
        return "the curvature of a variational bound is too sure of the parameters; use approximation='kim'"

    def e_step(self, params: SwitchingParams) -> tuple[SwitchingExpectations, float]:
        """Return the expectations under q after the sweeps from `params.shares`, and the bound."""
        seen = self.seen(params)
        shares = self.first_shares(params)
        for _ in range(self.sweeps):
            states = self._states(params, seen, shares)
            densities = self._expected_log_densities(params, seen, states)
            chain = params.regime_initial_probabilities, params.regime_transition_matrix
            filtered = filter_regimes(self.starts, densities, *chain)
            smoothed = smooth_regimes(self.starts, chain[1], filtered)
            shares = smoothed.probabilities
        first = first_rows(self.starts)
        bound = float(filtered.log_likelihoods.sum()) + states.entropy + self._first_height(params, states)
        expectations = SwitchingExpectations(
            transitions=self._transition_sums(states, shares),
            observations=observation_sums(params, self.rows, _by_regime(states, shares)),
            first_means=states.means[first],
            first_covs=states.covs[first],
            initial_counts=smoothed.initial_counts,
            transition_counts=smoothed.transition_counts,
            shares=shares,
        )
        return expectations, bound

    def m_step(self, params: SwitchingParams, expectations: SwitchingExpectations) -> SwitchingParams:
        """Return the parameters that raise the bound at this q, which they carry on."""
        return replace(self.most_likely(params, expectations), shares=expectations.shares)

    def expected_gain(self, old: SwitchingParams, new: SwitchingParams, expectations: SwitchingExpectations) -> float:
        """Return how much the bound rises at this q."""
        return self.expected(new, expectations) - self.expected(old, expectations)

    def seeing(self, panel: Panel) -> VariationalProblem:
        """Return the problem for other series, whose q(z) is begun anew."""
        return replace(
            self, rows=super().seeing(panel).rows, starts=starts_of(panel), sweeps=MANY_SWEEPS, keeps_shares=False
        )

    def first_shares(self, params: SwitchingParams) -> Array:
        """Return q(z) to begin with: that of the last E-step, or what Kim's smoother says."""
        return super().posterior(params).smoothed if params.shares is None or not self.keeps_shares else params.shares

    def posterior(self, params: SwitchingParams) -> RegimePosterior:
        """Return the probabilities of the regimes: by Kim's filter given the rows so far, under q given all."""
        return RegimePosterior(super().posterior(params).filtered, self.e_step(params)[0].shares)

    def states(self, params: SwitchingParams) -> SwitchingMoments:
        """Return q(z), and the moments of q(x), which are those of every regime."""
        shares = self.e_step(params)[0].shares
        return _by_regime(self._states(params, self.seen(params), shares), shares)

    def _states(self, params: SwitchingParams, seen: WhitenedRows, shares: Array) -> States:
        """Return the best q(x) given q(z): precisions of noises averaged over the regimes."""
        n, d = self.rows.n_rows, params.state_dim
        first, follows = first_rows(self.starts), self._follows
        noise = _inverses(params.of_regimes("transition_cov"), "transition_cov")
        initial = _inverses(params.initial_cov[None], "initial_cov")[0]
        back = noise @ params.of_regimes("transition_matrix")
        both = np.swapaxes(params.of_regimes("transition_matrix"), 1, 2) @ back
        precisions, pulls = self._observed(seen, shares)
        after = shares[follows]
        precisions[follows] += np.einsum("tk,kij->tij", after, noise)
        precisions[follows - 1] += np.einsum("tk,kij->tij", after, both)
        precisions[first] += initial
        pulls[first] += initial @ params.initial_mean
        drift = np.einsum("kij,kj->ki", noise, params.of_regimes("transition_offset"))
        moves = params.of_regimes("transition_matrix")
        pulls[follows] += after @ drift
        pulls[follows - 1] -= after @ np.einsum("kji,kj->ki", moves, drift)
        links = np.zeros((n, d, d))
        links[follows - 1] = np.einsum("tk,kij->tij", after, back)
        found = np.empty((n, d)), np.empty((n, d, d)), np.zeros((n, d, d)), np.empty(n)
        row = solve_chain(self.starts, precisions, links, pulls, *found, np.empty((3, d, d)))
        if row >= 0:
            raise NumericalError(f"the precision of the state at row {row} (of all series) is not positive definite")
        means, covs, lag_one_covs, log_dets = found
        entropy = 0.5 * (n * d * (1.0 + LOG_2PI) - float(log_dets.sum()))
        return States(means, symmetrised(covs), lag_one_covs, entropy)

    def _observed(self, seen: WhitenedRows, shares: Array) -> tuple[Array, Array]:
        """Return what the rows add to the precision (N, d, d) and to the pull (N, d) of each state."""
        table = np.einsum("gkpi,gkpj->gkij", seen.h, seen.h)
        precisions = np.einsum("tk,tkij->tij", shares, table[seen.pattern])
        pulls = np.einsum("tk,tkp,tkpi->ti", shares, seen.values, seen.h[seen.pattern], optimize=True)
        return precisions, pulls

    def _expected_log_densities(self, params: SwitchingParams, seen: WhitenedRows, states: States) -> Array:
        """Return E_q(x)[log p(y[t], x[t] given x[t-1], regime k)] for every row and regime, (N, K)."""
        means, covs, follows = states.means, states.covs, self._follows
        h = seen.h[seen.pattern]
        errors = seen.values - np.einsum("tkpi,ti->tkp", h, means)
        spread = np.einsum("tkpi,tij,tkpj->tk", h, covs, h, optimize=True)
        heights = seen.constants[seen.pattern] - 0.5 * (seen.counts[seen.pattern] * LOG_2PI)[:, None]
        heights = heights - 0.5 * ((errors**2).sum(axis=2) + spread)
        noise_covs, moves = params.of_regimes("transition_cov"), params.of_regimes("transition_matrix")
        noise = _inverses(noise_covs, "transition_cov")
        log_dets = np.linalg.slogdet(noise_covs)[1]
        before, after, cross = self._pairs(states)
        for k, (F, b) in enumerate(zip(moves, params.of_regimes("transition_offset"), strict=True)):
            crossed = cross @ F.T + (means[follows] - means[follows - 1] @ F.T - 0.5 * b)[:, :, None] * b
            scatter = after - crossed - np.swapaxes(crossed, 1, 2) + F @ before @ F.T
            squares = np.einsum("ij,tij->t", noise[k], scatter)
            heights[follows, k] -= 0.5 * (params.state_dim * LOG_2PI + log_dets[k] + squares)
        return np.asarray(heights)

    def _pairs(self, states: States) -> tuple[Array, Array, Array]:
        """Return E[x(t-1) x(t-1)'], E[x(t) x(t)'] and E[x(t) x(t-1)'] for the rows that follow one."""
        follows, means = self._follows, states.means
        second = states.covs + means[:, :, None] * means[:, None, :]
        cross = states.lag_one_covs[follows - 1] + means[follows][:, :, None] * means[follows - 1][:, None, :]
        return second[follows - 1], second[follows], cross

    def _transition_sums(self, states: States, shares: Array) -> RegressionSums:
        follows = self._follows
        weights = shares[follows]
        counts = weights.sum(axis=0)
        before, after, cross = (np.einsum("tk,tij->kij", weights, part) for part in self._pairs(states))
        first = weights.T @ states.means[follows - 1], weights.T @ states.means[follows]
        squares, crossed = with_ones(counts, symmetrised(before), cross, first)
        return RegressionSums(counts, squares, crossed, symmetrised(after))

    def _first_height(self, params: SwitchingParams, states: States) -> float:
        """Return E_q[log p(x[0])] over the series."""
        first = first_rows(self.starts)
        off = states.means[first] - params.initial_mean
        scatter = (states.covs[first] + off[:, :, None] * off[:, None, :]).sum(axis=0)
        log_det = float(np.linalg.slogdet(params.initial_cov)[1])
        fit = float(np.trace(np.linalg.solve(params.initial_cov, scatter)))
        return -0.5 * (len(first) * (params.state_dim * LOG_2PI + log_det) + fit)

    @property
    def _follows(self) -> Array:
        """The rows that follow one of the same series."""
        return np.setdiff1d(np.arange(self.rows.n_rows), first_rows(self.starts))


def _by_regime(states: States, shares: Array) -> SwitchingMoments:
    n, K = shares.shape
    means = np.broadcast_to(states.means[:, None], (n, K, states.means.shape[1]))
    return SwitchingMoments(shares, means, np.broadcast_to(states.covs[:, None], (n, K, *states.covs.shape[1:])))


def _inverses(covs: Array, name: str) -> Array:
    try:
        np.linalg.cholesky(covs)
    except np.linalg.LinAlgError:
        raise NumericalError(f"{name} is singular; use approximation='kim', which needs no inverse of it") from None
    return symmetrised(np.asarray(np.linalg.inv(covs), dtype=np.float64))
