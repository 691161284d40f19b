"""Peak memory of one E-step, each in a process of its own: `python -m benchmarks.memory STEPS STATES`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import ours
from benchmarks.cases import Case
from benchmarks.systems import rotating, simulated
from benchmarks.timing import environment

SMALL = ((200_000, 2), (200_000, 4), (200_000, 8), (200_000, 16))
LARGE = (10_000_000, 2)
STATUS = Path("/proc/self/status")


def measured(*, is_quick: bool, with_large: bool) -> list[dict[str, Any]]:
    """Return the peak for several sizes; p = 1 throughout."""
    _process(100, 2)  # fills the compile cache, so that no compiler's memory is counted
    sizes = [(n_steps // 10, d) for n_steps, d in SMALL[:2]] if is_quick else list(SMALL)
    return [_one(n_steps, d) for n_steps, d in (*sizes, *([LARGE] if with_large else []))]


def _one(n_steps: int, state_dim: int) -> dict[str, Any]:
    done = _process(n_steps, state_dim)
    head: dict[str, Any] = {"n_steps": n_steps, "state_dim": state_dim}
    if done.returncode:
        return head | {"error": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    return head | json.loads(done.stdout)


def _process(n_steps: int, state_dim: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.memory", str(n_steps), str(state_dim)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def main(n_steps: int, state_dim: int) -> None:
    """Print what is resident before one E-step and the peak within it, in bytes."""
    rng = np.random.default_rng(0)
    truth = rotating(state_dim, 1, rng)
    ours.e_step(Case(truth, simulated(truth, 100, rng)))()
    step = ours.e_step(Case(truth, simulated(truth, n_steps, rng)))
    before = _resident()
    step()
    print(json.dumps({"before_bytes": before, "peak_bytes": _peak()}))


def _resident() -> int:
    """Return what is resident now, and let the peak start from here, where the system can do both."""
    if not STATUS.exists():
        return _peak()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    if STATUS.exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
