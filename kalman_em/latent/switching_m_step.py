"""The M-step of one regression of a switching system: coefficients and noise, common or by regime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import LinearConstraint
from kalman_em.em.noise import NoiseStep
from kalman_em.em.stopping import EMStop, StopReason
from kalman_em.latent.covariances import EMPTY, SINGULAR
from kalman_em.latent.switching_rows import RegressionSums
from kalman_em.linalg import smallest_scaled_eigenvalue, solve_symmetric, symmetrised

SETTLED = 1e-11
MOST_CYCLES = 200


@dataclass(frozen=True, eq=False)
class RegressionStep:
    """The forms of coefficients and noise laid out; each is one for all regimes, or one for each."""

    coefficients: tuple[LinearConstraint, ...]
    noise: NoiseStep
    fixed_noise: Array | None
    noise_switches: bool
    n_regimes: int

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        n_noise = 0 if self.fixed_noise is not None else self.noise.n_free
        return sum(one.n_free for one in self.coefficients) + n_noise * (self.n_regimes if self.noise_switches else 1)

    def most_likely(self, sums: RegressionSums, matrices: Array, covs: Array) -> tuple[Array, Array]:
        """Return coefficients and noise covariances (as many as switch) from those before, (K, ...) each.

        Coefficients given the noise are generalised least squares, the noise given them is the maximiser of its form;
        in turn until they agree: conditional maximisations (ECM) where the one depends on the other.

        Raises
        ------
        EMStop
            If a regime has died or a noise covariance has become singular.
        """
        for _ in range(MOST_CYCLES):
            before = matrices, covs
            matrices = self._coefficients(sums, matrices, covs)
            covs = self._noise(sums, matrices, covs)
            moved = max(_relative(old, new) for old, new in zip(before, (matrices, covs), strict=True))
            if moved <= SETTLED:
                break
        switched = matrices if len(self.coefficients) > 1 else matrices[0]
        return switched, covs if self.noise_switches else covs[0]

    def free_numbers(self, matrix: Array, cov: Array) -> Array:
        """Return the free numbers of coefficients and noise, each of one for all regimes or of one for each."""
        matrices, covs = ([one] if one.ndim == 2 else list(one) for one in (matrix, cov))
        own = [constraint.free(one) for constraint, one in zip(self.coefficients, matrices, strict=True)]
        return np.concatenate([*own, *([] if self.fixed_noise is not None else map(self.noise.free, covs))])

    def with_numbers(self, matrix: Array, cov: Array, numbers: Array) -> tuple[Array, Array]:
        """Return coefficients and noise with these numbers, of the shapes of `matrix` and `cov`."""
        n = sum(one.n_free for one in self.coefficients)
        own = np.split(numbers[:n], np.cumsum([one.n_free for one in self.coefficients])[:-1])
        found = np.array([one.at(part) for one, part in zip(self.coefficients, own, strict=True)])
        if self.fixed_noise is None:
            cov = np.array([self.noise.at(part) for part in numbers[n:].reshape(-1, self.noise.n_free)]).reshape(
                cov.shape
            )
        return found.reshape(matrix.shape), cov

    def height(self, sums: RegressionSums, matrices: Array, covs: Array) -> float:
        """Return the expected log density of the responses, less a constant."""
        total = 0.0
        for k, scatter in enumerate(scatters(sums, matrices)):
            sign, log_det = np.linalg.slogdet(covs[k])
            if sign <= 0.0:
                return -np.inf
            total -= 0.5 * (float(sums.counts[k]) * log_det + float(np.trace(np.linalg.solve(covs[k], scatter))))
        return total

    def _coefficients(self, sums: RegressionSums, matrices: Array, covs: Array) -> Array:
        K = len(covs)
        groups = [range(K)] if len(self.coefficients) == 1 else [range(k, k + 1) for k in range(K)]
        result = np.array(matrices)
        for constraint, group in zip(self.coefficients, groups, strict=True):
            if constraint.n_free == 0:
                continue
            design, shape = constraint.design, constraint.fixed.shape
            normal = np.zeros((constraint.n_free, constraint.n_free))
            right = np.zeros(constraint.n_free)
            for k in group:
                precision = np.linalg.inv(covs[k])
                normal += design.T @ np.kron(precision, sums.regressors[k]) @ design
                off = precision @ (sums.cross[k] - constraint.fixed @ sums.regressors[k])
                right += design.T @ off.ravel()
            free = solve_symmetric(symmetrised(normal), right[:, None])[:, 0]
            result[list(group)] = constraint.fixed + (design @ free).reshape(shape)
        return result

    def _noise(self, sums: RegressionSums, matrices: Array, covs: Array) -> Array:
        if self.fixed_noise is not None:
            return covs
        found = scatters(sums, matrices)
        if not self.noise_switches:
            total = float(sums.counts.sum())
            mean = found.sum(axis=0) / total
            cov = self.noise.most_likely(mean[None], np.array([total]), covs[0])
            return np.broadcast_to(_checked(cov, "all regimes", self.noise.name), covs.shape)
        if sums.counts.min() < EMPTY:
            raise EMStop(StopReason.empty_component, f"regime {int(sums.counts.argmin())} has no rows left")
        each = []
        for k, scatter in enumerate(found):
            count = float(sums.counts[k])
            cov = self.noise.most_likely(scatter[None] / count, np.array([count]), covs[k])
            each.append(_checked(cov, f"regime {k}", self.noise.name))
        return np.array(each)


def scatters(sums: RegressionSums, matrices: Array) -> Array:
    """Return Σ (y - M x)(y - M x)' by regime, in expectation."""
    crossed = sums.cross @ np.swapaxes(matrices, 1, 2)
    inside = matrices @ sums.regressors @ np.swapaxes(matrices, 1, 2)
    return symmetrised(sums.responses - crossed - np.swapaxes(crossed, 1, 2) + inside)


def _checked(cov: Array, whose: str, name: str) -> Array:
    if np.diagonal(cov).min() <= 0.0 or smallest_scaled_eigenvalue(cov) < SINGULAR * len(cov):
        raise EMStop(StopReason.degenerate_covariance, f"{name} of {whose} has collapsed")
    return cov


def _relative(old: Array, new: Array) -> float:
    size = float(np.abs(old).max())
    return float(np.abs(new - old).max()) / size if size > 0.0 else float(np.any(new != old))
