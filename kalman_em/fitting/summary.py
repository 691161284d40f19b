"""The summary of a fit: a text that prints well in a terminal and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.em.result import EMResult
from kalman_em.fitting.certainty import certainty
from kalman_em.fitting.uncertainty import StandardErrors
from kalman_em.inference.numerics import STANDARD
from kalman_em.models.parameters import Parameters
from kalman_em.models.specification import Specification
from kalman_em.models.titles import model_title
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

WIDTH = 78
# Facts longer than this have a line of their own.
NARROW = 26


class Summarised(Protocol):
    """What a summary reads of a fit."""

    @property
    def model(self) -> object: ...
    @property
    def specification(self) -> Specification: ...
    @property
    def panel(self) -> Panel: ...
    @property
    def em(self) -> EMResult[LinearGaussianSystem]: ...
    @property
    def params(self) -> Parameters: ...
    @property
    def numerics(self) -> str: ...
    @property
    def log_likelihood(self) -> float: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def n_observed(self) -> int: ...
    @property
    def aic(self) -> float: ...
    @property
    def aicc(self) -> float: ...
    @property
    def bic(self) -> float: ...


@dataclass(frozen=True)
class Summary:
    """A text; printing it or showing it in a notebook gives the text itself."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


def summarised(fitted: Summarised, errors: StandardErrors | None = None) -> Summary:
    """Return the summary of `fitted`, numbers with their standard errors in parentheses if `errors` are given."""
    lines = [
        _title(fitted),
        "=" * WIDTH,
        *_facts(fitted),
        *few_data(fitted.n_parameters, fitted.n_observed),
        "-" * WIDTH,
        *_parameter_lines(fitted, errors),
        "-" * WIDTH,
        *wrapped(f"EM: {fitted.em.message}"),
        *_generalised(fitted.specification),
        *_about(errors),
        *_numerics(fitted),
        *_certain(fitted),
        *_clock(fitted),
    ]
    return Summary("\n".join(lines))


def _clock(fitted: Summarised) -> list[str]:
    """Return a line if a model in continuous time had rows without time stamps."""
    if fitted.specification.dynamics is None:
        return []
    counted = all(isinstance(one.index, pd.RangeIndex) and one.index.start == 0 for one in fitted.panel)
    unit = getattr(fitted.model, "time_unit", "s")
    return wrapped(f"Time: the rows came without time stamps and count as 1 {unit} apart.") if counted else []


def _certain(fitted: Summarised) -> list[str]:
    said = certainty(fitted.specification, fitted.em.params, fitted.panel)
    return wrapped(f"Forecasts: {said}.") if said else []


def _numerics(fitted: Summarised) -> list[str]:
    if fitted.numerics == STANDARD:
        return []
    reason = "as asked" if fitted.em.switched_at is None else "covariances would have lost their digits"
    return wrapped(f"Numerics: {fitted.numerics}, {reason}.")


def in_short(fitted: Summarised) -> str:
    """Return one line: model, columns, rows, log-likelihood and why EM stopped."""
    return (
        f"Fit({_title(fitted)}: {_rows(fitted.panel)} rows{_in_series(fitted.panel)}, "
        f"log-likelihood {fitted.log_likelihood:.6g}, {fitted.em.stop_reason})"
    )


def _rows(panel: Panel) -> int:
    return sum(one.n_steps for one in panel)


def _in_series(panel: Panel) -> str:
    return f" in {panel.n_series} series" if panel.n_series > 1 else ""


def _title(fitted: Summarised) -> str:
    panel = fitted.panel
    columns = ", ".join(panel.names[:4]) + (", ..." if len(panel.names) > 4 else "")
    return f"{model_title(fitted.model)} of {columns}"


def _facts(fitted: Summarised) -> list[str]:
    panel = fitted.panel
    n_rows = _rows(panel)
    initial = _initial(fitted.specification)
    left = [
        ("rows", f"{n_rows}{_in_series(panel)}"),
        ("observed values", f"{fitted.n_observed} of {n_rows * panel.obs_dim}"),
        ("states", f"{fitted.specification.state_dim}"),
        ("initial state", initial if len(initial) < NARROW else "mixed"),
    ]
    right = [
        ("log-likelihood", f"{fitted.log_likelihood:.6g}"),
        ("free parameters", f"{fitted.n_parameters}"),
        ("AIC, AICc", f"{fitted.aic:.6g}, {fitted.aicc:.6g}"),
        ("BIC", f"{fitted.bic:.6g}"),
    ]
    lines = [f"{a:<16} {b:<26}{c:<16}{d:>19}" for (a, b), (c, d) in zip(left, right, strict=True)]
    return lines if len(initial) < NARROW else [*lines, f"{'  of elements':<16} {initial}"]


def _initial(specification: Specification) -> str:
    if not specification.initial.others.all():
        return specification.initial.described()
    mean = "learnt" if specification.is_free("initial_mean") else "known"
    cov = "learnt" if specification.is_free("initial_cov") else "known"
    return f"mean {mean}, cov {cov}"


