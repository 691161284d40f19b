"""Unbounded coordinates for the free numbers of a specification, for an optimiser that knows no constraints.

Zero is a given system, and a step of one is of the order of a standard error times sqrt(T) in every direction, so a
numerical gradient sees a well-conditioned function whatever the units of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import LinearConstraint
from kalman_em.em.families import Family, Part
from kalman_em.em.forms import BlockDiagonal, Diagonal, Full, Isotropic, is_direct
from kalman_em.em.noise import NoiseStep
from kalman_em.em.repeated import Repeated
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.kalman import kalman_filter, rts_smoother
from kalman_em.linalg import ROUNDING, pseudo_inverses, smallest_scaled_eigenvalue, square_root, symmetrised
from kalman_em.models.numbers import free_numbers
from kalman_em.models.specification import COVARIANCES, Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# A standard deviation of 0 has no logarithm: it starts at this part of the reference's.
LEAST_DEVIATION = 0.03
# A pivot below this part of its variance is 0.
NO_PIVOT = 1e-14
# exp of more than this is no standard deviation any optimiser should look at.
LARGEST_LOG = 40.0


class NoCoordinates(Exception):
    """A form for which no coordinates are known; the message names it."""


@dataclass(frozen=True, eq=False)
class Piece:
    """The coordinates of a parameter, or of several that share numbers: how many, and the values at them."""

    size: int
    values: Callable[[Array], dict[str, Array]]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The free numbers of a specification as a vector, 0 at `origin` (where its variances are not 0)."""

    origin: LinearGaussianSystem
    pieces: tuple[Piece, ...]
    specification: Specification

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return sum(piece.size for piece in self.pieces)

    def values(self, vector: Array) -> dict[str, Array]:
        """Return the learnt parameters at `vector`, by name."""
        found: dict[str, Array] = {}
        first = 0
        for piece in self.pieces:
            found |= piece.values(vector[first : first + piece.size])
            first += piece.size
        return found

    def system(self, vector: Array) -> LinearGaussianSystem:
        """Return the system at `vector`."""
        return self.specification.settled(self.origin.replaced(**self.values(vector)))


def coordinates(
    specification: Specification, origin: LinearGaussianSystem, reference: LinearGaussianSystem, panel: Panel
) -> Coordinates:
    """Return coordinates around `origin`; where its variances are 0, those of `reference` give the size.

    Raises
    ------
    NoCoordinates
        If a covariance has a form whose members cannot be reached.
    """
    if specification.rates:
        what = {"time_constant": "a time constant"}.get(specification.rates[0].name, specification.rates[0].name)
        raise NoCoordinates(
            f"{what} is learnt in continuous time, which moves the transition and the noise of every gap"
        )
    units = coefficient_units(origin, reference, panel)
    pieces = []
    for together in specification.together():
        is_shared = len({label for one in together.values() for label in one.names}) < sum(
            len(one.names) for one in together.values()
        )
        for constraints in [together] if is_shared else [{name: one} for name, one in together.items()]:
            if any(one.n_free for one in constraints.values()):
                pieces.append(_affine(constraints, {name: getattr(origin, name) for name in constraints}, units))
    for name in COVARIANCES:
        if specification.is_free(name):
            deviations = _deviations(getattr(reference, name))
            size, members = noise_members(
                specification.noise(name), getattr(origin, name), np.where(deviations > 0.0, deviations, 1.0)
            )
            pieces.append(Piece(size, lambda vector, name=name, members=members: {name: members(vector)}))  # type: ignore[misc]
    return Coordinates(origin, tuple(pieces), specification)


def noise_members(step: NoiseStep, origin: Array, deviations: Array) -> tuple[int, Callable[[Array], Array]]:
    """Return the number of coordinates of a learnt covariance, and the covariance at them (`origin` at 0).

    Of a family with names, or one that varies in time: logarithms of factors, and the free numbers themselves of a part
    that has several, in units of their standard errors from one row. Where those make no covariance the value is NaN.
    """
    if is_direct(step.form) or step.family is None:
        return covariance_members(step.form, origin, deviations)
    family = step.family
    table = origin if origin.ndim == 3 else origin[None]
    parts = [
        (part, *_part_members(part, table[:, part.rows[:, None], part.rows], deviations[part.rows]))
        for part in family.parts
    ]

    def members(vector: Array) -> Array:
        result, first = np.zeros((family.n_entries, family.dim, family.dim)), 0
        for part, size, inside in parts:
            result[:, part.rows[:, None], part.rows] = inside(vector[first : first + size])
            first += size
        return result if family.n_entries > 1 else result[0]

    return sum(size for _, size, _ in parts), members


