"""Quasi-Newton steps: for a climb of EM that only creeps, as towards a singular covariance.

By Fisher's identity the score of the likelihood is the gradient of the expected complete log-likelihood, so the E-step
that EM takes anyway gives it. In a triangular factor L, C = L L', a singular C is no edge: only a diagonal entry of L
that crosses 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy

from kalman_em.arrays import Array
from kalman_em.em.forms import BlockDiagonal, Diagonal, Full, Isotropic, Pattern, has_series, shared_form
from kalman_em.em.problem import EMProblem
from kalman_em.em.repeated import Repeated
from kalman_em.errors import NumericalError
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.rows import Rows
from kalman_em.linalg import symmetrised
from kalman_em.models.completion import completed
from kalman_em.models.draws import noise_scatters
from kalman_em.models.free_coefficients import FreeCoefficients
from kalman_em.models.generalised import first_state_gradients
from kalman_em.models.means import learns_means_alone
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# Most evaluations of the likelihood in one climb.
MOST_EVALUATIONS = 300
# No direction is left with less than this part of the variances: below, rounding would speak.
THINNEST = 1e-9
# A factor's diagonal is kept this far from 0 where it is inverted.
NEAR = 1e-12


@dataclass(frozen=True)
class Block:
    """A square block of a noise covariance with one form, or `copies` equal ones after another.

    With `entry` it is that of one series, of a covariance with one for each.
    """

    parameter: str
    rows: slice
    form: Any
    copies: int = 1
    entry: int | None = None

    @property
    def first(self) -> slice:
        """The rows of the first copy: all rows of a block that stands there once."""
        return slice(self.rows.start, self.rows.start + self.size)

    @property
    def size(self) -> int:
        """The rows of one copy."""
        return int(self.rows.stop - self.rows.start) // self.copies

    def of(self, system: LinearGaussianSystem) -> Array:
        """Return the covariance that it is a block of."""
        cov: Array = getattr(system, self.parameter)
        return cov if cov.ndim == 2 else cov[self.entry or 0]


class OverRows(EMProblem[LinearGaussianSystem, Expectations], Protocol):
    """An EM problem that says what its rows are."""

    @property
    def rows(self) -> Rows: ...


def climbed(
    problem: OverRows,
    specification: Specification,
    system: LinearGaussianSystem,
    settle: Callable[[LinearGaussianSystem], LinearGaussianSystem],
) -> LinearGaussianSystem | None:
    """Return where quasi-Newton steps in matrices and noise covariances lead from `system`.

    None if a first covariance or a time constant is learnt, or a form is of another kind. Where no matrix is learnt
    `settle` sets what moves means alone to its best: there the gradient of the profile is that of the likelihood.
    Beside matrices, these are numbers like them. Where the basis of the states is free the likelihood is flat along its
    changes: the scores have nothing of them, and so the steps hardly anything.

    References
    ----------
    Fisher's identity: McLachlan and Krishnan, The EM Algorithm and Extensions, 2nd ed. 2008, section 3.7; EM helped on
    by quasi-Newton steps: Lange, Statistica Sinica 5 (1995).
    """
    is_profile = learns_means_alone(specification)
    if specification.is_free("initial_cov") or not (is_profile or _are_known(specification)):
        return None
    if specification.rates and specification.initial.stationary:
        return None
    # A variance at 0 stays there: it is for others to revive.
    blocks = [
        block
        for name in ("transition_cov", "observation_cov")
        if getattr(system, name).ndim == 2 or name in system.by_series
        for block in _blocks(specification, name)
        if np.all(np.diagonal(block.of(system))[block.rows] > 0.0)
    ]
    if not blocks:
        return None
    units = [_units(system, block) for block in blocks]
    factors = np.concatenate([_packed(system, block, unit) for block, unit in zip(blocks, units, strict=True)])
    if not np.all(np.isfinite(factors)):
        return None
    # A factor in units of its standard deviation has an information of about 2 n; coefficients are in units of theirs.
    # With all of them near 1 the first step, along the score, is no leap.
    told = float(np.sqrt(2.0 * problem.rows.n_rows))
    coefficients = None
    if not is_profile:
        coefficients = FreeCoefficients(specification, system, problem.rows, problem.e_step(system)[0])
    n = 0 if coefficients is None else coefficients.size

    def moved(vector: Array, thinnest: float) -> LinearGaussianSystem:
        base = system if coefficients is None else coefficients.at(vector[:n])
        found = specification.settled(_unpacked(base, blocks, units, vector[n:] / told, thinnest=thinnest))
        return settle(found) if is_profile else found

    def descent(vector: Array) -> tuple[float, Array]:
        try:
            tried = moved(vector, 0.0)
            expectations, log_likelihood = problem.e_step(tried)
            gradient = _score(tried, problem.rows, expectations, blocks, units, vector[n:] / told)
            if specification.start_moves:
                gradient += _score_of_start(specification, tried, expectations, blocks, units, vector[n:] / told)
            gradient /= told
            if coefficients is not None:
                gradient = np.concatenate([coefficients.score(tried, expectations), gradient])
        except (NumericalError, np.linalg.LinAlgError):
            return np.inf, np.zeros(len(vector))
        return -log_likelihood, -gradient

    with np.errstate(over="ignore", invalid="ignore"):
        found = scipy.optimize.minimize(
            descent,
            np.concatenate([np.zeros(n), factors * told]),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxfun": MOST_EVALUATIONS,
                "maxiter": MOST_EVALUATIONS,
                "ftol": 1e-14,
                "gtol": 1e-7,
                "maxcor": 30,
            },
        )
    if not np.all(np.isfinite(found.x)):
        return None
    try:
        return moved(found.x, THINNEST)
    except NumericalError:
        return None


def _are_known(specification: Specification) -> bool:
    """Whether learnt matrices are of a kind that these steps know."""
    return not (specification.by_series or specification.rates)


def _blocks(specification: Specification, name: str) -> Iterator[Block]:
    form, dim = specification.forms[name], specification.shape(name)[0]
    parts = form.blocks if isinstance(form, BlockDiagonal) else [(form, dim)]
    first = 0
    for part, size in parts:
        rows, one = slice(first, first + size), _plain(shared_form(part), size, name)
        first += size
        if one.n_free_in_covariance(size) > 0:
            copies = one.copies if isinstance(one, Repeated) else 1
            is_own = has_series(part) and bool(specification.series)
            for entry in range(len(specification.series)) if is_own else [None]:
                yield Block(name, rows, one.form if isinstance(one, Repeated) else one, copies, entry)


def _plain(form: Any, dim: int, name: str) -> Any:
    """Return the plain form that a pattern writes out, if it does; any other form as it is."""
    if not isinstance(form, Pattern):
        return form
    family = form.family(dim, name)
    basis = family.basis()
    if basis.shape[1] != 1 or np.any(family.at(np.zeros(family.n_free))):
        return form
    counts, together = len(basis), basis[:, 0].sum(axis=0)
    if counts == dim * (dim + 1) // 2 and np.all(together == 1.0):
        return Full()
    if np.array_equal(together, np.eye(dim)) and counts in (1, dim):
        return Isotropic() if counts == 1 else Diagonal()
    return form


def _units(system: LinearGaussianSystem, block: Block) -> Array:
    """Return the scale of each coordinate: its standard deviation at the start."""
    return np.asarray(np.sqrt(np.diagonal(block.of(system))[block.first]))


def _packed(system: LinearGaussianSystem, block: Block, unit: Array) -> Array:
    cov = block.of(system)[block.first, block.first] / np.outer(unit, unit)
    if isinstance(block.form, Isotropic):
        return np.asarray(np.sqrt(np.diagonal(cov)[:1]))
    if isinstance(block.form, Diagonal):
        return np.asarray(np.sqrt(np.diagonal(cov)))
    if not isinstance(block.form, Full):
        return np.array([np.nan])
    try:
        factor = np.linalg.cholesky(cov + 1e-13 * np.eye(len(cov)))
    except np.linalg.LinAlgError:
        return np.array([np.nan])
    return np.asarray(factor[np.tril_indices(len(cov))], dtype=np.float64)


def _factors(blocks: list[Block], vector: Array) -> Iterator[tuple[Block, Array, slice]]:
    """Yield each block's factor L in its units, and where it stands in the vector."""
    first = 0
    for block in blocks:
        n = block.size
        size = {Isotropic: 1, Diagonal: n}.get(type(block.form), n * (n + 1) // 2)
        place = slice(first, first + size)
        factor = np.zeros((n, n))
        if isinstance(block.form, Isotropic | Diagonal):
            factor[np.arange(n), np.arange(n)] = vector[place]
        else:
            factor[np.tril_indices(n)] = vector[place]
        yield block, factor, place
        first += size


def _unpacked(
    system: LinearGaussianSystem, blocks: list[Block], units: list[Array], vector: Array, thinnest: float
) -> LinearGaussianSystem:
    values: dict[str, Array] = {}
    for (block, factor, _), unit in zip(_factors(blocks, vector), units, strict=True):
        cov = symmetrised(factor @ factor.T)
        if thinnest > 0.0:
            cov = (
                _thickened(cov, thinnest)
                if isinstance(block.form, Full)
                else np.maximum(cov, thinnest * np.eye(len(cov)))
            )
        whole = values.get(block.parameter, np.array(getattr(system, block.parameter)))
        own = whole if block.entry is None else whole[block.entry]
        own[..., block.rows, block.rows] = np.kron(np.eye(block.copies), symmetrised(cov * np.outer(unit, unit)))
        values[block.parameter] = whole
    return system.replaced(**values)


def _thickened(cov: Array, thinnest: float) -> Array:
    """Return `cov` with no direction thinner than the part `thinnest` of its variances."""
    deviations = np.sqrt(np.maximum(np.diagonal(cov), thinnest))
    scale = np.outer(deviations, deviations)
    values, vectors = np.linalg.eigh(cov / scale)
    return symmetrised((vectors * np.maximum(values, thinnest)) @ vectors.T * scale)


def _score(
    system: LinearGaussianSystem,
    rows: Rows,
    expectations: Expectations,
    blocks: list[Block],
    units: list[Array],
    vector: Array,
) -> Array:
    """Return the gradient of the log-likelihood in the vector: L^-T (L^-1 S L^-T - n I), lower triangle, a block."""
    moves = expectations.transition
    moments, _ = completed(expectations, system.observation_cov)
    scatters = {
        "transition_cov": noise_scatters(system, rows, moves.residual, moves.count),
        "observation_cov": (moments.residual, moments.count),
    }
    gradient = np.zeros(len(vector))
    for (block, factor, place), unit in zip(_factors(blocks, vector), units, strict=True):
        all_scatters, counts = scatters[block.parameter]
        scatter = all_scatters.sum(axis=0) if block.entry is None else all_scatters[block.entry]
        scatter = scatter if scatter.ndim == 2 else np.diag(scatter)
        count = float(counts.sum() if block.entry is None else counts[block.entry])
        copies = scatter[block.rows, block.rows].reshape(block.copies, block.size, block.copies, block.size)
        scaled = np.einsum("aiaj->ij", copies) / np.outer(unit, unit)
        count *= block.copies
        diagonal = np.diagonal(factor)
        kept = factor + np.diag(np.where(np.abs(diagonal) < NEAR, np.copysign(NEAR, diagonal) - diagonal, 0.0))
        white = np.linalg.solve(kept, np.linalg.solve(kept, scaled).T) - count * np.eye(len(kept))
        slope = np.linalg.solve(kept.T, white)
        if isinstance(block.form, Isotropic):
            gradient[place] = np.trace(slope)
        elif isinstance(block.form, Diagonal):
            gradient[place] = np.diagonal(slope)
        else:
            gradient[place] = slope[np.tril_indices(len(kept))]
    return gradient


def _score_of_start(
    specification: Specification,
    system: LinearGaussianSystem,
    expectations: Expectations,
    blocks: list[Block],
    units: list[Array],
    vector: Array,
) -> Array:
    """Return what a stationary start that moves with Q adds to the gradient: 2 Γ L for the gradient Γ in Q = L L'."""
    G = system.noise_selection
    _, inner = first_state_gradients(specification, system, expectations)
    inner = inner if G is None else G.T @ inner @ G
    gradient = np.zeros(len(vector))
    for (block, factor, place), unit in zip(_factors(blocks, vector), units, strict=True):
        if block.parameter != "transition_cov":
            continue
        firsts = range(block.rows.start, block.rows.stop, block.size)
        own = sum(inner[first : first + block.size, first : first + block.size] for first in firsts)
        gradient[place] = _in_form(2.0 * (own * np.outer(unit, unit)) @ factor, block.form)
    return gradient


def _in_form(slope: Array, form: Any) -> Array:
    """Return the gradient in the free numbers of a factor from that in its entries."""
    if isinstance(form, Isotropic):
        return np.array([np.trace(slope)])
    if isinstance(form, Diagonal):
        return np.asarray(np.diagonal(slope))
    return np.asarray(slope[np.tril_indices(len(slope))])
