"""A second way up the bound of a Bayesian linear-Gaussian system: along its gradient, the states always at their best.

Where the states say what the coefficients are and the coefficients what the states are, each holds the other: the row
of F of a state that is switched off, say, fades by one part in a hundred a step, and the longer the series the slower.
With q(x) at its best for every value the bound is a smooth function of means and rates, whose slope is that with q(x)
held (the envelope theorem): one E-step gives both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.errors import NumericalError
from kalman_em.latent.variational_system_bound import evidence_bound
from kalman_em.latent.variational_system_m_step import LEAST_GAIN, best_precisions, raised, replaced
from kalman_em.latent.variational_system_params import SystemPrior, VariationalSystem
from kalman_em.latent.variational_system_rows import SeriesRows, SystemSums, best_chain, sums_of

MOST_STEPS = 100
# The climb is over when no slope, for a move of about a posterior standard deviation, is above this.
FLAT = 1e-6
MOST_ROUNDS = 8
RATES = ("noise_rates", "transition_relevance_rates", "observation_relevance_rates", "initial_rate")


def climbed(params: VariationalSystem, rows: SeriesRows, prior: SystemPrior) -> VariationalSystem:
    """Return where quasi-Newton steps in all means and rates lead from `params`, steps of EM between them.

    The steps hold the covariances of the coefficients, which EM then lets follow.
    """
    for _ in range(MOST_ROUNDS):
        search = _Search(params, rows, prior)
        zero = np.zeros(len(search.units))
        found = scipy.optimize.minimize(
            search.cost,
            zero,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST_STEPS, "ftol": 0.0, "gtol": FLAT},
        )
        params = search.placed(found.x)
        for _ in range(2):
            params = raised(params, _sums(params, rows, prior), prior)
        if -found.fun < LEAST_GAIN:
            break
    return params.after(np.eye(params.state_dim))


@dataclass(frozen=True, eq=False)
class _Search:
    """The bound as a function of F, [H d] and the logarithms of the rates, each from what it was in its own unit."""

    base: VariationalSystem
    rows: SeriesRows
    prior: SystemPrior

    @cached_property
    def first(self) -> SystemSums:
        return _sums(self.base, self.rows, self.prior)

    @cached_property
    def height(self) -> float:
        return evidence_bound(self.base, self.first, self.prior)

    @cached_property
    def units(self) -> Array:
        """Standard deviations of the posterior, of coefficients and of logarithms of rates."""
        base, d = self.base, self.base.state_dim
        moves = np.tile(np.sqrt(np.diagonal(base.transition_cov)), d)
        spread = np.diagonal(base.observation_covs, axis1=1, axis2=2) / base.noise_precisions[:, None]
        shapes = [np.atleast_1d(getattr(base, name.replace("rate", "shape"))) for name in RATES]
        return np.concatenate([moves, np.sqrt(spread).ravel(), np.concatenate(shapes) ** -0.5])

    def placed(self, point: Array) -> VariationalSystem:
        """Return the posterior at `point`."""
        base, d, p = self.base, self.base.state_dim, self.base.obs_dim
        sizes = [d * d, p * (d + 1), p, d, d + 1]
        F, M, *logs = np.split(self.units * point, np.cumsum(sizes))
        rates = {
            name: getattr(base, name) * np.exp(np.clip(part, -30.0, 30.0)).reshape(np.shape(getattr(base, name)))
            for name, part in zip(RATES, logs, strict=True)
        }
        return replaced(
            base,
            transition_means=base.transition_means + F.reshape(d, d),
            observation_means=base.observation_means + M.reshape(p, d + 1),
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
            slope = self.units * slope_of(params, sums, self.prior)
        return (-gain, -slope) if np.isfinite(gain) and np.isfinite(slope).all() else (np.inf, 0.0 * point)


def _sums(params: VariationalSystem, rows: SeriesRows, prior: SystemPrior) -> SystemSums:
    return sums_of(best_chain(params, rows, prior.offset), rows)


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
