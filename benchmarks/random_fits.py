"""Thousands of random EM fits: does the objective ever fall, does a NaN ever come out, does anything else go wrong?

    python -m benchmarks.random_fits --n 10000 --seed 0 --processes 2

Every fit has a number of its own, from `--seed` on, and `--only` repeats those that it is given.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import kalman_em as kem

KINDS = ("LinearGaussian", "LocalLevel", "LocalLinearTrend")
# Columns whose stop is no fault; the others are.
STOPS = (
    "converged",
    "max_iterations",
    "degenerate_covariance",
    "unit_root",
    "unobservable_start",
    "objective_fell",
    "non_finite",
)
REFUSALS = ("InputError", "NumericalError")
FAULTS = ("fall", "fall before degenerate_covariance", "not finite", "negative variance", "exception", "warning")
FORECAST_STEPS = 3
# How the states of a `LinearGaussian` start.
START_KINDS = ("default", "learnt", "known", "diffuse", "stationary", "mixed")


@dataclass(frozen=True)
class Case:
    """A model, the series to fit it to (and their inputs), and a line that describes both."""

    kind: str
    model: Any
    panel: kem.Panel
    text: str


@dataclass(frozen=True)
class Outcome:
    """How one fit ended: `stop` is a stop reason or the name of an exception, `faults` map what is wrong to details."""

    seed: int
    kind: str
    text: str
    stop: str
    detail: str
    n_iterations: int
    faults: dict[str, str]
    seconds: float


def drawn(seed: int) -> Case:
    """Return the random case with this number."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(KINDS, p=[0.5, 0.25, 0.25]))
    p = int(rng.integers(1, 5))
    n_series = 1 if rng.random() < 0.7 else int(rng.integers(2, 6))
    lengths = [int(np.exp(rng.uniform(np.log(10), np.log(201)))) for _ in range(n_series)]
    scale = 10.0 ** rng.uniform(-9.0, 9.0) * (10.0 ** rng.uniform(-3.0, 3.0, size=p) if rng.random() < 0.3 else 1.0)
    scale = np.broadcast_to(scale, (p,))
    source = str(rng.choice(["system", "walk", "trend", "noise", "rounded", "copies", "constant"], p=_SOURCE_SHARES))
    origin = 10.0 ** rng.uniform(0.0, 3.0) if rng.random() < 0.2 else 0.0
    share = float(rng.choice([0.0, 0.1, 0.3, 0.6], p=[0.4, 0.2, 0.2, 0.2]))
    n_inputs = int(rng.integers(1, 3)) if kind == "LinearGaussian" and rng.random() < 0.2 else 0
    series = []
    for length in lengths:
        inputs = rng.standard_normal((length, n_inputs)) if n_inputs else None
        values = scale * (origin + _series(rng, source, length, p))
        series.append(kem.Observations(_with_gaps(rng, values, share), inputs=inputs))
    model = _model(rng, kind, p, scale, n_inputs)
    data = f"T={lengths}, p={p}, {source}, scale {scale.max():.1e}, origin {origin:.3g}, {share:.0%} missing"
    return Case(kind, model, kem.Panel(series), f"{_described(model)}; {data}")


_SOURCE_SHARES = [0.45, 0.15, 0.1, 0.1, 0.1, 0.05, 0.05]


def _series(rng: np.random.Generator, source: str, length: int, p: int) -> np.ndarray:
    """Return a series (T, p) of about unit size."""
    noise = rng.standard_normal((length, p))
    ratio = 10.0 ** rng.uniform(-3.0, 3.0)
    walk = np.cumsum(rng.standard_normal((length, p)), axis=0)
    if source == "system":
        return _simulated(rng, length, p)
    if source == "walk":
        return ratio * walk + noise
    if source == "trend":
        return ratio * np.arange(length)[:, None] * rng.standard_normal(p) + noise + walk
    if source == "rounded":
        return np.round(noise + 0.3 * walk)
    if source == "copies":
        return noise[:, :1] * rng.standard_normal(p)
    if source == "constant":
        return np.where(np.arange(p) == 0, 1.0, noise)
    return noise


