"""The free numbers of a system as one vector, unbounded and in units of their own: for extrapolation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kalman_em.arrays import Array, frozen
from kalman_em.em.series_noise import SeriesNoiseStep
from kalman_em.inference.gains import factor_covs
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
            if name in specification.by_series:
                parts += [_packed(cov) for cov in _own_covs(specification, system, name)]
                continue
            if specification.noise(name).varies:
                numbers = specification.noise(name).free(getattr(system, name))
                parts.append(np.log(numbers[numbers > 0.0]))
                continue
            parts.append(_packed(getattr(system, name)))
    return np.concatenate(parts) if parts else np.zeros(0)


def _packed(cov: Array) -> Array:
    lower, pivots, deviation = _factored(cov)
    scaled = lower * deviation[None, :] / deviation[:, None]
    return np.concatenate([np.log(pivots[pivots > 0.0]), scaled[np.tril_indices(len(pivots), -1)]])


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
            is_table = name in specification.by_series
            found = []
            for cov in _own_covs(specification, like, name) if is_table else [getattr(like, name)]:
                near, position = _unpacked(vector, position, cov)
                found.append(near)
            whole = _with_own_covs(specification, like, name, found) if is_table else found[0]
            values[name] = step.fitted(whole)
    return specification.settled(like.replaced(**values))


def _unpacked(vector: Array, first: int, like: Array) -> tuple[Array, int]:
    """Return the covariance that was packed from `first` on like `like`, and where the next begins."""
    _, pivots, deviation = _factored(like)
    n, kept = len(pivots), pivots > 0.0
    moved = np.zeros(n)
    moved[kept] = np.exp(vector[first : first + np.count_nonzero(kept)])
    first += int(np.count_nonzero(kept))
    lower = np.eye(n)
    below = np.tril_indices(n, -1)
    lower[below] = vector[first : first + len(below[0])]
    lower = lower * deviation[:, None] / deviation[None, :]
    cov = (lower * moved) @ lower.T
    return 0.5 * (cov + cov.T), first + len(below[0])


def _own_covs(specification: Specification, system: LinearGaussianSystem, name: str) -> list[Array]:
    """Return the covariances behind a table by series: what all share, then what each has for itself."""
    step, table = specification.noise(name), getattr(system, name)
    assert isinstance(step, SeriesNoiseStep)
    shared = [table[0][np.ix_(step.shared_rows, step.shared_rows)]] if len(step.shared_rows) else []
    return shared + ([one[np.ix_(step.own_rows, step.own_rows)] for one in table] if len(step.own_rows) else [])


def _with_own_covs(specification: Specification, like: LinearGaussianSystem, name: str, covs: list[Array]) -> Array:
    step, table = specification.noise(name), np.array(getattr(like, name))
    assert isinstance(step, SeriesNoiseStep)
    n_shared = int(len(step.shared_rows) > 0)
    if n_shared:
        table[:, step.shared_rows[:, None], step.shared_rows] = covs[0]
    for one, own in zip(table, covs[n_shared:], strict=False):
        one[np.ix_(step.own_rows, step.own_rows)] = own
    return table


def _factored(cov: Array) -> tuple[Array, Array, Array]:
    # L D L' read from the last row to the first is U D U', whose kernel every smoother has compiled.
    upper, pivots = factor_covs(frozen(np.array(cov[None, ::-1, ::-1], order="C")))
    lower, pivots = upper[0, ::-1, ::-1], pivots[0, ::-1]
    deviation = np.sqrt(np.diagonal(cov))
    return lower, pivots, np.where(deviation > 0.0, deviation, 1.0)
