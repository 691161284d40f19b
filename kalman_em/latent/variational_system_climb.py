"""A second way up the bound of a Bayesian linear-Gaussian system: along its gradient, the states always at their best.

Where the states say what the coefficients are and the coefficients what the states are, each holds the other: the row
of F of a state that is switched off, say, fades by one part in a hundred a step, and the longer the series the slower.
With q(x) at its best for every value the bound is a smooth function of the rest of the posterior, whose slope is that
with q(x) held (the envelope theorem): one E-step gives both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.errors import NumericalError
from kalman_em.latent.variational_system_bound import evidence_bound
from kalman_em.latent.variational_system_m_step import best_precisions, replaced
from kalman_em.latent.variational_system_params import SystemPrior, VariationalSystem
from kalman_em.latent.variational_system_rows import SeriesRows, SystemSums, best_chain, sums_of

MOST_STEPS = 400
# So many of the latest steps tell the curvature: directions are many, and those that matter few.
MEMORY = 30
# The climb is over when no slope, for a move of about a posterior standard deviation, is above this.
FLAT = 1e-6
RATES = ("noise_rates", "transition_relevance_rates", "observation_relevance_rates", "initial_rate")


def climbed(params: VariationalSystem, rows: SeriesRows, prior: SystemPrior) -> VariationalSystem:
    """Return where quasi-Newton steps in all that the posterior has, but its shapes, lead from `params`."""
    search = _Search(params, rows, prior)
    found = scipy.optimize.minimize(
        search.cost,
        np.zeros(len(search.units)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS, "ftol": 0.0, "gtol": FLAT, "maxcor": MEMORY},
    )
    return search.placed(found.x)


@dataclass(frozen=True, eq=False)
class _Search:
    """The bound as a function of F, [H d], the logarithms of the rates and the covariances, each from what it was.

    A covariance U U' moves to U L L' U', the diagonal of the triangle L in logarithms, and all else in units of its
    standard deviation, so that every point is a posterior.
    """

    base: VariationalSystem
    rows: SeriesRows
    prior: SystemPrior

    @cached_property
    def height(self) -> float:
        return evidence_bound(self.base, _sums(self.base, self.rows, self.prior), self.prior)

    @cached_property
    def roots(self) -> tuple[Array, Array]:
        """The lower Cholesky factors of the covariance of a row of F and of those of the rows of [H d]."""
        covs = self.base.transition_cov, self.base.observation_covs
        own, each = (np.asarray(np.linalg.cholesky(cov), dtype=np.float64) for cov in covs)
        return own, each

    @cached_property
    def sizes(self) -> list[int]:
        """How many numbers there are of F, [H d], each kind of rate, Cov f, and the covariances of [H d]."""
        d, p = self.base.state_dim, self.base.obs_dim
        return [d * d, p * (d + 1), p, d, d + 1, 1, d * (d + 1) // 2, p * (d + 1) * (d + 2) // 2]

    @cached_property
    def units(self) -> Array:
        """Standard deviations of coefficients and of logarithms of rates; 1 for what moves a covariance."""
        base, d = self.base, self.base.state_dim
        moves = np.tile(np.sqrt(np.diagonal(base.transition_cov)), d)
        spread = np.diagonal(base.observation_covs, axis1=1, axis2=2) / base.noise_precisions[:, None]
        shapes = [np.atleast_1d(getattr(base, name.replace("rate", "shape"))) for name in RATES]
        parts = [moves, np.sqrt(spread).ravel(), np.concatenate(shapes) ** -0.5, np.ones(sum(self.sizes[-2:]))]
        return np.concatenate(parts)

    def placed(self, point: Array) -> VariationalSystem:
        """Return the posterior at `point`."""
        base, d, p = self.base, self.base.state_dim, self.base.obs_dim
        F, M, *logs, own, each = np.split(self.units * point, np.cumsum(self.sizes)[:-1])
        rates = {
            name: getattr(base, name) * np.exp(np.clip(part, -30.0, 30.0)).reshape(np.shape(getattr(base, name)))
            for name, part in zip(RATES, logs, strict=True)
        }
        return replaced(
            base,
            transition_means=base.transition_means + F.reshape(d, d),
            observation_means=base.observation_means + M.reshape(p, d + 1),
            transition_cov=_squared(self.roots[0] @ _triangle(own, d)),
            observation_covs=_squared(self.roots[1] @ _triangle(each.reshape(p, -1), d + 1)),
            **rates,
        )

    def cost(self, point: Array) -> tuple[float, Array]:
        """Return minus what the bound gains, and its slope."""
        with np.errstate(all="ignore"):
            params = self.placed(point)
            try:
                sums = _sums(params, self.rows, self.prior)
            except NumericalError:
                return np.inf, np.zeros(len(point))
            gain = evidence_bound(params, sums, self.prior) - self.height
            slopes = slope_of(params, sums, self.prior)
            *_, own, each = np.split(point, np.cumsum(self.sizes)[:-1])
            own_slope, each_slopes = covariance_slopes(params, sums)
            own = _slope_of_triangle(self.roots[0], own, own_slope)
            each = _slope_of_triangle(self.roots[1], each.reshape(params.obs_dim, -1), each_slopes).ravel()
            slope = self.units * np.concatenate([slopes, own, each])
        return (-gain, -slope) if np.isfinite(gain) and np.isfinite(slope).all() else (np.inf, 0.0 * point)


def _sums(params: VariationalSystem, rows: SeriesRows, prior: SystemPrior) -> SystemSums:
    return sums_of(best_chain(params, rows, prior.offset), rows)


def _triangle(packed: Array, n: int) -> Array:
    """Return the lower triangle with these numbers, those of the diagonal its logarithms."""
    rows, columns = np.tril_indices(n)
    result = np.zeros((*packed.shape[:-1], n, n))
    on = rows == columns
    result[..., rows[~on], columns[~on]] = packed[..., ~on]
    result[..., rows[on], columns[on]] = np.exp(np.clip(packed[..., on], -15.0, 15.0))
    return result


def _squared(root: Array) -> Array:
    result: Array = root @ np.swapaxes(root, -1, -2)
    return result


def _slope_of_triangle(root: Array, packed: Array, slope: Array) -> Array:
    """Return the slope along the numbers of L where that in U L L' U' is `slope`: 2 U' slope U L."""
    n = root.shape[-1]
    rows, columns = np.tril_indices(n)
    lower = _triangle(packed, n)
    found = 2.0 * (np.swapaxes(root, -1, -2) @ slope @ root @ lower)
    # Along a logarithm of the diagonal, times what it is.
    result: Array = (found * np.where(np.eye(n) > 0.0, lower, 1.0))[..., rows, columns]
    return result


