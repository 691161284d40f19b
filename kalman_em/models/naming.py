"""Models by name, as a command line or a settings file writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from kalman_em.em.forms import Diagonal, Full
from kalman_em.errors import InputError, unknown_name
from kalman_em.models.local_level import LocalLevel
from kalman_em.models.local_linear_trend import LocalLinearTrend
from kalman_em.models.model import Model

MODELS: dict[str, type[Any]] = {
    "local-level": LocalLevel,
    "local-linear-trend": LocalLinearTrend,
}

FORMS: dict[str, Callable[[], Any]] = {
    "full": Full,
    "diagonal": Diagonal,
}


def model_names() -> list[str]:
    """Return the names that `model_named` knows."""
    return list(MODELS)


def model_named(text: str, *, covariance: str = "full") -> Model:
    """Return the model called `text`, in any case and with hyphens, underscores or spaces between words.

    Parameters
    ----------
    text : str
        One of `model_names`.
    covariance : {"full", "diagonal"}
        Whether the noise of several columns may be correlated, in every noise covariance of the model.

    Raises
    ------
    InputError
        If a name is not known; the message lists those that are, the nearest first.

    Examples
    --------
    >>> from kalman_em.models.naming import model_named
    >>> model_named("local-level", covariance="diagonal").observation_cov
    Diagonal()
    >>> model_named("local-levle")
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: model 'local-levle' is not known (did you mean local-level?); expected one of: ...
    """
    model = _known(text, MODELS, "model")
    form = _known(covariance, FORMS, "covariance")
    noises = [field.name for field in fields(model) if field.name.endswith("_cov") and field.name != "initial_cov"]
    named: Model = model(**{name: form() for name in noises})
    return named


def _known(text: str, known: dict[str, Any], kind: str) -> Any:
    name = "-".join(text.lower().replace("_", " ").replace("-", " ").split())
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    if near:
        expected = ", ".join(known)
        raise InputError(f"{kind} {text!r} is not known (did you mean {near[0]}?); expected one of: {expected}")
    raise InputError(unknown_name(kind, text, list(known)))
