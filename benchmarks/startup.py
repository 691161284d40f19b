"""What a new process pays: the import, the first fit ever and the first fit with a warm compile cache."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.timing import environment

IMPORT = "import time; start = time.perf_counter(); import kalman_em; print(time.perf_counter() - start)"
FIT = "import kalman_em as kem; kem.fit(kem.LocalLevel(), kem.datasets.load('nile')['flow']); print(0.0)"
TARGETS = {"import": 0.6, "first fit, cold cache": 12.0, "first fit, warm cache": 2.0}
INCLUDES = {
    "python alone": "a process that does nothing, from start to end",
    "import": "`import kalman_em` as the process itself clocks it",
    "first fit, cold cache": "a process from start to end with an empty compile cache: import, load a data set, fit",
    "first fit, warm cache": "the same again, the compile cache filled by the one before",
}


def measured(*, is_quick: bool) -> dict[str, Any]:
    """Return seconds by what was done: the median over fresh processes."""
    n_runs = 2 if is_quick else 5
    with tempfile.TemporaryDirectory() as cache:
        cold = _wall(FIT, cache)
        warm = [_wall(FIT, cache) for _ in range(n_runs)]
        imports = [_clocked(IMPORT, cache) for _ in range(n_runs)]
    seconds = {
        "python alone": statistics.median(_wall("print(0.0)", "") for _ in range(n_runs)),
        "import": statistics.median(imports),
        "first fit, cold cache": cold,
        "first fit, warm cache": statistics.median(warm),
    }
    return {"seconds": seconds, "targets": TARGETS, "includes": INCLUDES}


def _clocked(code: str, cache: str) -> float:
    command = [sys.executable, "-c", code]
    settings = environment(NUMBA_CACHE_DIR=cache)
    return float(subprocess.run(command, env=settings, capture_output=True, text=True, check=True).stdout)


def _wall(code: str, cache: str) -> float:
    start = time.perf_counter()
    _clocked(code, cache)
    return time.perf_counter() - start