def _part_members(part: Part, table: Array, deviations: Array) -> tuple[int, Callable[[Array], Array]]:
    if part.n_free == 0:
        return 0, lambda vector: part.fixed
    free = Family(len(deviations), (_inside(part),), part.n_entries).free(table)
    if part.n_free == 1 and not np.any(part.fixed):
        most = np.diagonal(part.basis[0], axis1=1, axis2=2).max(axis=0)
        least = (LEAST_DEVIATION * deviations[most > 0.0]) ** 2 / most[most > 0.0]
        start = free[0] if free[0] > 0.0 else least.min()
        return 1, lambda vector: part.basis[0] * (start * np.exp(2.0 * _bounded(vector)[0]))
    inverse = pseudo_inverses(np.broadcast_to(part.at(free), (part.n_entries, *part.fixed.shape[1:])))
    weighted = inverse @ part.basis @ inverse
    information = 0.5 * np.einsum("kgij,lgji->kl", weighted, part.basis) / part.n_entries
    values, vectors = np.linalg.eigh(information)
    if values[0] <= 0.0:
        raise NoCoordinates("a covariance is singular in a part that has several numbers")
    root = vectors / np.sqrt(values)

    def members(vector: Array) -> Array:
        found = part.at(free + root @ vector)
        return found if np.all(smallest_scaled_eigenvalue(found) >= -ROUNDING) else np.full(found.shape, np.nan)

    return part.n_free, members


def _inside(part: Part) -> Part:
    return Part(np.arange(len(part.rows)), part.fixed, part.basis, part.labels)


def covariance_members(form: Any, origin: Array, deviations: Array) -> tuple[int, Callable[[Array], Array]]:
    """Return the number of coordinates of a form's covariances, and the covariance at them (`origin` at 0).

    Full: the Cholesky factor with logarithms on its diagonal. Diagonal and isotropic: logarithms of standard
    deviations. Any other form: its most likely member for a full covariance, which is the member itself where the
    form is a set of covariances and `most_likely` its maximiser; there are then more coordinates than free numbers.
    """
    if form.n_free_in_covariance(len(origin)) == 0:
        return 0, lambda vector: origin
    if isinstance(form, Diagonal | Isotropic):
        variances = np.diagonal(origin)
        variances = np.where(variances > 0.0, variances, (LEAST_DEVIATION * deviations) ** 2)
        size = 1 if isinstance(form, Isotropic) else len(origin)
        return size, lambda vector: np.diag(variances * np.exp(2.0 * _bounded(vector)))
    if isinstance(form, BlockDiagonal):
        return _blocks(form, origin, deviations)
    if isinstance(form, Repeated):
        n = len(origin) // form.copies
        size, block = covariance_members(form.form, origin[:n, :n], deviations[:n])
        return size, lambda vector: np.asarray(np.kron(np.eye(form.copies), block(vector)))
    size, full = _full(origin, deviations)
    if isinstance(form, Full):
        return size, full
    try:
        reached = np.asarray(form.most_likely(origin))
        kept = reached.shape == origin.shape and np.allclose(
            reached, origin, rtol=1e-6, atol=1e-9 * np.abs(origin).max()
        )
    except (ArithmeticError, ValueError, TypeError, np.linalg.LinAlgError):
        kept = False
    if not kept:
        raise NoCoordinates(f"no coordinates are known for the form {type(form).__name__}")
    return size, lambda vector: symmetrised(form.most_likely(full(vector)))


def coefficient_units(origin: LinearGaussianSystem, reference: LinearGaussianSystem, panel: Panel) -> dict[str, Array]:
    """Return for every coefficient the unit in which the curvature of the log-likelihood is about T.

    That is the noise of its row over the root mean square of what it multiplies.
    """
    n_steps = np.mean([one.n_steps for one in panel])
    moved = _state_deviations(origin)
    moved = np.where(moved > 0.0, moved, _state_deviations(reference))
    moved = np.where(moved > 0.0, moved, 1.0)
    seen = _deviations(origin.observation_cov)
    seen = np.where(seen > 0.0, seen, _deviations(reference.observation_cov))
    seen = np.where(seen > 0.0, seen, 1.0)
    states, first = _state_sizes(origin, panel)
    first = np.diagonal(origin.initial_cov) + first
    inputs = [one.inputs for one in panel if one.inputs is not None]
    pushed = _root_mean_square(np.concatenate(inputs)) if inputs else np.ones(0)
    return {
        "transition_matrix": moved[:, None] / states[None, :],
        "transition_offset": moved,
        "transition_input": moved[:, None] / pushed[None, :],
        "observation_matrix": seen[:, None] / states[None, :],
        "observation_offset": seen,
        "observation_input": seen[:, None] / pushed[None, :],
        # Only the first row speaks of the initial mean, not all T.
        "initial_mean": np.sqrt(n_steps / panel.n_series * np.where(first > 0.0, first, 1.0)),
    }


