"""The specification of a sum: the states of its components stacked, a set for every column of the data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.common_noise import CommonNoise
from kalman_em.em.entries import entries_of
from kalman_em.em.forms import BlockDiagonal, Diffuse, Fixed, Full, LowRank, Stationary, covariance_form
from kalman_em.em.repeated import copies_of
from kalman_em.errors import InputError
from kalman_em.linalg import block_diagonal
from kalman_em.models.component import Component
from kalman_em.models.initial_state import initial_state
from kalman_em.models.layout import Common, Layout, laid_out
from kalman_em.models.slots import Slot
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel

# Angles a step closer than this are one.
SAME_ANGLE = 1e-9


def composed(panel: Panel, components: Sequence[Component], observation_cov: Any) -> Specification:
    """Return the specification of the sum of `components`, laid out as `Layout` says.

    Raises
    ------
    InputError
        If a form does not fit the columns of the data, two components oscillate alike, or the data look transposed.
    """
    p = panel.obs_dim
    _refuse_wide(panel)
    for component in components:
        for noise in component.noises:
            if not isinstance(noise.form, LowRank):
                covariance_form(noise.form, noise.name, p)
    _check_frequencies(components)
    layout = laid_out(components, p)
    slots = _noise_slots(layout)
    slots["observation_cov"] = Slot("observation_cov")
    slots |= _coefficient_slots(layout)
    slots |= _regression_slots(components, p)
    initial_mean, initial_cov = _initial(layout)
    # The common states that start at 0 are no parameter.
    if not layout.commons and initial_state(initial_cov, layout.state_dim).others.any():
        slots |= {name: Slot(name) for name in ("initial_mean", "initial_cov")}
    forms: dict[str, Any] = {
        "transition_matrix": _transition_form(layout),
        "transition_offset": Fixed(0.0),
        "transition_cov": _noise_form(layout),
        "observation_matrix": _observation_form(layout, panel),
        "observation_offset": Fixed(0.0),
        "observation_cov": observation_cov,
        "initial_mean": initial_mean,
        "initial_cov": initial_cov,
    }
    if panel.input_dim:
        forms["observation_input"] = _input_form(components, p, panel.input_dim)
    return Specification(
        state_dim=layout.state_dim,
        obs_dim=p,
        input_dim=panel.input_dim,
        forms=forms,
        slots=slots,
        state_names=_state_names(layout, panel.names),
        noise_selection=_selection(layout),
        row_starts=_row_starts(components, panel),
        components={
            component.name: slice(first, after)
            for component, first, after in zip(components, layout.firsts, layout.firsts[1:], strict=False)
            if component.states
        },
        regressions={
            component.name: slice(component.columns[0], component.columns[-1] + 1)
            for component in components
            if component.columns and not component.is_moving
        },
    )


def _state_names(layout: Layout, columns: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    for position, component in enumerate(layout.components):
        names += [state if layout.p == 1 else f"{state}.{column}" for state in component.states for column in columns]
        count = dict.fromkeys(component.states, 0)
        for common in (one for one in layout.commons if one.position == position):
            for state in (component.states[i] for i in common.reached):
                names += [f"{state}_common_{count[state] + j + 1}" for j in range(common.rank)]
                count[state] += common.rank
    return tuple(names)


def _observation_form(layout: Layout, panel: Panel) -> Any:
    """Return the form of H, (p, d) or, where inputs are seen through states, of all rows, (T, p, d)."""
    known = _observed_rows(layout, panel)
    H = np.zeros((*known.shape[:-2], layout.p, layout.state_dim))
    H[..., layout.own] = np.kron(known, np.eye(layout.p))
    if not layout.commons:
        return Fixed(H)
    free, n_free = [], 0
    for common in layout.commons:
        for row, j in zip(*np.tril_indices(layout.p, 0, common.rank), strict=True):
            free += [(int(row), first + int(j), n_free, 1.0) for first in common.seen]
            n_free += 1
    return entries_of(H, free)


def _observed_rows(layout: Layout, panel: Panel) -> Array:
    """Return how the states of one column are seen, (1, c) or (T, 1, c)."""
    components = layout.components
    if not any(component.is_moving for component in components):
        return np.concatenate([component.observation for component in components])[None]
    given = [one.inputs for one in panel if one.inputs is not None]  # `with_columns` has looked
    inputs = np.concatenate(given)
    rows = [
        inputs[:, list(component.columns)] if component.is_moving else np.tile(component.observation, (len(inputs), 1))
        for component in components
    ]
    return np.hstack(rows)[:, None, :]


def rows_ahead(layout: Layout, H: Array, inputs: Array) -> Array:
    """Return H (n, p, d) of rows whose inputs (n, k) are seen through states; all else is that of `H` (p, d)."""
    found = np.repeat(H[None], len(inputs), axis=0)
    columns = np.arange(layout.p)
    for component, first in zip(layout.components, layout.firsts, strict=False):
        for state, j in enumerate(component.columns if component.is_moving else ()):
            found[:, columns, first + state * layout.p + columns] = inputs[:, [j]]
    return found


def _row_starts(components: Sequence[Component], panel: Panel) -> tuple[int, ...]:
    """Return where the rows of each series begin in H, if the series have their own."""
    if panel.n_series == 1 or not any(component.is_moving for component in components):
        return ()
    return tuple(accumulate((one.n_steps for one in panel), initial=0))


def _input_form(components: Sequence[Component], p: int, k: int) -> Any:
    learnt = [j for component in components if not component.is_moving for j in component.columns]
    if len(learnt) == k:
        return Full()
    if not learnt:
        return Fixed(np.zeros((p, k)))
    free = [(row, j, number * p + row, 1.0) for number, j in enumerate(learnt) for row in range(p)]
    return entries_of(np.zeros((p, k)), free)


def _regression_slots(components: Sequence[Component], p: int) -> dict[str, Slot]:
    return {
        component.name: Slot(
            "observation_input",
            entries=tuple((row, j) for row in range(p) for j in component.columns),
            shape=(len(component.columns),) if p == 1 else (p, len(component.columns)),
        )
        for component in components
        if component.columns and not component.is_moving
    }


def _transition_form(layout: Layout) -> Any:
    blocks = [component.transition for component in layout.components]
    fixed = layout.stacked(np.asarray(np.kron(block_diagonal(*blocks), np.eye(layout.p))))
    free, n_free = [], 0
    for component, first in zip(layout.components, layout.firsts, strict=False):
        if component.coefficient is None:
            continue
        for column in range(layout.p):
            for row, to, number, weight in component.coefficient.free:
                place = first + row * layout.p + column, first + to * layout.p + column
                free.append((*place, n_free + number, weight))
            n_free += component.coefficient.size
    return entries_of(fixed, free) if free else Fixed(fixed)


def _noise_form(layout: Layout) -> Any:
    blocks: list[tuple[Any, int]] = []
    commons = {common.noise.name: common for common in layout.commons}
    for noise, size in layout.noises:
        n = len(noise.states)
        common = commons.get(noise.name)
        form = copies_of(noise.form, n) if common is None else CommonNoise(common.rank, n, common.seen)
        blocks.append((form, n * size))
    return BlockDiagonal(blocks) if blocks else Fixed(np.zeros((0, 0)))


def _noise_slots(layout: Layout) -> dict[str, Slot]:
    slots, first = {}, 0
    commons = {common.noise.name: common for common in layout.commons}
    for noise, size in layout.noises:
        n = len(noise.states)
        if noise.name in commons:
            slots[f"{noise.name.removesuffix('_cov')}_loadings"] = _loadings_slot(commons[noise.name], layout.p)
        else:
            slots[noise.name] = Slot("transition_cov", slice(first, first + n * size), copies=n)
        first += n * size
    return slots


def _loadings_slot(common: Common, p: int) -> Slot:
    r = common.rank
    entries = tuple((row, first + j) for first in common.seen for row in range(p) for j in range(r))
    return Slot("observation_matrix", entries=entries, shape=(p, r), copies=len(common.seen))


def _coefficient_slots(layout: Layout) -> dict[str, Slot]:
    slots, p = {}, layout.p
    for component, first in zip(layout.components, layout.firsts, strict=False):
        if component.coefficient is None:
            continue
        for name, kind, shown in component.coefficient.shown:
            entries = tuple(
                (first + row * p + column, first + to * p + column) for column in range(p) for row, to in shown
            )
            n = len(shown) if kind == "value" else len(shown) // 2
            slots[name] = Slot("transition_matrix", entries=entries, shape=(n,) if p == 1 else (p, n), kind=kind)
    return slots


def _selection(layout: Layout) -> Array | None:
    """Return G, or None if every state has a noise of its own, in order."""
    if layout.entered.tolist() == list(range(layout.state_dim)):
        return None
    return np.eye(layout.state_dim)[:, layout.entered]


def _initial(layout: Layout) -> tuple[Any, Any]:
    components, p = layout.components, layout.p
    if len(components) == 1 and not layout.commons:
        (only,) = components
        found = initial_state(only.initial_cov, only.state_dim * p)
        # Without offsets the mean of states that die away is 0.
        stated = Fixed(0.0) if only.initial_mean is None and not found.others.any() else only.initial_mean
        return found.mean_form(stated), only.initial_cov
    where = "beside LowRank" if len(components) == 1 else "in a sum"
    for component in components:
        if component.initial_mean is not None or not isinstance(component.initial_cov, Diffuse | Stationary):
            raise InputError(
                f"initial_cov: {where} every part starts diffuse or stationary, but {component.name!r} has "
                f"{component.initial_cov!r}; leave initial_cov and initial_mean out"
            )
    blocks: list[tuple[Any, int]] = []
    for position, component in enumerate(components):
        if component.states:
            blocks.append((component.initial_cov, component.state_dim * p))
        for common in (one for one in layout.commons if one.position == position):
            n = len(common.reached) * common.rank
            blocks.append((Fixed(np.zeros((n, n))), n))
    is_diffuse = all(isinstance(form, Diffuse) for form, _ in blocks)
    return Fixed(0.0), Diffuse() if is_diffuse else BlockDiagonal(blocks)


def _check_frequencies(components: Sequence[Component]) -> None:
    """Refuse waves of one length in two components: data could not say how much of them belongs to which."""
    waves = [(angle, component.name) for component in components for angle in component.frequencies]
    for position, (angle, name) in enumerate(waves):
        for other, other_name in waves[:position]:
            if abs(angle - other) < SAME_ANGLE:
                raise InputError(
                    f"components: {other_name!r} and {name!r} both have a wave of {2.0 * np.pi / angle:g} steps, which "
                    "cannot be told apart; leave it out of one (fewer harmonics, or another period)"
                )


def _refuse_wide(panel: Panel) -> None:
    rows = sum(one.n_steps for one in panel)
    if rows < panel.obs_dim:
        raise InputError(
            f"data: {rows} rows of {panel.obs_dim} columns look transposed; expected shape (T, p), rows in time order"
        )
