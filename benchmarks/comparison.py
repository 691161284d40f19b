"""One workload: every side on the same case in turns, then the ratios of those that agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.agreement import difference
from benchmarks.peers import PEERS
from benchmarks.reference import compiled
from benchmarks.timing import Command, Timing, python_side, timed
from benchmarks.workloads import Sweep, Workload

OURS = "benchmarks.ours"
# Kinds with output arrays: the reference also with new ones in every call, as Python makes them.
FRESH_KINDS = ("filter", "smooth")


@dataclass(frozen=True)
class Settings:
    """What to run and how long."""

    folder: Path
    peers: Sequence[str]
    is_quick: bool = False
    has_reference: bool = True
    n_calls: int = 15
    seconds_a_side: float = 10.0
    clock: str = "wall"


def compared(workload: Workload, settings: Settings) -> dict[str, Any]:
    """Run one workload; the result is plain data for a results file."""
    case = workload.case(is_quick=settings.is_quick)
    path = settings.folder / f"{workload.name}.case"
    case.write(path)
    commands = _own(workload, path)
    if settings.has_reference:
        program = compiled(case.start.state_dim, case.start.obs_dim, settings.folder)
        for variant in _reference_variants(workload):
            commands[f"C++ {variant}"] = Command([program, path, workload.kind, variant])
    if workload.has_peers:
        for name in settings.peers:
            peer = PEERS[name]
            if workload.kind in peer.kinds:
                commands[name] = python_side(peer.module, path, workload.kind, "frozen", compiles=peer.compiles)
    timings = timed(commands, settings.n_calls, settings.seconds_a_side)
    path.unlink()
    n_series, n_steps, p = case.values.shape
    return {
        "name": workload.name,
        "title": workload.title,
        "kind": workload.kind,
        "sizes": {"n_series": n_series, "n_steps": n_steps, "obs_dim": p, "state_dim": case.start.state_dim},
        "targets": dict(workload.targets),
        "sides": {name: timing.as_dict() for name, timing in timings.items()},
        "ratios": _ratios(timings, settings.clock),
    }


def swept(sweep: Sweep, settings: Settings) -> dict[str, Any]:
    """Run one workload for each of a range of sizes."""
    points = []
    for size, workload in sweep.chosen(is_quick=settings.is_quick).items():
        points.append({"size": size, **compared(_whole(workload), settings)})
        if sweep.axis == "p":
            points[-1]["product_seconds"] = _product(workload, settings)
    return {
        "name": sweep.name,
        "title": sweep.title,
        "axis": sweep.axis,
        "order": sweep.order,
        "clock": "median_cpu_seconds" if settings.clock == "cpu" else "median_seconds",
        "points": points,
    }


def _whole(workload: Workload) -> Workload:
    """Return the workload with its length kept in a quick run: the sizes of a sweep are its point."""
    return Workload(
        workload.name,
        workload.title,
        workload.kind,
        workload.n_steps,
        lambda _: workload.make(workload.n_steps),
        has_peers=False,
    )


def _own(workload: Workload, path: Path) -> dict[str, Command]:
    """Return this package's sides; one where freezing makes no difference or is the default for the workload."""
    has_both = ours.FREEZING["full"] != ours.FREEZING["frozen"] and len(workload.variants) > 1
    commands = {"this package": python_side(OURS, path, workload.kind, "frozen")}
    if has_both:
        commands["this package, full"] = python_side(OURS, path, workload.kind, "full")
    if workload.is_panel and ours.HAS_THREADS:
        commands["this package, 2 threads"] = python_side(OURS, path, workload.kind, "frozen", n_threads=2)
    return commands


def _reference_variants(workload: Workload) -> list[str]:
    fresh = [f"{variant}-fresh" for variant in workload.variants] if workload.kind in FRESH_KINDS else []
    return [*workload.variants, *fresh]


def _ratios(timings: Mapping[str, Timing], clock: str) -> dict[str, Any]:
    """Return this package / C++ and peer / this package, ratios of medians, or the word that says why not."""
    ratios: dict[str, Any] = {}
    own = timings["this package"]
    for name, timing in timings.items():
        if name == "this package":
            continue
        mine = own
        if name.startswith("C++ full") and "this package, full" in timings:
            mine = timings["this package, full"]
        if mine.error or timing.error:
            ratios[name] = f"failed ({mine.error or timing.error})"
        elif problem := difference(timing.first, mine.first):
            ratios[name] = problem
        elif name.startswith("C++"):
            ratios[name] = _clocked(mine, clock) / _clocked(timing, clock)
        else:
            ratios[name] = _clocked(timing, clock) / _clocked(mine, clock)
    return ratios


def _clocked(timing: Timing, clock: str) -> float:
    return timing.median_cpu if clock == "cpu" else timing.median


def _product(workload: Workload, settings: Settings) -> float:
    path = settings.folder / "product.case"
    workload.make(workload.n_steps).write(path)
    command = python_side("benchmarks.product", path, workload.kind, "full")
    timing = timed({"product": command}, settings.n_calls, settings.seconds_a_side)["product"]
    path.unlink()
    return _clocked(timing, settings.clock)
