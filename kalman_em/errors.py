"""The errors that kalman_em raises on purpose.

Bad input raises `InputError`, a `ValueError` whose message names the argument, what was expected and what
came. A computation that cannot go on raises `NumericalError`, an `ArithmeticError`.
"""

from __future__ import annotations


class InputError(ValueError):
    """An argument that cannot be used; the message names it, what was expected and what came."""


class NumericalError(ArithmeticError):
    """A computation without a finite answer; the message says which, where and what to try."""


def unknown_name(kind: str, name: object, known: list[str]) -> str:
    """Return the message for a name that is not one of those known.

    Examples
    --------
    >>> unknown_name("model", "local-leve", ["local-level"])
    "model 'local-leve' is not known; expected one of: local-level"
    """
    return f"{kind} {name!r} is not known; expected one of: {', '.join(known)}"
