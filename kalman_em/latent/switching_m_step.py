"""The M-step of one regression of a switching system: coefficients and noise, common or by regime."""

from __future__ import annotations

from collections.abc import Sequence
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
    """The forms of [M b] and the noise laid out over K regimes, each part one for all, or one for each.

    `coefficients` constrain all regimes together, (K, q, d + 1); `switches` says whether M, b and the noise switch.
    """

    coefficients: LinearConstraint
    noise: NoiseStep
    fixed_noise: Array | None
    switches: tuple[bool, bool, bool]
    n_regimes: int

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        n_noise = 0 if self.fixed_noise is not None else self.noise.n_free
        return self.coefficients.n_free + n_noise * (self.n_regimes if self.switches[2] else 1)

    def most_likely(self, sums: RegressionSums, joint: Array, covs: Array) -> tuple[Array, Array, Array]:
        """Return M, b and noise covariances (as many as switch) from [M b] and covariances before, (K, ...) each.

        Coefficients given the noise are generalised least squares, the noise given them is the maximiser of its form;
        in turn until they agree: conditional maximisations (ECM) where the one depends on the other.

        Raises
        ------
        EMStop
            If a regime has died or a noise covariance has become singular.
        """
        for _ in range(MOST_CYCLES):
            before = joint, covs
            joint = self._coefficients(sums, joint, covs)
            covs = self._noise(sums, joint, covs)
            moved = max(_relative(old, new) for old, new in zip(before, (joint, covs), strict=True))
            if moved <= SETTLED:
                break
        return *self.apart(joint), covs if self.switches[2] else covs[0]

    def apart(self, joint: Array) -> tuple[Array, Array]:
        """Return M and b of [M b], (K, q, d + 1), each for every regime or once."""
        matrices, offsets = joint[:, :, :-1], joint[:, :, -1]
        return matrices if self.switches[0] else matrices[0], offsets if self.switches[1] else offsets[0]

    def free_numbers(self, joint: Array, cov: Array) -> Array:
        """Return the free numbers of [M b], (K, q, d + 1), and of the noise, once or for every regime."""
        covs = [cov] if cov.ndim == 2 else list(cov)
        own = [] if self.fixed_noise is not None else [self.noise.free(one) for one in covs]
        return np.concatenate([self.coefficients.free(joint), *own])

    def with_numbers(self, cov: Array, numbers: Array) -> tuple[Array, Array, Array]:
        """Return M, b and noise with these numbers, the noise of the shape of `cov`."""
        n = self.coefficients.n_free
        if self.fixed_noise is None:
            found = [self.noise.at(part) for part in numbers[n:].reshape(-1, self.noise.n_free)]
            cov = np.array(found).reshape(cov.shape)
        return *self.apart(self.coefficients.at(numbers[:n])), cov

    def number_slopes(self, joint: Array, covs: Array) -> Array:
        """Return the slope in each free number from those in [M b], (K, q, d + 1), and in the noise, (K, q, q)."""
        own = self.coefficients.design.T @ joint.ravel()
        if self.fixed_noise is not None or self.noise.n_free == 0:
            return np.asarray(own)
        covs = covs if self.switches[2] else covs.sum(axis=0, keepdims=True)
        return np.concatenate([own, np.einsum("nij,kij->kn", self._noise_basis, covs).ravel()])

    def information(self, sums: RegressionSums, covs: Array) -> Array:
        """Return the expected information of complete data on the free numbers, (n_free, n_free).

        Of coefficients the normal equations; of a covariance C with basis B, n tr(C^-1 B_a C^-1 B_b) / 2.
        """
        result = np.zeros((self.n_free, self.n_free))
        if self.n_free == 0:  # What is known may be singular.
            return result
        n = self.coefficients.n_free
        inverses = np.asarray(np.linalg.inv(covs), dtype=np.float64)
        result[:n, :n] = self._normal(sums, inverses)
        if self.fixed_noise is not None or self.noise.n_free == 0:
            return result
        each = np.array(
            [count * noise_information(C, self._noise_basis) for count, C in zip(sums.counts, inverses, strict=True)]
        )
        blocks = each if self.switches[2] else each.sum(axis=0, keepdims=True)
        for k, block in enumerate(blocks):
            at = slice(n + k * len(block), n + (k + 1) * len(block))
            result[at, at] = block
        return result

    @property
    def _noise_basis(self) -> Array:
        """B of each free number of the noise of one regime, (n, q, q)."""
        family = self.noise.family
        assert family is not None  # whose free numbers were asked for
        return family.basis()[:, 0]

    def height(self, sums: RegressionSums, matrices: Array, covs: Array) -> float:
        """Return the expected log density of the responses, less a constant."""
        total = 0.0
        for k, scatter in enumerate(scatters(sums, matrices)):
            sign, log_det = np.linalg.slogdet(covs[k])
            if sign <= 0.0:
                return -np.inf
            total -= 0.5 * (float(sums.counts[k]) * log_det + float(np.trace(np.linalg.solve(covs[k], scatter))))
        return total

    def _coefficients(self, sums: RegressionSums, joint: Array, covs: Array) -> Array:
        constraint = self.coefficients
        if constraint.n_free == 0:
            return joint
        precisions = np.asarray(np.linalg.inv(covs), dtype=np.float64)
        right = np.zeros(constraint.n_free)
        for k, design in enumerate(self._designs):
            off = precisions[k] @ (sums.cross[k] - constraint.fixed[k] @ sums.regressors[k])
            right += design.T @ off.ravel()
        return constraint.at(solve_symmetric(self._normal(sums, precisions), right[:, None])[:, 0])

    def _normal(self, sums: RegressionSums, precisions: Array) -> Array:
        """Return the matrix of the normal equations of the coefficients."""
        n = self.coefficients.n_free
        normal = np.zeros((n, n))
        for k, design in enumerate(self._designs):
            normal += design.T @ np.kron(precisions[k], sums.regressors[k]) @ design
        return symmetrised(normal)

    @property
    def _designs(self) -> Array:
        """The design of the coefficients of each regime, (K, q (d + 1), n)."""
        design = self.coefficients.design
        return design.reshape(self.n_regimes, len(design) // self.n_regimes, self.coefficients.n_free)

    def _noise(self, sums: RegressionSums, matrices: Array, covs: Array) -> Array:
        if self.fixed_noise is not None:
            return covs
        found = scatters(sums, matrices)
        if not self.switches[2]:
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


def stacked(
    matrices: Sequence[LinearConstraint], offsets: Sequence[LinearConstraint], n_regimes: int
) -> LinearConstraint:
    """Return the constraint of [M b] over K regimes from that of M and of b, each once for all regimes or for each.

    Examples
    --------
    >>> from kalman_em import Fixed, Full
    >>> M, b = (form.constraint(shape, "") for form, shape in ((Full(), (1, 1)), (Fixed(0), (1,))))
    >>> stacked([M], [b], 2).design.tolist()
    [[1.0], [0.0], [1.0], [0.0]]
    """
    q, d = matrices[0].fixed.shape
    fixed = np.zeros((n_regimes, q, d + 1))
    designs, groups = [], ((matrices, slice(0, d)), (offsets, slice(d, d + 1)))
    for constraints, columns in groups:
        width = columns.stop - columns.start
        for position, one in enumerate(constraints):
            regimes = [position] if len(constraints) > 1 else list(range(n_regimes))
            design = np.zeros((n_regimes, q, d + 1, one.n_free))
            for k in regimes:
                fixed[k, :, columns] = one.fixed.reshape(q, width)
                design[k, :, columns] = one.design.reshape(q, width, one.n_free)
            designs.append(design.reshape(n_regimes * q * (d + 1), one.n_free))
    return LinearConstraint(fixed, np.concatenate(designs, axis=1))


def noise_information(inverse: Array, basis: Array) -> Array:
    """Return tr(C^-1 B_a C^-1 B_b) / 2 for all free numbers of a covariance whose inverse is given, (n, n).

    Examples
    --------
    >>> noise_information(np.array([[0.5]]), np.array([[[1.0]]])).tolist()
    [[0.125]]
    """
    seen = inverse @ basis
    return np.asarray(0.5 * np.einsum("aij,bji->ab", seen, seen))


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
