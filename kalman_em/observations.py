"""What was measured: one series (`Observations`) or many (`Panel`), with NaN as the marker for missing."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.arrays import Array, BoolArray, as_floats, as_input_rows, frozen
from kalman_em.errors import InputError, UnknownNameError


@dataclass(frozen=True, eq=False)
class Observations:
    """One series of T rows with p values each; NaN marks a missing value.

    Parameters
    ----------
    values : array_like, shape (T, p)
        What was measured, time axis first. Any entry may be NaN (None and masked entries become NaN).
    times : array_like, shape (T,), optional
        The time of each row, increasing, in the user's unit.
    index : sequence of length T, optional
        Labels of the rows (a pandas index, say); carried along, never read here.
    names : sequence of str of length p, optional
        Names of the columns; ``y1``, ``y2``, ... when left out.
    inputs : array_like, shape (T, k) or (T,) for k of 1, optional
        Known inputs u; row t acts on the observation at t and on the step from t to t+1.

    Raises
    ------
    InputError
        If a shape is wrong, a value is not a number, is inf, or an input is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Observations
    >>> observed = Observations([[1.0, 2.0], [np.nan, 3.0]])
    >>> observed.n_steps, observed.obs_dim, observed.names
    (2, 2, ('y1', 'y2'))
    """

    values: Array
    times: Array | None = None
    index: Any = None
    names: tuple[str, ...] | None = None
    inputs: Array | None = None
    is_missing: BoolArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = _checked_values(self.values)
        n_steps, obs_dim = values.shape
        names = _checked_names(self.names, obs_dim)
        if self.index is not None:
            n_labels = len(_sequence(self.index, "index", "labels"))
            if n_labels != n_steps:
                raise InputError(f"index: expected {n_steps} labels, one a row of values, got {n_labels}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "times", _checked_times(self.times, n_steps))
        inputs = None if self.inputs is None else as_input_rows(self.inputs, n_steps, None)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "is_missing", frozen(np.isnan(values)))

    @property
    def n_steps(self) -> int:
        """Number of rows T."""
        return int(self.values.shape[0])

    @property
    def obs_dim(self) -> int:
        """Number of values a row, p."""
        return int(self.values.shape[1])

    @property
    def input_dim(self) -> int:
        """Number of inputs a row, k."""
        return 0 if self.inputs is None else int(self.inputs.shape[1])

    @property
    def n_observed(self) -> int:
        """Number of entries that were observed."""
        return int(self.values.size - np.count_nonzero(self.is_missing))


@dataclass(frozen=True, eq=False)
class Panel:
    """Many series of the same p quantities, each of its own length, observed independently.

    Parameters
    ----------
    series : sequence of Observations
        One entry a series; all with the same names and number of inputs.
    keys : sequence of hashable, optional
        A distinct name for each series; 0, 1, 2, ... when left out.

    Raises
    ------
    InputError
        If there is no series, keys repeat, or the series differ in their columns or inputs.

    Examples
    --------
    >>> from kalman_em import Observations, Panel
    >>> panel = Panel([Observations([[1.0], [2.0]]), Observations([[4.0]])], keys=["a", "b"])
    >>> panel.n_series, panel["b"].n_steps
    (2, 1)
    """

    series: tuple[Observations, ...]
    keys: tuple[Hashable, ...] | None = None

    def __post_init__(self) -> None:
        series = _checked_series(self.series)
        keys = tuple(range(len(series))) if self.keys is None else tuple(_sequence(self.keys, "keys", "keys"))
        if len(keys) != len(series):
            raise InputError(f"keys: expected {len(series)} keys, one a series, got {len(keys)}")
        for key in keys:
            if not isinstance(key, Hashable):
                raise InputError(f"keys: expected keys that can be hashed, got {key!r} ({type(key).__name__})")
        if len(set(keys)) != len(keys):
            raise InputError("keys: expected distinct keys, got a repeated one")
        object.__setattr__(self, "series", series)
        object.__setattr__(self, "keys", keys)

    def __len__(self) -> int:
        return len(self.series)

    def __iter__(self) -> Iterator[Observations]:
        return iter(self.series)

    def __getitem__(self, key: Hashable) -> Observations:
        return self.series[self.position(key)]

    def position(self, key: Hashable) -> int:
        """Return the position of the series called `key`.

        Raises
        ------
        InputError
            If there is none (a `KeyError` too).
        """
        # An array, which cannot be hashed, would be compared with the keys element by element.
        if self.keys is None or not isinstance(key, Hashable) or key not in self.keys:
            shown = ", ".join(repr(k) for k in (self.keys or ())[:10]) + (", ..." if len(self) > 10 else "")
            raise UnknownNameError(f"series: no series is called {key!r}; expected one of: {shown}")
        return self.keys.index(key)

    @property
    def n_series(self) -> int:
        """Number of series N."""
        return len(self.series)

    @property
    def obs_dim(self) -> int:
        """Number of values a row, p."""
        return self.series[0].obs_dim

    @property
    def input_dim(self) -> int:
        """Number of inputs a row, k."""
        return self.series[0].input_dim

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.series[0].names or ()

    @property
    def n_observed(self) -> int:
        """Number of entries that were observed, over all series."""
        return sum(one.n_observed for one in self.series)


def _sequence(value: Any, name: str, what: str) -> Any:
    if isinstance(value, str | bytes) or not (hasattr(value, "__len__") and hasattr(value, "__iter__")):
        raise InputError(f"{name}: expected a sequence of {what}, got {value!r} ({type(value).__name__})")
    return value


def _checked_values(given: Any) -> Array:
    values = as_floats(given, "values", allow_nan=True, allow_bool=False)
    if values.ndim == 1:
        raise InputError(
            f"values: expected shape (T, p), rows in time order, got {values.shape}; one column of T values has shape "
            "(T, 1), as numpy.reshape(values, (-1, 1)) gives it"
        )
    if values.ndim != 2:
        raise InputError(f"values: expected shape (T, p), rows in time order, got {values.shape}")
    if values.size == 0:
        raise InputError(f"values: expected at least one row and one column, got shape {values.shape}")
    return values


def _checked_names(given: Any, obs_dim: int) -> tuple[str, ...]:
    if given is None:
        return tuple(f"y{i + 1}" for i in range(obs_dim))
    names = tuple(map(str, _sequence(given, "names", "names")))
    if len(names) != obs_dim:
        raise InputError(f"names: expected {obs_dim} names, one a column of values, got {len(names)}: {names}")
    if len(set(names)) != len(names):
        raise InputError(f"names: expected distinct names, got {names}")
    return names


def _checked_series(given: Any) -> tuple[Observations, ...]:
    if isinstance(given, Observations):
        raise InputError("series: expected a sequence of Observations, got one alone; put it in a list")
    if isinstance(given, Mapping):
        raise InputError(
            "series: expected a sequence of Observations, got a mapping; pass list(series.values()) and "
            "keys=list(series)"
        )
    if not isinstance(given, Iterable):
        raise InputError(f"series: expected a sequence of Observations, got {type(given).__name__}")
    series = tuple(given)
    if not series:
        raise InputError("series: expected at least one series, got none")
    for position, one in enumerate(series):
        if not isinstance(one, Observations):
            raise InputError(f"series: expected Observations, got {type(one).__name__} at position {position}")
        if one.names != series[0].names:
            raise InputError(f"series: expected columns {series[0].names} in every series, got {one.names}")
        if one.input_dim != series[0].input_dim:
            raise InputError(
                f"series: expected {series[0].input_dim} inputs in every series, got {one.input_dim} at {position}"
            )
    return series


def _checked_times(times: Any, n_steps: int) -> Array | None:
    if times is None:
        return None
    array = as_floats(times, "times")
    if array.shape != (n_steps,):
        raise InputError(f"times: expected shape ({n_steps},), one a row of values, got {array.shape}")
    steps = np.diff(array)
    if np.any(steps <= 0.0):
        row = int(np.argmax(steps <= 0.0))
        raise InputError(f"times: expected increasing times, got {array[row]} then {array[row + 1]} at row {row + 1}")
    return array
