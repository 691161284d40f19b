"""Tracks drawn from a motion in continuous time, with their truth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kalman_em.observations import Observations
from support.systems import draw


def track(rng, moved, times, *, H, R, first, missing=0.0):
    """Return states (T, d) and values (T, p) at `times`; `moved(gap)` returns F and Q, `first` is the first state."""
    states = np.empty((len(times), len(first)))
    states[0] = first
    for t, gap in enumerate(np.diff(times)):
        F, Q = moved(gap)
        states[t + 1] = F @ states[t] + draw(rng, np.asarray(Q))
    values = states @ H.T + np.array([draw(rng, R) for _ in times])
    values[rng.random(values.shape) < missing] = np.nan
    return states, values


def tracks(seed, model, density, R, lengths, *, missing=0.0, shortest=0.05, longest=2.0):
    """Return a list of (states, Observations), one a length, each with times of its own."""
    rng = np.random.default_rng(seed)
    found = []
    dim = model.dim
    for n in lengths:
        times = rng.uniform(-50.0, 50.0) + np.cumsum(rng.uniform(shortest, longest, size=n))
        d = model.dynamics.state_dim
        H = np.eye(dim, d)
        states, values = track(
            rng,
            lambda gap: model.discretize(gap, density),
            times,
            H=H,
            R=np.atleast_2d(R),
            first=rng.normal(size=d) * 5.0,
            missing=missing,
        )
        found.append((states, Observations(values, times=times)))
    return found


def long_frame(panel, names):
    """Return the series of (key, Observations) as one long frame with columns t, track and `names`."""
    parts = [
        pd.DataFrame({"t": one.times, "track": key} | dict(zip(names, one.values.T, strict=True))) for key, one in panel
    ]
    return pd.concat(parts, ignore_index=True)
