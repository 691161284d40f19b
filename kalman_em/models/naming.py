"""Models by their names, as the command line and configuration files write them."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from functools import reduce
from typing import Any

from kalman_em.em.forms import Diagonal, Full
from kalman_em.errors import InputError, unknown_name
from kalman_em.models.autoregression import Autoregression
from kalman_em.models.cycle import Cycle
from kalman_em.models.damped_trend import DampedTrend
from kalman_em.models.dynamic_factor import DynamicFactor
from kalman_em.models.intervention import Intervention
from kalman_em.models.local_level import LocalLevel
from kalman_em.models.local_linear_trend import LocalLinearTrend
from kalman_em.models.model import Model
from kalman_em.models.regression import Regression, TimeVaryingRegression
from kalman_em.models.seasonal import Seasonal
from kalman_em.models.smooth_trend import SmoothTrend
from kalman_em.models.vector_autoregression import VectorAutoregression

MODELS: dict[str, type[Any]] = {
    "local-level": LocalLevel,
    "local-linear-trend": LocalLinearTrend,
    "smooth-trend": SmoothTrend,
    "damped-trend": DampedTrend,
    "seasonal": Seasonal,
    "cycle": Cycle,
    "autoregression": Autoregression,
    "intervention": Intervention,
    "regression": Regression,
    "time-varying-regression": TimeVaryingRegression,
    "vector-autoregression": VectorAutoregression,
    "dynamic-factor": DynamicFactor,
}

FORMS: dict[str, Callable[[], Any]] = {
    "full": Full,
    "diagonal": Diagonal,
}

# What may stand between numbers in an argument.
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
TERM = re.compile(r"\s*([A-Za-z][A-Za-z_\- ]*?)\s*(\(.*\))?\s*", re.DOTALL)


def model_names() -> list[str]:
    """Return the names that `model_named` knows."""
    return list(MODELS)


def model_named(text: str, *, covariance: str = "full") -> Model:
    """Return the model that `text` writes: a name, with arguments in brackets, or a sum of such.

    Parameters
    ----------
    text : str
        Names of `model_names`, in any case and with hyphens, underscores or spaces between words; arguments as in
        Python, numbers with + - * / between them, text in quotes.
    covariance : {"full", "diagonal"}
        Whether the noise of several columns may be correlated, in every noise covariance of the model.

    Raises
    ------
    InputError
        If a name is not known (the message lists those that are, the nearest first), brackets do not match, or an
        argument cannot be read or used.

    Examples
    --------
    >>> from kalman_em.models.naming import model_named
    >>> model_named("local-level", covariance="diagonal").observation_cov
    Diagonal()
    >>> model_named("smooth trend + seasonal(365.25 / 7, harmonics=2)").components[1].period
    52.17857142857143
    >>> model_named("local-levle")
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: model 'local-levle' is not known (did you mean local-level?); expected one of: ...
    """
    form = _known(covariance, FORMS, "covariance")
    named: Model = reduce(operator.add, [_part(term, form) for term in _terms(text)])
    return named


def _terms(text: str) -> list[str]:
    """Return what stands between the + signs outside brackets."""
    terms, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
        if character == "+" and depth == 0:
            terms.append("")
        else:
            terms[-1] += character
    if depth != 0:
        raise InputError(f"model {text!r}: the brackets do not match")
    return terms


def _part(term: str, form: Callable[[], Any]) -> Any:
    found = TERM.fullmatch(term)
    name, bracket = (term, None) if found is None else found.groups()
    kind = _known(name, MODELS, "model")
    values, options = _arguments(bracket or "()", term)
    noises = [field.name for field in fields(kind) if field.name.endswith("_cov") and field.name != "initial_cov"]
    try:
        return kind(*values, **{noise: form() for noise in noises}, **options)
    except InputError as error:
        raise InputError(f"model {term.strip()!r}: {error}") from error
    except TypeError as error:
        wanted = ", ".join(field.name for field in fields(kind) if field.name not in (*noises, "initial_cov"))
        raise InputError(f"model {term.strip()!r}: expected arguments out of {wanted} ({error})") from error


def _arguments(bracket: str, term: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        call = ast.parse(f"f{bracket}", mode="eval").body
        if not isinstance(call, ast.Call) or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("no list of arguments")
        values = [_value(argument) for argument in call.args]
        return values, {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, ArithmeticError, TypeError) as error:
        raise InputError(
            f"model {term.strip()!r}: the arguments {bracket} cannot be read; expected numbers and texts as in Python, "
            "such as (365.25 / 7, harmonics=2)"
        ) from error


def _value(node: ast.expr) -> Any:
    """Return the value of a number, a text, a list, or numbers with operators between them."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError(f"{ast.unparse(node)} is neither number nor text")


def _known(text: str, known: dict[str, Any], kind: str) -> Any:
    name = "-".join(text.lower().replace("_", " ").replace("-", " ").split())
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    if near:
        expected = ", ".join(known)
        raise InputError(f"{kind} {text.strip()!r} is not known (did you mean {near[0]}?); expected one of: {expected}")
    raise InputError(unknown_name(kind, text.strip(), list(known)))
