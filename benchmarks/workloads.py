"""The workloads: what is computed, on which system, how long, and the target ratio to the C++ reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.cases import Case
from benchmarks.systems import moved_off, rotating, simulated, tracking, trend, walk, with_gaps

SEED = 20240607
KINDS = {
    "log_likelihood": "filter, the log-likelihood alone asked for",
    "filter": "filter, all filter arrays and the log-likelihood",
    "smooth": "filter and smoother, all smoothed means, covariances and lag-one covariances",
    "em": "one EM iteration, all of F, H, Q, R, m and P learnt",
}


@dataclass(frozen=True)
class Workload:
    """One measurement; `make(n_steps)` builds its case. `targets` are ratios to C++ by variant of the reference."""

    name: str
    title: str
    kind: str
    n_steps: int
    make: Callable[[int], Case]
    targets: Mapping[str, float] = field(default_factory=dict)
    variants: tuple[str, ...] = ("full", "frozen")
    has_peers: bool = True
    is_panel: bool = False

    def case(self, *, is_quick: bool) -> Case:
        """Return the case; a quick one has fewer steps."""
        return self.make(max(min(self.n_steps, 50), self.n_steps // 50) if is_quick else self.n_steps)


@dataclass(frozen=True)
class Sweep:
    """A kind of work against one size, which the points' workloads vary; `order` is the highest allowed power."""

    name: str
    title: str
    axis: str
    order: float
    points: Mapping[int, Workload]

    def chosen(self, *, is_quick: bool) -> Mapping[int, Workload]:
        """Return the points to run; a quick run takes the smallest three."""
        return dict(sorted(self.points.items())[:3]) if is_quick else self.points


def _walk(n_steps: int) -> Case:
    return Case(walk(), simulated(walk(), n_steps, np.random.default_rng(SEED)))


def _tracking(n_steps: int) -> Case:
    return Case(tracking(), simulated(tracking(), n_steps, np.random.default_rng(SEED)))


def _learning(n_steps: int) -> Case:
    rng = np.random.default_rng(SEED)
    truth = tracking((0.95, 0.9), 0.1, correlated=True)
    return Case(moved_off(truth, rng), simulated(truth, n_steps, rng))


def _learning_with_gaps(n_steps: int) -> Case:
    whole = _learning(n_steps)
    return Case(whole.start, with_gaps(whole.values, 0.2, np.random.default_rng(SEED + 1)))


def _rotating(state_dim: int, obs_dim: int, *, diagonal: bool = False) -> Callable[[int], Case]:
    def make(n_steps: int) -> Case:
        rng = np.random.default_rng(SEED)
        truth = rotating(state_dim, obs_dim, rng, diagonal)
        return Case(moved_off(truth, rng), simulated(truth, n_steps, rng), diagonal)

    return make


def _panel(n_series: int) -> Callable[[int], Case]:
    def make(n_steps: int) -> Case:
        rng = np.random.default_rng(SEED)
        return Case(moved_off(trend(), rng), simulated(trend(), n_steps, rng, n_series))

    return make


def _point(kind: str, size: int, n_steps: int, make: Callable[[int], Case]) -> Workload:
    return Workload(f"{kind}-{size}", KINDS[kind], kind, n_steps, make, has_peers=False)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("loglike-d1", "log-likelihood, d=1 p=1", "log_likelihood", 100_000, _walk, {"full": 3, "frozen": 3}),
        Workload("filter-d1", "filter, all arrays, d=1 p=1", "filter", 100_000, _walk, {"full": 3, "frozen": 3}),
        Workload("smooth-d4", "filter + smoother, d=4 p=2", "smooth", 100_000, _tracking, {"full": 2.5, "frozen": 2}),
        Workload("em-d4", "EM iteration, d=4 p=2", "em", 10_000, _learning, {"full": 2.5, "frozen": 2.5}),
        Workload(
            "em-d4-missing",
            "EM iteration, d=4 p=2, 20 % of entries missing, full R",
            "em",
            10_000,
            _learning_with_gaps,
            {"full": 2.5},
            variants=("full",),
        ),
        Workload("em-d10", "EM iteration, d=10 p=20", "em", 2_000, _rotating(10, 20), {"full": 3, "frozen": 3}),
        Workload("em-d20", "EM iteration, d=20 p=50", "em", 1_000, _rotating(20, 50), {"full": 3, "frozen": 3}),
        Workload(
            "panel-d2",
            "EM iteration each of 1,000 series, d=2 p=1",
            "em",
            200,
            _panel(1_000),
            {"full": 3, "frozen": 3},
            is_panel=True,
        ),
    )
}

SWEEPS = {
    sweep.name: sweep
    for sweep in (
        Sweep(
            "cost-in-T",
            "EM iteration, d=4 p=2, against the number of steps",
            "T",
            1.0,
            {n: _point("em", n, n, _learning) for n in (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)},
        ),
        Sweep(
            "cost-in-d",
            "EM iteration, p=2, T=1,000, against the number of states",
            "d",
            3.0,
            {d: _point("em", d, 1_000, _rotating(d, 2)) for d in (1, 2, 4, 8, 16, 32, 64)},
        ),
        Sweep(
            "sensors-loglike",
            "log-likelihood, d=3, T=10,000, diagonal R, against the number of sensors",
            "p",
            1.0,
            {
                p: _point("log_likelihood", p, 10_000, _rotating(3, p, diagonal=True))
                for p in (5, 20, 50, 100, 200, 500)
            },
        ),
        Sweep(
            "sensors-em",
            "EM iteration, d=3, T=10,000, diagonal R, against the number of sensors",
            "p",
            1.0,
            {p: _point("em", p, 10_000, _rotating(3, p, diagonal=True)) for p in (5, 20, 50, 100, 200, 500)},
        ),
    )
}
