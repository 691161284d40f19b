"""Does a single start, taken from the data, reach the best optimum that 20 random starts find?

    python -m benchmarks.starts --processes 2

Every case is a data set that comes with the package and a model that fits it. The single start is that of `fit`; random
starts are those of ``fit(n_starts=...)``. To make that affordable the random starts are taken up by quasi-Newton steps
sooner than in a fit; the highest of them, as they stand, go on as a fit does until one ends at a maximum.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import kalman_em as kem
from kalman_em.em.result import EMResult
from kalman_em.fitting.learning import stated
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LeapingProblem
from kalman_em.models.scale import data_scale

# Iterations of a random start before its quasi-Newton steps, in place of the hundreds of a fit, and in all.
CLIMB_AFTER, TRIAL_ITERATIONS = 60, 250
# So many of the random starts may be taken to their end to find one that has a maximum.
MOST_FINISHED = 4
# A start is as good as the best if its log-likelihood is lower by no more than this.
AS_GOOD = 1e-3
# Runs that ended so have no maximum to compare.
WITHOUT_MAXIMUM = (
    kem.StopReason.degenerate_covariance,
    kem.StopReason.unobservable_start,
    kem.StopReason.objective_fell,
)


class QuickProblem(LeapingProblem):
    """The problem of a fit with its second way up tried sooner."""

    @property
    def climb_after(self) -> int:
        """The iterations after which quasi-Newton steps are tried."""
        return CLIMB_AFTER


@dataclass(frozen=True)
class Case:
    """A data set, which part of it, and a model."""

    dataset: str
    text: str
    model: Any
    data: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What the single start and the random starts of a case reached."""

    case: str
    dataset: str
    single: float
    best: float
    random: tuple[float, ...]
    n_without: int
    stop: str
    best_stop: str
    n_iterations: int
    start_seconds: float
    seconds: float

    @property
    def shortfall(self) -> float:
        """How far the single start is below the best."""
        return self.best - self.single

    @property
    def n_reaching(self) -> int:
        """How many random starts, as their trials end, come as near to the best as a single start should."""
        return sum(self.best - AS_GOOD <= value <= self.best + AS_GOOD for value in self.random)


def columns(dataset: str, *names: str, rows: slice = slice(None), growth: float = 0.0) -> Callable[[], dict[str, Any]]:
    """Return what reads some columns and rows of a data set; `growth` times the differences of logarithms, if not 0."""

    def read() -> dict[str, Any]:
        frame = kem.datasets.load(dataset)
        chosen = frame[list(names)] if names else frame
        if growth:
            chosen = (growth * np.log(chosen)).diff().iloc[1:]
        return {"data": chosen[rows]}

    return read


def timed(dataset: str, name: str, rows: slice) -> Callable[[], dict[str, Any]]:
    """Return what reads one column in time: its labels are the times."""

    def read() -> dict[str, Any]:
        frame = kem.datasets.load(dataset)[name][rows]
        return {
            "data": pd.DataFrame({"time": frame.index, "value": frame.to_numpy()}),
            "time": "time",
            "values": "value",
        }

    return read


PRICES = ("infl", "unemp", "tbilrate")
OUTPUT = ("realgdp", "realcons", "realinv", "realdpi")
SECTORS = ("manufacturing", "construction", "financial_activities", "leisure_and_hospitality")
MODULES = ("module_1_c", "module_2_c", "module_3_c")


