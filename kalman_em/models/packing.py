"""The free numbers of a system as one vector, unbounded and in units of their own: for extrapolation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kalman_em.arrays import Array
from kalman_em.inference.steps import ldl
from kalman_em.models.specification import COEFFICIENTS, COVARIANCES, Specification
from kalman_em.systems import LinearGaussianSystem


def packed(specification: Specification, system: LinearGaussianSystem, units: Mapping[str, Array]) -> Array:
    """Return the learnt parameters as a vector.

    Coefficients are divided by their `units`; a covariance L D L' gives log D and the entries of L scaled by the
    standard deviations, so that any vector near it is again a covariance. Pivots that are 0 are left out. One that
    varies in time gives the logarithms of its positive numbers.
    """
    parts = [(getattr(system, name) / units[name]).ravel() for name in COEFFICIENTS if specification.is_free(name)]
    for name in COVARIANCES:
        if specification.is_free(name):
            if specification.noise(name).varies:
                numbers = specification.noise(name).free(getattr(system, name))
                parts.append(np.log(numbers[numbers > 0.0]))
                continue
            lower, pivots, deviation = _factored(getattr(system, name))
            scaled = lower * deviation[None, :] / deviation[:, None]
            parts += [np.log(pivots[pivots > 0.0]), scaled[np.tril_indices(len(pivots), -1)]]
    return np.concatenate(parts) if parts else np.zeros(0)


def unpacked(
    specification: Specification, vector: Array, like: LinearGaussianSystem, units: Mapping[str, Array]
) -> LinearGaussianSystem:
    """Return the system of a vector packed like `like`, brought back to the forms of the specification.

    Raises
    ------
    NumericalError
        If it would have no stationary start.
    """
    values: dict[str, Array] = {}
    position = 0
    coefficients = {name: getattr(like, name) for name in specification.coefficients}
    for name in COEFFICIENTS:
        if specification.is_free(name):
            size = getattr(like, name).size
            coefficients[name] = vector[position : position + size].reshape(getattr(like, name).shape) * units[name]
            position += size
    nearest = specification.projected_coefficients(coefficients)
    values |= {name: nearest[name] for name in specification.coefficients if specification.is_free(name)}
    for name in COVARIANCES:
        if specification.is_free(name):
            step = specification.noise(name)
            if step.varies:
                numbers = step.free(getattr(like, name))
                positive = numbers > 0.0
                count = int(np.count_nonzero(positive))
                numbers[positive] = np.exp(vector[position : position + count])
                position += count
                values[name] = step.at(numbers)
                continue
            _, pivots, deviation = _factored(getattr(like, name))
            n, kept = len(pivots), pivots > 0.0
            moved = np.zeros(n)
            moved[kept] = np.exp(vector[position : position + np.count_nonzero(kept)])
            position += int(np.count_nonzero(kept))
            lower = np.eye(n)
            below = np.tril_indices(n, -1)
            lower[below] = vector[position : position + len(below[0])]
            position += len(below[0])
            lower = lower * deviation[:, None] / deviation[None, :]
            cov = (lower * moved) @ lower.T
            values[name] = specification.noise(name).fitted(0.5 * (cov + cov.T))
    return specification.settled(like.replaced(**values))


def _factored(cov: Array) -> tuple[Array, Array, Array]:
    n = len(cov)
    lower, pivots = np.zeros((n, n)), np.zeros(n)
    ldl(n, np.array(cov), lower, pivots)
    deviation = np.sqrt(np.diagonal(cov))
    return lower, pivots, np.where(deviation > 0.0, deviation, 1.0)