def _parameter_lines(fitted: Summarised, errors: StandardErrors | None) -> list[str]:
    specification = fitted.specification
    lines: list[str] = []
    for name, value in fitted.params.items():
        if name in specification.names:
            places = ", ".join(specification.names[name])
            lines.append(f"{name:<24}{float(value):>16.6g}{_beside(name, errors)}   in {places}")
            continue
        slot = specification.slots[name]
        learnt = specification.is_learnt(name)
        if not learnt and not np.any(value):
            continue
        mark = "" if learnt else f"   ({_reason(specification, slot.parameter)})"
        if value.size == 1:
            lines.append(f"{name:<24}{value.ravel()[0]:>16.6g}{_beside(name, errors)}{mark}")
        elif value.ndim > 2 or (value.ndim == 2 and slot.parameter.endswith("offset")):
            lines.append(f"{name:<24}   varies in time, shape {value.shape}{mark}")
        else:
            lines.append(f"{name}{mark}")
            error = None if errors is None else errors.values.get(name)
            lines.extend("    " + line for line in matrix_lines(value, error, *_labels(fitted, name)))
    return lines


def _beside(name: str, errors: StandardErrors | None) -> str:
    """Return the standard error of a single number in parentheses, if it is asked for and there is one."""
    if errors is None or name not in errors.values:
        return ""
    return f" {_shown_error(float(errors.values[name].ravel()[0]))}".rstrip()


def _shown_error(error: float) -> str:
    return f"({error:.4g})" if 0.0 < error < np.inf else ""


def _about(errors: StandardErrors | None) -> list[str]:
    if errors is None:
        return []
    lines = wrapped("In parentheses: standard errors, from the observed information.")
    for name, reason in errors.reasons.items():
        lines += wrapped(f"{name}: {reason}.")
    return lines


def _generalised(specification: Specification) -> list[str]:
    names = specification.generalised_steps
    if specification.start_moves:
        return wrapped(
            "Generalised M-step: the stationary start moves with what is learnt of the transition; each iteration "
            "raises the expected log-likelihood by steps made to gain."
        )
    if not names:
        return []
    return wrapped(
        f"Generalised M-step: {', '.join(names)} has no closed form; each iteration raises the expected "
        "log-likelihood by a search instead."
    )


def _reason(specification: Specification, parameter: str) -> str:
    """Return why a parameter is not learnt."""
    follows = parameter == "initial_cov" or (parameter == "initial_mean" and specification.mean_follows)
    return "stationary" if follows and specification.initial.is_stationary.all() else "fixed"


def _labels(fitted: Summarised, name: str) -> tuple[list[str], list[str]]:
    specification, columns = fitted.specification, list(fitted.panel.names)
    slot = specification.slots[name]
    if slot.entries is not None:
        n = slot.shape[-1]
        numbers = [str(i + 1) for i in range(n)] if n > 1 else [""]
        if len(slot.shape) == 1:
            return numbers, [""]
        rows = columns if slot.shape[0] == len(columns) else [str(i + 1) for i in range(slot.shape[0])]
        return rows, numbers
    if slot.parameter == "transition_cov" and slot.rows is not None and specification.components:
        size = len(fitted.params[name])
        labels = columns if size == len(columns) else [str(i + 1) for i in range(size)]
        return labels, labels
    if slot.parameter == "transition_cov" and specification.dynamics is not None:
        names = [str(i + 1) for i in range(len(fitted.params[name]))]
        return names, names
    states = list(specification.state_names)
    inputs = [f"u{i + 1}" for i in range(specification.input_dim)]
    noises = (
        states
        if specification.noise_selection is None
        else [f"w{i + 1}" for i in range(specification.shape("transition_cov")[0])]
    )
    rows, cols = {
        "transition_matrix": (states, states),
        "transition_offset": (states, [""]),
        "transition_input": (states, inputs),
        "transition_cov": (noises, noises),
        "observation_matrix": (columns, states),
        "observation_offset": (columns, [""]),
        "observation_input": (columns, inputs),
        "observation_cov": (columns, columns),
        "initial_mean": (states, [""]),
        "initial_cov": (states, states),
    }[slot.parameter]
    return (rows, cols) if slot.rows is None else (rows[slot.rows], cols[slot.rows])


def matrix_lines(value: Array, error: Array | None, rows: list[str], columns: list[str]) -> list[str]:
    """Return a small table as lines, each number with its standard error beside it if given."""
    table = pd.DataFrame(np.atleast_2d(value.T).T, index=rows, columns=columns)
    shown = 8
    note = f"... {len(rows)} x {len(columns)} in all" if max(table.shape) > shown else ""
    table = table.iloc[:shown, :shown].map(lambda number: f"{number:.5g}")
    if error is not None:
        spread = pd.DataFrame(np.atleast_2d(error.T).T, index=rows, columns=columns).iloc[:shown, :shown]
        table = table + " " + spread.map(_shown_error)
    lines: list[str] = table.to_string(line_width=WIDTH - 4).splitlines()
    return [line.rstrip() for line in lines if line.strip()] + ([note] if note else [])


def few_data(n_parameters: int, n_observed: int) -> list[str]:
    """Return a line for the summary if there are as many free parameters as observed values, or more."""
    if n_parameters < n_observed:
        return []
    return wrapped(
        f"Note: {n_parameters} free parameters from {n_observed} observed values; such a fit says little beyond its "
        "own data."
    )


def wrapped(text: str) -> list[str]:
    """Return a text as lines of `WIDTH`, all but the first indented."""
    lines, current = [], ""
    for word in text.split():
        if current and len(current) + 1 + len(word) > WIDTH:
            lines.append(current)
            current = "    " + word
        else:
            current = f"{current} {word}" if current else word
    return [*lines, current]
