"""The M-step of a Bayesian linear-Gaussian system: every factor in turn, and all of them with the basis of the states.

Coordinate ascent alone creeps, since states and coefficients that are each the best given the other may still be turned
and stretched together. So the basis A of the states, x* = A x, is moved too: q(x) follows it, and its sums with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.latent.variational_system_bound import evidence_bound
from kalman_em.latent.variational_system_params import SystemPrior, VariationalSystem
from kalman_em.latent.variational_system_rows import SystemSums
from kalman_em.linalg import symmetrised

# Quasi-Newton steps of the basis in one M-step: enough to follow it, while each costs about as much as a short series.
MOST_TURNS = 15
# ... as long as a step gains so much, or so much of what all have gained: in nats, whatever the units of the data.
LEAST_GAIN = 1e-8


def best_coefficients(params: VariationalSystem, sums: SystemSums, prior: SystemPrior) -> VariationalSystem:
    """Return `params` with the best q(F) and q(H, d, ρ) for the precisions of their columns."""
    d = params.state_dim
    cov: Array = np.asarray(np.linalg.inv(sums.before + np.diag(params.transition_relevances)), dtype=np.float64)
    inverses = np.linalg.inv(sums.regressors + np.diag(params.observation_relevances))
    covs = symmetrised(np.asarray(inverses, dtype=np.float64))
    M = np.einsum("pij,pj->pi", covs, sums.targets)
    left = np.maximum(sums.squares - np.einsum("pi,pi->p", M, sums.targets), 0.0)
    M[:, d] += prior.offset
    return replaced(
        params,
        transition_means=sums.cross @ cov,
        transition_cov=symmetrised(cov),
        observation_means=M,
        observation_covs=covs,
        noise_shapes=prior.noise_shape + 0.5 * sums.counts,
        noise_rates=prior.noise_rates + 0.5 * left,
    )


def best_precisions(params: VariationalSystem, sums: SystemSums, prior: SystemPrior) -> VariationalSystem:
    """Return `params` with the best q(α), q(γ) and q(λ) for the coefficients and first states."""
    d, p = params.state_dim, params.obs_dim
    (shape, rate), (initial_shape, initial_rate) = prior.relevance, prior.initial
    transition, observation = _column_squares(params, prior)
    return replaced(
        params,
        transition_relevance_shapes=np.full(d, shape + 0.5 * d),
        transition_relevance_rates=rate + 0.5 * transition,
        observation_relevance_shapes=np.full(d + 1, shape + 0.5 * p),
        observation_relevance_rates=rate + 0.5 * observation,
        initial_shape=np.asarray(initial_shape + 0.5 * d * sums.n_series),
        initial_rate=np.asarray(initial_rate + 0.5 * float(np.trace(sums.first))),
    )


def raised(params: VariationalSystem, sums: SystemSums, prior: SystemPrior) -> VariationalSystem:
    """Return the posterior after one round of its factors, and then over all of them and the basis of the states.

    The bound of the result, with q(x) in the basis `turned`, is never below that of `params`.
    """
    first = _round(params, sums, prior)
    search = _Search(first, sums, prior)
    found = scipy.optimize.minimize(
        search.cost, search.origin, jac=True, method="L-BFGS-B", options={"maxiter": MOST_TURNS, "ftol": LEAST_GAIN}
    )
    basis, params = search.placed(found.x)
    turned = _round(params, sums.turned(basis), prior)
    # False for NaN too.
    return turned.after(basis) if evidence_bound(turned, sums.turned(basis), prior) >= search.height else first


def _round(params: VariationalSystem, sums: SystemSums, prior: SystemPrior) -> VariationalSystem:
    return best_precisions(best_coefficients(params, sums, prior), sums, prior)


@dataclass(frozen=True, eq=False)
class _Search:
    """The bound as a function of the basis and of the rates of α, γ and λ, the coefficients at their best.

    The variables are A - I and the logarithms of the rates, from what they were, each in a unit in which the bound has
    a curvature of about 1 along it.
    """

    base: VariationalSystem
    sums: SystemSums
    prior: SystemPrior

    @property
    def origin(self) -> Array:
        d = self.base.state_dim
        return np.zeros(d * d + 2 * d + 2)

    @cached_property
    def height(self) -> float:
        return evidence_bound(self.base, self.sums, self.prior)

    @cached_property
    def units(self) -> Array:
        base, sums, d = self.base, self.sums, self.base.state_dim
        H, rho = base.observation_means[:, :d], base.noise_precisions
        # Precisions of a state given its neighbours and data, and sums of squares: E[i, j] adds x[j] to x[i].
        seen = rho @ H**2 + np.diagonal(base.observation_covs, axis1=1, axis2=2).sum(axis=0)[:d]
        moved = (base.transition_means**2).sum(axis=0) + d * np.diagonal(base.transition_cov)
        precisions, squares = 1.0 + moved + seen, np.diagonal(sums.after + sums.first)
        shapes = [base.transition_relevance_shapes, base.observation_relevance_shapes, [base.initial_shape]]
        return np.concatenate([np.outer(precisions, squares).ravel(), *shapes]) ** -0.5

    def placed(self, point: Array) -> tuple[Array, VariationalSystem]:
        """Return the basis and the posterior before its coefficients follow."""
        d, base = self.base.state_dim, self.base
        basis = np.eye(d) + (self.units * point)[: d * d].reshape(d, d)
        moved = np.exp(np.clip((self.units * point)[d * d :], -30.0, 30.0))
        return basis, replaced(
            base,
            transition_relevance_rates=base.transition_relevance_rates * moved[:d],
            observation_relevance_rates=base.observation_relevance_rates * moved[d:-1],
            initial_rate=base.initial_rate * moved[-1],
        )

    def cost(self, point: Array) -> tuple[float, Array]:
        """Return minus what the bound gains, and its slope, which is that with the coefficients held at their best."""
        basis, params = self.placed(point)
        with np.errstate(all="ignore"):
            sums = self.sums.turned(basis)
            if np.linalg.slogdet(basis)[0] <= 0.0 or not np.isfinite(sums.entropy):
                return np.inf, np.zeros(len(point))
            try:
                params = best_coefficients(params, sums, self.prior)
            except np.linalg.LinAlgError:
                return np.inf, np.zeros(len(point))
            height = evidence_bound(params, sums, self.prior)
            along = _slope_of_basis(params, sums, self.prior) @ np.linalg.inv(basis).T
            slope = self.units * np.concatenate([along.ravel(), self._slope_of_rates(params, sums)])
        height -= self.height
        return (-height, -slope) if np.isfinite(height) and np.isfinite(slope).all() else (np.inf, 0.0 * point)

    def _slope_of_rates(self, params: VariationalSystem, sums: SystemSums) -> Array:
        """Return the slope along log rates: (best rate / rate - 1) times the shape, for a gamma whose shape is best."""
        best = best_precisions(params, sums, self.prior)
        parts = []
        for kind in ("transition_relevance", "observation_relevance", "initial"):
            end = "" if kind == "initial" else "s"
            shape, rate = (getattr(params, f"{kind}_{part}{end}") for part in ("shape", "rate"))
            parts.append(np.atleast_1d(shape * (getattr(best, f"{kind}_rate{end}") / rate - 1.0)))
        return np.concatenate(parts)


def _slope_of_basis(params: VariationalSystem, sums: SystemSums, prior: SystemPrior) -> Array:
    """Return the slope of the bound along E in x* = (I + E) x at E = 0, shape (d, d), coefficients held."""
    d, F, rho = params.state_dim, params.transition_means, params.noise_precisions
    slope = sums.n_rows * np.eye(d) - params.initial_precision * sums.first - sums.after
    slope += F @ sums.cross.T + F.T @ sums.cross - (F.T @ F + d * params.transition_cov) @ sums.before
    M = params.observation_means.copy()
    M[:, d] -= prior.offset
    pulled = M.T @ (rho[:, None] * sums.targets)
    each = params.observation_covs + rho[:, None, None] * M[:, :, None] * M[:, None, :]
    pulled -= np.einsum("pij,pjk->ik", each, sums.regressors)
    result: Array = slope + pulled[:d, :d]
    return result


def _column_squares(params: VariationalSystem, prior: SystemPrior) -> tuple[Array, Array]:
    """Return Σ E[F²] by column, shape (d,), and Σ E[ρ [H d]²] by column, shape (d + 1,)."""
    d = params.state_dim
    transition = (params.transition_means**2).sum(axis=0) + d * np.diagonal(params.transition_cov)
    M = params.observation_means.copy()
    M[:, d] -= prior.offset
    spread = np.diagonal(params.observation_covs, axis1=1, axis2=2).sum(axis=0)
    return transition, params.noise_precisions @ M**2 + spread


def replaced(params: VariationalSystem, **values: Array) -> VariationalSystem:
    """Return `params` with other values, unchecked: what is worked out here is what it should be."""
    copy = object.__new__(VariationalSystem)
    copy.__dict__.update(params.__dict__ | {"turned": np.eye(params.state_dim)} | values)
    return copy
