"""Which arithmetic keeps its digits on systems drawn to be hard, and whether the default takes it: against many digits.

    PYTHONPATH=tests python -m benchmarks.hard_systems --only hard --n 600

The truth is that of `tests/oracles/mp.py`, in fifty digits or, from diffuse starts, seven hundred. `--truth` keeps it
in a folder.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from oracles.mp import exact, floats

import kalman_em as kem
from benchmarks.hard_cases import CASES

Array = np.ndarray
ARITHMETICS = ("standard", "square_root", "auto")
MOMENTS = ("filtered_means", "filtered_covs", "smoothed_means", "smoothed_covs", "lag_one_covs")
# A result with a larger error is wrong; errors are in units of standard deviations.
WRONG = 1e-6
# A state known without error is known to this part of its largest standard deviation.
KNOWN = 1e-10
# Where the other arithmetic is no better than this many times, there was nothing to gain.
CLEARLY = 10.0
# Standard arithmetic whose errors are below this would have done.
ENOUGH = 1e-8


@dataclass(frozen=True)
class Outcome:
    """The largest error of each arithmetic, where it is, and whether the default went over; `refused` says why not."""

    name: str
    seed: int
    errors: dict[str, float]
    where: dict[str, str]
    has_switched: bool = False
    refused: str = ""

    @property
    def best(self) -> float:
        """The smaller error of the two arithmetics."""
        return min(self.errors["standard"], self.errors["square_root"])

    @property
    def is_wrong(self) -> bool:
        """Whether the default is wrong where the other arithmetic is right, or clearly better."""
        return self.errors["auto"] > max(WRONG, CLEARLY * self.best)

    @property
    def is_needless(self) -> bool:
        """Whether the default went over where covariances would have done."""
        return self.has_switched and self.errors["standard"] <= ENOUGH


def outcome(name: str, seed: int, folder: Path | None) -> Outcome:
    """Run one case in every arithmetic and measure it against the truth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            system, one = CASES[name](seed)
            found = {numerics: _moments(system, one, numerics) for numerics in ("square_root", "auto")}
        except (kem.InputError, kem.NumericalError) as error:
            return Outcome(name, seed, {}, {}, refused=str(error))
    truth = _truth(system, one, folder / f"{name}-{seed}.npz" if folder else None)
    try:
        found["standard"] = _moments(system, one, "standard")
    except kem.NumericalError:
        found["standard"] = dict.fromkeys(MOMENTS, np.inf) | {"log_likelihood": np.inf, "numerics": "standard"}
    measured = {numerics: _error(found[numerics], truth) for numerics in ARITHMETICS}
    return Outcome(
        name,
        seed,
        {numerics: error for numerics, (error, _) in measured.items()},
        {numerics: where for numerics, (_, where) in measured.items()},
        found["auto"]["numerics"] == "square_root",
    )


def _moments(system: kem.LinearGaussianSystem, one: kem.Observations, numerics: str) -> dict[str, object]:
    filtered = kem.kalman_filter(system, one, numerics=numerics)
    smoothed = kem.rts_smoother(system, filtered, numerics=numerics)
    both = {name: getattr(filtered if name.startswith("filtered") else smoothed, name) for name in MOMENTS}
    return both | {"log_likelihood": filtered.log_likelihood, "numerics": smoothed.numerics}


def _truth(system: kem.LinearGaussianSystem, one: kem.Observations, path: Path | None) -> dict[str, Array]:
    if path is not None and path.exists():
        return dict(np.load(path))
    truth = exact(system, one)
    n_diffuse = kem.kalman_filter(system, one, numerics="square_root").n_diffuse_steps
    result = {name: floats(getattr(truth, name)) for name in MOMENTS}
    result |= {"log_likelihood": np.float64(truth.log_likelihood), "n_diffuse": np.int64(n_diffuse)}
    if path is not None:
        np.savez(path, **result)
    return result


def _error(found: dict[str, object], truth: dict[str, Array]) -> tuple[float, str]:
    """Return the largest error and where it is: moments by standard deviations, the log-likelihood relative to 1e-2."""
    first = int(truth["n_diffuse"])
    before, after = _sizes(truth["filtered_covs"][first:]), _sizes(truth["smoothed_covs"])
    units = {
        "filtered_means": before,
        "filtered_covs": before[:, :, None] * before[:, None],
        "smoothed_means": after,
        "smoothed_covs": after[:, :, None] * after[:, None],
        "lag_one_covs": after[1:, :, None] * after[:-1, None],
    }
    errors = {}
    for name, unit in units.items():
        start = first if name.startswith("filtered") else 0
        off = np.abs(np.broadcast_to(found[name], truth[name].shape)[start:] - truth[name][start:])
        with np.errstate(divide="ignore", invalid="ignore"):
            errors[name] = float(np.where(off == 0.0, 0.0, off / unit).max(initial=0.0))
    true = float(truth["log_likelihood"])
    errors["log_likelihood"] = 100.0 * abs(float(found["log_likelihood"]) - true) / (1.0 + abs(true))
    where = max(errors, key=lambda name: errors[name])
    return (errors[where] if np.isfinite(errors[where]) else np.inf), where


def _sizes(covs: Array) -> Array:
    """Return standard deviations, those of 0 as a small part of the largest of their state."""
    sizes = np.sqrt(np.maximum(np.diagonal(covs, axis1=1, axis2=2), 0.0))
    return np.maximum(sizes, KNOWN * sizes.max(axis=0, initial=0.0))


def report(outcomes: Sequence[Outcome]) -> str:
    """Return the counts as a Markdown table, and the cases behind them."""
    lines = ["| | " + " | ".join(CASES) + " |", "| --- |" + " --: |" * len(CASES)]
    done = [one for one in outcomes if not one.refused]
    counts = {
        "systems": lambda one: True,
        "wrong with covariances": lambda one: one.errors["standard"] > WRONG,
        "wrong with factors": lambda one: one.errors["square_root"] > WRONG,
        "wrong with both": lambda one: one.best > WRONG,
        "**wrong by default, right or better by the other**": lambda one: one.is_wrong,
        "went over": lambda one: one.has_switched,
        "went over needlessly": lambda one: one.is_needless,
    }
    for what, holds in counts.items():
        row = [sum(1 for one in done if one.name == name and holds(one)) for name in CASES]
        lines.append(f"| {what} | " + " | ".join(map(str, row)) + " |")
    for what, chosen in (("wrong", [o for o in done if o.is_wrong]), ("needless", [o for o in done if o.is_needless])):
        lines += ["", f"{what}:"]
        for one in chosen:
            errors = ", ".join(f"{n} {one.errors[n]:.1e} ({one.where[n]})" for n in ARITHMETICS)
            lines.append(f"- {one.name} {one.seed}: {errors}")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), help="these kinds alone")
    parser.add_argument("--n", type=int, default=600, help="hard systems; a fifteenth of it of each other kind")
    parser.add_argument("--seeds", type=int, nargs="+", help="these numbers alone")
    parser.add_argument("--truth", type=Path, help="a folder to keep the truth in")
    args = parser.parse_args()
    if args.truth:
        args.truth.mkdir(parents=True, exist_ok=True)
    numbers = {name: args.seeds or range(args.n if name == "hard" else args.n // 15) for name in args.only}
    print(report([outcome(name, seed, args.truth) for name, seeds in numbers.items() for seed in seeds]))


if __name__ == "__main__":
    main()
