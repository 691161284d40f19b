"""The results as Markdown: ratios first, then the times behind them and what each includes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import ours
from benchmarks.peers import PEERS
from benchmarks.workloads import KINDS

# A side that got less than this share of a processor had to share it: its time is not to be trusted.
DISTURBED = 0.9


def markdown(results: Mapping[str, Any]) -> str:
    """Return the whole report."""
    parts = ["# Benchmarks", _machine(results["machine"])]
    if results["settings"]["clock"] == "cpu":
        parts.append("The ratios are of processor times, not of wall times.")
    if results["settings"]["is_quick"]:
        parts.append("A quick run: short series and few calls, to see that everything works. Its figures mean little.")
    if results["workloads"]:
        parts += ["## This package / C++", _reference_table(results["workloads"])]
        parts += ["## Peer / this package", _peer_table(results["workloads"], results["settings"]["peers"])]
    for sweep in results["sweeps"]:
        parts += [f"## {sweep['title']}", _sweep_table(sweep), _power(sweep)]
    if results["sweeps"]:
        parts.append(f"![cost]({results['settings']['plot']})")
    if results["memory"]:
        parts += ["## Peak memory of one E-step, p=1", _memory_table(results["memory"])]
    if results["startup"]:
        parts += ["## A new process", _startup_table(results["startup"])]
    if results["workloads"]:
        parts += ["## Times", _time_table(results["workloads"]), "## What the figures include", _includes(results)]
    return "\n\n".join(parts) + "\n"


def _reference_table(workloads: Sequence[Mapping[str, Any]]) -> str:
    head = ["workload", "full", "target", "frozen", "target", "full, new arrays", "frozen, new arrays"]
    rows = []
    for result in workloads:
        ratios, targets = result["ratios"], result["targets"]
        rows.append(
            [
                result["title"],
                _ratio(ratios.get("C++ full")),
                _target(targets.get("full")),
                _ratio(ratios.get("C++ frozen")),
                _target(targets.get("frozen")),
                _ratio(ratios.get("C++ full-fresh")),
                _ratio(ratios.get("C++ frozen-fresh")),
            ]
        )
    note = (
        "Ratios of medians: how many times the reference's time this package takes. full: the reference runs the "
        "covariance recursion at every step; frozen: it stops when it has converged. New arrays: the reference maps "
        "new output arrays in every call, as Python does; elsewhere it reuses them."
    )
    return f"{note}\n\n{_table(head, rows)}"


def _peer_table(workloads: Sequence[Mapping[str, Any]], peers: Sequence[str]) -> str:
    with_peers = [result for result in workloads if any(name in result["sides"] for name in peers)]
    if not with_peers:
        return "No peers were run."
    rows = [[result["title"], *(_ratio(result["ratios"].get(name)) for name in peers)] for result in with_peers]
    return f"How many times this package's time the peer takes.\n\n{_table(['workload', *peers], rows)}"


def _sweep_table(sweep: Mapping[str, Any]) -> str:
    has_product = sweep["axis"] == "p"
    head = [sweep["axis"], "this package", "/ C++ full", "/ C++ frozen", *(["/ matrix product"] if has_product else [])]
    rows = []
    for point in sweep["points"]:
        own = point["sides"]["this package"]
        row = [f"{point['size']:,}", _time(own, sweep["clock"]), _ratio(point["ratios"].get("C++ full"))]
        row.append(_ratio(point["ratios"].get("C++ frozen")))
        if has_product and "error" not in own:
            row.append(_ratio(own[sweep["clock"]] / point["product_seconds"]))
        rows.append(row)
    return _table(head, rows)


def _power(sweep: Mapping[str, Any]) -> str:
    points = [point for point in sweep["points"] if "error" not in point["sides"]["this package"]]
    if len(points) < 2:
        return "Too few points for a slope."
    (a, b), (s, t) = (
        (points[-2]["size"], points[-1]["size"]),
        tuple(point["sides"]["this package"][sweep["clock"]] for point in points[-2:]),
    )
    power = math.log(t / s) / math.log(b / a)
    return f"Between the last two points the time grows as {sweep['axis']}^{power:.2f}; allowed: {sweep['order']:g}."


def _memory_table(memory: Sequence[Mapping[str, Any]]) -> str:
    head = ["T", "d", "peak, MB", "added by the E-step, MB", "numbers of 8 bytes a step", "the same / d"]
    rows = []
    for one in memory:
        row = [f"{one['n_steps']:,}", str(one["state_dim"])]
        if "error" in one:
            rows.append([*row, one["error"], "", "", ""])
            continue
        added = one["peak_bytes"] - one["before_bytes"]
        a_step = added / 8 / one["n_steps"]
        row += [f"{one['peak_bytes'] / 1e6:,.0f}", f"{added / 1e6:,.0f}"]
        rows.append([*row, f"{a_step:.1f}", f"{a_step / one['state_dim']:.1f}"])
    return _table(head, rows)


def _startup_table(startup: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            f"{seconds:.2f}",
            f"{startup['processor_seconds'][name]:.2f}",
            f"{startup['targets'][name]:g}" if name in startup["targets"] else "",
            startup["includes"][name],
        ]
        for name, seconds in startup["seconds"].items()
    ]
    return _table(["", "seconds", "of processor", "target", "what it includes"], rows)


def _time_table(workloads: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for result in workloads:
        for name, side in result["sides"].items():
            if "error" in side:
                rows.append([result["title"], name, side["error"], "", "", "", ""])
                continue
            share = side["cpu_share"]
            rows.append(
                [
                    result["title"],
                    name,
                    _time(side),
                    f"{1e3 * side['min_seconds']:,.3f}",
                    f"{1e3 * side['first_call_seconds']:,.1f}",
                    str(side["n_calls"]),
                    f"{share:.2f}{' disturbed' if share < DISTURBED else ''}",
                ]
            )
    head = ["workload", "side", "median, ms", "min, ms", "first call, ms", "calls", "processor / wall"]
    return _table(head, rows)


def _includes(results: Mapping[str, Any]) -> str:
    lines = []
    for kind in dict.fromkeys(result["kind"] for result in results["workloads"]):
        lines.append(f"- **{KINDS[kind]}**\n    - this package: {ours.INCLUDES[kind]}")
        lines.append(
            "    - C++: the work alone, from matrices to results, workspaces made before; sums over the data alone "
            "(y y') taken once"
        )
        for name in results["settings"]["peers"]:
            if kind in PEERS[name].kinds:
                lines.append(f"    - {name}: {PEERS[name].kinds[kind]}")
    return "\n".join(lines)


def _machine(machine: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in machine.items())


def _time(side: Mapping[str, Any], clock: str = "median_seconds") -> str:
    return side["error"] if "error" in side else f"{1e3 * side[clock]:,.3f}"


def _ratio(value: float | str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def _target(value: float | None) -> str:
    return "" if value is None else f"≤ {value:g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)