def cases() -> Iterator[Case]:
    """Yield all cases."""
    nile, gnp = columns("nile"), columns("us_gnp_growth", "gnp_growth_pct")
    for text, model in {
        "LocalLevel()": kem.LocalLevel(),
        "LocalLinearTrend()": kem.LocalLinearTrend(),
        "SmoothTrend()": kem.SmoothTrend(),
        "DampedTrend()": kem.DampedTrend(),
        "LocalLevel() + Autoregression(1)": kem.LocalLevel() + kem.Autoregression(1),
        "LinearGaussian(1, 1)": kem.LinearGaussian(1, 1),
        "LinearGaussian(2, 1)": kem.LinearGaussian(2, 1),
    }.items():
        yield Case("nile", text, model, nile)
    for text, model in {
        "LocalLevel() + Autoregression(2)": kem.LocalLevel() + kem.Autoregression(2),
        "LocalLevel() + Cycle()": kem.LocalLevel() + kem.Cycle(),
        "LinearGaussian(2, 1)": kem.LinearGaussian(2, 1),
        "LinearGaussian(3, 1)": kem.LinearGaussian(3, 1),
    }.items():
        yield Case("us_gnp_growth", text, model, gnp)
    yield Case(
        "co2",
        "LocalLinearTrend() + Seasonal(365.25 / 7, harmonics=2)",
        kem.LocalLinearTrend() + kem.Seasonal(365.25 / 7, harmonics=2),
        columns("co2", rows=slice(-520, None)),
    )
    sea = columns("sea_surface_temperature", rows=slice(0, 1000))
    yield Case("sea_surface_temperature", "LocalLinearTrend()", kem.LocalLinearTrend(), sea)
    yield Case("sea_surface_temperature", "LinearGaussian(2, 1)", kem.LinearGaussian(2, 1), sea)
    glucose = timed("glucose_monitor", "glucose_mg_dl", slice(0, 600))
    yield Case("glucose_monitor", "ConstantVelocity(dim=1)", kem.ConstantVelocity(dim=1, time_unit="min"), glucose)
    yield Case(
        "glucose_monitor",
        "CorrelatedRandomWalk(dim=1)",
        kem.CorrelatedRandomWalk(dim=1, time_constant=kem.Full(), time_unit="min"),
        glucose,
    )
    for text, names, model, growth in (
        ("LocalLevel(), 3 columns", PRICES, kem.LocalLevel(), 0.0),
        ("VectorAutoregression(1), 3 columns", PRICES, kem.VectorAutoregression(1), 0.0),
        ("VectorAutoregression(2), 3 columns", PRICES, kem.VectorAutoregression(2), 0.0),
        ("LinearGaussian(2, 3)", PRICES, kem.LinearGaussian(2, 3), 0.0),
        ("DynamicFactor(1), 4 columns", OUTPUT, kem.DynamicFactor(1), 400.0),
        ("DynamicFactor(1, order=2), 4 columns", OUTPUT, kem.DynamicFactor(1, order=2), 400.0),
        ("DynamicFactor(1, idiosyncratic=True), 4 columns", OUTPUT, kem.DynamicFactor(1, idiosyncratic=True), 400.0),
        ("DynamicFactor(2), 4 columns", OUTPUT, kem.DynamicFactor(2), 400.0),
        ("LinearGaussian(1, 4)", OUTPUT, kem.LinearGaussian(1, 4, observation_cov=kem.Diagonal()), 400.0),
        ("LinearGaussian(2, 4)", OUTPUT, kem.LinearGaussian(2, 4, observation_cov=kem.Diagonal()), 400.0),
    ):
        yield Case("us_macro", text, model, columns("us_macro", *names, growth=growth))
    for text, model, growth in (
        ("LocalLinearTrend(), 4 columns", kem.LocalLinearTrend(slope_cov=kem.Diagonal()), 0.0),
        ("DynamicFactor(1), 4 columns of growth", kem.DynamicFactor(1), 1200.0),
        ("DynamicFactor(2), 4 columns of growth", kem.DynamicFactor(2), 1200.0),
        ("LinearGaussian(2, 4) of growth", kem.LinearGaussian(2, 4, observation_cov=kem.Diagonal()), 1200.0),
    ):
        yield Case("us_employment", text, model, columns("us_employment", *SECTORS, growth=growth))
    yield Case(
        "module_temperature",
        "LinearGaussian(2, 3), diagonal R",
        kem.LinearGaussian(2, 3, observation_cov=kem.Diagonal()),
        columns("module_temperature", *MODULES),
    )
    robot = columns("robot_synthetic", "z1", "z2")
    yield Case("robot_synthetic", "LinearGaussian(2, 2)", kem.LinearGaussian(2, 2), robot)
    yield Case("robot_synthetic", "LinearGaussian(4, 2)", kem.LinearGaussian(4, 2), robot)


