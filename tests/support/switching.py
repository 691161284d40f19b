"""Systems with two regimes, and rows for them."""

from __future__ import annotations

import numpy as np

import kalman_em as kem
from kalman_em.inference.regimes import stationary_probabilities
from kalman_em.latent.switching_params import SwitchingParams

MOVES = np.array([[0.9, 0.1], [0.3, 0.7]])
MATRICES = ("transition_matrix", "transition_cov", "observation_matrix", "observation_cov")
OFFSETS = ("transition_offset", "observation_offset")
EVERYTHING = (*MATRICES, *OFFSETS)


def some_params(*, switching=("transition_cov",), contrast=9.0):
    values = {
        "transition_matrix": np.array([[1.0, 0.5], [0.0, 0.8]]),
        "transition_cov": np.array([[0.3, 0.1], [0.1, 0.4]]),
        "observation_matrix": np.array([[1.0, 0.0], [0.5, 1.0]]),
        "observation_cov": np.array([[0.5, 0.1], [0.1, 0.8]]),
        "transition_offset": np.array([0.2, -0.3]),
        "observation_offset": np.array([0.5, 1.0]),
    }
    for name in switching:
        factors = np.array([1.0, contrast if name.endswith("cov") else 0.6])
        values[name] = values[name] * (factors[:, None] if name.endswith("offset") else factors[:, None, None])
    return SwitchingParams(
        **values,
        initial_mean=[0.5, -0.5],
        initial_cov=[[2.0, 0.3], [0.3, 1.0]],
        regime_initial_probabilities=stationary_probabilities(MOVES),
        regime_transition_matrix=MOVES,
    )


def some_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.normal(size=(n, 2)), axis=0)
    values[1, 0] = np.nan
    values[3:4] = np.nan
    return values


def model_of(params, approximation="kim"):
    switching = [name for name in MATRICES if getattr(params, name).ndim == 3]
    switching += [name for name in OFFSETS if getattr(params, name).ndim == 2]
    offsets = {name: kem.Full() for name in OFFSETS}
    return kem.SwitchingLinearGaussian(
        2, 2, 2, switching=switching or ["transition_cov"], approximation=approximation, **offsets
    )
