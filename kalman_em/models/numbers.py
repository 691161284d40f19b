"""The free numbers of a model under their names: which parameters share one, their values, and values put in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import LinearConstraint, numbered, solved
from kalman_em.em.forms import PerSeries
from kalman_em.em.noise import NoiseStep
from kalman_em.errors import InputError

# Parameters whose M-step is one: a name may stand in any of a group.
GROUPS = (
    ("transition_matrix", "transition_offset", "transition_input"),
    ("observation_matrix", "observation_offset", "observation_input"),
    ("initial_mean",),
    ("transition_cov",),
    ("observation_cov",),
    ("initial_cov",),
)


def check_names(labels: Mapping[str, Collection[str | None]], taken: Collection[str]) -> None:
    """Raise `InputError` if a name stands in parameters that cannot share a number, or is that of a parameter.

    `labels` are those of the free numbers of each parameter; `taken` are the names that users know parameters by.
    """
    group_of = {name: number for number, names in enumerate(GROUPS) for name in names}
    seen: dict[str, str] = {}
    for parameter, found in labels.items():
        for label in dict.fromkeys(found):
            if label is None:
                continue
            if label in taken or label in labels:
                raise InputError(f"{parameter}: the name {label!r} is that of a parameter; choose another")
            other = seen.setdefault(label, parameter)
            if group_of[other] != group_of[parameter]:
                raise InputError(
                    f"{parameter}: the name {label!r} stands in {other} too, but these two cannot share a number, "
                    "because their M-steps are apart; choose another name in one of them"
                )


def check_per_series(forms: Mapping[str, Any]) -> None:
    """Raise `InputError` if the matrix of a regression is per series: its coefficients are shared by all."""
    for name in ("transition_matrix", "observation_matrix"):
        if isinstance(forms.get(name), PerSeries):
            raise InputError(
                f"{name}: expected a form that all series share, got {forms[name]!r}; offsets, input matrices, "
                "covariances and the initial state can be PerSeries, and fit_each fits each series by itself"
            )


def free_numbers(
    constraints: Mapping[str, LinearConstraint], values: Mapping[str, Array]
) -> tuple[Array, dict[str, tuple[int, ...]], tuple[str | None, ...]]:
    """Return the free numbers of coefficients that are learnt jointly, those of each by position, and their names.

    Numbers that several coefficients share come from all of them, by least squares.
    """
    parts, labels = numbered([constraint.labels for constraint in constraints.values()])
    positions = dict(zip(constraints, parts, strict=True))
    free = np.zeros(len(labels))
    if len(labels) == sum(map(len, parts)):
        for name, constraint in constraints.items():
            if constraint.n_free:
                free[list(positions[name])] = constraint.free(values[name])
        return free, positions, labels
    designs, deviations = [], []
    for name, constraint in constraints.items():
        if constraint.n_free:
            wide = np.zeros((len(constraint.design), len(labels)))
            wide[:, list(positions[name])] = constraint.design
            designs.append(wide)
            deviations.append(constraint.deviation(values[name]))
    return solved(np.vstack(designs), np.concatenate(deviations)), positions, labels


def projected(constraints: Mapping[str, LinearConstraint], values: Mapping[str, Array]) -> dict[str, Array]:
    """Return the coefficients nearest to `values` that obey their constraints and share what they share."""
    free, positions, _ = free_numbers(constraints, values)
    return {name: constraint.at(free[list(positions[name])]) for name, constraint in constraints.items()}


def with_numbers(
    constraints: Mapping[str, LinearConstraint], values: Mapping[str, Array], wanted: Mapping[str, float]
) -> dict[str, Array]:
    """Return the coefficients with named numbers as `wanted` and the others as in `values`."""
    free, positions, labels = free_numbers(constraints, values)
    free = _replaced(free, labels, wanted)
    return {name: constraint.at(free[list(positions[name])]) for name, constraint in constraints.items()}


def cov_with_numbers(step: NoiseStep, cov: Array, wanted: Mapping[str, float]) -> Array:
    """Return the member of a covariance form with named numbers as `wanted` and the others as in `cov`."""
    return step.at(_replaced(step.free(cov), step.labels, wanted)) if step.labels else cov


def _replaced(free: Array, labels: tuple[str | None, ...], wanted: Mapping[str, float]) -> Array:
    pairs = zip(labels, free, strict=True)
    return np.array([number if label is None else wanted.get(label, number) for label, number in pairs])
