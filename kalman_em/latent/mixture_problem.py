"""The EM problem of a Gaussian mixture: which component each row comes from is hidden, and so is what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.em.forms import Fixed, Full
from kalman_em.errors import InputError, NumericalError
from kalman_em.latent.covariances import ComponentStep
from kalman_em.latent.emissions import log_densities, moments_of, views
from kalman_em.latent.gaussians import Gaussians, largest_move
from kalman_em.latent.mixture_params import MixtureParams
from kalman_em.latent.mixture_prior import LaidPrior
from kalman_em.latent.mixture_starts import drawn_labels, first_labels, gaussians_at_labels, gaussians_at_rows
from kalman_em.latent.moments import Moments, combined, expected_log_density
from kalman_em.latent.named import taken_apart, with_values
from kalman_em.latent.rows import PatternedRows
from kalman_em.latent.shares import Shares
from kalman_em.latent.shares import shares_of as laid_shares


@dataclass(frozen=True, eq=False)
class MixtureProblem:
    """EM for a mixture of Gaussians (Dempster, Laird & Rubin 1977, section 4.3).

    `temperature` divides the log of what each component says of a row before it becomes a share: 1 is EM. See
    `tempered`.
    """

    rows: PatternedRows
    step: ComponentStep
    weights: Array | None
    starts: str
    prior: LaidPrior | None = None
    temperature: float = 1.0

    @property
    def n_parameters(self) -> int:
        """Means, covariances, and the weights if they are learnt, one less as their sum is 1."""
        K = self.step.n_components
        return K * self.rows.dim + self.step.n_free + (K - 1 if self.weights is None else 0)

    def e_step(self, params: MixtureParams) -> tuple[Moments, float]:
        """Return the expected moments of the rows of each component, and the log-likelihood (and log prior).

        The share of component k in a row is w_k N(x_o; μ_k, Σ_k) over the sum of that over all components.
        """
        moments, height = posterior_moments(
            params,
            params.log_weights,
            self.rows,
            temperature=self.temperature,
            diagonal_is_enough=self.step.needs_diagonal_alone,
        )
        return moments, height + self.log_prior(params)

    def m_step(self, params: MixtureParams, expectations: Moments) -> MixtureParams:
        """Return weights, means and covariances that maximise the expected complete log-likelihood (and log prior)."""
        if self.prior is not None:
            means, moments = self.prior.with_prior(expectations, self.step)
            covs = self.step.most_likely(moments.counts, moments.scatters, params.covs)
            return MixtureParams(means, covs, self._weights(expectations.counts))
        gaussians = self.step.step(params, expectations, self.rows)
        return MixtureParams(gaussians.means, gaussians.covs, self._weights(expectations.counts))

    def expected_gain(self, old: MixtureParams, new: MixtureParams, expectations: Moments) -> float:
        """Return Q(new, old) - Q(old, old)."""
        return self._expected(new, expectations) - self._expected(old, expectations)

    def parameter_change(self, old: MixtureParams, new: MixtureParams) -> float:
        """Return the largest change: of weights, of means in standard deviations, of covariances in variances."""
        return max(largest_move(old, new), float(np.abs(new.weights - old.weights).max()))

    def start(self) -> MixtureParams:
        """Return the mixture of clusters that the axes of largest spread cut, after a few steps of k-means."""
        return self.at_labels(first_labels(self.rows, self.step.n_components))

    def random_start(self, rng: np.random.Generator) -> MixtureParams:
        """Return a mixture at clusters by k-means++, or at rows drawn at random.

        At rows also where a cluster is too small to have a covariance: a component there would only collapse.
        """
        K = self.step.n_components
        if self.starts != "random":
            labels = drawn_labels(self.rows, K, rng)
            if np.bincount(labels, minlength=K).min() > self.rows.dim:
                return self.at_labels(labels)
        gaussians = gaussians_at_rows(self.rows, K, self.step, rng)
        return MixtureParams(gaussians.means, gaussians.covs, self._weights(np.ones(K)))

    def at_labels(self, labels: Any) -> MixtureParams:
        """Return the mixture of the clusters with these labels."""
        counts, gaussians = gaussians_at_labels(self.rows, labels, self.step)
        return MixtureParams(gaussians.means, gaussians.covs, self._weights(counts + 1.0))

    def started(self, base: MixtureParams, given: Mapping[str, Any]) -> MixtureParams:
        """Return `base` with the values in `given`; `InputError` if one breaks its form."""
        params = with_values(base, given)
        if self.weights is not None and not np.allclose(params.weights, self.weights, rtol=1e-9, atol=0.0):
            raise InputError(f"start['weights']: expected the fixed {self.weights}, got {params.weights}")
        self.step.check_of_form(params.covs, "start['covs']")
        return params

    def named(self, params: MixtureParams) -> Mapping[str, Array]:
        """Return means, covariances and weights."""
        return {"weights": params.weights, "means": params.means, "covs": params.covs}

    def free_numbers(self, params: MixtureParams) -> Array:
        """Return the free numbers: means, those of the covariances, and logarithms of ratios of weights."""
        return np.concatenate(self._numbers(params))

    def with_numbers(self, params: MixtureParams, numbers: Array) -> MixtureParams:
        """Return parameters like `params` with these free numbers; `InputError` where there are none."""
        means, covs, weights = taken_apart(numbers, self._numbers(params))
        return MixtureParams(
            means.reshape(params.means.shape),
            self.step.with_numbers(params.covs, covs),
            self._shares.with_numbers(params.weights[None], weights)[0],
        )

    @property
    def shares(self) -> Mapping[str, Shares]:
        """The parameters that are shares with sum 1."""
        return {"weights": self._shares}

    def tempered(self, temperature: float) -> MixtureProblem:
        """Return the problem in which shares are those at `temperature`.

        Shares maximise Σ r log(w N) + T H(r), H their entropy; the objective is that maximum, T Σ log Σ (w N)^(1/T).
        Above 1 it is smoother than the log-likelihood (Ueda & Nakano, Deterministic annealing EM algorithm, Neural
        Networks 11 (1998)); at 0 every row belongs to its most probable component, and the objective is the
        classification log-likelihood (Celeux & Govaert, A classification EM algorithm, CSDA 14 (1992)).
        """
        return replace(self, temperature=temperature)

    def log_prior(self, params: MixtureParams) -> float:
        """Return the log prior density, up to what no parameter moves; 0 without a prior."""
        return 0.0 if self.prior is None else self.prior.log_density(params, self.step, self.weights is None)

    @property
    def n_units(self) -> int:
        """Number of rows."""
        return self.rows.n_rows

    def divided(self, n_parts: int, rng: np.random.Generator) -> tuple[MixtureProblem, ...]:
        """Return the problems of random parts of the rows."""
        return tuple(replace(self, rows=part, prior=None) for part in self.rows.divided(n_parts, rng))

    def part_of(self, values: Array) -> MixtureProblem:
        """Return a part for other rows (n, p), measured from the same centre in the same unit."""
        return replace(self, rows=self.rows.of(values), prior=None)

    def pooled(self, parts: Sequence[tuple[float, Moments]]) -> Moments:
        """Return the moments of all parts together, each counted so many times."""
        return combined(parts)

    def beside_parts(self, params: MixtureParams) -> float:
        """Return the log prior: the log-likelihood is the sum of those of the parts."""
        return self.log_prior(params)

    def probabilities(self, params: MixtureParams) -> tuple[Array, Array]:
        """Return the share of each component in each row (n, K), and the log density of each row (n,)."""
        scores = (log_densities(params, self.rows) + params.log_weights).T
        check_possible(scores, np.arange(self.rows.n_rows))
        shares, heights = shares_of(scores, 1.0)
        return shares.T, heights

    @property
    def _shares(self) -> Shares:
        form = Full() if self.weights is None else Fixed(self.weights)
        return laid_shares(form, (self.step.n_components,), "weights")

    def _numbers(self, params: MixtureParams) -> list[Array]:
        weights = self._shares.free_numbers(params.weights[None])
        return [params.means.ravel(), self.step.free_numbers(params.covs), weights]

    def _weights(self, counts: Array) -> Array:
        if self.weights is not None:
            return self.weights
        return counts / counts.sum() if self.prior is None else self.prior.weights(counts)

    def _expected(self, params: MixtureParams, moments: Moments) -> float:
        lost = moments.counts * np.where(moments.counts > 0.0, params.log_weights, 0.0)
        return expected_log_density(params, moments) + float(lost.sum()) + self.log_prior(params)


def posterior_moments(
    gaussians: Gaussians,
    log_weights: Array,
    rows: PatternedRows,
    *,
    temperature: float = 1.0,
    diagonal_is_enough: bool = False,
) -> tuple[Moments, float]:
    """Return the expected moments of rows by component, shared out by weight and density, and the objective.

    The shares of a block of rows are added up while it is in the cache; those of all rows are never laid out.
    """
    seen, parts = [], []
    for view in views(gaussians, rows, diagonal_is_enough):
        for block in view.blocks():
            scores = block.log_densities + log_weights[:, None]
            check_possible(scores, block.at)
            shares, heights = shares_of(scores, temperature)
            view.add(block, shares)
            parts.append(float(heights.sum()))
        seen.append(view)
    return moments_of(gaussians, seen), float(np.sum(parts))


def shares_of(scores: Array, temperature: float) -> tuple[Array, Array]:
    """Return shares (K, b) from log joint densities (K, b), and what each row adds to the objective (b,).

    Examples
    --------
    >>> scores = np.log([[0.3], [0.1]])
    >>> shares_of(scores, 1.0)[0].round(6).ravel().tolist(), shares_of(scores, 0.0)[0].ravel().tolist()
    ([0.75, 0.25], [1.0, 0.0])
    """
    highest = scores.max(axis=0)
    if temperature == 0.0:
        shares = np.zeros_like(scores)
        shares[scores.argmax(axis=0), np.arange(scores.shape[1])] = 1.0
        return shares, highest
    shares = np.exp((scores - highest) / temperature)
    total = shares.sum(axis=0)
    shares /= total
    return shares, highest + temperature * np.log(total)


def check_possible(scores: Array, at: IntArray) -> None:
    """Raise `NumericalError` naming the first row whose density is 0 for every component."""
    highest = scores.max(axis=0)
    if highest.min() == -np.inf:
        raise NumericalError(f"row {int(at[highest.argmin()])} is too far from every component to have a density")


def fixed_weights(form: Any, n_components: int) -> Array | None:
    """Return the weights that a form holds, None if they are learnt; `InputError` if they are no weights."""
    if not isinstance(form, Fixed):
        return None
    value = form.fitted_to((n_components,), "weights")
    if value.shape != (n_components,) or value.min() <= 0.0 or abs(value.sum() - 1.0) > 1e-9:
        raise InputError(f"weights: expected {n_components} shares above 0 with sum 1, got {form!r}")
    return value
