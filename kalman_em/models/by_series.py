"""A specification laid out for a panel: which parameters have an entry for each series, and by what names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.forms import BlockDiagonal, has_series, shared_form
from kalman_em.errors import InputError
from kalman_em.models.slots import Slot
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem


def shared_by_all(specification: Specification) -> Specification:
    """Return the specification with whatever is per series shared by all: that of one series, and of a start."""
    if not any(has_series(form) for form in specification.forms.values()):
        return specification
    forms = {name: shared_form(form) for name, form in specification.forms.items()}
    slots: dict[str, Slot] = {}
    for name, slot in specification.slots.items():
        label = "" if slot.entry is None else f"[{specification.series[slot.entry]}]"
        slots.setdefault(name.removesuffix(label), replace(slot, entry=None))
    return replace(specification, forms=forms, slots=slots, series=())


def laid_by_series(specification: Specification, panel: Panel) -> Specification:
    """Return the specification for the series of `panel`: what is per series gets an entry and a name for each.

    Of one series, and where nothing is per series, that is the specification of all.

    Raises
    ------
    InputError
        If two series have keys that read alike, or a parameter cannot be per series.
    """
    if not any(has_series(form) for form in specification.forms.values()) or panel.n_series == 1:
        return shared_by_all(specification)
    labels = tuple(str(key) for key in panel.keys or ())
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise InputError(f"series: expected keys that read differently for names by series, got {twice!r} twice")
    slots: dict[str, Slot] = {}
    for name, slot in specification.slots.items():
        if _is_own(specification, slot):
            slots |= {named(name, label): replace(slot, entry=s) for s, label in enumerate(labels)}
        else:
            slots[name] = slot
    laid = replace(specification, slots=slots, series=labels)
    for name in specification.names:
        if name in laid.names and named(name, labels[0]) in laid.names:
            raise InputError(
                f"{specification.names[name][0]}: the name {name!r} stands in a form that all series share and in one "
                "that is PerSeries, where it is another number for each; choose another name in one of them"
            )
    return laid


def named(name: str, label: str) -> str:
    """Return the name of a parameter of one series.

    Examples
    --------
    >>> named("observation_cov", "track-7")
    'observation_cov[track-7]'
    """
    return f"{name}[{label}]"


def tables_of(specification: Specification) -> dict[str, dict[str, str]]:
    """Return for each parameter that is per series the name it has for each, by the label of the series."""
    found: dict[str, dict[str, str]] = {}
    for name, slot in specification.slots.items():
        if slot.entry is not None:
            label = specification.series[slot.entry]
            found.setdefault(name.removesuffix(f"[{label}]"), {})[label] = name
    return found


def spread_over_series(specification: Specification, system: LinearGaussianSystem) -> LinearGaussianSystem:
    """Return `system`, of a specification shared by all, with an entry for each series where one has its own."""
    if not specification.by_series:
        return system
    values: Mapping[str, Array] = {
        name: getattr(system, name) for name in (*specification.forms, "dynamics") if getattr(system, name) is not None
    }
    return specification.projected(values)


def _is_own(specification: Specification, slot: Slot) -> bool:
    form: Any = specification.forms.get(slot.parameter)
    if slot.rows is None or not isinstance(form, BlockDiagonal):
        return has_series(form)
    ends = np.cumsum([size for _, size in form.blocks]).tolist()
    return any(
        has_series(block)
        for (block, size), end in zip(form.blocks, ends, strict=True)
        if slot.rows.start < end and end - size < slot.rows.stop
    )