def _simulated(rng: np.random.Generator, length: int, p: int) -> np.ndarray:
    d = int(rng.integers(1, 5))
    F = _transition(rng, d)
    H = rng.standard_normal((p, d))
    ratio = 10.0 ** rng.uniform(-3.0, 1.0)
    states = np.empty((length, d))
    x = rng.standard_normal(d)
    for t in range(length):
        states[t] = x
        x = F @ x + rng.standard_normal(d)
    return states @ H.T + ratio * rng.standard_normal((length, p))


def _with_gaps(rng: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    """Return `values` with a share of the entries missing, and sometimes a run of rows."""
    values = values.copy()
    values[rng.random(values.shape) < share] = np.nan
    if share and rng.random() < 0.5:
        first, length = rng.integers(0, len(values), size=2)
        values[first : first + length // 2 + 1] = np.nan
    return values


def _transition(rng: np.random.Generator, d: int) -> np.ndarray:
    F = rng.standard_normal((d, d))
    return F * rng.uniform(0.2, 1.0) / np.abs(np.linalg.eigvals(F)).max()


def _cov(rng: np.random.Generator, dim: int, unit: Any = 1.0) -> np.ndarray:
    """Return a covariance in the given unit, now and then a singular one."""
    rank = dim if rng.random() < 0.8 else int(rng.integers(0, dim + 1))
    factor = rng.standard_normal((dim, rank)) * np.broadcast_to(unit, (dim,))[:, None]
    return factor @ factor.T


def _model(rng: np.random.Generator, kind: str, p: int, scale: np.ndarray, n_inputs: int) -> Any:
    def noise(dim: int, unit: Any = 1.0) -> Any:
        chosen = rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])
        return [kem.Full(), kem.Diagonal(), kem.Isotropic(), kem.Fixed(_cov(rng, dim, unit))][chosen]

    if kind == "LocalLevel":
        return kem.LocalLevel(level_cov=noise(p, scale), observation_cov=noise(p, scale))
    if kind == "LocalLinearTrend":
        return kem.LocalLinearTrend(
            level_cov=noise(p, scale), slope_cov=noise(p, 0.1 * scale), observation_cov=noise(p, scale)
        )
    d = int(rng.integers(1, 5)) if rng.random() < 0.8 else int(rng.integers(5, 7))
    forms = {
        "transition_matrix": [kem.Full(), kem.Diagonal(), kem.Isotropic(), kem.Fixed(_transition(rng, d))],
        "observation_matrix": [kem.Full(), kem.Fixed(scale[:, None] * rng.standard_normal((p, d)))],
    }
    chosen: dict[str, Any] = {name: choices[rng.integers(len(choices))] for name, choices in forms.items()}
    chosen |= {"transition_cov": noise(d), "observation_cov": noise(p, scale)}
    for name in ("transition_offset", "observation_offset"):
        if rng.random() < 0.3:
            chosen[name] = kem.Full()
    if n_inputs:
        chosen["transition_input"] = kem.Full() if rng.random() < 0.7 else None
        chosen["observation_input"] = kem.Full() if rng.random() < 0.7 else None
    known = isinstance(chosen["transition_matrix"], kem.Fixed)
    is_plain = isinstance(chosen["transition_cov"], kem.Full) and "transition_offset" not in chosen and not n_inputs
    if known and is_plain and d > 1 and rng.random() < 0.5:
        chosen["noise_selection"] = np.eye(d)[:, : rng.integers(1, d)]
    start = rng.choice(START_KINDS, p=[0.3, 0.18, 0.12, 0.12, 0.14, 0.14])
    has_scale = isinstance(chosen["observation_matrix"], kem.Fixed) or isinstance(chosen["transition_cov"], kem.Fixed)
    if start == "learnt":
        chosen["initial_cov"] = [kem.Full(), kem.Diagonal(), kem.Isotropic()][rng.integers(3)]
    elif start == "known":
        chosen["initial_cov"] = kem.Fixed(_cov(rng, d))
        chosen["initial_mean"] = kem.Fixed(rng.standard_normal(d)) if rng.random() < 0.5 else kem.Full()
    elif start == "diffuse" and has_scale:
        chosen["initial_cov"] = kem.Diffuse()
    elif start == "stationary":
        chosen["initial_cov"] = kem.Stationary()
        if rng.random() < 0.2:
            chosen["initial_mean"] = kem.Full()
    elif start == "mixed":
        chosen |= _mixed_start(rng, d, has_scale)
    if start in ("learnt", "known", "stationary", "mixed") and rng.random() < 0.3:
        chosen["initial_step"] = "before"
    return kem.LinearGaussian(d, p, **chosen)


