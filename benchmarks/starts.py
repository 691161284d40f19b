"""Does a single start, taken from the data, reach the best optimum that 20 random starts find?

    python -m benchmarks.starts --results starts.jsonl --resume

What a case found is written to `--results` as soon as it is known; with `--resume` a case that stands there is not run
again. Every case is a data set that comes with the package and a model that fits it. The single start is that of `fit`;
random starts are those of ``fit(n_starts=...)``. To make that affordable the random starts are taken up by quasi-Newton
steps sooner than in a fit; the highest of them, as they stand, go on as a fit does until one ends at a maximum.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import kalman_em as kem
from benchmarks.start_cases import Case, cases
from kalman_em.em.result import EMResult
from kalman_em.fitting.learning import stated
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LeapingProblem
from kalman_em.models.scale import data_scale

# Iterations of a random start before its quasi-Newton steps, in place of the hundreds of a fit, and in all.
CLIMB_AFTER, TRIAL_ITERATIONS = 60, 110
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
    single_seconds: float
    seconds: float

    @property
    def shortfall(self) -> float:
        """How far the single start is below the best."""
        return self.best - self.single

    @property
    def n_reaching(self) -> int:
        """How many random starts, as their trials end, come as near to the best as a single start should."""
        return sum(self.best - AS_GOOD <= value <= self.best + AS_GOOD for value in self.random)


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
        ended = time.process_time()
        trials = [_run(quick, case.model.random_start(specification, panel, rng), trial) for _ in range(n_random)]
        best, n_without = _finished(problem, single, trials, stopping)
    heights = [one.log_likelihood for one in trials if one is not None and _has_maximum(problem, one)]
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
        single_seconds=ended - started,
        seconds=time.process_time() - begun,
    )


def _run(problem: LeapingProblem, start: Any, stopping: kem.Stopping) -> EMResult[Any] | None:
    try:
        return kem.run_em(problem, start, stopping=stopping)
    except kem.NumericalError:
        return None


def _has_maximum(problem: LeapingProblem, run: EMResult[Any]) -> bool:
    """Whether a run may be on its way to a maximum."""
    return run.stop_reason not in WITHOUT_MAXIMUM and problem.examine_end(run.params) is None


def _finished(
    problem: LeapingProblem, single: EMResult[Any], trials: Sequence[EMResult[Any] | None], stopping: kem.Stopping
) -> tuple[EMResult[Any] | None, int]:
    """Return the end of the highest trial that has a maximum, if it is above the single start; how many had none."""
    kept = [one for one in trials if one is not None and _has_maximum(problem, one)]
    n_without = len(trials) - len(kept)
    kept.sort(key=lambda one: -one.log_likelihood)
    for one in kept[:MOST_FINISHED]:
        end = _run(problem, one.params, stopping)
        if end is not None and _has_maximum(problem, end):
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
    ended = [one for one in outcomes if one.stop not in WITHOUT_MAXIMUM]
    n = sum(one.shortfall <= AS_GOOD for one in ended)
    lines += ["", f"The single start is within {AS_GOOD:g} of the best in {n} of {len(outcomes)} cases."]
    if len(ended) < len(outcomes):
        lines.append(f"In {len(outcomes) - len(ended)} more it ends where there is no maximum.")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="data sets or models whose names hold one of these words")
    parser.add_argument("--random", type=int, default=20, help="random starts of each case")
    parser.add_argument("--max-iterations", type=int, default=3000, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, help="a file for what each case found, a line a case, in JSON")
    parser.add_argument("--resume", action="store_true", help="leave out the cases that stand in --results")
    parser.add_argument("--output", type=Path, help="a file for the table")
    arguments = parser.parse_args(argv)
    chosen = {
        (case.dataset, case.text): number
        for number, case in enumerate(cases())
        if not arguments.only or any(word in f"{case.dataset} {case.text}" for word in arguments.only)
    }
    found = read(arguments.results) if arguments.resume and arguments.results is not None else {}
    if arguments.results is not None:
        arguments.results.write_text("".join(_line(one) for one in found.values()), encoding="utf-8")
    work = [
        (number, arguments.random, arguments.max_iterations, arguments.seed)
        for key, number in chosen.items()
        if key not in found
    ]
    for one in _all_of(work, arguments.processes):
        found[one.dataset, one.case] = one
        if arguments.results is not None:
            with arguments.results.open("a", encoding="utf-8") as file:
                file.write(_line(one))
        print(
            f"{one.dataset}, {one.case}: {one.single:.4f}, {one.shortfall:.2g} below the best ({one.stop}, "
            f"{one.n_iterations} iterations; {one.n_reaching} of {len(one.random)} as good; "
            f"{one.start_seconds:.1f} s to start, {one.single_seconds:.0f} s to end, {one.seconds:.0f} s)",
            file=sys.stderr,
            flush=True,
        )
    text = report([found[key] for key in chosen])
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return 0


def read(path: Path) -> dict[tuple[str, str], Outcome]:
    """Return the outcomes in a file of results, by data set and model; none if there is no such file."""
    if not path.exists():
        return {}
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    outcomes = [Outcome(**{**one, "random": tuple(one["random"])}) for one in found]
    return {(one.dataset, one.case): one for one in outcomes}


def _line(one: Outcome) -> str:
    return json.dumps(asdict(one)) + "\n"


def _all_of(work: Sequence[tuple[int, int, int, int]], n_processes: int) -> Iterator[Outcome]:
    if n_processes == 1:
        yield from map(_numbered, work)
        return
    with multiprocessing.get_context("spawn").Pool(n_processes) as pool:
        yield from pool.imap(_numbered, work)


def _numbered(work: tuple[int, int, int, int]) -> Outcome:
    number, *rest = work
    return compared(list(cases())[number], *rest)


if __name__ == "__main__":
    sys.exit(main())