def compared(case: Case, n_random: int, max_iterations: int, seed: int) -> Outcome:
    """Return what the single start of a case reaches, and each of `n_random` random ones."""
    begun = time.process_time()
    specification, panel = stated(case.model, **case.data())
    given = specification, rows_of(panel, specification), data_scale(panel)
    problem, quick = LeapingProblem(*given), QuickProblem(*given)
    stopping = kem.Stopping(max_iterations=max_iterations)
    trial = kem.Stopping(max_iterations=min(TRIAL_ITERATIONS, max_iterations), relative_tolerance=1e-6)
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = case.model.start(specification, panel)
        started = time.process_time()
        single = kem.run_em(problem, start, stopping=stopping)
        trials = [_run(quick, case.model.random_start(specification, panel, rng), trial) for _ in range(n_random)]
        best, n_without = _finished(problem, single, trials, stopping)
    heights = [one.log_likelihood for one in trials if one is not None and one.stop_reason not in WITHOUT_MAXIMUM]
    return Outcome(
        case=case.text,
        dataset=case.dataset,
        single=single.log_likelihood,
        best=max(single.log_likelihood, -np.inf if best is None else best.log_likelihood),
        random=tuple(heights),
        n_without=n_without,
        stop=str(single.stop_reason),
        best_stop=str(single.stop_reason if best is None else best.stop_reason),
        n_iterations=single.n_iterations,
        start_seconds=started - begun,
        seconds=time.process_time() - begun,
    )


def _run(problem: LeapingProblem, start: Any, stopping: kem.Stopping) -> EMResult[Any] | None:
    try:
        return kem.run_em(problem, start, stopping=stopping)
    except kem.NumericalError:
        return None


def _finished(
    problem: LeapingProblem, single: EMResult[Any], trials: Sequence[EMResult[Any] | None], stopping: kem.Stopping
) -> tuple[EMResult[Any] | None, int]:
    """Return the end of the highest trial that has a maximum, if it is above the single start; how many had none."""
    found = [one for one in trials if one is not None]
    n_without = sum(one.stop_reason in WITHOUT_MAXIMUM for one in found) + trials.count(None)
    kept = sorted((one for one in found if one.stop_reason not in WITHOUT_MAXIMUM), key=lambda one: -one.log_likelihood)
    for one in kept[:MOST_FINISHED]:
        end = _run(problem, one.params, stopping)
        if end is not None and end.stop_reason not in WITHOUT_MAXIMUM:
            return (end if end.log_likelihood > single.log_likelihood else None), n_without
        n_without += 1
    return None, n_without


def report(outcomes: Sequence[Outcome]) -> str:
    """Return the table of all cases, in Markdown, and the count under it."""
    lines = [
        "| data set | model | single start | below the best | random as good | no maximum | stopped | iterations |",
        "| --- | --- | --: | --: | --: | --: | --- | --: |",
    ]
    lines += [
        f"| {one.dataset} | `{one.case}` | {one.single:.3f} | {one.shortfall:.2g} "
        f"| {one.n_reaching} of {len(one.random)} | {one.n_without} | {one.stop} | {one.n_iterations} |"
        for one in outcomes
    ]
    n = sum(one.shortfall <= AS_GOOD for one in outcomes)
    lines += ["", f"The single start is within {AS_GOOD:g} of the best in {n} of {len(outcomes)} cases."]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="data sets or models whose names hold one of these words")
    parser.add_argument("--random", type=int, default=20, help="random starts of each case")
    parser.add_argument("--max-iterations", type=int, default=3000, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, help="a file for the table")
    arguments = parser.parse_args(argv)
    numbers = [
        number
        for number, case in enumerate(cases())
        if not arguments.only or any(word in f"{case.dataset} {case.text}" for word in arguments.only)
    ]
    work = [(number, arguments.random, arguments.max_iterations, arguments.seed) for number in numbers]
    outcomes = []
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for one in pool.imap(_numbered, work):
            outcomes.append(one)
            print(
                f"{one.dataset}, {one.case}: {one.single:.4f}, {one.shortfall:.2g} below the best ({one.stop}, "
                f"{one.n_iterations} iterations; {one.n_reaching} of {len(one.random)} as good; "
                f"{one.start_seconds:.1f} s to start, {one.seconds:.0f} s)",
                file=sys.stderr,
                flush=True,
            )
    text = report(outcomes)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return 0


def _numbered(work: tuple[int, int, int, int]) -> Outcome:
    number, *rest = work
    return compared(list(cases())[number], *rest)


if __name__ == "__main__":
    sys.exit(main())