def _affine(
    constraints: Mapping[str, LinearConstraint], values: Mapping[str, Array], units: Mapping[str, Array]
) -> Piece:
    """Return the piece of coefficients that share numbers, or of a single one."""
    free, positions, _ = free_numbers(constraints, values)
    # One step of a free number moves no entry by more than its unit.
    share = np.zeros(len(free))
    for name, constraint in constraints.items():
        if constraint.n_free:
            own = list(positions[name])
            share[own] = np.maximum(share[own], (np.abs(constraint.design) / units[name].reshape(-1, 1)).max(axis=0))

    def at(vector: Array) -> dict[str, Array]:
        moved = free + vector / share
        return {name: one.at(moved[list(positions[name])]) for name, one in constraints.items() if one.n_free}

    return Piece(len(free), at)


def _full(origin: Array, deviations: Array) -> tuple[int, Callable[[Array], Array]]:
    dim = len(origin)
    unit = np.sqrt(np.diagonal(origin))
    has_variance = unit > 0.0
    unit = np.where(has_variance, unit, deviations)
    # A factor of a covariance that may be singular: the root's QR, which needs no pivots.
    factor = np.linalg.qr(square_root(origin / np.outer(unit, unit)).T)[1].T
    factor = factor * np.where(np.diagonal(factor) < 0.0, -1.0, 1.0)
    pivots = np.diagonal(factor).copy()
    pivots = np.where(pivots**2 > NO_PIVOT, pivots, LEAST_DEVIATION)
    below = np.tril_indices(dim, -1)

    def members(vector: Array) -> Array:
        lower = np.diag(pivots * np.exp(_bounded(vector[:dim])))
        lower[below] = factor[below] + pivots[below[0]] * vector[dim:]
        scaled = unit[:, None] * lower
        return symmetrised(scaled @ scaled.T)

    return dim * (dim + 1) // 2, members


def _blocks(form: BlockDiagonal, origin: Array, deviations: Array) -> tuple[int, Callable[[Array], Array]]:
    parts: list[tuple[slice, int, Callable[[Array], Array]]] = []
    first = 0
    for inner, size in form.blocks:
        rows = slice(first, first + size)
        parts.append((rows, *covariance_members(inner, origin[rows, rows], deviations[rows])))
        first += size

    def members(vector: Array) -> Array:
        result, position = np.zeros_like(origin), 0
        for rows, size, inside in parts:
            result[rows, rows] = inside(vector[position : position + size])
            position += size
        return result

    return sum(size for _, size, _ in parts), members


def _bounded(vector: Array) -> Array:
    result: Array = np.clip(vector, -LARGEST_LOG, LARGEST_LOG)
    return result


def _deviations(cov: Array) -> Array:
    """Return root mean variances over time, one a row."""
    variances = np.diagonal(cov, axis1=-2, axis2=-1)
    result: Array = np.sqrt(variances if variances.ndim == 1 else variances.mean(axis=0))
    return result


def _state_deviations(system: LinearGaussianSystem) -> Array:
    G = system.noise_selection
    cov = system.transition_cov
    return _deviations(cov if G is None else G @ cov @ np.swapaxes(G, -1, -2))


def _state_sizes(system: LinearGaussianSystem, panel: Panel) -> tuple[Array, Array]:
    """Return the root mean square of the states given the data, and the least first variance the data leave."""
    second, variances = [], []
    for one in panel:
        try:
            smoothed = rts_smoother(system, kalman_filter(system, one))
        except (NumericalError, InputError):
            continue
        spread = np.diagonal(smoothed.smoothed_covs, axis1=1, axis2=2)
        second.append(smoothed.smoothed_means**2 + spread)
        variances.append(spread.mean(axis=0))
    if not second:
        return np.ones(system.state_dim), np.ones(system.state_dim)
    return _root_mean_square(np.sqrt(np.concatenate(second))), np.mean(variances, axis=0)


def _root_mean_square(rows: Array) -> Array:
    size = np.sqrt(np.mean(rows**2, axis=0))
    result: Array = np.where(size > 0.0, size, 1.0)
    return result
