"""Names of learnt numbers: what may be one."""

from __future__ import annotations

import re
from typing import Any

from kalman_em.errors import InputError

NAME = re.compile(r"[^\W\d]\w*(?:\.\w+)*")


def check_name(name: Any, where: str) -> None:
    """Raise `InputError` unless `name` is text that begins with a letter or _, then letters, digits, _ and points.

    Examples
    --------
    >>> check_name("2q", "Scaled")
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: Scaled: expected a name of letters, digits and _, not a digit first, got '2q'
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{where}: expected a name of letters, digits and _, not a digit first, got {name!r}")
