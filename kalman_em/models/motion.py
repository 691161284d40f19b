"""What the models in continuous time share: their specification, and starts by profiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product
from typing import Any, NamedTuple

import numpy as np

from kalman_em.arrays import Array, as_floats, frozen
from kalman_em.dynamics import Dynamics
from kalman_em.em.forms import BlockDiagonal, Fixed, Full, covariance_form
from kalman_em.em.repeated import copies_of
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.filtering import filter_all
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.models.initial_state import initial_state
from kalman_em.models.profile import scattered
from kalman_em.models.rate import Rate
from kalman_em.models.scale import data_scale
from kalman_em.models.sensor_offsets import check_told_from_start, with_best_offsets
from kalman_em.models.slots import Slot
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# The units in which dates and durations may be counted, and their seconds.
TIME_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "D": 86400.0, "W": 604800.0}
# What the noise of the motion adds to an observation in a usual gap, as multiples of the observation's own variance.
RATIOS = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
# The part of the data that the profile of the start looks at.
PROFILED_ROWS = 5000


class Discretized(NamedTuple):
    """How a state moves over a time: x <- F x + w, w ~ N(0, Q)."""

    transition_matrix: Array
    transition_cov: Array


@dataclass(frozen=True)
class Seen:
    """A part of the observations with a noise of its own: the name of its covariance, its form, its rows of H."""

    name: str
    form: Any
    rows: Array


def check_time_unit(unit: Any) -> None:
    """Raise `InputError` unless dates can be counted in `unit`."""
    if unit not in TIME_UNITS:
        raise InputError(f"time_unit: expected one of {', '.join(TIME_UNITS)}, got {unit!r}")


def discretized(dynamics: Dynamics, densities: Sequence[Array], gap: Any) -> Discretized:
    """Return F and Q of `dynamics` over the time `gap`, for a spectral density of each noise."""
    gaps = as_floats(gap, "dt")
    if gaps.ndim or gaps <= 0.0:
        raise InputError(f"dt: expected a positive number, got {gap!r}")
    G = dynamics.noise_selections(gaps[None])[0]
    Q = np.zeros((len(G), len(G)))
    first = 0
    for density, m in zip(densities, dynamics.copies, strict=True):
        n = m * len(density)
        block = G[:, first : first + n]
        Q += block @ np.kron(np.eye(m), density) @ block.T
        first += n
    return Discretized(dynamics.transition_matrices(gaps[None])[0], frozen(0.5 * (Q + Q.T)))


def density_of(form: Any, name: str, size: int, given: Any) -> Array:
    """Return the spectral density (size, size) that a user gave, or that the form fixes, or of 1 a unit of time."""
    if given is None:
        if isinstance(form, Fixed):
            return form.fitted_to((size, size), name)
        return np.eye(size)
    density = as_floats(given, "density")
    if density.ndim == 0:
        density = float(density) * np.eye(size)
    if density.shape != (size, size):
        raise InputError(f"density: expected a number or shape ({size}, {size}), got {density.shape}")
    return density


def moving_specification(
    panel: Panel,
    *,
    dynamics: Dynamics,
    density_forms: Mapping[str, Any],
    seen: Sequence[Seen],
    state_names: Sequence[str],
    initial_mean: Any,
    initial_cov: Any,
    rates: Mapping[Rate, str] | None = None,
    is_shared: bool = False,
    components: Mapping[str, slice] | None = None,
    observation_offset: Any = None,
) -> Specification:
    """Return the specification of a motion over the gaps of `panel`.

    `density_forms` has the name and form of the spectral density of each noise of `dynamics`; `rates` are the numbers
    of its drift that are learnt, and the kind of `Slot` that tells of each. With `is_shared` the form of pooled noises
    is that of one of them over the axes, which all share; else that of all of them, a multiple of the identity.
    `components` name the states
    of the parts of a sum. `observation_offset` is the form of what the columns add to the states, none by default.

    Raises
    ------
    InputError
        If the data have inputs or another number of columns, a form does not fit, or an offset is learnt that the
        start of the states hides.
    """
    if panel.input_dim:
        raise InputError("inputs: expected none, because this model has no input matrix; LinearGaussian has")
    H = np.vstack([part.rows for part in seen])
    if len(H) != panel.obs_dim:
        raise InputError(
            f"data: expected {len(H)} column{'s' if len(H) > 1 else ''}, as the model measures, got {panel.obs_dim} "
            f"({', '.join(panel.names[:10])}); choose the columns with values="
        )
    rows = stack_rows(panel.series)
    assert rows.times is not None  # the panel was timed
    gaps = rows.gaps.values if len(rows.gaps.values) else np.ones(1)
    blocks, densities = _noise_blocks(dynamics, density_forms, is_shared=is_shared)
    slots = _rate_slots(rates or {}) | densities
    ends = list(accumulate(len(part.rows) for part in seen))
    for part, end in zip(seen, ends, strict=True):
        covariance_form(part.form, part.name, len(part.rows))
        slots[part.name] = Slot("observation_cov", None if len(seen) == 1 else slice(end - len(part.rows), end))
    has_others = bool(initial_state(initial_cov, dynamics.state_dim).others.any())
    if initial_mean is None:
        initial_mean = Full() if has_others else Fixed(0.0)
    if has_others:
        slots |= {name: Slot(name) for name in ("initial_mean", "initial_cov")}
    if observation_offset is not None:
        slots["observation_offset"] = Slot("observation_offset")
    parts = [(part.form, len(part.rows)) for part in seen]
    specification = Specification(
        state_dim=dynamics.state_dim,
        obs_dim=len(H),
        input_dim=0,
        forms={
            "transition_matrix": Fixed(dynamics.transition_matrices(gaps)),
            "transition_offset": Fixed(0.0),
            "transition_cov": blocks[0][0] if len(blocks) == 1 else BlockDiagonal(blocks),
            "observation_matrix": Fixed(H),
            "observation_offset": Fixed(0.0) if observation_offset is None else observation_offset,
            "observation_cov": parts[0][0] if len(parts) == 1 else BlockDiagonal(parts),
            "initial_mean": initial_mean,
            "initial_cov": initial_cov,
        },
        slots=slots,
        state_names=tuple(state_names),
        noise_selection=dynamics.noise_selections(gaps),
        transition_gaps=gaps,
        dynamics=dynamics,
        rates=tuple(rates or ()),
        components=dict(components or {}),
    )
    check_told_from_start(specification, dynamics)
    return specification


def _rate_slots(rates: Mapping[Rate, str]) -> dict[str, Slot]:
    """Return where each learnt number of the drift is told."""
    return {
        rate.name: Slot(
            "dynamics",
            entries=tuple((row, column) for row, column, _ in rate.entries),
            shape=() if kind == "time constant" else (1,),
            kind=kind,
        )
        for rate, kind in rates.items()
    }


def _noise_blocks(
    dynamics: Dynamics, density_forms: Mapping[str, Any], *, is_shared: bool
) -> tuple[list[tuple[Any, int]], dict[str, Slot]]:
    """Return the form and size of each noise in the transition covariance, and where its density is told."""
    blocks: list[tuple[Any, int]] = []
    slots, first = {}, 0
    for (name, form), noise, m in zip(density_forms.items(), dynamics.noises, dynamics.copies, strict=True):
        size = noise.n_noises * dynamics.axes
        shown = size if is_shared else noise.diffusion.shape[1] * dynamics.axes
        place = slice(first, first + m * size)
        covariance_form(form, name, shown)
        if noise.is_pooled and not is_shared:
            # One number for all of them, wherever they enter.
            blocks.append((form, m * size))
            slots[name] = Slot("transition_cov", place, shape=(shown, shown), kind="isotropic")
        else:
            blocks.append((copies_of(form, m), m * size))
            slots[name] = Slot("transition_cov", place, copies=m)
        first += m * size
    return blocks, slots


def moving_start(specification: Specification, panel: Panel, tried: Sequence[float] = RATIOS) -> LinearGaussianSystem:
    """Return the start of highest likelihood on a grid of noise ratios, the common scale in closed form.

    The unit of each column is the scatter of its values about the straight line between their neighbours.
    """
    learns_noise = specification.is_free("observation_cov")
    noise = (
        _roughness(panel)
        if learns_noise
        else np.diagonal(
            specification.covariance("observation_cov").most_likely(np.zeros((panel.obs_dim, panel.obs_dim)))
        )
    )
    noise = np.where(noise > 0.0, noise, _roughness(panel))
    window = _window(panel)
    sources = _sources(specification, panel, noise)
    offset = _first_offset(specification, panel, noise, sources)
    best, height = None, -np.inf
    for ratios in (
        product(tried, repeat=len(sources)) if len(sources) <= 2 else ((ratio,) * len(sources) for ratio in tried)
    ):
        Q = sum(ratio * source for ratio, source in zip(ratios, sources, strict=True))
        values = _values(specification, panel, np.diag(noise), Q) | offset
        found = _profiled(specification, values, window, learns_noise)
        if found is not None and found[0] > height:
            height, scale = found
            best = {n: v * scale if n.endswith("_cov") else v for n, v in values.items()}
    if best is None:
        best = _values(specification, panel, np.diag(noise), sum(1e-2 * source for source in sources)) | offset
    return with_best_offsets(specification, panel, specification.projected(best))


def _first_offset(
    specification: Specification, panel: Panel, noise: Array, sources: Sequence[Array]
) -> dict[str, Array]:
    """Return the offsets that are learnt as they are best where every noise of the states is as large as R."""
    values = _values(specification, panel, np.diag(noise), sum(sources))
    try:
        system = with_best_offsets(specification, panel, specification.projected(values))
    except NumericalError:
        return {}
    assert system.observation_offset is not None  # the system fills it in
    return {"observation_offset": system.observation_offset}


def at_rates(specification: Specification, values: Mapping[Rate, float]) -> Specification:
    """Return the specification with other rates to begin with."""
    dynamics, gaps = specification.dynamics, specification.transition_gaps
    assert dynamics is not None
    assert gaps is not None
    drift = np.array(dynamics.drift)
    for rate, value in values.items():
        for row, column, weight in rate.entries:
            drift[row, column] = weight * value
    moved = replace(dynamics, drift=drift)
    forms = dict(specification.forms) | {"transition_matrix": Fixed(moved.transition_matrices(gaps))}
    return replace(specification, dynamics=moved, forms=forms, noise_selection=moved.noise_selections(gaps))


def moving_random_start(specification: Specification, panel: Panel, rng: np.random.Generator) -> LinearGaussianSystem:
    """Return that start with its variances scattered."""
    return scattered(specification, moving_start(specification, panel), rng)


def _sources(specification: Specification, panel: Panel, noise: Array) -> list[Array]:
    """Return for each noise the spectral density that adds in a usual gap as much as is observed with each value.

    Axes whose densities are learnt apart have one each, in the units of the columns that they move.
    """
    dynamics, gaps = specification.dynamics, specification.transition_gaps
    assert dynamics is not None
    assert gaps is not None
    usual = float(
        np.median(
            np.concatenate([np.diff(one.times) for one in panel if one.times is not None])
            if any(one.n_steps > 1 for one in panel)
            else gaps
        )
    )
    G = dynamics.noise_selections(np.array([usual]))[0]
    H = specification.constraint("observation_matrix").fixed
    result, first = [], 0
    for source, m in zip(dynamics.noises, dynamics.copies, strict=True):
        n_apart = source.n_noises * dynamics.axes
        n = m * n_apart
        added = (H @ G[:, first : first + n]) ** 2 / noise[:, None]
        largest = added.sum(axis=1).max()
        common = 1.0 / largest if largest > 0.0 else 1.0
        density = np.zeros(G.shape[1])
        own = added.reshape(-1, m, n_apart).sum(axis=1).max(axis=0)
        density[first : first + n] = np.tile(np.divide(1.0, own, out=np.full(n_apart, common), where=own > 0.0), m)
        if not _are_kept(specification, density):
            density[first : first + n] = common
        result.append(np.diag(density))
        first += n
    return result


def _are_kept(specification: Specification, density: Array) -> bool:
    """Whether these densities may stand side by side, or the form of them makes them one."""
    kept = specification.covariance("transition_cov").most_likely(np.diag(density))
    return bool(np.allclose(np.diagonal(kept), density, rtol=1e-12, atol=0.0))


def _values(specification: Specification, panel: Panel, R: Array, Q: Any) -> dict[str, Array]:
    d = specification.state_dim
    H = specification.constraint("observation_matrix").fixed
    first = np.array([_first(panel, column) for column in range(panel.obs_dim)])
    inverse = np.linalg.pinv(H)
    spread = np.square(data_scale(panel))
    return {
        "observation_cov": R,
        "observation_offset": np.zeros(panel.obs_dim),
        "transition_cov": Q,
        "initial_mean": inverse @ first,
        "initial_cov": inverse @ np.diag(spread) @ inverse.T + np.eye(d) * float(np.mean(spread)),
    }


def _profiled(
    specification: Specification, values: Mapping[str, Array], window: Panel, has_scale: bool
) -> tuple[float, float] | None:
    """Return the log-likelihood at the best common factor of all covariances, and that factor (1 without a scale).

    log L as a function of the factor s is a - (m/2) log s - S/(2s): two evaluations give S.
    """
    rows = stack_rows(window.series)
    counted = window.n_observed - int(np.count_nonzero(specification.initial.diffuse)) * window.n_series
    if counted <= 0:
        return None
    heights = []
    try:
        for factor in (1.0, 4.0) if has_scale else (1.0,):
            scaled = {name: factor * v if name.endswith("_cov") else v for name, v in values.items()}
            heights.append(float(filter_all(lay(specification.projected(scaled), rows), rows).log_likelihoods.sum()))
    except NumericalError:
        return None
    if not has_scale:
        return heights[0], 1.0
    squares = (heights[1] - heights[0] + 0.5 * counted * np.log(4.0)) / 0.375
    if not squares > 1e-24 * counted:
        return None
    scale = squares / counted
    return heights[0] + 0.5 * squares - 0.5 * counted * (1.0 + np.log(scale)), scale


def _window(panel: Panel) -> Panel:
    """Return the first series up to `PROFILED_ROWS` rows in all, at least one."""
    total, kept = 0, []
    for one in panel:
        kept.append(one)
        total += one.n_steps
        if total >= PROFILED_ROWS:
            break
    return Panel(tuple(kept))


def _roughness(panel: Panel) -> Array:
    """Return the mean square scatter of each column about the line between neighbours in time, as one value."""
    result = np.square(data_scale(panel))
    for column in range(panel.obs_dim):
        squares = [_scatter(one.times[seen], one.values[seen, column]) for one, seen in _seen_rows(panel, column)]
        found = np.concatenate(squares) if squares else np.zeros(0)
        if len(found) and found.mean() > 1e-24 * result[column]:
            result[column] = found.mean()
    return result


def _seen_rows(panel: Panel, column: int) -> list[tuple[Any, Any]]:
    return [(one, np.flatnonzero(~one.is_missing[:, column])) for one in panel]


def _scatter(times: Array, values: Array) -> Array:
    if len(values) < 3:
        return np.zeros(0)
    before = (times[2:] - times[1:-1]) / (times[2:] - times[:-2])
    residual = values[1:-1] - before * values[:-2] - (1.0 - before) * values[2:]
    return np.asarray(residual**2 / (1.0 + before**2 + (1.0 - before) ** 2))


def _first(panel: Panel, column: int) -> float:
    firsts = [one.values[seen[0], column] for one, seen in _seen_rows(panel, column) if len(seen)]
    return float(np.mean(firsts))
