"""Linear expressions such as ``"1+2*a-b"``: a number and the coefficient of each name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.errors import InputError

TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([^\W\d]\w*(?:\.\w+)*)|([-+*()]))")


class _Unread(Exception):
    """What is wrong with an expression."""


@dataclass(frozen=True)
class Linear:
    """constant + Σ coefficient · name."""

    constant: float
    coefficients: Mapping[str, float]

    def plus(self, other: Linear, sign: float) -> Linear:
        """Return self + sign · other."""
        names = [*self.coefficients, *(name for name in other.coefficients if name not in self.coefficients)]
        mine, theirs = self.coefficients, other.coefficients
        sums = {name: mine.get(name, 0.0) + sign * theirs.get(name, 0.0) for name in names}
        return Linear(self.constant + sign * other.constant, sums)

    def times(self, other: Linear) -> Linear:
        """Return the product, one of the two being a number."""
        number, rest = (self, other) if not self.coefficients else (other, self)
        if number.coefficients:
            first, second = next(iter(self.coefficients)), next(iter(other.coefficients))
            raise _Unread(f"is not linear: it multiplies {first} by {second}")
        factor = number.constant
        return Linear(factor * rest.constant, {name: factor * c for name, c in rest.coefficients.items()})


def linear(entry: Any, where: str) -> Linear:
    """Return an entry of a pattern, a number or an expression, as a linear expression.

    Numbers, names, ``+``, ``-``, ``*`` and parentheses; a name begins with a letter or ``_`` and may hold points.

    Raises
    ------
    InputError
        If the entry is neither a finite number nor such an expression, or is not linear in its names.

    Examples
    --------
    >>> linear("1 + 2*(a - b)", "F")
    Linear(constant=1.0, coefficients={'a': 2.0, 'b': -2.0})
    >>> linear("a*b", "F")
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: F: 'a*b' is not linear: it multiplies a by b
    """
    if isinstance(entry, str):
        try:
            read = _Reader(_tokens(entry)).whole()
        except _Unread as problem:
            raise InputError(f"{where}: {entry!r} {problem}") from None
        kept = {name: c for name, c in read.coefficients.items() if c != 0.0}
        if not np.all(np.isfinite([read.constant, *kept.values()])):
            raise InputError(f"{where}: {entry!r} holds a number that is not finite")
        return Linear(read.constant, kept)
    if isinstance(entry, bool | np.bool_) or not isinstance(entry, int | float | np.integer | np.floating):
        raise InputError(f"{where}: expected a number or an expression such as '1+2*a-b', got {entry!r}")
    if not np.isfinite(entry):
        raise InputError(f"{where}: expected a finite number, got {entry!r}")
    return Linear(float(entry), {})


def _tokens(text: str) -> list[str]:
    found, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = TOKEN.match(text, position)
        if match is None:
            raise _Unread(f"cannot be read at {text[position:].strip()[0]!r}; numbers, names, +, -, * and ( ) can")
        found.append(match.group().strip())
        position = match.end()
    return found


class _Reader:
    """A recursive descent over the tokens: sums of products of signed factors."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0

    def whole(self) -> Linear:
        if not self.tokens:
            raise _Unread("is empty; write 0 for zero")
        result = self._sum()
        if self._next() is not None:
            raise _Unread(f"cannot be read at {self._next()!r}: an operator is missing before it")
        return result

    def _next(self) -> str | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def _take(self) -> str | None:
        token = self._next()
        self.position += 1
        return token

    def _sum(self) -> Linear:
        result = self._product()
        while self._next() in ("+", "-"):
            sign = 1.0 if self._take() == "+" else -1.0
            result = result.plus(self._product(), sign)
        return result

    def _product(self) -> Linear:
        result = self._factor()
        while self._next() == "*":
            self._take()
            result = result.times(self._factor())
        return result

    def _factor(self) -> Linear:
        token = self._take()
        if token is None:
            raise _Unread("ends too early")
        if token in "+-":
            return Linear(0.0, {}).plus(self._factor(), 1.0 if token == "+" else -1.0)
        if token == "(":
            inside = self._sum()
            if self._take() != ")":
                raise _Unread("lacks a closing parenthesis")
            return inside
        if token in "*)":
            raise _Unread(f"cannot be read at {token!r}")
        is_number = token[0].isdigit() or token[0] == "."
        return Linear(float(token), {}) if is_number else Linear(0.0, {token: 1.0})
