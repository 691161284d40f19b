"""Random cases to fit: models of every kind, and data from easy to hopeless, each with a number of its own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

import kalman_em as kem
from benchmarks.random_forms import cov_form, observation_form, random_cov, random_transition, transition_form

KINDS = {"system": 0.45, "sum": 0.32, "motion": 0.13, "factors": 0.1}
SOURCES = {"system": 0.45, "walk": 0.15, "trend": 0.1, "noise": 0.1, "rounded": 0.1, "copies": 0.05, "constant": 0.05}
# How the states of a `LinearGaussian` start.
STARTS = {"default": 0.3, "learnt": 0.18, "known": 0.12, "diffuse": 0.12, "stationary": 0.14, "mixed": 0.14}
# Most fits are cut short, as what is wrong shows early; some go on to where leaps begin, some to their end.
LENGTHS = {20: 0.89, 560: 0.08, 2000: 0.03}
SQUARE_ROOT_SHARE = 0.05


@dataclass(frozen=True)
class Case:
    """A model, the series to fit it to (and their inputs), how to fit it, and a line that describes all."""

    kind: str
    model: Any
    panel: kem.Panel
    numerics: str
    max_iterations: int
    text: str


def drawn(seed: int) -> Case:
    """Return the random case with this number."""
    rng = np.random.default_rng(seed)
    kind = _one_of(rng, KINDS)
    p = int(rng.integers(2 if kind == "factors" else 1, 3 if kind == "sum" else 5))
    n_series = 1 if rng.random() < 0.75 else int(rng.integers(2, 5))
    lengths = [int(np.exp(rng.uniform(np.log(8), np.log(60)))) for _ in range(n_series)]
    scale = 10.0 ** rng.uniform(-9.0, 9.0) * (10.0 ** rng.uniform(-3.0, 3.0, size=p) if rng.random() < 0.3 else 1.0)
    scale = np.broadcast_to(scale, (p,))
    source = _one_of(rng, SOURCES)
    origin = 10.0 ** rng.uniform(0.0, 3.0) if rng.random() < 0.2 else 0.0
    share = float(rng.choice([0.0, 0.1, 0.3, 0.6], p=[0.4, 0.2, 0.2, 0.2]))
    n_inputs = int(rng.integers(1, 3)) if kind in ("system", "sum") and rng.random() < 0.2 else 0
    series = []
    for length in lengths:
        inputs = rng.standard_normal((length, n_inputs)) if n_inputs else None
        times = _times(rng, length) if kind == "motion" else None
        values = _with_gaps(rng, scale * (origin + _series(rng, source, length, p)), share)
        series.append(kem.Observations(values, inputs=inputs, times=times))
    model = MODELS[kind](rng, scale, n_inputs, lengths)
    numerics = "square_root" if rng.random() < SQUARE_ROOT_SHARE else "auto"
    max_iterations = int(rng.choice(list(LENGTHS), p=list(LENGTHS.values())))
    data = f"T={lengths}, p={p}, {source}, scale {scale.max():.1e}, origin {origin:.3g}, {share:.0%} missing"
    text = f"{described(model)}; {data}, {n_inputs} inputs, {numerics}"
    return Case(kind, model, kem.Panel(series), numerics, max_iterations, text)


def _one_of(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))


def _times(rng: np.random.Generator, length: int) -> np.ndarray:
    """Return the times of rows: regular, or with gaps that differ by up to six orders of magnitude."""
    spread = float(rng.choice([0.0, 0.5, 3.0]))
    return np.cumsum(10.0 ** rng.uniform(-spread, spread, size=length)) if spread else np.arange(float(length))


def _series(rng: np.random.Generator, source: str, length: int, p: int) -> np.ndarray:
    """Return a series (T, p) of about unit size."""
    noise = rng.standard_normal((length, p))
    ratio = 10.0 ** rng.uniform(-3.0, 3.0)
    walk = np.cumsum(rng.standard_normal((length, p)), axis=0)
    if source == "system":
        return _simulated(rng, length, p)
    if source == "walk":
        return ratio * walk + noise
    if source == "trend":
        return ratio * np.arange(length)[:, None] * rng.standard_normal(p) + noise + walk
    if source == "rounded":
        return np.round(noise + 0.3 * walk)
    if source == "copies":
        return noise[:, :1] * rng.standard_normal(p)
    if source == "constant":
        return np.where(np.arange(p) == 0, 1.0, noise)
    return noise


def _simulated(rng: np.random.Generator, length: int, p: int) -> np.ndarray:
    d = int(rng.integers(1, 5))
    F = random_transition(rng, d)
    H = rng.standard_normal((p, d))
    ratio = 10.0 ** rng.uniform(-3.0, 1.0)
    states = np.empty((length, d))
    x = rng.standard_normal(d)
    for t in range(length):
        states[t] = x
        x = F @ x + rng.standard_normal(d)
    return states @ H.T + ratio * rng.standard_normal((length, p))


def _with_gaps(rng: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    """Return `values` with a share of the entries missing, and sometimes a run of rows."""
    values = values.copy()
    values[rng.random(values.shape) < share] = np.nan
    if share and rng.random() < 0.5:
        first, length = rng.integers(0, len(values), size=2)
        values[first : first + length // 2 + 1] = np.nan
    return values


def _sum(rng: np.random.Generator, scale: np.ndarray, n_inputs: int, lengths: list[int]) -> Any:
    """Return a sum of a level or trend and, in two of three cases, other components."""
    p = len(scale)

    def noise(part: float = 1.0) -> Any:
        return cov_form(rng, p, part * scale)

    observed = cov_form(rng, p, scale, lengths[0] if len(lengths) == 1 and rng.random() < 0.2 else 0)
    level = int(rng.integers(4))
    parts: list[Any] = [
        kem.LocalLevel(level_cov=noise(), observation_cov=observed)
        if level == 0
        else kem.LocalLinearTrend(level_cov=noise(), slope_cov=noise(0.1), observation_cov=observed)
        if level == 1
        else kem.SmoothTrend(slope_cov=noise(0.1), observation_cov=observed)
        if level == 2
        else kem.DampedTrend(level_cov=noise(), slope_cov=noise(0.1), observation_cov=observed)
    ]
    if rng.random() < 0.35:
        parts.append(kem.Autoregression(int(rng.integers(1, 4)), autoregression_cov=noise()))
    if rng.random() < 0.2:
        parts.append(kem.Cycle(cycle_cov=noise()))
    if rng.random() < 0.3:
        kind = str(rng.choice(["trigonometric", "dummy"]))
        parts.append(kem.Seasonal(int(rng.integers(2, 6)), kind=kind, seasonal_cov=noise(0.1)))
    if n_inputs:
        varies = len(lengths) == 1 and rng.random() < 0.3
        parts.append(kem.TimeVaryingRegression(coefficient_cov=noise()) if varies else kem.Regression())
    if rng.random() < 0.1:
        parts.append(kem.Intervention(lengths[0] // 2, str(rng.choice(["step", "pulse"]))))
    return kem.Structural(parts) if len(parts) > 1 else parts[0]


def _motion(rng: np.random.Generator, scale: np.ndarray, n_inputs: int, lengths: list[int]) -> Any:
    """Return a model in continuous time whose positions are the columns of the data."""
    del n_inputs, lengths
    p = len(scale)
    observed, density = cov_form(rng, p, scale), cov_form(rng, p, scale)
    constant = kem.Full() if rng.random() < 0.3 else 10.0 ** rng.uniform(-1.0, 1.0)
    kinds = ["level", "trend", "equation"]
    kinds += ["walk", "velocity", "acceleration", "correlated", "singer"] if p < 4 else []
    kinds += ["turn"] if p == 2 else []
    kind = str(rng.choice(kinds))
    if kind == "level":
        return kem.Irregular(kem.LocalLevel(level_cov=density, observation_cov=observed))
    if kind == "trend":
        return kem.Irregular(kem.LocalLinearTrend(slope_cov=density, observation_cov=observed))
    if kind == "equation":
        drift = np.array([[0.0, 1.0], [-rng.uniform(0.1, 4.0), -rng.uniform(0.0, 1.0)]])
        return kem.ContinuousTime(drift, [[0.0], [1.0]], scale[:, None] * rng.standard_normal((p, 2)))
    more = {"dim": p, "observation_cov": observed}
    if kind == "walk":
        return kem.RandomWalk(velocity_density=density, **more)
    if kind == "velocity":
        return kem.ConstantVelocity(acceleration_density=density, **more)
    if kind == "acceleration":
        return kem.ConstantAcceleration(jerk_density=density, **more)
    if kind == "correlated":
        return kem.CorrelatedRandomWalk(time_constant=constant, **more)
    if kind == "singer":
        return kem.Singer(time_constant=constant, **more)
    return kem.CoordinatedTurn(turn_rate=rng.uniform(0.1, 1.0), acceleration_density=density, observation_cov=observed)


def _factors(rng: np.random.Generator, scale: np.ndarray, n_inputs: int, lengths: list[int]) -> Any:
    del n_inputs, lengths
    p, order = len(scale), int(rng.integers(1, 3))
    observed = cov_form(rng, p, scale)
    if rng.random() < 0.5:
        return kem.VectorAutoregression(order, autoregression_cov=cov_form(rng, p, scale), observation_cov=observed)
    n_factors = int(rng.integers(1, p))
    return kem.DynamicFactor(n_factors, order, idiosyncratic=bool(rng.random() < 0.3), observation_cov=observed)


def _system(rng: np.random.Generator, scale: np.ndarray, n_inputs: int, lengths: list[int]) -> Any:
    """Return a `LinearGaussian` with forms at random."""
    p = len(scale)
    d = int(rng.integers(1, 5)) if rng.random() < 0.85 else int(rng.integers(5, 7))
    chosen: dict[str, Any] = {
        "transition_matrix": transition_form(rng, d),
        "observation_matrix": observation_form(rng, scale, d),
        "transition_cov": cov_form(rng, d),
        "observation_cov": cov_form(rng, p, scale, lengths[0] if len(lengths) == 1 and rng.random() < 0.2 else 0),
    }
    for name in ("transition_offset", "observation_offset"):
        if rng.random() < 0.3:
            chosen[name] = kem.Full()
    if n_inputs:
        side = ("transition_input", "observation_input")[rng.integers(2)]
        chosen |= {side: kem.Full()}
        if rng.random() < 0.4:
            chosen |= {"transition_input": kem.Full(), "observation_input": kem.Full()}
    known = isinstance(chosen["transition_matrix"], kem.Fixed)
    is_plain = isinstance(chosen["transition_cov"], kem.Full) and "transition_offset" not in chosen and not n_inputs
    if known and is_plain and d > 1 and rng.random() < 0.5:
        chosen["noise_selection"] = np.eye(d)[:, : rng.integers(1, d)]
    start = _one_of(rng, STARTS)
    has_scale = isinstance(chosen["observation_matrix"], kem.Fixed) or isinstance(chosen["transition_cov"], kem.Fixed)
    if start == "learnt":
        chosen["initial_cov"] = [kem.Full(), kem.Diagonal(), kem.Isotropic()][rng.integers(3)]
    elif start == "known":
        chosen["initial_cov"] = kem.Fixed(random_cov(rng, d))
        chosen["initial_mean"] = kem.Fixed(rng.standard_normal(d)) if rng.random() < 0.5 else kem.Full()
    elif start == "diffuse" and has_scale:
        chosen["initial_cov"] = kem.Diffuse()
    elif start == "stationary":
        chosen["initial_cov"] = kem.Stationary()
        if rng.random() < 0.2:
            chosen["initial_mean"] = kem.Full()
    elif start == "mixed":
        chosen |= _mixed_start(rng, d, has_scale)
    if start in ("learnt", "known", "stationary", "mixed") and rng.random() < 0.3:
        chosen["initial_step"] = "before"
    return kem.LinearGaussian(d, p, **chosen)


MODELS = {"system": _system, "sum": _sum, "motion": _motion, "factors": _factors}


def _mixed_start(rng: np.random.Generator, d: int, has_scale: bool) -> dict[str, Any]:
    """Return an initial covariance of several blocks, and a transition matrix in which no block moves another."""
    kinds = ["stationary", "learnt", "known", *(["diffuse"] if has_scale else [])]
    blocks = []
    while (size := d - sum(n for _, n in blocks)) > 0:
        n = int(rng.integers(1, size + 1))
        kind = kinds[rng.integers(len(kinds))]
        learnt = [kem.Full(), kem.Diagonal(), kem.Isotropic()][rng.integers(3)]
        form = {"stationary": kem.Stationary(), "diffuse": kem.Diffuse(), "learnt": learnt}.get(kind)
        blocks.append((kem.Fixed(random_cov(rng, n)) if form is None else form, n))
    chosen: dict[str, Any] = {"initial_cov": kem.BlockDiagonal(blocks)}
    if rng.random() < 0.5:
        chosen["transition_matrix"] = kem.Diagonal()
    else:
        F = np.zeros((d, d))
        first = 0
        for _, n in blocks:
            F[first : first + n, first : first + n] = random_transition(rng, n)
            first += n
        chosen["transition_matrix"] = kem.Fixed(F)
    return chosen


def described(model: Any) -> str:
    """Return a line that names the model and the forms of its parameters."""
    if isinstance(model, kem.Structural):
        return " + ".join(described(part) for part in model.components)
    parts = []
    for field in fields(model):
        value = getattr(model, field.name)
        shown = value if isinstance(value, int | float | str) else type(value).__name__
        if isinstance(value, kem.Fixed) and not np.any(value.value):
            shown = 0
        if isinstance(value, kem.BlockDiagonal):
            shown = "+".join(f"{type(form).__name__}{size}" for form, size in value.blocks)
        if isinstance(model, kem.Irregular) and field.name == "model":
            shown = described(value)
        if value is not None:
            parts.append(f"{field.name}={shown}")
    return f"{type(model).__name__}({', '.join(parts)})"
