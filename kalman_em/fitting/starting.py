"""From what a user passes as `start` to a system that obeys the model's forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_floats
from kalman_em.errors import InputError, unknown_name
from kalman_em.linalg import checked_covariance
from kalman_em.models.specification import COVARIANCES, Specification
from kalman_em.systems import LinearGaussianSystem


def started(specification: Specification, base: LinearGaussianSystem, start: Any) -> LinearGaussianSystem:
    """Return `base` with the named values of `start` in their places.

    Raises
    ------
    InputError
        If a name is not a parameter of the model, a shape or covariance is wrong, or a value breaks its form.
    """
    if start is None:
        return base
    if not isinstance(start, Mapping):
        raise InputError(f"start: expected a mapping from parameter names to values, got {type(start).__name__}")
    values = _values(specification, base)
    for name, value in start.items():
        if name not in specification.slots:
            raise InputError(unknown_name("start", name, list(specification.slots)))
        slot = specification.slots[name]
        current = slot.read(base)
        array = as_floats(value, f"start[{name!r}]")
        if array.shape != current.shape:
            if array.ndim or current.size != 1:
                raise InputError(f"start[{name!r}]: expected shape {current.shape}, got {array.shape}")
            array = np.full(current.shape, float(array))
        if slot.parameter in COVARIANCES:
            array = checked_covariance(array, array.shape[-1], f"start[{name!r}]")
        if slot.rows is None:
            values[slot.parameter] = array
        else:
            values[slot.parameter] = values[slot.parameter].copy()
            values[slot.parameter][slot.rows, slot.rows] = array
    system = specification.projected(values)
    for name in start:
        came, kept = as_floats(start[name], name), specification.slots[name].read(system)
        if not np.allclose(kept, came, rtol=1e-9, atol=1e-12 * max(1.0, float(np.abs(came).max(initial=0.0)))):
            raise InputError(f"start[{name!r}]: the value does not have the form that the model gives it")
    return system


def free_values(specification: Specification, system: LinearGaussianSystem) -> dict[str, Array]:
    """Return the named values of `system` that a fit learns, as a start for another."""
    return {
        name: slot.read(system) for name, slot in specification.slots.items() if specification.is_free(slot.parameter)
    }


def _values(specification: Specification, system: LinearGaussianSystem) -> dict[str, Array]:
    names = [name for name in specification.forms if getattr(system, name) is not None]
    return {name: getattr(system, name) for name in names}
