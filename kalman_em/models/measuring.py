"""What sensors measure of a motion: which of its quantities, and with what noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kalman_em.em.forms import checked_covariance_form
from kalman_em.errors import InputError, unknown_name
from kalman_em.models.motion import Seen

Sensors = tuple[tuple[str, tuple[str, ...]], ...]


def sensors_of(measured: Any, quantities: Sequence[str]) -> Sensors:
    """Return (sensor, quantities) pairs of what a user says is `measured`; one sensor without a name has the name "".

    Raises
    ------
    InputError
        If it is neither a quantity, several of them, nor a mapping from sensors to these; or a quantity is not known.
    """
    if isinstance(measured, Mapping):
        pairs = list(measured.items())
    elif isinstance(measured, str) or (
        isinstance(measured, Sequence) and measured and all(isinstance(item, str) for item in measured)
    ):
        pairs = [("", measured)]
    elif isinstance(measured, Sequence) and all(isinstance(item, Sequence) and len(item) == 2 for item in measured):
        pairs = list(measured)
    else:
        raise InputError(
            f"measured: expected {_shown(quantities)}, several of them, or a mapping from the names of sensors to "
            f"these, got {measured!r}"
        )
    if not pairs:
        raise InputError("measured: expected at least one sensor, got none")
    return tuple((_name(sensor), _known(what, quantities)) for sensor, what in pairs)


def forms_of(observation_cov: Any, sensors: Sensors) -> tuple[Any, ...]:
    """Return the form of each sensor's R: one form for all, or a mapping (or pairs) from sensors to forms."""
    if isinstance(observation_cov, Mapping | tuple):
        given = dict(observation_cov)
        names = [sensor for sensor, _ in sensors]
        for name in given:
            if name not in names:
                raise InputError(unknown_name("observation_cov: sensor", name, names))
        missing = [name for name in names if name not in given]
        if missing:
            raise InputError(f"observation_cov: expected a form for every sensor, got none for {missing[0]!r}")
        return tuple(checked_covariance_form(given[name], f"observation_cov of {name}") for name in names)
    return tuple(checked_covariance_form(observation_cov, "observation_cov") for _ in sensors)


def seen_by(sensors: Sensors, forms: Sequence[Any], quantities: Sequence[str], dim: int) -> list[Seen]:
    """Return the rows of H of each sensor: its quantities in order, the axes of each side by side."""
    parts = []
    for (sensor, measured), form in zip(sensors, forms, strict=True):
        rows = np.vstack([np.kron(np.eye(len(quantities))[[quantities.index(what)]], np.eye(dim)) for what in measured])
        parts.append(Seen(f"observation_cov_{sensor}" if sensor else "observation_cov", form, rows))
    return parts


def check_columns(sensors: Sensors, dim: int, names: Sequence[str]) -> None:
    """Refuse columns whose names, ``<sensor>.<value>``, say that they are those of other sensors.

    Only where every name begins with that of a sensor: names that say nothing are taken as they come.

    Raises
    ------
    InputError
        If they are in another order than the sensors.
    """
    said = [name.partition(".")[0] for name in names]
    expected = [sensor for sensor, measured in sensors for _ in range(dim * len(measured))]
    if set(said) <= {sensor for sensor, _ in sensors} and said != expected:
        order = ", ".join(f"{sensor!r} ({dim * len(measured)})" for sensor, measured in sensors)
        raise InputError(
            f"values: expected the columns of the sensors in the order of measured=, {order}, got {', '.join(names)}; "
            "list the columns in that order, or the sensors in sensor_columns(sensors=)"
        )


def _name(sensor: Any) -> str:
    if not isinstance(sensor, str):
        raise InputError(f"measured: expected the name of a sensor, got {sensor!r}")
    return sensor


def _known(what: Any, quantities: Sequence[str]) -> tuple[str, ...]:
    named = (what,) if isinstance(what, str) else tuple(what)
    for quantity in named:
        if quantity not in quantities:
            raise InputError(unknown_name("measured: quantity", quantity, list(quantities)))
    if not named or len(set(named)) != len(named):
        raise InputError(f"measured: expected distinct quantities, got {named}")
    return named


def _shown(quantities: Sequence[str]) -> str:
    return " or ".join(repr(quantity) for quantity in quantities)
