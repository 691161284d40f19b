"""Where the named parameters of a model live in its system: blocks of covariances, entries of matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.errors import InputError
from kalman_em.systems import LinearGaussianSystem

# What a slot of two entries (a, b) of a rotation [[a, b], [-b, a]] shows of it.
KINDS = ("value", "damping", "period", "isotropic", "time constant")


@dataclass(frozen=True)
class Slot:
    """Where a named parameter lives.

    A whole parameter of the system; or `rows`, the block of a covariance on those rows and columns, which may be
    `copies` equal blocks; or `entries` of a matrix (its coefficients), laid out with `shape`.
    With `kind` "damping" or "period" the last axis of the entries is the pair (a, b) of a rotation
    [[a, b], [-b, a]], and the parameter is sqrt(a² + b²) or 2 pi / angle(a + ib).
    Of the dynamics the entries are those of a drift: minus one over a "time constant", the logarithm of a "damping"
    over one unit of time, or 2 pi over a "period" and its negative.
    With `entry` it is the value of one series, of a parameter that has one for each.
    With `kind` "isotropic" the rows hold one number times the identity, and the parameter is that of `shape`.
    """

    parameter: str
    rows: slice | None = None
    copies: int = 1
    entries: tuple[tuple[int, int], ...] | None = None
    shape: tuple[int, ...] = ()
    kind: str = "value"
    entry: int | None = None

    def read(self, system: LinearGaussianSystem) -> Array:
        """Return the named value out of `system`."""
        value = getattr(system, self.parameter)
        # What all series share stands in every entry.
        return self._out_of(value[self.entry or 0] if self.parameter in system.by_series else value)

    def _out_of(self, value: Any) -> Array:
        if self.parameter == "dynamics":
            return _of_drift(value.drift[self.places][0], self.kind).reshape(self.shape)
        if self.entries is not None:
            found = value[self.places].reshape(self.shape if self.kind == "value" else (*self.shape, 2))
            return found if self.kind == "value" else _of_rotation(found, self.kind)
        if self.rows is None:
            return np.asarray(value)
        if self.kind == "isotropic":
            return np.asarray(value[self.rows.start, self.rows.start] * np.eye(self.shape[0]))
        first = self._blocks()[0]
        return np.asarray(value[..., first, first])

    def put(self, value: Any, named: Array) -> Any:
        """Return the parameter `value` of the system with the named value in its place."""
        if self.entry is not None:
            table = np.array(value)
            table[self.entry] = replace(self, entry=None).put(table[self.entry], named)
            return table
        if self.entries is None and self.rows is None:
            return named
        if self.parameter == "dynamics":
            drift = np.array(value.drift)
            drift[self.places] = _as_drift(float(np.ravel(named)[0]), self.kind)[: len(self.entries or ())]
            return replace(value, drift=drift)
        result = np.array(value)
        if self.kind == "isotropic" and self.rows is not None:
            result[self.rows, self.rows] = named[0, 0] * np.eye(self.rows.stop - self.rows.start)
        elif self.entries is None:
            for block in self._blocks():
                result[..., block, block] = named
        elif self.kind == "value":
            result[_places(self.entries)] = np.tile(np.ravel(named), self.copies)
        else:
            self._turn(result, named)
        return result

    def _blocks(self) -> list[slice]:
        assert self.rows is not None
        size = (self.rows.stop - self.rows.start) // self.copies
        return [slice(self.rows.start + i * size, self.rows.start + (i + 1) * size) for i in range(self.copies)]

    @property
    def places(self) -> tuple[list[int], list[int]]:
        """Rows and columns of the entries, of one copy of them."""
        entries = self.entries or ()
        return _places(entries[: len(entries) // self.copies])

    def _turn(self, matrix: Array, named: Array) -> None:
        """Write damping or period into the blocks [[a, b], [-b, a]] whose (a, b) are the entries."""
        pair = matrix[self.places].reshape((*self.shape, 2))
        damping = named if self.kind == "damping" else _of_rotation(pair, "damping")
        period = named if self.kind == "period" else _of_rotation(pair, "period")
        angle = 2.0 * np.pi / period
        turned = np.stack([damping * np.cos(angle), damping * np.sin(angle)], axis=-1).reshape(-1, 2)
        entries = self.entries or ()
        for (row, column), (_, partner), (cosine, sine) in zip(entries[::2], entries[1::2], turned, strict=True):
            matrix[row, column], matrix[row, partner] = cosine, sine
            matrix[partner, column], matrix[partner, partner] = -sine, cosine


def _places(entries: tuple[tuple[int, int], ...]) -> tuple[list[int], list[int]]:
    rows, columns = zip(*entries, strict=True)
    return list(rows), list(columns)


def _of_drift(entry: float, kind: str) -> Array:
    """Return the time constant, the damping over one unit of time or the period that an entry of a drift stands for."""
    if kind == "time constant":
        return np.asarray(-1.0 / entry)
    return np.asarray(np.exp(entry) if kind == "damping" else 2.0 * np.pi / abs(entry))


def _as_drift(value: float, kind: str) -> tuple[float, float]:
    """Return the two entries of a drift that stand for a value: the dying away of two states, or a turn."""
    if value <= 0.0 or (kind == "damping" and value >= 1.0):
        bound = " below 1" if kind == "damping" else ""
        raise InputError(f"{kind.replace(' ', '_')}: expected a positive number{bound}, got {value:g}")
    if kind == "period":
        return 2.0 * np.pi / value, -2.0 * np.pi / value
    rate = np.log(value) if kind == "damping" else -1.0 / value
    return rate, rate


def _of_rotation(pair: Array, kind: str) -> Array:
    a, b = pair[..., 0], pair[..., 1]
    if kind == "damping":
        return np.asarray(np.hypot(a, b))
    with np.errstate(divide="ignore"):
        return np.asarray(2.0 * np.pi / np.abs(np.arctan2(b, a)))


def led_entries(value: Any, shape: tuple[int, ...]) -> Any:
    """Put an entry for the leading missing row in front of a time-varying parameter: that of the first row."""
    return np.concatenate([value[:1], value]) if value.ndim > len(shape) else value
