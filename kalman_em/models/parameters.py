"""The parameters of a fit as users see them: few, named, read by attribute or by key."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.errors import UnknownNameError, unknown_name


class Parameters(Mapping[str, Array]):
    """Named, read-only parameter values: a mapping whose entries are attributes too.

    Values by series have a name for each, ``observation_cov[track-7]``; ``params.observation_cov`` is then the mapping
    of the series to their values, as `tables` say.

    Raises
    ------
    InputError
        For a key that is not there (a `KeyError` too); an `AttributeError` for such an attribute. Both name those
        that are.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em.models.parameters import Parameters
    >>> params = Parameters({"level_cov": np.array([[1469.1]])})
    >>> float(params.level_cov[0, 0]), list(params)
    (1469.1, ['level_cov'])
    """

    __slots__ = ("_tables", "_values")
    _values: dict[str, Array]
    _tables: dict[str, dict[Hashable, str]]

    def __init__(self, values: Mapping[str, Array], tables: Mapping[str, Mapping[Hashable, str]] | None = None) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_tables", {name: dict(table) for name, table in (tables or {}).items()})

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name] if name not in self._tables else self._table(name)
        except (KeyError, TypeError):
            raise UnknownNameError(unknown_name("parameter", name, list(self._values))) from None

    def __getattr__(self, name: str) -> Any:
        values: dict[str, Array] = object.__getattribute__(self, "_values")
        if name in values:
            return values[name]
        if name in self._tables:
            return self._table(name)
        raise AttributeError(unknown_name("parameter", name, list(values)))

    def _table(self, name: str) -> dict[Hashable, Array]:
        return {key: self._values[own] for key, own in self._tables[name].items() if own in self._values}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"parameters are read-only; pass start={{{name!r}: ...}} to a fit to begin elsewhere")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        with np.printoptions(precision=6, suppress=False, threshold=200, edgeitems=2):
            body = ",\n".join(
                f"  {name}={np.array2string(value, prefix=' ' * (len(name) + 3))}" for name, value in self.items()
            )
        return f"Parameters(\n{body}\n)"

    def __reduce__(self) -> tuple[type[Parameters], tuple[dict[str, Array], dict[str, dict[Hashable, str]]]]:
        return type(self), (dict(self._values), dict(self._tables))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameters):
            return NotImplemented
        return list(self) == list(other) and all(np.array_equal(self[n], other[n]) for n in self)

    __hash__ = None  # type: ignore[assignment]
