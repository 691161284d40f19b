"""The parameters of any problem as one vector of numbers, and back: for steps and slopes in all directions at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from numbers import Real
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np

from kalman_em.arrays import Array
from kalman_em.errors import InputError

Params = TypeVar("Params")


@runtime_checkable
class HasFreeNumbers(Protocol[Params]):
    """A problem that says which numbers of its parameters are free, say the logarithm of a rate.

    The best choice is unbounded: every vector is then admissible, and steps in it cannot leave the model. Where
    parameters are bound together, as shares with sum 1, only the problem can tell the free ones.
    """

    def free_numbers(self, params: Params) -> Array:
        """Return the free numbers of `params`, shape (k,)."""
        ...

    def with_numbers(self, params: Params, numbers: Array) -> Params:
        """Return parameters like `params` that have these free numbers."""
        ...


def numbers_of(problem: object, params: Params) -> tuple[Array, Callable[[Array], Params]]:
    """Return the free numbers of `params` and the way back: those of the problem, or else every number there is.

    Raises
    ------
    InputError
        If the parameters hold something that is no number, or the problem's numbers do not lead back.

    Examples
    --------
    >>> vector, back = numbers_of(None, {"rate": 2.0, "shape": np.array([1.0, 3.0])})
    >>> vector.tolist(), back(vector + 1.0)
    ([2.0, 1.0, 3.0], {'rate': 3.0, 'shape': array([2., 4.])})
    """
    if isinstance(problem, HasFreeNumbers):
        vector = np.array(problem.free_numbers(params), dtype=np.float64)
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise InputError(f"free_numbers: expected finite numbers of shape (k,), got {vector}")
        return vector, lambda numbers: cast(Params, problem.with_numbers(params, numbers))
    leaves = [np.asarray(leaf, dtype=np.float64).ravel() for leaf in _leaves(params, "params")]
    vector = np.concatenate(leaves) if leaves else np.zeros(0)
    return vector, lambda numbers: cast(Params, _refilled(params, iter(numbers)))


def plain(params: Any) -> Any:
    """Return the numbers of parameters in plain containers: a dict for a dataclass, so that any number may stand there.

    Examples
    --------
    >>> plain((1, {"a": np.zeros(2)}))
    [1.0, {'a': array([0., 0.])}]
    """
    if is_dataclass(params) and not isinstance(params, type):
        return {field.name: plain(getattr(params, field.name)) for field in fields(params) if field.init}
    if isinstance(params, Mapping):
        return {key: plain(value) for key, value in params.items()}
    if isinstance(params, Sequence) and not isinstance(params, str | bytes):
        return [plain(value) for value in params]
    if isinstance(params, np.ndarray):
        return np.array(params, dtype=np.float64)
    return float(params) if _is_number(params) else params


def _leaves(value: Any, path: str) -> Iterator[Any]:
    if _is_number(value) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiu"):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for name in (field.name for field in fields(value) if field.init):
            yield from _leaves(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key], f"{path}[{key!r}]")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for position, entry in enumerate(value):
            yield from _leaves(entry, f"{path}[{position}]")
    elif value is not None and not isinstance(value, str | bool | np.bool_):
        raise InputError(
            f"{path}: expected numbers, arrays, dataclasses, mappings or sequences, got {type(value).__name__}; "
            "for other parameters give the problem methods free_numbers and with_numbers"
        )


def _refilled(value: Any, numbers: Iterator[Any]) -> Any:
    if _is_number(value):
        return float(next(numbers))
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return np.array([next(numbers) for _ in range(value.size)], dtype=np.float64).reshape(value.shape)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value) if field.init]
        return replace(value, **{name: _refilled(getattr(value, name), numbers) for name in names})
    if isinstance(value, Mapping):
        return {key: _refilled(entry, numbers) for key, entry in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_refilled(entry, numbers) for entry in value))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        refilled = [_refilled(entry, numbers) for entry in value]
        return tuple(refilled) if isinstance(value, tuple) else refilled
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)
