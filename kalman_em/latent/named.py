"""Parameters that are frozen dataclasses of arrays, read and replaced by the names of their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np

from kalman_em.arrays import Array, as_floats, check_shape
from kalman_em.errors import InputError, unknown_name

Params = TypeVar("Params")


def named_values(params: Any) -> dict[str, Array]:
    """Return the fields of a dataclass of arrays by name."""
    return {field.name: getattr(params, field.name) for field in fields(params) if field.init}


def taken_apart(numbers: Array, parts: Sequence[Array]) -> list[Array]:
    """Return consecutive pieces of `numbers` that are as long as these parts.

    Examples
    --------
    >>> import numpy as np
    >>> [one.tolist() for one in taken_apart(np.arange(3.0), [np.zeros(2), np.zeros(1)])]
    [[0.0, 1.0], [2.0]]
    """
    return np.split(numbers, np.cumsum([len(part) for part in parts])[:-1])


def with_values(params: Params, given: Mapping[str, Any]) -> Params:
    """Return a dataclass of arrays with the fields in `given` replaced.

    Raises
    ------
    InputError
        If a name is not that of a field, or a shape is another than before; what the class checks besides.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em.latent.gaussians import Gaussians
    >>> two = Gaussians(means=[[0.0], [1.0]], covs=[[[1.0]], [[1.0]]])
    >>> with_values(two, {"means": [[3.0], [4.0]]}).means.ravel().tolist()
    [3.0, 4.0]
    """
    if not isinstance(given, Mapping):
        hint = "; pass its .params" if isinstance(getattr(given, "params", None), Mapping) else ""
        raise InputError(f"start: expected a mapping from parameter names to values, got {type(given).__name__}{hint}")
    before = named_values(params)
    values = {}
    for name, value in given.items():
        if name not in before:
            raise InputError(unknown_name("start", name, list(before)))
        values[name] = as_floats(value, f"start[{name!r}]")
        check_shape(values[name], before[name].shape, f"start[{name!r}]")
    return replace(params, **values)  # type: ignore[type-var]
