"""The EM problem of a Bayesian linear-Gaussian system: coordinate ascent on the evidence lower bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.loop import run_em
from kalman_em.em.stopping import Stopping
from kalman_em.latent.named import named_values, with_values
from kalman_em.latent.variational_system_bound import evidence_bound
from kalman_em.latent.variational_system_climb import climbed
from kalman_em.latent.variational_system_m_step import best_precisions, raised
from kalman_em.latent.variational_system_params import SystemPrior, VariationalSystem
from kalman_em.latent.variational_system_rows import Chain, SeriesRows, SystemSums, best_chain, series_rows, sums_of
from kalman_em.models.subspace import correlations, subspace_values
from kalman_em.observations import Panel

# No column is thought to be without noise at the start, nor all noise.
LEAST_NOISE = 1e-2
# Each candidate for a start is given so many steps to show where it leads: by then most idle states are off.
TRIAL_STEPS = 10


@dataclass(frozen=True, eq=False)
class VariationalSystemProblem:
    """Mean-field steps for q(x) q(F) q(H, d, ρ) q(α) q(γ) q(λ): see `VariationalLinearGaussian`.

    The objective is the evidence lower bound with the best q(x) for the parameters.
    """

    panel: Panel
    prior: SystemPrior
    state_dim: int
    scale: Array
    # Steps of EM find what matters in some 20; what is left to them after so many takes hundreds.
    climb_after: int = 30

    @cached_property
    def rows(self) -> SeriesRows:
        """The rows of all series, measured from the prior means of the offsets."""
        return series_rows(self.panel, self.prior.offset)

    @property
    def why_no_errors(self) -> str:
        """Why there are no standard errors."""
        return "the posterior says itself how sure it is of every parameter: see transition_matrix_sds and the like"

    @property
    def n_parameters(self) -> int:
        """Entries of F, H, the offset and the noise variances."""
        d, p = self.state_dim, self.panel.obs_dim
        return d * d + p * d + 2 * p

    def e_step(self, params: VariationalSystem) -> tuple[SystemSums, float]:
        """Return the expected sums under the best q(x), and the bound."""
        sums = sums_of(self.chain(params), self.rows)
        return sums, evidence_bound(params, sums, self.prior)

    def m_step(self, params: VariationalSystem, expectations: SystemSums) -> VariationalSystem:
        """Return a posterior that raises the bound, with q(x) in the basis that it was `turned` to."""
        return raised(params, expectations, self.prior)

    def climb(self, params: VariationalSystem) -> VariationalSystem:
        """Return where steps along the slope of the bound lead, with q(x) at its best all the way."""
        return climbed(params, self.rows, self.prior)

    def chain(self, params: VariationalSystem) -> Chain:
        """Return q(x)."""
        return best_chain(params, self.rows, self.prior.offset)

    def expected_gain(self, old: VariationalSystem, new: VariationalSystem, expectations: SystemSums) -> float:
        """Return by how much the bound rises from `old` to `new`, with q(x) as it is but for the basis."""
        after = expectations.turned(new.turned)
        return evidence_bound(new, after, self.prior) - evidence_bound(old, expectations, self.prior)

    def parameter_change(self, old: VariationalSystem, new: VariationalSystem) -> float:
        """Return the largest change: of F, of H and d in standard deviations of a column, of log noise variances."""
        return max(
            float(np.abs(new.transition_means - old.transition_means).max()),
            float((np.abs(new.observation_means - old.observation_means) / self.scale[:, None]).max()),
            float(np.abs(np.log(new.noise_precisions / old.noise_precisions)).max()),
        )

    def start(self) -> VariationalSystem:
        """Return what is higher after a few steps: from a system found by subspace identification, or from states of
        different memory, each a principal component."""
        few = Stopping(max_iterations=TRIAL_STEPS)
        runs = [run_em(self, first, stopping=few) for first in (self._found(), self._apart())]
        return max(runs, key=lambda run: run.log_likelihood).params

    def _found(self) -> VariationalSystem:
        """Return the posterior about a system found by subspace identification, in the basis where Q = I."""
        d = self.state_dim
        found = subspace_values(self.panel, d, has_offset=True, has_drift=False, scale=self.scale)
        root = np.linalg.cholesky(found["transition_cov"])
        F = np.linalg.solve(root, found["transition_matrix"] @ root)
        H = found["observation_matrix"] @ root
        noise = np.maximum(np.diagonal(found["observation_cov"]), LEAST_NOISE * self.scale**2)
        return self._about(F, H, found["observation_offset"], noise)

    def _apart(self) -> VariationalSystem:
        """Return the posterior about independent states, each seen through a principal component."""
        d, p = self.state_dim, self.panel.obs_dim
        values, vectors = np.linalg.eigh(correlations(self.panel, self.scale))
        leading = np.arange(p)[::-1][np.arange(d) % p]
        memory = np.linspace(0.9, 0.3, d)
        sizes = np.sqrt(0.5 * np.maximum(values[leading], 0.0) * (1.0 - memory**2))
        H = self.scale[:, None] * vectors[:, leading] * sizes
        return self._about(np.diag(memory), H, self.prior.offset, 0.5 * self.scale**2)

    def random_start(self, rng: np.random.Generator) -> VariationalSystem:
        """Return the posterior about independent states of random memory, seen through random loadings."""
        d, p = self.state_dim, self.panel.obs_dim
        memory = rng.uniform(0.0, 0.98, d)
        H = self.scale[:, None] * rng.standard_normal((p, d)) * np.sqrt((1.0 - memory**2) / d)
        return self._about(np.diag(memory), H, self.prior.offset, 0.5 * self.scale**2)

    def started(self, base: VariationalSystem, given: Mapping[str, Any]) -> VariationalSystem:
        """Return `base` with the values in `given`."""
        return with_values(base, given)

    def named(self, params: VariationalSystem) -> Mapping[str, Array]:
        """Return what stands in the posterior."""
        return named_values(params)

    def _about(self, F: Array, H: Array, offset: Array, noise: Array) -> VariationalSystem:
        """Return a posterior that holds these values as well as the rows could tell them."""
        d, p, n = self.state_dim, self.panel.obs_dim, self.rows.n_rows
        counts = self.rows.seen.sum(axis=0)
        shapes = self.prior.noise_shape + 0.5 * counts
        ones = np.ones
        first = VariationalSystem(
            transition_means=F,
            transition_cov=np.eye(d) / n,
            observation_means=np.column_stack([H, offset]),
            observation_covs=np.broadcast_to(np.eye(d + 1) / n, (p, d + 1, d + 1)),
            noise_shapes=shapes,
            noise_rates=shapes * noise,
            transition_relevance_shapes=ones(d),
            transition_relevance_rates=ones(d),
            observation_relevance_shapes=ones(d + 1),
            observation_relevance_rates=ones(d + 1),
            initial_shape=np.asarray(1.0),
            initial_rate=np.asarray(1.0),
        )
        return best_precisions(first, sums_of(self.chain(first), self.rows), self.prior)
