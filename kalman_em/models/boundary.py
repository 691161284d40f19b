"""Variances whose maximum-likelihood value is 0: EM only creeps towards it, so it is tried outright."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.em.noise import NoiseStep
from kalman_em.em.problem import Note
from kalman_em.em.series_noise import SeriesNoiseStep
from kalman_em.errors import NumericalError
from kalman_em.models.means import moves_means
from kalman_em.models.silent_loadings import are_turned
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# A variance that shrinks by more than this in one M-step is still on its way, by itself.
QUICK = 0.2
# Where the score must still point down: at this part of the present value.
NEAR_ZERO = 1e-3
# At most so many variances are tried at a time.
MOST_TRIED = 3
# Rows of H, each of length 1, are independent if their smallest singular value is above this.
INDEPENDENT = 1e-6
# A variance at 0 is given these shares of the other variances, and keeps one that raises the log-likelihood by this.
REVIVED = (1e-2, 1e-5)
REVIVAL_GAIN = 1e-6
# A variance whose loss costs no more log-likelihood than this, and rounding of it, is as good as 0: it is within some
# 1e-4 of its standard error.
NEARLY_ZERO, LIKELIHOOD_ROUNDING = 1e-8, 1e-13
# What a run says of a variance that it set to 0.
AT_ZERO = "went to 0, where the likelihood is highest"


Step = Callable[[LinearGaussianSystem], LinearGaussianSystem]
Height = Callable[[LinearGaussianSystem], float]
Settle = Callable[[LinearGaussianSystem], LinearGaussianSystem]


def _as_it_is(system: LinearGaussianSystem) -> LinearGaussianSystem:
    return system


@dataclass(frozen=True, eq=False)
class Direction:
    """A coordinate in which a covariance may lose its variance, or several that lose theirs together.

    Coordinates alone: EM never leaves a zero, and a slanted direction that is nearly singular early on is rarely
    the one that is singular in the end. With `entry` it is that of one series, of a covariance with one for each.
    """

    parameter: str
    positions: tuple[int, ...]
    label: str
    entry: int | None = None

    def shrunk(self, cov: Array, share: float) -> Array:
        """Return `cov` with the variance in these coordinates multiplied by `share`, correlations kept."""
        result = cov.copy()
        own = result if self.entry is None else result[self.entry]
        own[..., self.positions, :] *= np.sqrt(share)
        own[..., :, self.positions] *= np.sqrt(share)
        return result

    def variance(self, cov: Array) -> float:
        """Return the mean variance in these coordinates."""
        return float(np.diagonal(self.of(cov))[list(self.positions)].mean())

    def of(self, cov: Array) -> Array:
        """Return the covariance (q, q) that it is a direction of."""
        return cov if cov.ndim == 2 else cov[self.entry or 0]

    def shrinks(self, before: LinearGaussianSystem, after: LinearGaussianSystem) -> bool:
        """Whether EM makes the covariance of these coordinates smaller in every direction."""
        block = np.ix_(self.positions, self.positions)
        old, new = (self.of(getattr(system, self.parameter))[block] for system in (before, after))
        whitened = np.linalg.solve(np.linalg.cholesky(old), new - old)
        whitened = np.linalg.solve(np.linalg.cholesky(old), whitened.T)
        return bool(np.linalg.eigvalsh(0.5 * (whitened + whitened.T))[-1] < 0.0)


def boundary_guesses(
    specification: Specification,
    before: LinearGaussianSystem,
    system: LinearGaussianSystem,
    step: Step,
    height: Height,
    settle: Settle = _as_it_is,
) -> Iterator[tuple[LinearGaussianSystem, str]]:
    """Yield `system` with a variance set to 0, for each that heads there and has its maximum there.

    `before` are the parameters one M-step earlier; `step` returns the result of an M-step, `height` the
    log-likelihood; `settle` sets what moves means alone to its best at other variances. A variance is a
    candidate if EM shrinks it, slowly; it is set to 0 if at a thousandth of its value the likelihood is no lower and
    EM still shrinks it: the score points down all the way. The next one is then tried beside it. The likelihood comes
    first: it costs least, and smoothing with so little noise may need kernels that nothing else does.
    EM never leaves a zero, so a variance that is 0 is given another chance.
    """
    candidates = sorted(_candidates(specification, before, system), key=lambda found: -found[0])[:MOST_TRIED]
    zeros = list(_zeros(specification, system))
    if not candidates and not zeros:
        return
    reached = height(system)
    for _, direction in candidates:
        nearly = _with(specification, system, direction, NEAR_ZERO)
        zero = _with(specification, system, direction, 0.0)
        if nearly is None or zero is None:
            continue
        try:
            nearly, zero = settle(nearly), settle(zero)
            likelihood = height(nearly)
            is_there = likelihood >= reached and direction.shrinks(nearly, step(nearly))
        except NumericalError:
            continue
        if is_there:
            yield zero, Note(direction.label, AT_ZERO)
            system, reached = zero, likelihood
    for direction in zeros:
        for share in REVIVED:
            alive = _revived(specification, system, direction, share)
            if alive is not None and _height(height, alive) > reached + REVIVAL_GAIN:
                yield alive, Note(direction.label, "was 0 and is not")
                break


def without_near_zeros(
    specification: Specification,
    system: LinearGaussianSystem,
    height: Height,
    *,
    goes_on: bool = False,
) -> LinearGaussianSystem:
    """Return `system` with every learnt variance that is as good as 0 at 0; `height` is the log-likelihood.

    Where EM `goes_on` from there, only those without which it loses nothing.
    """
    reached: float | None = None
    for name in ("transition_cov", "observation_cov"):
        if not _is_tried(specification, name):
            continue
        every = _tied_in(specification.noise(name), specification.shape(name)[0])
        everywhere = [Direction(name, positions, name, entry) for entry, positions in every]
        for direction in directions(specification, name, system) if goes_on else everywhere:
            zero = _with(specification, system, direction, 0.0)
            if zero is None or direction.variance(getattr(system, name)) <= 0.0:
                continue
            reached = height(system) if reached is None else reached
            try:
                found = height(zero)
            except NumericalError:
                continue
            if found >= reached - NEARLY_ZERO - LIKELIHOOD_ROUNDING * abs(reached):
                system, reached = zero, found
    return system


def directions(specification: Specification, name: str, system: LinearGaussianSystem) -> Iterator[Direction]:
    """Yield the coordinates that lose nothing without noise: a row of H or F with free entries could never move again.

    Offsets, input coefficients and loadings can: see `kalman_em.models.means`, `kalman_em.models.silent_loadings`.
    Where the states of the row are 0 without its noise, they no longer matter.
    """
    kind = name.removesuffix("_cov")
    joint = specification.joint(kind)
    held = joint.design[:, ~moves_means(specification, kind)]
    design = np.any(held.reshape(joint.n_rows, -1) != 0.0, axis=1)
    if joint.own is not None:
        design |= np.any(joint.own.reshape(joint.n_rows, -1) != 0.0, axis=1)
    if specification.noise_selection is not None and kind == "transition" and np.any(design):
        design = np.any(specification.noise_selection[design] != 0.0, axis=0)
    for entry, positions in _tied_in(specification.noise(name), specification.shape(name)[0]):
        labels = _labels(specification, name, entry)
        is_basis = (
            kind == "observation"
            and entry is None
            and (
                _is_a_choice_of_basis(specification, system, positions) or are_turned(specification, system, positions)
            )
        )
        found = _direction(name, positions, labels, entry)
        is_lossless = is_basis or not np.any(design) or not np.any(design[list(positions)])
        if is_lossless or (kind == "transition" and _vanishes(specification, system, found)):
            yield found


def new_zeros(specification: Specification, before: LinearGaussianSystem, after: LinearGaussianSystem) -> list[Note]:
    """Return a note on each learnt variance that was above 0 and is 0."""
    notes = []
    for name in ("transition_cov", "observation_cov"):
        if not _is_tried(specification, name):
            continue
        for entry, positions in _tied_in(specification.noise(name), specification.shape(name)[0]):
            direction = _direction(name, positions, _labels(specification, name, entry), entry)
            if direction.variance(getattr(before, name)) > 0.0 == direction.variance(getattr(after, name)):
                notes.append(Note(direction.label, AT_ZERO))
    return notes


def _direction(name: str, positions: tuple[int, ...], labels: list[tuple[str, str]], entry: int | None) -> Direction:
    label, title = labels[positions[0]]
    return Direction(name, positions, title if len(positions) > 1 else label, entry)


def _height(height: Height, system: LinearGaussianSystem) -> float:
    try:
        return height(system)
    except NumericalError:
        return -np.inf


def _zeros(specification: Specification, system: LinearGaussianSystem) -> Iterator[Direction]:
    for name in ("transition_cov", "observation_cov"):
        if _is_tried(specification, name):
            for direction in directions(specification, name, system):
                if direction.variance(getattr(system, name)) == 0.0:
                    yield direction


def _revived(
    specification: Specification, system: LinearGaussianSystem, direction: Direction, share: float
) -> LinearGaussianSystem | None:
    """Return `system` with some variance again where it has none: a share of the mean of the others."""
    covs = (system.transition_cov, system.observation_cov)
    variances = np.concatenate([np.diagonal(cov, axis1=-2, axis2=-1).ravel() for cov in covs])
    if not np.any(variances > 0.0):
        return None
    cov = getattr(system, direction.parameter).copy()
    own = cov if direction.entry is None else cov[direction.entry]
    own[..., direction.positions, direction.positions] = share * variances[variances > 0.0].mean()
    formed = specification.noise(direction.parameter).fitted(cov)
    if not np.array_equal(formed, cov):
        return None
    return specification.settled(system.replaced(**{direction.parameter: formed}))


def _candidates(
    specification: Specification, before: LinearGaussianSystem, system: LinearGaussianSystem
) -> Iterator[tuple[float, Direction]]:
    for name in ("transition_cov", "observation_cov"):
        if not _is_tried(specification, name):
            continue
        for direction in directions(specification, name, system):
            old, new = direction.variance(getattr(before, name)), direction.variance(getattr(system, name))
            if old > 0.0 and new > 0.0 and 0.0 < 1.0 - new / old < QUICK:
                yield 1.0 - new / old, direction


def _is_tried(specification: Specification, name: str) -> bool:
    return specification.is_free(name) and not specification.noise(name).varies


def _vanishes(specification: Specification, system: LinearGaussianSystem, direction: Direction) -> bool:
    """Whether the states that this noise moves are 0 in every row without it: they start stationary, about 0."""
    chosen = list(direction.positions)
    selection = specification.noise_selection
    moved = np.array(chosen) if selection is None else np.flatnonzero(np.any(selection[:, chosen] != 0.0, axis=1))
    if not np.all(specification.initial.is_stationary[moved]):
        return False
    without = _with(specification, system, direction, 0.0)
    if without is None:
        return False
    is_still = np.diagonal(without.initial_cov, axis1=-2, axis2=-1)[..., moved] == 0.0
    return bool(np.all(is_still) and not np.any(without.initial_mean[..., moved]))


def _tied_in(step: NoiseStep, dim: int) -> Iterator[tuple[int | None, tuple[int, ...]]]:
    """Yield the entry, if it is of one series, and the coordinates that go to 0 together."""
    if not isinstance(step, SeriesNoiseStep):
        yield from ((None, positions) for positions in _tied(step, dim))
        return
    entries: list[tuple[NoiseStep | None, IntArray, list[int | None]]] = [
        (step.shared, step.shared_rows, [None]),
        (step.own, step.own_rows, list(range(len(step.series)))),
    ]
    for own, rows, places in entries:
        for positions in () if own is None else _tied(own, len(rows)):
            yield from ((entry, tuple(rows[list(positions)].tolist())) for entry in places)


def _tied(step: NoiseStep, dim: int) -> Iterator[tuple[int, ...]]:
    """Yield the coordinates of a covariance, those that go to 0 together in one."""
    # A full covariance that is singular at its maximum is so in a slanted direction, unless it is 0 as a whole: with
    # any variance beside it, a covariance with it raises the likelihood to first order, for or against.
    if step.family is None:
        yield from ((position,) for position in range(dim))
        return
    for part in step.family.parts:
        if part.n_free == 0 or np.any(part.fixed):
            continue
        off_diagonal = part.basis[:, 0] * (1.0 - np.eye(len(part.rows)))
        uses = [part.rows[np.flatnonzero(np.diagonal(one[0]))] for one in part.basis]
        if part.n_free == 1 or off_diagonal.any():
            yield tuple(part.rows.tolist())
        elif sum(map(len, uses)) == len(part.rows):
            yield from (tuple(rows.tolist()) for rows in uses)


def _is_a_choice_of_basis(
    specification: Specification, system: LinearGaussianSystem, positions: tuple[int, ...]
) -> bool:
    """Whether holding these rows of H, where they see the states without noise, does no more than choose their basis.

    H' = H T for an invertible T gives an equal model if F, H and Q are free; so independent rows may be held, but
    no free offset or input coefficient in them: with those a start learnt whole can run away.
    """
    if not specification.basis_is_free or system.by_series:
        return False
    for name in ("observation_offset", "observation_input"):
        free = specification.constraint(name).design if specification.has(name) else np.zeros((0, 0))
        if free.size and np.any(free.reshape(specification.obs_dim, -1)[list(positions)]):
            return False
    silent = np.diagonal(system.observation_cov) <= 0.0
    silent[list(positions)] = True
    H = system.observation_matrix[silent]
    size = np.linalg.norm(H, axis=1, keepdims=True)
    if np.any(size <= 0.0) or len(H) > system.state_dim:
        return False
    return bool(np.linalg.svd(H / size, compute_uv=False)[-1] > INDEPENDENT)


def _labels(specification: Specification, name: str, entry: int | None) -> list[tuple[str, str]]:
    """Return for each coordinate of a covariance (of one series) its label, and the name of the block it is in."""
    dim = specification.shape(name)[0]
    labels = [(name, name)] * dim
    for title, slot in specification.slots.items():
        if slot.parameter == name and slot.entry in (None, entry):
            inside = range(dim)[slice(0, dim) if slot.rows is None else slot.rows]
            for position, i in enumerate(inside):
                labels[i] = (title if len(inside) == 1 else f"{title}[{position}, {position}]"), title
    return labels


def _with(
    specification: Specification, system: LinearGaussianSystem, direction: Direction, share: float
) -> LinearGaussianSystem | None:
    """Return `system` with the variance multiplied by `share`, or None if the form does not allow that alone."""
    wanted = direction.shrunk(getattr(system, direction.parameter), share)
    formed = specification.noise(direction.parameter).fitted(wanted)
    variances = np.diagonal(wanted, axis1=-2, axis2=-1)
    unit = np.sqrt(variances[..., :, None] * variances[..., None, :])
    if np.any(np.abs(formed - wanted) > 1e-9 * np.where(unit > 0.0, unit, np.abs(wanted).max())):
        return None
    return specification.settled(system.replaced(**{direction.parameter: formed}))
