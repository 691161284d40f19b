"""One random fit, and what is wrong with how it ended: a fall, a NaN, a stop that does not explain itself."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import kalman_em as kem
from benchmarks.random_cases import drawn

# Stops that explain themselves, and those that do not.
ENDS = ("converged", "max_iterations", "degenerate_covariance", "unit_root", "unobservable_start")
STOPS = (*ENDS, "objective_fell", "non_finite")
# A fit that was refused must say what is wrong with the data or the model, in words known here; they are counted.
REFUSALS = {
    "is never resolved": "diffuse start never resolved",
    "as the diffuse start takes": "too few values for the diffuse start",
    "is impossible: the system knows its value without error": "data impossible without noise",
    "no start with every eigenvalue of the Stationary() blocks inside": "no stationary start known",
    "has no observed value": "a column without a value",
    "given, but the model has no input matrix": "inputs without a matrix for them",
    "needs the inputs of a step before the first row": "inputs before the first row",
    "have free coefficients but no noise enters them": "free coefficients without noise",
}
FAULTS = (
    "fall",
    "fall before another stop",
    "unexplained stop",
    "not finite",
    "negative variance",
    "exception",
    "warning",
)
FORECAST_STEPS = 3


@dataclass(frozen=True)
class Outcome:
    """How one fit ended: `stop` is a stop reason or the name of an exception, `faults` map what is wrong to details.

    `seconds` are of the processor, compilation included; `revision` is that of the code.
    """

    seed: int
    kind: str
    text: str
    stop: str
    detail: str
    n_iterations: int
    numerics: str
    faults: dict[str, str]
    seconds: float
    revision: str = ""


def outcome(seed: int) -> Outcome:
    """Run the fit with this number and look at what came out."""
    began = time.process_time()
    stop, detail, n_iterations, numerics = "", "", 0, ""
    kind, text = "", ""
    faults: dict[str, str] = {}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            case = drawn(seed)
            kind, text = case.kind, case.text
            stopping = kem.Stopping(max_iterations=case.max_iterations)
            fitted = kem.fit(case.model, case.panel, stopping=stopping, numerics=case.numerics)
            stop, detail = str(fitted.em.stop_reason), fitted.em.detail
            n_iterations, numerics = fitted.em.n_iterations, fitted.numerics
            faults |= _falls(fitted.em)
            # Whatever state a run ended in, what it returns must be usable.
            for what, arrays in _results(fitted, case.panel.input_dim):
                faults |= _not_numbers(what, arrays)
        except (kem.InputError, kem.NumericalError) as error:
            after = f"{stop}, then " if stop else ""
            stop, detail = type(error).__name__, f"{after}{error}"
        except Exception as error:
            stop, detail = stop or "exception", f"{type(error).__name__}: {error}"
            faults["exception"] = f"{detail}, at {_place(error)}"
    if warned:
        faults["warning"] = f"{warned[0].category.__name__}: {warned[0].message}"
    # A refusal comes before anything is learnt; a climb that breaks off is unexplained whatever it says.
    if stop in STOPS[len(ENDS) :] or (stop not in (*ENDS, "exception") and refusal(detail) is None):
        faults["unexplained stop"] = f"{stop}: {' '.join(detail.split())}"
    return Outcome(seed, kind, text, stop, detail, n_iterations, numerics, faults, time.process_time() - began)


def refusal(detail: str) -> str | None:
    """Return the words of REFUSALS that `detail` explains a stop with, or None."""
    return next((what for words, what in REFUSALS.items() if words in detail), None)


def _falls(em: Any) -> dict[str, str]:
    if em.n_falls == 0:
        return {}
    # Where the likelihood runs away to infinity a fall is a symptom of that, and the run says so.
    name = FAULTS[0] if em.stop_reason in ("converged", "max_iterations", "objective_fell") else FAULTS[1]
    relative = em.largest_fall / (1.0 + abs(em.log_likelihood))
    return {name: f"{relative:.1e} relative, at {em.n_iterations} iterations"}


def _results(fitted: Any, n_inputs: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield what a fit returns, part by part."""
    system = fitted.system
    values = {field.name: getattr(system, field.name) for field in fields(system)}
    yield "system", {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    yield "em", {"log_likelihoods": fitted.em.log_likelihoods}
    for key in fitted.panel.keys:
        smoothed = fitted.smooth(key)
        yield f"smoothed series {key}", {"means": smoothed.smoothed_means, "covs": smoothed.smoothed_covs}
        if any(np.ndim(values[name]) == 3 for name in ("transition_cov", "observation_cov", "observation_matrix")):
            # What is given over time is known for the rows of the data alone.
            continue
        inputs = np.zeros((FORECAST_STEPS, n_inputs)) if n_inputs else None
        ahead = fitted.forecast(FORECAST_STEPS, inputs=inputs, series=key)
        yield f"forecast of series {key}", {"means": ahead.means, "covs": ahead.covs}


def _not_numbers(what: str, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    found = {}
    for name, array in arrays.items():
        if not np.all(np.isfinite(array)):
            found["not finite"] = f"{what}: {name}"
        elif "cov" in name and array.dtype != bool and np.any(np.diagonal(array, axis1=-2, axis2=-1) < 0.0):
            found["negative variance"] = f"{what}: {name}"
    return found


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
