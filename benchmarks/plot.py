"""The cost against each size, on logarithmic axes, as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SIDES = {"this package": "o-", "C++ full": "s--", "C++ frozen": "^:"}


def plot_sweeps(sweeps: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a panel for each sweep to a PNG file."""
    figure = Figure(figsize=(4.6 * len(sweeps), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(sweeps), squeeze=False)[0]
    for ax, sweep in zip(axes, sweeps, strict=True):
        _plot(ax, sweep)
    figure.savefig(path, dpi=120)


def _plot(ax: Axes, sweep: Mapping[str, Any]) -> None:
    for name, style in SIDES.items():
        points = [(point["size"], point["sides"].get(name, {"error": ""})) for point in sweep["points"]]
        timed = [(size, side[sweep["clock"]]) for size, side in points if "error" not in side]
        if timed:
            ax.loglog(*zip(*timed, strict=True), style, label=name)
    products = [(point["size"], point["product_seconds"]) for point in sweep["points"] if "product_seconds" in point]
    if products:
        ax.loglog(*zip(*products, strict=True), "x-", label="one matrix product")
    first = sweep["points"][0]["sides"]["this package"]
    if "error" not in first:
        sizes = [sweep["points"][0]["size"], sweep["points"][-1]["size"]]
        guide = [first[sweep["clock"]] * (size / sizes[0]) ** sweep["order"] for size in sizes]
        ax.loglog(sizes, guide, color="0.7", linewidth=1, label=f"{sweep['axis']}^{sweep['order']:g}")
    ax.set(xlabel=sweep["axis"], ylabel="seconds", title=sweep["name"])
    ax.grid(True, which="both", alpha=0.2)
    ax.legend()
