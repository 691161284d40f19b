"""Thousands of random EM fits: does the objective ever fall, does a NaN ever come out, does anything else go wrong?

    python -m benchmarks.random_fits --n 10000 --seed 0 --processes 2

Every fit has a number of its own, from `--seed` on, and `--only` repeats those that it is given.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import kalman_em as kem
from benchmarks.random_cases import KINDS, drawn

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
    """How one fit ended: `stop` is a stop reason or the name of an exception, `faults` map what is wrong to details."""

    seed: int
    kind: str
    text: str
    stop: str
    detail: str
    n_iterations: int
    numerics: str
    faults: dict[str, str]
    seconds: float


def outcome(seed: int) -> Outcome:
    """Run the fit with this number and look at what came out."""
    began = time.perf_counter()
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
    if stop not in (*ENDS, "exception") and refusal(detail) is None:
        faults["unexplained stop"] = f"{stop}: {' '.join(detail.split())}"
    return Outcome(seed, kind, text, stop, detail, n_iterations, numerics, faults, time.perf_counter() - began)


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


def outcomes(seeds: Sequence[int], processes: int) -> Iterator[Outcome]:
    """Yield the outcome of every fit, in the order of `seeds`; each process runs on one thread."""
    with tempfile.TemporaryDirectory() as scratch:
        # numba does not notice when a function that a cached one calls has changed: a cache of the run's own.
        os.environ.setdefault("NUMBA_CACHE_DIR", scratch)
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            yield from pool.imap(outcome, seeds, chunksize=5)


def report(results: Sequence[Outcome]) -> str:
    """Return the counts as a Markdown table, and a list of the fits that need looking at."""
    lines = ["| | " + " | ".join([*KINDS, "all"]) + " |", "| --- |" + " ---: |" * (len(KINDS) + 1)]
    lines.append(_row("fits", results))
    lines += [_row(f"stop: {stop}", [one for one in results if one.stop == stop]) for stop in STOPS]
    refused = [one for one in results if one.stop not in (*STOPS, "exception")]
    for what in dict.fromkeys(REFUSALS.values()):
        lines.append(_row(f"refused: {what}", [one for one in refused if refusal(one.detail) == what]))
    lines.append(_row("by square roots", [one for one in results if one.numerics == "square_root"]))
    lines += [_row(f"**{fault}**", [one for one in results if fault in one.faults]) for fault in FAULTS]
    slowest = max(results, key=lambda one: one.seconds)
    lines += ["", f"Slowest: fit {slowest.seed}, {slowest.seconds:.1f} s for {slowest.n_iterations} iterations.", ""]
    for one in results:
        if one.faults:
            what = "; ".join(f"{fault} ({detail})" for fault, detail in one.faults.items())
            lines.append(f"- `--only {one.seed}`: {what}; ended {one.stop}. {one.text}")
    return "\n".join(lines)


def _row(title: str, chosen: Sequence[Outcome]) -> str:
    counts = Counter(one.kind for one in chosen)
    return f"| {title} | " + " | ".join(str(counts[kind]) for kind in KINDS) + f" | {len(chosen)} |"


def main(arguments: Sequence[str]) -> int:
    """Run the fits that the arguments name; return 1 if there is anything wrong with any."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_fits", description=__doc__)
    parser.add_argument("--n", type=int, default=10_000, help="number of fits")
    parser.add_argument("--seed", type=int, default=0, help="number of the first fit")
    parser.add_argument("--only", type=int, nargs="+", help="run the fits with these numbers, nothing else")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", help="a file for every outcome, one line of JSON each")
    options = parser.parse_args(arguments)
    seeds = options.only or range(options.seed, options.seed + options.n)
    results = []
    with open(options.output, "w") if options.output else nullcontext() as output:
        for one in outcomes(seeds, min(options.processes, len(seeds))):
            results.append(one)
            if output is not None:
                print(json.dumps(asdict(one)), file=output, flush=True)
            if one.faults or options.only:
                print(f"{one.seed}: {one.stop} {one.detail} {one.faults} {one.text}", file=sys.stderr, flush=True)
            if len(results) % 500 == 0:
                print(f"{len(results)} of {len(seeds)}", file=sys.stderr, flush=True)
    print(report(results))
    return int(any(one.faults for one in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
