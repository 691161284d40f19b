"""Thousands of random EM fits: does the objective ever fall, does a NaN ever come out, does anything else go wrong?

    python -m benchmarks.random_fits --n 10000 --seed 0 --processes 2 --resume outcomes.jsonl

Every fit has a number of its own, from `--seed` on, and `--only` repeats those that it is given. With `--resume` a run
that was broken off goes on where it was: the file has a line of JSON for every fit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.random_cases import KINDS
from benchmarks.random_outcome import FAULTS, REFUSALS, STOPS, Outcome, outcome, refusal


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
    total = sum(one.seconds for one in results)
    lines += [
        "",
        f"Processor time: {total:.0f} s; slowest: fit {slowest.seed}, {slowest.seconds:.1f} s for "
        f"{slowest.n_iterations} iterations.",
        "",
        "Code: " + ", ".join(f"{code or 'unknown'} ({n})" for code, n in Counter(o.revision for o in results).items()),
        "",
    ]
    for one in results:
        if one.faults:
            what = "; ".join(f"{fault} ({detail})" for fault, detail in one.faults.items())
            lines.append(f"- `--only {one.seed}`: {what}; ended {one.stop}. {one.text}")
    return "\n".join(lines)


def _row(title: str, chosen: Sequence[Outcome]) -> str:
    counts = Counter(one.kind for one in chosen)
    return f"| {title} | " + " | ".join(str(counts[kind]) for kind in KINDS) + f" | {len(chosen)} |"


def known(path: Path) -> dict[int, Outcome]:
    """Return the outcomes in a file, by number; of a fit that was run more than once the latest."""
    if not path.exists():
        return {}
    lines = path.read_text().splitlines()
    return {one.seed: one for one in (Outcome(**json.loads(line)) for line in lines)}


def revision() -> str:
    """Return the revision of the code that runs, with "-dirty" where files differ from it; "" where there is no git."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main(arguments: Sequence[str]) -> int:
    """Run the fits that the arguments name; return 1 if there is anything wrong with any."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_fits", description=__doc__)
    parser.add_argument("--n", type=int, default=10_000, help="number of fits")
    parser.add_argument("--seed", type=int, default=0, help="number of the first fit")
    parser.add_argument("--only", type=int, nargs="+", help="run the fits with these numbers, nothing else")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--resume",
        type=Path,
        help="a file for every outcome, one line of JSON each; fits that are in it are not run again, unless --only "
        "names them",
    )
    options = parser.parse_args(arguments)
    seeds = options.only or range(options.seed, options.seed + options.n)
    done = known(options.resume) if options.resume else {}
    found = {} if options.only else {seed: done[seed] for seed in seeds if seed in done}
    to_run = [seed for seed in seeds if seed not in found]
    code = revision()
    with open(options.resume, "a") if options.resume else nullcontext() as output:
        for one in outcomes(to_run, max(1, min(options.processes, len(to_run)))):
            one = replace(one, revision=code)
            found[one.seed] = one
            if output is not None:
                print(json.dumps(asdict(one)), file=output, flush=True)
            if one.faults or options.only:
                print(f"{one.seed}: {one.stop} {one.detail} {one.faults} {one.text}", file=sys.stderr, flush=True)
            if len(found) % 500 == 0:
                print(f"{len(found)} of {len(seeds)}", file=sys.stderr, flush=True)
    results = [found[seed] for seed in seeds]
    print(report(results))
    return int(any(one.faults for one in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
