"""Small systems and series to put a case in a few lines."""

from __future__ import annotations

import numpy as np

import kalman_em as kem
from support.systems import random_observations, random_system


def random_case(seed, d=2, p=2, n_steps=12, **options):
    """Return a generator, a random system and a series of it; `options` as for `random_system`, and `missing`."""
    rng = np.random.default_rng(seed)
    missing = options.pop("missing", 0.0)
    system = random_system(rng, d, p, n_steps, **options)
    return rng, system, random_observations(rng, system, n_steps, missing=missing)


def scalar(**changes):
    """Return a level seen through noise, with anything changed."""
    return kem.LinearGaussianSystem(
        **{
            "transition_matrix": [[1.0]],
            "transition_cov": [[1.0]],
            "observation_matrix": [[1.0]],
            "observation_cov": [[2.0]],
            "initial_mean": [0.0],
            "initial_cov": [[4.0]],
        }
        | changes
    )


def series(values):
    """Return a list of rows, or of numbers, as `Observations`."""
    return kem.Observations(np.reshape(np.array(values, dtype=float), (len(values), -1)))
