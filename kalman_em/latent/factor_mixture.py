"""Mixture of factor analysers: each row comes from one of K Gaussians, whose covariances few factors explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np

from kalman_em.arrays import Array, as_count
from kalman_em.em.forms import Diagonal, Full
from kalman_em.em.stopping import EMStop, StopReason
from kalman_em.errors import InputError, unknown_name
from kalman_em.latent.checks import check_rows
from kalman_em.latent.covariances import ComponentStep
from kalman_em.latent.factor_mixture_params import FactorMixtureParams
from kalman_em.latent.factor_step import FactorStep, check_noise
from kalman_em.latent.mixture import STARTS
from kalman_em.latent.mixture_params import MixtureParams
from kalman_em.latent.mixture_problem import MixtureProblem
from kalman_em.latent.moments import Moments
from kalman_em.latent.named import taken_apart, with_values
from kalman_em.latent.rows import patterned
from kalman_em.observations import Panel

DIAGONAL = Diagonal()


@dataclass(frozen=True, eq=False)
class FactorMixtureProblem(MixtureProblem):
    """EM for a mixture of factor analysers: the mixture's own E-step, and the M-step of `factors` in each component."""

    factors: FactorStep = field(kw_only=True)

    @property
    def n_parameters(self) -> int:
        """Weights, means, and loadings and noise of each component."""
        K = self.step.n_components
        return K - 1 + K * (self.rows.dim + self.factors.n_free)

    def m_step(self, params: MixtureParams, expectations: Moments) -> FactorMixtureParams:
        """Return weights and means that maximise, loadings and noise that raise, the expected log-likelihood.

        Raises
        ------
        EMStop
            If a component has died, or more of its columns than factors have no noise left: it has collapsed.
        """
        old = cast(FactorMixtureParams, params)
        self.step.check_alive(expectations.counts)
        self.step.check_covs(expectations.scatters * np.eye(self.rows.dim), expectations.counts, self.rows)
        found = [
            self.factors.most_likely(scatter, loadings, noise)
            for scatter, loadings, noise in zip(expectations.scatters, old.loadings, old.noise_variances, strict=True)
        ]
        new = self._made(self._weights(expectations.counts), expectations.means, found)
        for k, (cov, noise) in enumerate(zip(new.covs, new.noise_variances, strict=True)):
            if np.count_nonzero(self.factors.at_edge(cov, noise)) > self.factors.n_factors:
                n = expectations.counts[k]
                raise EMStop(StopReason.degenerate_covariance, f"component {k} has collapsed, with {n:.3g} rows")
        return new

    def examine_end(self, params: FactorMixtureParams) -> tuple[StopReason, str] | None:
        """Return `heywood_case` where a component has a column without noise, naming the first."""
        for k, (cov, noise) in enumerate(zip(params.covs, params.noise_variances, strict=True)):
            if self.factors.at_edge(cov, noise).any():
                return StopReason.heywood_case, f"no noise is left in a column of component {k}; all else has converged"
        return None

    def at_labels(self, labels: Any) -> FactorMixtureParams:
        """Return the mixture of the clusters with these labels."""
        return self._factored(super().at_labels(labels))

    def random_start(self, rng: np.random.Generator) -> FactorMixtureParams:
        """Return a mixture at clusters by k-means++, or at rows drawn at random."""
        return self._factored(super().random_start(rng))

    def started(self, base: MixtureParams, given: Mapping[str, Any]) -> FactorMixtureParams:
        """Return `base` with the values in `given`; `InputError` for one that does not fit the model."""
        params = with_values(cast(FactorMixtureParams, base), given)
        if params.noise_variances.min() <= 0.0:
            raise InputError("start['noise_variances']: expected all above 0")
        return params

    def named(self, params: MixtureParams) -> Mapping[str, Array]:
        """Return weights, means, loadings and noise variances."""
        names = ("weights", "means", "loadings", "noise_variances")
        return {name: getattr(params, name) for name in names}

    def with_numbers(self, params: MixtureParams, numbers: Array) -> FactorMixtureParams:
        """Return parameters like `params` with these free numbers; `InputError` where there are none."""
        old = cast(FactorMixtureParams, params)
        means, weights, *own = taken_apart(numbers, self._numbers(old))
        found = [
            self.factors.with_numbers(loadings, noise, part)
            for loadings, noise, part in zip(old.loadings, old.noise_variances, own, strict=True)
        ]
        shares = self._shares.with_numbers(old.weights[None], weights)[0]
        return self._made(shares, means.reshape(old.means.shape), found)

    def _numbers(self, params: MixtureParams) -> list[Array]:
        old = cast(FactorMixtureParams, params)
        pairs = zip(old.loadings, old.noise_variances, strict=True)
        weights = self._shares.free_numbers(old.weights[None])
        return [old.means.ravel(), weights, *(self.factors.free_numbers(*pair) for pair in pairs)]

    def _factored(self, params: MixtureParams) -> FactorMixtureParams:
        if isinstance(params, FactorMixtureParams):
            return params
        return self._made(params.weights, params.means, [self.factors.first(cov) for cov in params.covs])

    def _made(self, weights: Array, means: Array, found: list[tuple[Array, Array]]) -> FactorMixtureParams:
        loadings, noise = (np.array(part) for part in zip(*found, strict=True))
        return FactorMixtureParams(means=means, weights=weights, loadings=loadings, noise_variances=noise)


