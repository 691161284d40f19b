"""How far parameters moved: the largest relative change over whatever values they are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Real
from typing import Any

import numpy as np

from kalman_em.errors import InputError


def relative_change(old: Any, new: Any) -> float:
    """Return the largest relative change from `old` to `new`, over all their leaves.

    The change of a leaf, a number or an array, is max|new - old| / max|old|, with 0/0 = 0: a matrix is
    measured by its largest entry, so that an entry near zero does not decide, and units do not matter. Each
    number of a list is a leaf of its own.

    Parameters
    ----------
    old, new : object
        Dataclasses, mappings, sequences, arrays and real numbers, nested in any way, of the same structure.
        None, text and booleans (arrays of them too) may be present and must not change.

    Returns
    -------
    float
        0 for no change; inf where zeros became something; NaN where `new` holds NaN.

    Raises
    ------
    InputError
        If the two differ in structure, or hold anything else.

    Examples
    --------
    >>> import numpy as np
    >>> old = {"mean": 2.0, "cov": np.diag([4.0, 0.0])}
    >>> new = {"mean": 2.2, "cov": np.diag([4.0, 1.0])}
    >>> relative_change(old, new)
    0.25
    """
    changes = [_leaf_change(*leaves) for leaves in _paired_leaves(old, new, "params")]
    return float(np.max(changes)) if changes else 0.0  # np.max hands NaN on, max() may not


def _paired_leaves(old: Any, new: Any, path: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each number or array of `old` with its partner in `new`; `path` says where, for messages."""
    if old is None or isinstance(old, str | bool | np.bool_) or _is_label_array(old):
        if type(old) is not type(new) or not np.array_equal(old, new):
            raise InputError(f"{path}: expected {_brief(old)}, which carries no size, to stay, got {_brief(new)}")
    elif isinstance(old, Real | np.ndarray):
        yield _numbers(old, new, path)
    elif is_dataclass(old) and not isinstance(old, type):
        if type(new) is not type(old):
            raise InputError(f"{path}: expected {_brief(old)} as before, got {_brief(new)}")
        # A field that is not an argument is derived from those that are.
        for name in (field.name for field in fields(old) if field.init):
            yield from _paired_leaves(getattr(old, name), getattr(new, name), f"{path}.{name}")
    elif isinstance(old, Mapping):
        if not isinstance(new, Mapping) or old.keys() != new.keys():
            raise InputError(f"{path}: expected a mapping with keys {list(old)}, got {_brief(new)}")
        for key in old:
            yield from _paired_leaves(old[key], new[key], f"{path}[{key!r}]")
    elif isinstance(old, Sequence) and not isinstance(old, bytes):
        if not isinstance(new, Sequence) or isinstance(new, str | bytes) or len(old) != len(new):
            raise InputError(f"{path}: expected a sequence of length {len(old)}, got {_brief(new)}")
        for position, pair in enumerate(zip(old, new, strict=True)):
            yield from _paired_leaves(*pair, f"{path}[{position}]")
    else:
        raise InputError(
            f"{path}: expected numbers, arrays, dataclasses, mappings or sequences, got {_brief(old)}; "
            "for other parameters give the problem a method parameter_change(old, new)"
        )


def _numbers(old: Any, new: Any, path: str) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(new, bool | np.bool_) or not isinstance(new, Real | np.ndarray):
        raise InputError(f"{path}: expected {_brief(old)} as before, got {_brief(new)}")
    before, after = np.asarray(old), np.asarray(new)
    if before.shape != after.shape:
        raise InputError(f"{path}: expected shape {before.shape} as before, got {after.shape}")
    for array in (before, after):
        if array.dtype.kind not in "fiu":
            raise InputError(f"{path}: expected real numbers, got an array of {array.dtype}")
    return before.astype(np.float64), after.astype(np.float64)


def _leaf_change(old: np.ndarray, new: np.ndarray) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        moved = np.abs(np.where(new == old, 0.0, new - old)).max(initial=0.0)
        size = np.abs(old).max(initial=0.0)
    if moved == 0.0:
        return 0.0
    # NaN among the new values must come out as NaN, from zeros as well.
    return float(moved / size) if size > 0.0 else float(moved * np.inf)


def _is_label_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "bSU"


def _brief(value: Any) -> str:
    if value is None or isinstance(value, str | bool | Real):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with keys {list(value)}"
    size = f" of length {len(value)}" if isinstance(value, Sequence) else ""
    return f"{type(value).__name__}{size}"
