"""The C++ reference: compiled once for each pair of sizes, then run as a side of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("reference.cpp")
# 256-bit vectors: g++ 12 with 512-bit ones has been seen to give a wrong likelihood, and they were not faster.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=256")


def compiler() -> str | None:
    """Return the C++ compiler, or None where there is none."""
    return shutil.which("g++")


def compiler_version() -> str | None:
    """Return the first line that the compiler says of itself."""
    path = compiler()
    if path is None:
        return None
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def compiled(state_dim: int, obs_dim: int, folder: Path, flags: Sequence[str] = FLAGS) -> Path:
    """Return the program for d states and p sensors, compiled into `folder` unless it is there."""
    program = folder / f"reference-{state_dim}-{obs_dim}"
    if program.exists() and program.stat().st_mtime >= SOURCE.stat().st_mtime:
        return program
    path = compiler()
    if path is None:
        raise FileNotFoundError("g++ was not found: install it, or leave the reference out with --no-reference")
    sizes = (f"-DSTATE_DIM={state_dim}", f"-DOBS_DIM={obs_dim}")
    subprocess.run([path, *flags, *sizes, str(SOURCE), "-o", str(program)], check=True)
    return program