@dataclass(frozen=True, kw_only=True)
class MixtureOfFactorAnalysers:
    """A mixture of Gaussians whose covariances are W_k W_k' + Ψ_k: clusters in many columns, each with few factors.

    Parameters
    ----------
    n_components, n_factors : int
        Numbers of Gaussians, K, and of factors in each, q.
    noise : Diagonal() or Isotropic()
        The form of Ψ_k.
    starts : {"k-means++", "random"}
        Where starts after the first begin, as for `GaussianMixture`.

    Raises
    ------
    InputError
        If an argument is of the wrong kind; in a fit, if there are too many factors for the columns, a column does not
        vary, or there are fewer distinct rows than components.

    Notes
    -----
    Missing entries are exact, and a component that collapses is named and begun anew, as for `GaussianMixture`;
    loadings and noise are those of `FactorAnalysis` in each component.

    References
    ----------
    Ghahramani and Hinton, The EM algorithm for mixtures of factor analyzers, CRG-TR-96-1, University of Toronto 1996.
    McLachlan and Peel, Finite Mixture Models, 2000, chapter 8.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> along = rng.normal(size=(150, 1)) * np.where(np.arange(150) < 90, 1.0, -1.0)[:, None] ** np.arange(4)
    >>> rows = along + 0.3 * rng.normal(size=(150, 4)) + 4.0 * (np.arange(150) < 90)[:, None]
    >>> fitted = kem.fit(kem.MixtureOfFactorAnalysers(2, 1), rows)
    >>> sorted(fitted.params.weights.round(1).tolist()), fitted.n_parameters
    ([0.4, 0.6], 25)
    """

    n_components: int = field(kw_only=False)
    n_factors: int = field(kw_only=False)
    noise: Any = DIAGONAL
    starts: str = STARTS[0]

    is_ordered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("n_components", "n_factors"):
            object.__setattr__(self, name, as_count(getattr(self, name), name))
        check_noise(self.noise)
        if self.starts not in STARTS:
            raise InputError(unknown_name("starts", self.starts, STARTS))

    def problem(self, panel: Panel) -> FactorMixtureProblem:
        """Return the EM problem for the rows of `panel`, whose order does not matter."""
        rows = patterned(panel)
        factors = FactorStep(self.n_factors, self.noise, rows.dim)
        # Whole covariances are for the start alone; factors need no more rows than variances do.
        check_rows(panel, rows, ComponentStep(Diagonal(), self.n_components, rows.dim, "noise"))
        step = ComponentStep(Full(), self.n_components, rows.dim, "covariance")
        return FactorMixtureProblem(rows, step, None, self.starts, factors=factors)
