"""The EM problem of a Bayesian mixture: coordinate ascent on the evidence lower bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.errors import InputError
from kalman_em.latent.covariances import ComponentStep
from kalman_em.latent.emissions import log_densities
from kalman_em.latent.gaussians import largest_move
from kalman_em.latent.mixture_problem import check_possible, posterior_moments, shares_of
from kalman_em.latent.mixture_starts import drawn_labels, first_labels, gaussians_at_labels, gaussians_at_rows
from kalman_em.latent.moments import Moments, combined, expected_log_density
from kalman_em.latent.named import named_values, with_values
from kalman_em.latent.precision_priors import PrecisionPrior
from kalman_em.latent.rows import PatternedRows
from kalman_em.latent.variational_params import VariationalParams, mean_divergence, row_excess
from kalman_em.latent.weight_priors import StickWeights, WeightPrior


@dataclass(frozen=True, eq=False)
class VariationalProblem:
    """Mean-field steps for q(z, missing) q(π) Π q(μ_k, Λ_k) (Bishop 2006, section 10.2).

    The objective is the evidence lower bound with the best q(z, missing) for the parameters,

        L = Σ_n log Σ_k exp(E[log π_k] + E[log N(x_n; μ_k, Λ_k)]) - KL(q(π, μ, Λ), p(π, μ, Λ)),

    in which the density of a row is that of what was observed of it.
    """

    rows: PatternedRows
    step: ComponentStep
    prior: VariationalParams
    weights: WeightPrior
    precisions: PrecisionPrior
    temperature: float = 1.0

    @property
    def why_no_errors(self) -> str:
        """Why there are no standard errors."""
        return "the posterior of a Bayesian mixture says itself how sure it is of every parameter"

    @property
    def n_parameters(self) -> int:
        """Means, covariances and weights, as of the mixture that is not Bayesian."""
        K = self.step.n_components
        return K * self.rows.dim + self.step.n_free + K - 1

    def e_step(self, params: VariationalParams) -> tuple[Moments, float]:
        """Return the expected moments of the rows of each component, and the bound."""
        moments, height = self.expected(params, self.rows)
        return moments, height - self.divergence(params)

    def expected(self, params: VariationalParams, rows: PatternedRows) -> tuple[Moments, float]:
        """Return the expected moments of `rows`, and what they add to the bound."""
        return posterior_moments(
            params,
            self.log_weights(params),
            rows,
            temperature=self.temperature,
            diagonal_is_enough=self.step.needs_diagonal_alone,
        )

    def log_weights(self, params: VariationalParams) -> Array:
        """Return what stands in the place of log weights, shape (K,)."""
        return self.weights.log_weights(params.concentrations) + row_excess(params, self.precisions)

    def divergence(self, params: VariationalParams) -> float:
        """Return KL(q(π, μ, Λ), p(π, μ, Λ))."""
        prior = self.prior
        precisions = self.precisions.divergence(params.degrees, params.covs, prior.degrees, prior.covs)
        return self.weights.divergence(params.concentrations) + mean_divergence(params, prior) + precisions

    def m_step(self, params: VariationalParams, expectations: Moments) -> VariationalParams:
        """Return the posterior that is best for the expectations (Bishop, equations 10.58 and 10.60 to 10.63)."""
        del params
        prior, counts = self.prior, expectations.counts
        beta = prior.mean_precisions + counts
        off = expectations.means - prior.means
        means = prior.means + (counts / beta)[:, None] * off
        between = (prior.mean_precisions * counts / beta)[:, None, None] * off[:, :, None] * off[:, None, :]
        sums = counts[:, None, None] * expectations.scatters + between
        nu, covs = self.precisions.posterior(prior.degrees, prior.covs, counts, sums)
        return VariationalParams(means, covs, self.weights.counted(counts), beta, nu)

    def expected_gain(self, old: VariationalParams, new: VariationalParams, expectations: Moments) -> float:
        """Return by how much the bound rises from `old` to `new` with q(z, missing) as it is."""
        return self._expected(new, expectations) - self._expected(old, expectations)

    def parameter_change(self, old: VariationalParams, new: VariationalParams) -> float:
        """Return the largest change: of weights, of means in standard deviations, of covariances in variances."""
        return max(largest_move(old, new), float(np.abs(new.weights - old.weights).max()))

    def leaps(self, trail: Sequence[VariationalParams]) -> Iterator[tuple[VariationalParams, str]]:
        """Yield the components sorted by size, where the prior of the weights expects them in that order.

        Coordinate ascent hardly ever lets components change places (Kurihara, Welling and Teh, Collapsed variational
        Dirichlet process mixture models, IJCAI 2007, section 4).
        """
        params = trail[-1]
        counts = self.counts(params)
        order = np.argsort(-counts, kind="stable")
        if isinstance(self.weights, StickWeights) and not np.array_equal(order, np.arange(len(order))):
            values = {name: value[order] for name, value in named_values(params).items()}
            values["concentrations"] = self.weights.counted(counts[order])
            yield VariationalParams(**values), ""

    def counts(self, params: VariationalParams) -> Array:
        """Return the expected number of rows of each component that the weights hold, shape (K,)."""
        counted = params.concentrations - self.weights.concentrations
        result: Array = np.maximum(counted.reshape(len(counted), -1)[:, 0], 0.0)
        return result

    def start(self) -> VariationalParams:
        """Return the posterior of clusters that the axes of largest spread cut, after a few steps of k-means."""
        return self._at_labels(first_labels(self.rows, self.step.n_components))

    def random_start(self, rng: np.random.Generator) -> VariationalParams:
        """Return the posterior of clusters by k-means++, or of equal shares of rows about rows drawn at random."""
        K = self.step.n_components
        labels = drawn_labels(self.rows, K, rng)
        if np.bincount(labels, minlength=K).min() > self.rows.dim:
            return self._at_labels(labels)
        gaussians = gaussians_at_rows(self.rows, K, self.step, rng)
        counts = np.full(K, self.rows.n_rows / K)
        return self.m_step(self.prior, Moments(counts, gaussians.means, gaussians.covs))

    def started(self, base: VariationalParams, given: Mapping[str, Any]) -> VariationalParams:
        """Return `base` with the values in `given`; `InputError` if one breaks its form."""
        params = with_values(base, given)
        self.step.check_of_form(params.covs, "start['covs']")
        least = self.precisions.least_degrees(self.rows.dim)
        if params.degrees.min() <= least:
            raise InputError(f"start['degrees']: expected numbers above {least:g}, got {params.degrees.tolist()}")
        return params

    def named(self, params: VariationalParams) -> Mapping[str, Array]:
        """Return what stands in the posterior."""
        return named_values(params)

    def tempered(self, temperature: float) -> VariationalProblem:
        """Return the problem in which shares of rows are those at `temperature`: see `MixtureProblem.tempered`."""
        return replace(self, temperature=temperature)

    @property
    def n_units(self) -> int:
        """Number of rows."""
        return self.rows.n_rows

    def divided(self, n_parts: int, rng: np.random.Generator) -> tuple[_Part, ...]:
        """Return random parts of the rows; only all of them together know of the prior."""
        return tuple(_Part(self, part) for part in self.rows.divided(n_parts, rng))

    def part_of(self, values: Array) -> _Part:
        """Return a part for other rows (n, p), measured from the same centre in the same unit."""
        return _Part(self, self.rows.of(values))

    def pooled(self, parts: Sequence[tuple[float, Moments]]) -> Moments:
        """Return the moments of all parts together, each counted so many times."""
        return combined(parts)

    def beside_parts(self, params: VariationalParams) -> float:
        """Return minus the divergence of the posterior from the prior."""
        return -self.divergence(params)

    def probabilities(self, params: VariationalParams) -> tuple[Array, Array]:
        """Return q(z), shape (n, K), and what each row adds to the bound, shape (n,)."""
        scores = (log_densities(params, self.rows) + self.log_weights(params)).T
        check_possible(scores, np.arange(self.rows.n_rows))
        shares, heights = shares_of(scores, 1.0)
        return shares.T, heights

    def _at_labels(self, labels: Any) -> VariationalParams:
        counts, gaussians = gaussians_at_labels(self.rows, labels, self.step)
        # The largest first: sticks, unlike shares, expect them in that order.
        order = np.argsort(-counts, kind="stable")
        return self.m_step(self.prior, Moments(counts[order], gaussians.means[order], gaussians.covs[order]))

    def _expected(self, params: VariationalParams, moments: Moments) -> float:
        rows = expected_log_density(params, moments) + float(moments.counts @ self.log_weights(params))
        return rows - self.divergence(params)


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of the rows: its E-step leaves the divergence from the prior to the whole."""

    whole: VariationalProblem
    rows: PatternedRows

    def e_step(self, params: VariationalParams) -> tuple[Moments, float]:
        return self.whole.expected(params, self.rows)

    def m_step(self, params: VariationalParams, expectations: Moments) -> VariationalParams:
        return self.whole.m_step(params, expectations)