def covariance_slopes(params: VariationalSystem, sums: SystemSums) -> tuple[Array, Array]:
    """Return the slopes of the bound in Cov f (d, d) and in the covariances of [H d] over 1 / ρ (p, d + 1, d + 1)."""
    own = np.linalg.inv(params.transition_cov) - sums.before - np.diag(params.transition_relevances)
    each = np.linalg.inv(params.observation_covs) - sums.regressors - np.diag(params.observation_relevances)
    return 0.5 * params.state_dim * own, 0.5 * each


def slope_of(params: VariationalSystem, sums: SystemSums, prior: SystemPrior) -> Array:
    """Return the slope of the bound in F, [H d] and the logarithms of the rates, q(x) at its best or held."""
    d, F, rho = params.state_dim, params.transition_means, params.noise_precisions
    M = params.observation_means.copy()
    M[:, d] -= prior.offset
    moves = sums.cross - F @ sums.before - F * params.transition_relevances
    fitted = np.einsum("pij,pj->pi", sums.regressors, M)
    held = M * params.observation_relevances
    seen = rho[:, None] * (sums.targets - fitted - held)
    squares = sums.squares + np.einsum("pi,pi->p", M, fitted + held - 2.0 * sums.targets)
    # Along the logarithm of a rate, for a gamma whose shape is its best: shape times (best rate / rate - 1).
    noise = params.noise_precisions * (prior.noise_rates + 0.5 * squares) - params.noise_shapes
    best = best_precisions(params, sums, prior)
    others = []
    for name in RATES[1:]:
        shape, rate = getattr(params, name.replace("rate", "shape")), getattr(params, name)
        others.append(np.atleast_1d(shape * (getattr(best, name) / rate - 1.0)))
    return np.concatenate([moves.ravel(), seen.ravel(), noise, *others])
