"""Misspelt parameters of a model: refused with the nearest that exists."""

from __future__ import annotations

from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar

from kalman_em.errors import UnknownParameterError, unknown_name

Class = TypeVar("Class", bound=type[Any])


def checks_keywords(model: Class) -> Class:
    """Have the dataclass `model` raise `UnknownParameterError` for a keyword that is no field of it.

    Examples
    --------
    >>> from kalman_em import LocalLevel, Diagonal
    >>> LocalLevel(level_cv=Diagonal())
    Traceback (most recent call last):
    ...
    kalman_em.errors.UnknownParameterError: LocalLevel: parameter 'level_cv' is not known; expected ...'level_cov'?)
    """
    names = [field.name for field in fields(model) if field.init]
    made = model.__init__

    @wraps(made)
    def checked(self: Any, *values: Any, **options: Any) -> None:
        for name in options:
            if name not in names:
                raise UnknownParameterError(unknown_name(f"{model.__name__}: parameter", name, names))
        made(self, *values, **options)

    model.__init__ = checked
    return model
