"""The EM problem of factor analysis: missing entries are hidden, the factors are summed out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.stopping import StopReason
from kalman_em.errors import InputError
from kalman_em.latent.factor_params import FactorParams
from kalman_em.latent.factor_step import FactorStep
from kalman_em.latent.gaussians import largest_move
from kalman_em.latent.mixture_problem import posterior_moments
from kalman_em.latent.mixture_starts import standardised
from kalman_em.latent.moments import Moments, expected_log_density
from kalman_em.latent.named import named_values, taken_apart, with_values
from kalman_em.latent.rows import PatternedRows


@dataclass(frozen=True, eq=False)
class FactorProblem:
    """EM for factor analysis of rows any entries of which may be missing.

    Of complete rows the expectations are their mean and scatter, once and for all, and a step is one of conditional
    maximisation of the likelihood.
    """

    rows: PatternedRows
    step: FactorStep
    names: tuple[str, ...]

    @property
    def n_parameters(self) -> int:
        """Means, loadings up to a rotation, and noise variances."""
        return self.rows.dim + self.step.n_free

    def e_step(self, params: FactorParams) -> tuple[Moments, float]:
        """Return the expected mean and scatter of whole rows, and the log-likelihood."""
        if self._whole is not None:
            return self._whole, expected_log_density(params.gaussians, self._whole)
        return posterior_moments(params.gaussians, np.zeros(1), self.rows)

    def m_step(self, params: FactorParams, expectations: Moments) -> FactorParams:
        """Return the mean, and loadings and noise that raise the expected log-likelihood: see `FactorStep`."""
        scatter = expectations.scatters[0]
        return FactorParams(
            expectations.means[0], *self.step.most_likely(scatter, params.loadings, params.noise_variances)
        )

    def expected_gain(self, old: FactorParams, new: FactorParams, expectations: Moments) -> float:
        """Return Q(new, old) - Q(old, old)."""
        return expected_log_density(new.gaussians, expectations) - expected_log_density(old.gaussians, expectations)

    def parameter_change(self, old: FactorParams, new: FactorParams) -> float:
        """Return the largest change, of means in standard deviations, of covariances in variances."""
        return largest_move(old.gaussians, new.gaussians)

    def examine(self, params: FactorParams) -> StopReason | None:
        """Return `degenerate_covariance` where more columns than factors have no noise: the likelihood has no end."""
        n_at_edge = int(np.count_nonzero(self.step.at_edge(params.cov, params.noise_variances)))
        return StopReason.degenerate_covariance if n_at_edge > self.step.n_factors else None

    def examine_end(self, params: FactorParams) -> tuple[StopReason, str] | None:
        """Return `heywood_case` where columns have no noise left at the top of the likelihood, naming them."""
        at_edge = np.flatnonzero(self.step.at_edge(params.cov, params.noise_variances))
        if len(at_edge) == 0:
            return None
        named = ", ".join(repr(self.names[j]) for j in at_edge)
        return StopReason.heywood_case, f"no noise is left in {named}; all else has converged"

    def start(self) -> FactorParams:
        """Return the most likely loadings where noise is half of each column's variance."""
        return self._placed(0.5)

    def random_start(self, rng: np.random.Generator) -> FactorParams:
        """Return them where noise is a share of each column's variance drawn at random."""
        return self._placed(rng.uniform(0.05, 0.95, self.rows.dim))

    def started(self, base: FactorParams, given: Mapping[str, Any]) -> FactorParams:
        """Return `base` with the values in `given`; `InputError` for one that does not fit the model."""
        params = with_values(base, given)
        noise = params.noise_variances
        if noise.min() <= 0.0:
            raise InputError(f"start['noise_variances']: expected all above 0, got {noise.tolist()}")
        if self.step.is_isotropic and not np.allclose(noise, noise[0], rtol=1e-9, atol=0.0):
            raise InputError(f"start['noise_variances']: expected equal ones under Isotropic(), got {noise.tolist()}")
        return params

    def named(self, params: FactorParams) -> Mapping[str, Array]:
        """Return mean, loadings and noise variances."""
        return named_values(params)

    def free_numbers(self, params: FactorParams) -> Array:
        """Return the free numbers: the mean, and those of loadings and noise."""
        return np.concatenate(self._numbers(params))

    def with_numbers(self, params: FactorParams, numbers: Array) -> FactorParams:
        """Return parameters like `params` with these free numbers; `InputError` where there are none."""
        mean, own = taken_apart(numbers, self._numbers(params))
        return FactorParams(mean, *self.step.with_numbers(params.loadings, params.noise_variances, own))

    def _numbers(self, params: FactorParams) -> list[Array]:
        return [params.mean, self.step.free_numbers(params.loadings, params.noise_variances)]

    def _placed(self, shares: Any) -> FactorParams:
        # What is missing counts as the mean here, and in a start alone.
        points = standardised(self.rows)
        n_seen = np.maximum((points**2).sum(axis=0), np.finfo(float).tiny)
        correlations = points.T @ points / np.sqrt(n_seen[:, None] * n_seen)
        scatter = correlations * (self.rows.scale[:, None] * self.rows.scale)
        return FactorParams(self.rows.centre, *self.step.first(scatter, shares))

    @cached_property
    def _whole(self) -> Moments | None:
        """The moments of complete rows, the same at all parameters."""
        if not self.rows.is_complete:
            return None
        values = self.rows.patterns[0].columns.T
        n, shift = len(values), values.mean(axis=0)
        off = values - shift
        return Moments(np.array([float(n)]), (self.rows.centre + shift)[None], (off.T @ off / n)[None])
