"""What the figures were measured on: without it they mean nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reference import FLAGS, compiler_version


def described(peers: Sequence[str]) -> dict[str, str]:
    """Return processor, system, compiler and versions."""
    versions = {name: _version(name) for name in ("numpy", "scipy", "numba", "kalman_em", *peers)}
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "compiler": f"{compiler_version() or 'none'}; {' '.join(FLAGS)}",
        "Python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