def _mixed_start(rng: np.random.Generator, d: int, has_scale: bool) -> dict[str, Any]:
    """Return an initial covariance of several blocks, and a transition matrix in which no block moves another."""
    kinds = ["stationary", "learnt", "known", *(["diffuse"] if has_scale else [])]
    blocks = []
    while (size := d - sum(n for _, n in blocks)) > 0:
        n = int(rng.integers(1, size + 1))
        kind = kinds[rng.integers(len(kinds))]
        learnt = [kem.Full(), kem.Diagonal(), kem.Isotropic()][rng.integers(3)]
        form = {"stationary": kem.Stationary(), "diffuse": kem.Diffuse(), "learnt": learnt}.get(kind)
        blocks.append((kem.Fixed(_cov(rng, n)) if form is None else form, n))
    chosen: dict[str, Any] = {"initial_cov": kem.BlockDiagonal(blocks)}
    if rng.random() < 0.5:
        chosen["transition_matrix"] = kem.Diagonal()
    else:
        F = np.zeros((d, d))
        first = 0
        for _, n in blocks:
            F[first : first + n, first : first + n] = _transition(rng, n)
            first += n
        chosen["transition_matrix"] = kem.Fixed(F)
    return chosen


def _described(model: Any) -> str:
    """Return a line that names the model and the forms of its parameters."""
    parts = []
    for field in fields(model):
        value = getattr(model, field.name)
        shown = value if isinstance(value, int | str) else type(value).__name__
        if isinstance(value, kem.Fixed) and not np.any(value.value):
            shown = 0
        if isinstance(value, kem.BlockDiagonal):
            shown = "+".join(f"{type(form).__name__}{size}" for form, size in value.blocks)
        if value is not None:
            parts.append(f"{field.name}={shown}")
    return f"{type(model).__name__}({', '.join(parts)})"


def outcome(seed: int, max_iterations: int) -> Outcome:
    """Run the fit with this number and look at what came out."""
    case = drawn(seed)
    began = time.perf_counter()
    stop, detail, n_iterations = "", "", 0
    faults: dict[str, str] = {}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            fitted = kem.fit(case.model, case.panel, stopping=kem.Stopping(max_iterations=max_iterations))
            stop, detail = str(fitted.em.stop_reason), fitted.em.detail
            n_iterations = fitted.em.n_iterations
            faults |= _falls(fitted.em)
            # Whatever state a run ended in, what it returns must be usable.
            for what, arrays in _results(fitted):
                faults |= _not_numbers(what, arrays)
        except (kem.InputError, kem.NumericalError) as error:
            after = f"{stop}, then " if stop else ""
            stop, detail = type(error).__name__, f"{after}{error}"
        except Exception as error:
            stop, detail = stop or "exception", f"{type(error).__name__}: {error}"
            faults["exception"] = f"{detail}, at {_place(error)}"
    if warned:
        faults["warning"] = f"{warned[0].category.__name__}: {warned[0].message}"
    return Outcome(seed, case.kind, case.text, stop, detail, n_iterations, faults, time.perf_counter() - began)


def _falls(em: Any) -> dict[str, str]:
    if em.n_falls == 0:
        return {}
    # Where the likelihood runs away to infinity a fall is a symptom of that, and the run says so.
    name = FAULTS[1] if em.stop_reason is kem.StopReason.degenerate_covariance else FAULTS[0]
    relative = em.largest_fall / (1.0 + abs(em.log_likelihood))
    return {name: f"{relative:.1e} relative, at {em.n_iterations} iterations"}


