"""From what a user passes as `start` to a system that obeys the model's forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_floats
from kalman_em.errors import InputError, NumericalError, unknown_name
from kalman_em.linalg import checked_covariance
from kalman_em.models.by_series import tables_of
from kalman_em.models.leading import n_leading
from kalman_em.models.slots import Slot
from kalman_em.models.specification import COVARIANCES, Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# A value may miss its form by this share of itself, or of the size that its row and column give it: rounding.
ROUNDING = 1e-9
ROUNDING_OF_ZERO = 1e-12


def started(specification: Specification, base: LinearGaussianSystem, start: Any) -> LinearGaussianSystem:
    """Return `base` with the named values of `start` in their places.

    Raises
    ------
    InputError
        If a name is not a parameter of the model, a shape or covariance is wrong, a value breaks its form, or a named
        number and the parameter that it stands in are both given and differ.
    """
    if start is None:
        return base
    values = _values(specification, base)
    start = _of_each(specification, _mapping(start))
    numbers = {name: _number(name, value) for name, value in start.items() if name in specification.names}
    given = {name: _checked(specification, base, name, value) for name, value in start.items() if name not in numbers}
    for name, array in given.items():
        slot = specification.slots[name]
        values[slot.parameter] = _put(specification, slot, values[slot.parameter], array)
    system = specification.projected(values)
    for name, array in given.items():
        _check_form(array, named_value(specification, specification.slots[name], system), name)
    system = _with_numbers(specification, system, numbers)
    for name, array in given.items() if numbers else ():
        _check_agreement(specification, system, name, array, numbers)
    return system


def check_start(specification: Specification, start: Any) -> None:
    """Raise `InputError` for names, shapes and covariances in `start` that fit no start of the model.

    It needs none, so that this is known before one is looked for. What depends on the rest of a start is for `started`.
    """
    if start is None:
        return
    base = _plain(specification)
    for name, value in _of_each(specification, _mapping(start)).items():
        if name in specification.names:
            _number(name, value)
        elif base is not None:
            _checked(specification, base, name, value)
        else:
            _check_known(specification, name)


def _mapping(start: Any) -> Mapping[str, Any]:
    if isinstance(start, Mapping):
        return start
    hint = "; pass its .params" if isinstance(getattr(start, "params", None), Mapping) else ""
    raise InputError(f"start: expected a mapping from parameter names to values, got {type(start).__name__}{hint}")


def _plain(specification: Specification) -> LinearGaussianSystem | None:
    """Return a system of the specification that tells shapes, None where there is no simple one."""
    if specification.by_series:
        return None
    shapes = {name: specification.shape(name) for name in (*specification.coefficients, *COVARIANCES)}
    try:
        return specification.projected(
            {name: np.eye(shape[0]) if name in COVARIANCES else np.zeros(shape) for name, shape in shapes.items()}
        )
    except (InputError, NumericalError):
        return None


def _check_agreement(
    specification: Specification, system: LinearGaussianSystem, name: str, came: Array, numbers: Mapping[str, float]
) -> None:
    """Raise `InputError` if named numbers have changed a parameter that was given too."""
    slot = specification.slots[name]
    kept = named_value(specification, slot, system)
    off = np.abs(kept - came) > ROUNDING * np.abs(came) + ROUNDING_OF_ZERO * _sizes(came)
    if off.any():
        inside = [one for one in numbers if slot.parameter in specification.names[one]]
        raise InputError(
            f"start[{inside[0]!r}]: stands in {name}, whose start is given too, with another value of it; expected "
            f"one of the two, got {numbers[inside[0]]:g} and {name} = {came.tolist()}"
        )


def named_value(specification: Specification, slot: Slot, system: LinearGaussianSystem) -> Array:
    """Return the value of a named parameter as users know it: without the entry of the leading row."""
    value = slot.read(system)
    varies = value.ndim > len(specification.shape(slot.parameter))
    return value[n_leading(specification) :] if varies else value


def free_values(specification: Specification, system: LinearGaussianSystem) -> dict[str, Array]:
    """Return the named values of `system` that a fit learns, as a start for another."""
    return {
        name: named_value(specification, slot, system)
        for name, slot in specification.slots.items()
        if specification.is_free(slot.parameter)
    }


def values_for(specification: Specification, system: LinearGaussianSystem, panel: Panel) -> dict[str, Array]:
    """Return the named values of `system` that a fit learns, as a start for a fit of `panel`, which may be of others.

    What is per series is taken over for the series of the same key; those that are new start from the data.
    """
    values, labels = free_values(specification, system), {str(key) for key in panel.keys or ()}
    for name, table in tables_of(specification).items():
        for label, own in table.items():
            value = values.pop(own, None)
            if value is not None and label in labels:
                values[own if panel.n_series > 1 else name] = value
    return values


def _of_each(specification: Specification, start: Mapping[str, Any]) -> dict[str, Any]:
    """Return `start` with what is given for a parameter that is per series taken apart: a mapping, or one for all."""
    tables, found = tables_of(specification), {}
    for name, value in start.items():
        if name not in tables:
            found[name] = value
        elif isinstance(value, Mapping):
            for key, one in value.items():
                if str(key) not in tables[name]:
                    raise InputError(unknown_name(f"start[{name!r}]", str(key), list(tables[name])))
                found[tables[name][str(key)]] = one
        else:
            found |= dict.fromkeys(tables[name].values(), value)
    return found


def _put(specification: Specification, slot: Slot, value: Any, named: Array) -> Any:
    """Return the parameter `value` of the system with a named value in its place, in every entry if all share it."""
    if slot.entry is None and slot.parameter in specification.by_series:
        return np.stack([slot.put(one, named) for one in value])
    return slot.put(value, named)


def _values(specification: Specification, system: LinearGaussianSystem) -> dict[str, Array]:
    names = [name for name in (*specification.forms, "dynamics") if getattr(system, name) is not None]
    return {name: getattr(system, name) for name in names}


def _checked(specification: Specification, base: LinearGaussianSystem, name: Any, value: Any) -> Array:
    _check_known(specification, name)
    slot = specification.slots[name]
    shape = named_value(specification, slot, base).shape
    array = as_floats(value, f"start[{name!r}]")
    if array.shape != shape:
        if array.ndim or int(np.prod(shape)) != 1:
            raise InputError(f"start[{name!r}]: expected shape {shape}, got {array.shape}")
        array = np.full(shape, float(array))
    if slot.parameter in COVARIANCES:
        array = checked_covariance(array, array.shape[-1], f"start[{name!r}]")
    return array


def _check_known(specification: Specification, name: Any) -> None:
    if name not in specification.slots:
        raise InputError(unknown_name("start", name, [*specification.slots, *specification.names]))


def _number(name: str, value: Any) -> float:
    array = as_floats(value, f"start[{name!r}]")
    if array.size != 1:
        raise InputError(f"start[{name!r}]: expected one number, got shape {array.shape}")
    return float(array.reshape(()))


def _with_numbers(
    specification: Specification, system: LinearGaussianSystem, numbers: Mapping[str, float]
) -> LinearGaussianSystem:
    if not numbers:
        return system
    try:
        return specification.with_numbers(system, numbers)
    except InputError as error:
        names = ", ".join(f"start[{name!r}]" for name in numbers)
        raise InputError(f"{names}: the model has no such covariance ({error})") from error


def _check_form(came: Array, kept: Array, name: str) -> None:
    """Raise `InputError` unless the form kept the value as it came, whatever its units."""
    off = np.abs(kept - came) > ROUNDING * np.abs(came) + ROUNDING_OF_ZERO * _sizes(came)
    if off.any():
        at = tuple(int(i) for i in np.argwhere(off)[0])
        place = "" if came.size == 1 else f" at {at[0] if len(at) == 1 else at}"
        raise InputError(
            f"start[{name!r}]: the value does not have the form that the model gives it: expected {kept[at]:g}{place}, "
            f"got {came[at]:g}"
        )


def _sizes(array: Array) -> Array:
    """Return the size of each entry of a matrix as its row and its column tell it, in the entry's own units.

    In other units of what rows and columns stand for, D A E instead of A with diagonal D and E, this changes as the
    entries do. An entry of a vector has no neighbours of its own unit: 0.
    """
    if array.ndim != 2 or not np.any(array):
        return np.zeros(array.shape)
    magnitudes = np.abs(array)
    rows, columns = magnitudes.max(axis=1), magnitudes.max(axis=0)
    result: Array = (rows[:, None] / magnitudes.max()) * columns[None, :]
    return result
