"""The specification of a sum: the states of its components stacked, a set for every column of the data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.entries import entries_of
from kalman_em.em.forms import BlockDiagonal, Diffuse, Fixed, Full, Stationary, covariance_form
from kalman_em.em.repeated import copies_of
from kalman_em.errors import InputError
from kalman_em.linalg import block_diagonal
from kalman_em.models.component import Component
from kalman_em.models.initial_state import initial_state
from kalman_em.models.slots import Slot
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel

# Angles a step closer than this are one.
SAME_ANGLE = 1e-9


def composed(panel: Panel, components: Sequence[Component], observation_cov: Any) -> Specification:
    """Return the specification of the sum of `components`.

    State i of a component for column j of p stands at i p + j after those of the components before it, so that the
    noise of a state is one (p, p) block.

    Raises
    ------
    InputError
        If a form does not fit the columns of the data, two components oscillate alike, or the data look transposed.
    """
    p = panel.obs_dim
    _refuse_wide(panel)
    for component in components:
        for noise in component.noises:
            covariance_form(noise.form, noise.name, p)
    _check_frequencies(components)
    firsts = [0, *accumulate(component.state_dim for component in components)]
    slots = _noise_slots(components, p)
    slots["observation_cov"] = Slot("observation_cov")
    slots |= _coefficient_slots(components, firsts, p)
    slots |= _regression_slots(components, p)
    initial_mean, initial_cov = _initial(components, p)
    if initial_state(initial_cov, firsts[-1] * p).others.any():
        slots |= {name: Slot(name) for name in ("initial_mean", "initial_cov")}
    forms: dict[str, Any] = {
        "transition_matrix": _transition_form(components, firsts, p),
        "transition_offset": Fixed(0.0),
        "transition_cov": _noise_form(components, p),
        "observation_matrix": Fixed(observation_matrix(components, p, panel)),
        "observation_offset": Fixed(0.0),
        "observation_cov": observation_cov,
        "initial_mean": initial_mean,
        "initial_cov": initial_cov,
    }
    if panel.input_dim:
        forms["observation_input"] = _input_form(components, p, panel.input_dim)
    return Specification(
        state_dim=firsts[-1] * p,
        obs_dim=p,
        input_dim=panel.input_dim,
        forms=forms,
        slots=slots,
        state_names=tuple(
            state if p == 1 else f"{state}.{column}"
            for component in components
            for state in component.states
            for column in panel.names
        ),
        noise_selection=_selection(components, firsts, p),
        components={
            component.name: slice(first * p, (first + component.state_dim) * p)
            for component, first in zip(components, firsts[:-1], strict=True)
            if component.states
        },
        regressions={
            component.name: slice(component.columns[0], component.columns[-1] + 1)
            for component in components
            if component.columns and not component.is_moving
        },
    )


def stacked_transition(blocks: Sequence[Array], p: int) -> Array:
    """Return F (c p, c p) of the blocks (c, c) of one column, each column with states of its own."""
    return np.asarray(np.kron(block_diagonal(*blocks), np.eye(p)))


def observation_matrix(components: Sequence[Component], p: int, panel: Panel) -> Array:
    """Return H (p, c p), or (T, p, c p) where inputs are seen through states."""
    known = np.concatenate([component.observation for component in components])
    moving = [component for component in components if component.is_moving]
    if not moving:
        return np.asarray(np.kron(known, np.eye(p)))
    inputs = panel.series[0].inputs
    assert inputs is not None  # `with_columns` has looked
    rows = [
        inputs[:, list(component.columns)] if component.is_moving else np.tile(component.observation, (len(inputs), 1))
        for component in components
    ]
    return np.asarray(np.kron(np.hstack(rows)[:, None, :], np.eye(p)[None]))


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


def _transition_form(components: Sequence[Component], firsts: Sequence[int], p: int) -> Any:
    fixed = stacked_transition([component.transition for component in components], p)
    free, n_free = [], 0
    for component, first in zip(components, firsts[:-1], strict=True):
        if component.coefficient is None:
            continue
        for column in range(p):
            for row, to, number, weight in component.coefficient.free:
                place = (first + row) * p + column, (first + to) * p + column
                free.append((*place, n_free + number, weight))
            n_free += component.coefficient.size
    return entries_of(fixed, free) if free else Fixed(fixed)


def _noise_form(components: Sequence[Component], p: int) -> Any:
    blocks = []
    for noise in (noise for component in components for noise in component.noises):
        n = len(noise.states)
        blocks.append((copies_of(noise.form, n), n * p))
    return BlockDiagonal(blocks) if blocks else Fixed(np.zeros((0, 0)))


def _noise_slots(components: Sequence[Component], p: int) -> dict[str, Slot]:
    slots, first = {}, 0
    for noise in (noise for component in components for noise in component.noises):
        n = len(noise.states)
        slots[noise.name] = Slot("transition_cov", slice(first, first + n * p), copies=n)
        first += n * p
    return slots


def _coefficient_slots(components: Sequence[Component], firsts: Sequence[int], p: int) -> dict[str, Slot]:
    slots = {}
    for component, first in zip(components, firsts[:-1], strict=True):
        if component.coefficient is None:
            continue
        for name, kind, shown in component.coefficient.shown:
            entries = tuple(
                ((first + row) * p + column, (first + to) * p + column) for column in range(p) for row, to in shown
            )
            n = len(shown) if kind == "value" else len(shown) // 2
            slots[name] = Slot("transition_matrix", entries=entries, shape=(n,) if p == 1 else (p, n), kind=kind)
    return slots


def _selection(components: Sequence[Component], firsts: Sequence[int], p: int) -> Array | None:
    """Return G, or None if every state has a noise of its own, in order."""
    moved = [
        first + state
        for component, first in zip(components, firsts[:-1], strict=True)
        for noise in component.noises
        for state in noise.states
    ]
    if moved == list(range(firsts[-1])):
        return None
    return np.asarray(np.kron(np.eye(firsts[-1])[:, moved], np.eye(p)))


def _initial(components: Sequence[Component], p: int) -> tuple[Any, Any]:
    if len(components) == 1:
        (only,) = components
        found = initial_state(only.initial_cov, only.state_dim * p)
        # Without offsets the mean of states that die away is 0.
        stated = Fixed(0.0) if only.initial_mean is None and not found.others.any() else only.initial_mean
        return found.mean_form(stated), only.initial_cov
    for component in components:
        if component.initial_mean is not None or not isinstance(component.initial_cov, Diffuse | Stationary):
            raise InputError(
                f"initial_cov: in a sum every part starts diffuse or stationary, but {component.name!r} has "
                f"{component.initial_cov!r}; leave initial_cov and initial_mean out"
            )
    blocks = [(component.initial_cov, component.state_dim * p) for component in components if component.states]
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