def _results(fitted: Any) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield what a fit returns, part by part."""
    system = fitted.system
    values = {field.name: getattr(system, field.name) for field in fields(system)}
    yield "system", {name: value for name, value in values.items() if value is not None}
    yield "em", {"log_likelihoods": fitted.em.log_likelihoods}
    n_inputs = fitted.panel.input_dim
    inputs = np.zeros((FORECAST_STEPS, n_inputs)) if n_inputs else None
    for key in fitted.panel.keys:
        smoothed = fitted.smooth(key)
        yield f"smoothed series {key}", {"means": smoothed.smoothed_means, "covs": smoothed.smoothed_covs}
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


def _outcome(task: tuple[int, int]) -> Outcome:
    return outcome(*task)


def outcomes(seeds: Sequence[int], max_iterations: int, processes: int) -> Iterator[Outcome]:
    """Yield the outcome of every fit, in the order of `seeds`; each process runs on one thread."""
    with tempfile.TemporaryDirectory() as scratch:
        # numba does not notice when a function that a cached one calls has changed: a cache of the run's own.
        os.environ.setdefault("NUMBA_CACHE_DIR", scratch)
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            yield from pool.imap(_outcome, [(seed, max_iterations) for seed in seeds], chunksize=5)


def report(results: Sequence[Outcome]) -> str:
    """Return the counts as a Markdown table, and a list of the fits that need looking at."""
    lines = ["| | " + " | ".join([*KINDS, "all"]) + " |", "| --- |" + " ---: |" * (len(KINDS) + 1)]
    lines.append(_row("fits", [one.kind for one in results]))
    other = sorted({one.stop for one in results} - {*STOPS, *REFUSALS})
    lines += [_row(f"stop: {s}", [one.kind for one in results if one.stop == s]) for s in (*STOPS, *REFUSALS, *other)]
    lines += [_row(f"**{fault}**", [one.kind for one in results if fault in one.faults]) for fault in FAULTS]
    slowest = max(results, key=lambda one: one.seconds)
    lines += ["", f"Slowest: fit {slowest.seed}, {slowest.seconds:.1f} s for {slowest.n_iterations} iterations.", ""]
    for one in results:
        what = [f"{fault} ({detail})" for fault, detail in one.faults.items()]
        if one.stop in ("non_finite", "NumericalError"):
            what.append(f"{one.stop} ({' '.join(one.detail.split())})")
        if what:
            lines.append(f"- `--only {one.seed}`: {'; '.join(what)}; ended {one.stop}. {one.text}")
    return "\n".join(lines)


def _row(title: str, kinds: Sequence[str]) -> str:
    counts = Counter(kinds)
    return f"| {title} | " + " | ".join(str(counts[kind]) for kind in KINDS) + f" | {len(kinds)} |"


def main(arguments: Sequence[str]) -> int:
    """Run the fits that the arguments name; return 1 if there is anything wrong with any."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_fits", description=__doc__)
    parser.add_argument("--n", type=int, default=10_000, help="number of fits")
    parser.add_argument("--seed", type=int, default=0, help="number of the first fit")
    parser.add_argument("--only", type=int, nargs="+", help="run the fits with these numbers, nothing else")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--max-iterations", type=int, default=300)
    options = parser.parse_args(arguments)
    seeds = options.only or range(options.seed, options.seed + options.n)
    results = []
    for one in outcomes(seeds, options.max_iterations, min(options.processes, len(seeds))):
        results.append(one)
        if one.faults or options.only:
            print(f"{one.seed}: {one.stop} {one.detail} {one.faults} {one.text}", file=sys.stderr, flush=True)
        if len(results) % 500 == 0:
            print(f"{len(results)} of {len(seeds)}", file=sys.stderr, flush=True)
    print(report(results))
    return int(any(one.faults for one in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
