"""What a new process pays: the import, the first fit ever and the first fit with a warm compile cache.

`python -m benchmarks.startup` measures this alone, for the first fits of several models.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.timing import environment

NILE = "kem.datasets.load('nile')['flow']"
TWO = "pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)).cumsum(axis=0), columns=['x', 'y'])"
FITS = {
    "LocalLevel": f"kem.fit(kem.LocalLevel(), {NILE})",
    "LocalLevel + Seasonal(12)": f"kem.fit(kem.LocalLevel() + kem.Seasonal(12), {NILE})",
    "LinearGaussian(4, 2)": f"kem.fit(kem.LinearGaussian(4, 2), {TWO}, stopping=kem.Stopping(max_iterations=50))",
    "ConstantVelocity(dim=2)": f"kem.fit(kem.ConstantVelocity(dim=2), {TWO})",
    "LocalLevel, fit_each": f"kem.fit_each(kem.LocalLevel(), {TWO}, wide=True)",
    "GaussianMixture(2)": f"kem.fit(kem.GaussianMixture(2), {TWO}, seed=0)",
    "GaussianHMM(2)": f"kem.fit(kem.GaussianHMM(2), {TWO}, seed=0)",
}
FIRST = "import kalman_em as kem; "
IMPORT = "import time; start = time.perf_counter(); import kalman_em; print(time.perf_counter() - start)"
MODULES = f"{FIRST}[getattr(kem, name) for name in kem.__all__]; print(0.0)"
TARGETS = {"import": 0.6, "first fit, cold cache": 12.0, "first fit, warm cache": 2.0}
INCLUDES = {
    "python alone": "a process that does nothing, from start to end; all processes find bytecode, as pip leaves it",
    "import": "`import kalman_em` as the process itself clocks it; names are loaded when they are first asked for",
    "first fit, cold cache": "a process from start to end with an empty compile cache: import, load a data set, fit",
    "first fit, warm cache": "the same again, the compile cache filled by the one before",
}


class Cost(NamedTuple):
    """Seconds of a process from start to end, and of processors at its work."""

    wall: float
    processor: float


def measured(*, is_quick: bool) -> dict[str, Any]:
    """Return seconds by what was done: the median over fresh processes."""
    n_runs = 2 if is_quick else 5
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(folder)
        _run(MODULES, settings)
        cold = _cost(_fit_of("LocalLevel"), settings)
        warm = [_cost(_fit_of("LocalLevel"), settings) for _ in range(n_runs)]
        alone = [_cost("print(0.0)", settings) for _ in range(n_runs)]
        imports = [Cost(_run(IMPORT, settings), _cost(f"{FIRST}print(0.0)", settings).processor) for _ in range(n_runs)]
    costs = {
        "python alone": _median(alone),
        "import": _median(imports),
        "first fit, cold cache": cold,
        "first fit, warm cache": _median(warm),
    }
    return {
        "seconds": {name: cost.wall for name, cost in costs.items()},
        "processor_seconds": {name: cost.processor for name, cost in costs.items()},
        "targets": TARGETS,
        "includes": INCLUDES,
    }


def _fit_of(name: str) -> str:
    return f"{FIRST}import numpy as np, pandas as pd; {FITS[name]}; print(0.0)"


def _settings(folder: str) -> dict[str, str]:
    """Return the environment of processes that keep compiled code and bytecode in `folder`."""
    cache, bytecode = os.path.join(folder, "compiled"), os.path.join(folder, "bytecode")
    return environment(NUMBA_CACHE_DIR=cache, PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=bytecode)


def _run(code: str, settings: Mapping[str, str]) -> float:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return float(subprocess.run(command, env=settings, capture_output=True, text=True, check=True).stdout)


def _cost(code: str, settings: Mapping[str, str]) -> Cost:
    wall, before = time.perf_counter(), os.times()
    _run(code, settings)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(time.perf_counter() - wall, processor)


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.processor for cost in costs))


def main() -> None:
    """Print the first fits of models, each with an empty compile cache and with the one that it left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=main.__doc__)
    parser.add_argument("--only", nargs="+", choices=list(FITS), default=list(FITS), help="the models to fit")
    print("| first fit of a process | cold, s of processor | s | warm, s of processor | s |")
    print("| --- | --: | --: | --: | --: |", flush=True)
    for name in parser.parse_args().only:
        with tempfile.TemporaryDirectory() as folder:
            settings = _settings(folder)
            _run(MODULES, settings)
            cold = _cost(_fit_of(name), settings)
            warm = _median([_cost(_fit_of(name), settings) for _ in range(3)])
        print(
            f"| `{name}` | {cold.processor:.1f} | {cold.wall:.1f} | {warm.processor:.2f} | {warm.wall:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
