"""The command line: what to run, and where the results go."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, memory, startup
from benchmarks.comparison import Settings, compared, swept
from benchmarks.peers import PEERS
from benchmarks.plot import plot_sweeps
from benchmarks.report import markdown
from benchmarks.workloads import SWEEPS, WORKLOADS

OTHERS = ("memory", "startup")
NAMES = (*WORKLOADS, *SWEEPS, *OTHERS)


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments name; return the exit code."""
    options = _parsed(arguments)
    if options.list:
        print("\n".join(NAMES))
        return 0
    results = _run(options, _chosen(options.only), _peers(options.peers))
    if options.output is None:
        print(markdown(results))
        return 0
    output = Path(options.output).with_suffix("")
    output.parent.mkdir(parents=True, exist_ok=True)
    if results["sweeps"]:
        plot_sweeps(results["sweeps"], output.with_suffix(".png"))
    output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    output.with_suffix(".md").write_text(markdown(results))
    print(f"written: {output}.md, {output}.json" + (f", {output}.png" if results["sweeps"] else ""))
    return 0


def _run(options: argparse.Namespace, names: Sequence[str], peers: Sequence[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        # A compile cache of the run's own: numba does not notice when a function that a cached one calls has changed.
        os.environ["NUMBA_CACHE_DIR"] = scratch
        folder = Path(options.build or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        settings = Settings(
            folder=folder,
            peers=peers,
            is_quick=options.quick,
            has_reference=not options.no_reference,
            n_calls=3 if options.quick else options.calls,
            seconds_a_side=2.0 if options.quick else options.seconds,
            clock=options.clock,
        )
        plot = Path(options.output or "benchmarks").with_suffix(".png").name
        shown = {"is_quick": options.quick, "peers": list(peers), "plot": plot, "clock": options.clock}
        results: dict[str, Any] = {"machine": machine.described(peers), "settings": shown}
        results["workloads"] = [compared(WORKLOADS[name], settings) for name in _said(names, WORKLOADS)]
        results["sweeps"] = [swept(SWEEPS[name], settings) for name in _said(names, SWEEPS)]
    with_memory, with_startup = (list(_said(names, [name])) for name in OTHERS)
    results["memory"] = memory.measured(is_quick=options.quick, with_large=options.large) if with_memory else []
    results["startup"] = startup.measured(is_quick=options.quick) if with_startup else {}
    return results


def _said(names: Sequence[str], among: Any) -> Any:
    """Yield the chosen names of one kind, saying each as its turn comes."""
    for name in names:
        if name in among:
            print(name, file=sys.stderr, flush=True)
            yield name


def _chosen(patterns: Sequence[str]) -> list[str]:
    """Return the names that begin with one of the patterns, all of them for none."""
    chosen = [name for name in NAMES if not patterns or any(name.startswith(pattern) for pattern in patterns)]
    if not chosen:
        raise SystemExit(f"--only: nothing begins with {' or '.join(patterns)}; there are: {', '.join(NAMES)}")
    return chosen


def _peers(asked: Sequence[str] | None) -> list[str]:
    """Return the peers to run: those asked for, or all that are installed."""
    for name in asked or ():
        if name not in PEERS:
            raise SystemExit(f"--peers: no peer is called {name}; there are: {', '.join(PEERS)}")
        if not PEERS[name].is_installed:
            raise SystemExit(f"--peers: {name} is not installed; pip install -e '.[bench]' installs all of them")
    if asked is not None:
        return list(asked)
    return [name for name, peer in PEERS.items() if peer.is_installed]


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="workloads, by the start of their names")
    parser.add_argument("--peers", nargs="*", metavar="PEER", help="peers to time; none at all if no name follows")
    parser.add_argument("--no-reference", action="store_true", help="leave the C++ reference out")
    parser.add_argument("--quick", action="store_true", help="short series, few calls: does everything run and agree?")
    parser.add_argument("--large", action="store_true", help="also the memory of one E-step with T = 10,000,000")
    parser.add_argument("--calls", type=int, default=15, help="timed calls a side (default 15)")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds a side, at most (default 10)")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="what the ratios are made of")
    parser.add_argument("--build", metavar="FOLDER", help="keep the compiled reference here from run to run")
    parser.add_argument("--output", metavar="FILE", help="write FILE.md, FILE.json and FILE.png")
    parser.add_argument("--list", action="store_true", help="name the workloads and stop")
    return parser.parse_args(arguments)
