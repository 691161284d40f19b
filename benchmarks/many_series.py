"""Whole fits of many short series by `fit_each`, and their tables: seconds for 1,000 series, on one thread and on two.

    python -m benchmarks.many_series --n 1000 --repeats 5

Runs on one thread and on two take turns, and the least of each counts. Wall times tell what a second thread is worth,
and only on a machine that nobody else uses; processor times tell what a series costs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

import kalman_em as kem

N_STEPS = 200
MODELS = {
    "LocalLevel": kem.LocalLevel(),
    "LocalLinearTrend": kem.LocalLinearTrend(),
    "LocalLevel + Seasonal(12)": kem.LocalLevel() + kem.Seasonal(12),
}


def table(n_series: int, size: float, seed: int = 0) -> pd.DataFrame:
    """Return random walks seen through noise, a season of this size on top, one a column."""
    rng = np.random.default_rng(seed)
    season = size * np.sin(2.0 * np.pi * np.arange(N_STEPS) / 12.0)
    steps, noise = rng.normal(size=(2, N_STEPS, n_series))
    return pd.DataFrame(season[:, None] + np.cumsum(steps, axis=0) + noise).add_prefix("s")


def clocked(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return wall seconds, processor seconds and the result of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - processor, result


def main() -> None:
    """Print a row a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="number of series")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind")
    parser.add_argument("--only", nargs="*", choices=list(MODELS), default=list(MODELS), help="which models")
    asked = parser.parse_args()
    heads = [
        "1,000 series of T=200",
        "processor",
        "wall, 1 thread",
        "2 threads",
        "ratio",
        "forecast",
        "params",
        "smooth",
    ]
    print(f"| {' | '.join(heads)} |\n| --- |{' --: |' * (len(heads) - 1)}")
    for name in asked.only:
        print(f"| `{name}` | {' | '.join(measured(name, asked.n, asked.repeats))} |", flush=True)


def measured(name: str, n_series: int, repeats: int) -> list[str]:
    """Return the entries of a row, seconds for 1,000 series."""
    model, data = MODELS[name], table(n_series, 5.0 if "Seasonal" in name else 0.0)

    def fitted(n_threads: int, n: int | None = None) -> kem.PanelFit:
        return kem.fit_each(model, data.iloc[:, :n], wide=True, n_threads=n_threads)

    few = fitted(1, 3)
    # What is first used compiles.
    few.forecast(12), few.smooth()
    walls: dict[int, list[float]] = {1: [], 2: []}
    costs = []
    for _ in range(repeats):
        for n_threads, found in walls.items():
            wall, cost, fits = clocked(partial(fitted, n_threads))
            found.append(wall)
            costs += [cost] if n_threads == 1 else []
    one, two = min(walls[1]), min(walls[2])
    tables = [clocked(call)[1] for call in (partial(fits.forecast, 12), fits.params_frame, fits.smooth)]
    first, *others = (f"{seconds * 1000.0 / n_series:.3g} s" for seconds in (min(costs), one, two, *tables))
    return [first, *others[:2], f"{two / one:.2f}", *others[2:]]


if __name__ == "__main__":
    main()
