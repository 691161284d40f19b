"""Processes that do one side's work on command, and the clock over them: sides take turns, call by call."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def environment(n_threads: int = 1, **more: str) -> dict[str, str]:
    """Return the environment of a side: so many threads and no more."""
    threads = dict.fromkeys(THREAD_VARIABLES, str(n_threads))
    xla = f"--xla_cpu_multi_thread_eigen={str(n_threads > 1).lower()} intra_op_parallelism_threads={n_threads}"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **threads, "XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path, **more}


@dataclass(frozen=True)
class Command:
    """How to start a side; one that compiles has a first call unlike the others."""

    parts: Sequence[str | Path]
    n_threads: int = 1
    compiles: bool = True


class Process:
    """A side in a process of its own, which does its work once for each line that it reads."""

    def __init__(self, command: Command) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [str(part) for part in command.parts],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(command.n_threads),
            text=True,
        )

    def __enter__(self) -> Process:
        self.answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        if kind is not None:
            self._process.kill()
        self._process.wait()
        self._errors.close()

    def call(self) -> dict[str, Any]:
        """Do the work once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next answer; `RuntimeError` with the side's last words where none comes."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        raise RuntimeError(words[-1] if words else f"ended with code {self._process.returncode}")


def python_side(
    module: str, case: Path, kind: str, variant: str, *, n_threads: int = 1, compiles: bool = True
) -> Command:
    """Return the command of a side that is a Python module."""
    return Command([sys.executable, "-m", "benchmarks.worker", module, case, kind, variant], n_threads, compiles)


@dataclass
class Timing:
    """What the calls of one side took; `error` says why there are none."""

    first: dict[str, Any] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def median(self) -> float:
        """Median of the calls, in seconds."""
        return statistics.median(self.seconds)

    @property
    def median_cpu(self) -> float:
        """Median processor time of the calls, in seconds."""
        return statistics.median(self.cpu_seconds)

    @property
    def cpu_share(self) -> float:
        """Processor time over wall time: below 1 the side had to wait for the processor, above 1 it used more."""
        return sum(self.cpu_seconds) / max(sum(self.seconds), 1e-12)

    def add(self, answer: Mapping[str, Any]) -> None:
        """Add one call."""
        self.seconds.append(answer["seconds"])
        self.cpu_seconds.append(answer["cpu_seconds"])

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for a results file."""
        if self.error:
            return {"error": self.error}
        return {
            "median_seconds": self.median,
            "min_seconds": min(self.seconds),
            "median_cpu_seconds": self.median_cpu,
            "n_calls": len(self.seconds),
            "first_call_seconds": self.first["seconds"],
            "cpu_share": self.cpu_share,
            "log_likelihood": self.first["log_likelihood"],
        }


def timed(commands: Mapping[str, Command], n_calls: int, seconds_a_side: float) -> dict[str, Timing]:
    """Time the sides, one call each in turn, until each has its calls or has used up its seconds.

    The first call warms a side up and does not count, unless the side compiles nothing and that call alone uses up
    the seconds.
    """
    timings = {name: Timing() for name in commands}
    running: dict[str, Process] = {}
    try:
        for name, command in commands.items():
            try:
                running[name] = Process(command).__enter__()
                timings[name].first = running[name].call()
                if not command.compiles and timings[name].first["seconds"] > seconds_a_side:
                    timings[name].add(timings[name].first)
            except RuntimeError as error:
                timings[name].error = str(error)
        for _ in range(n_calls):
            for name, process in running.items():
                timing = timings[name]
                if not timing.error and sum(timing.seconds) <= seconds_a_side:
                    timing.add(process.call())
    finally:
        for process in running.values():
            process.__exit__(None, None, None)
    return timings
