"""Filter and smoother against statsmodels over many random systems (see `support.reference` for its known faults)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.reference import statsmodels_smoother
from support.systems import random_observations, random_system

import kalman_em as kem

RELATIVE = 1e-9
N_STEPS = 40
DATASETS = Path(__file__).parents[2] / "datasets"


def time_first(array):
    return np.moveaxis(array, -1, 0)


def assert_same(actual, expected, name):
    size = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=RELATIVE * size, err_msg=name)


def random_case(seed, **options):
    """Return a system of random size and kind, and a series with partly and wholly missing rows."""
    rng = np.random.default_rng([13, seed])
    d, p = int(rng.integers(1, 5)), int(rng.integers(2, 6))
    options = {
        "varying": "all" if rng.random() < 0.3 else "",
        "input_dim": int(rng.integers(0, 3)),
        "noise_dim": None if rng.random() < 0.5 else int(rng.integers(1, d + 1)),
        "initial_rank": 0 if rng.random() < 0.2 else None,
        "n_transitions": N_STEPS,
    } | options
    if "diffuse" in options:
        options["diffuse"] = int(rng.integers(1, d + 1))
    system = random_system(rng, d, p, N_STEPS, **options)
    # statsmodels starts diffuse elements at 0 whatever they are given.
    system = replace(system, initial_mean=np.where(system.initial_diffuse, 0.0, system.initial_mean))
    observations = random_observations(rng, system, N_STEPS, missing=0.3, missing_rows=[5, 6, 20])
    partly = observations.is_missing.any(axis=1) & ~observations.is_missing.all(axis=1)
    assert partly.sum() > 5
    return system, observations


def both(system, observations):
    filtered = kem.kalman_filter(system, observations)
    return filtered, kem.rts_smoother(system, filtered), statsmodels_smoother(system, observations)


@pytest.mark.parametrize("seed", range(36))
def test_known_start(seed):
    filtered, smoothed, outside = both(*random_case(seed))
    assert filtered.log_likelihood == pytest.approx(outside.llf, rel=RELATIVE)
    pairs = {
        "log_likelihoods": (filtered.log_likelihoods, outside.llf_obs),
        "predicted_means": (filtered.predicted_means, time_first(outside.predicted_state[:, :-1])),
        "predicted_covs": (filtered.predicted_covs, time_first(outside.predicted_state_cov[..., :-1])),
        "filtered_means": (filtered.filtered_means, time_first(outside.filtered_state)),
        "filtered_covs": (filtered.filtered_covs, time_first(outside.filtered_state_cov)),
        "smoothed_means": (smoothed.smoothed_means, time_first(outside.smoothed_state)),
        "smoothed_covs": (smoothed.smoothed_covs, time_first(outside.smoothed_state_cov)),
        "lag_one_covs": (smoothed.lag_one_covs, time_first(outside.smoothed_state_autocov)[:-1]),
    }
    for name, (ours, theirs) in pairs.items():
        assert_same(ours, theirs, name)


@pytest.mark.parametrize("seed", range(24))
def test_exact_diffuse_start(seed):
    filtered, smoothed, outside = both(*random_case(100 + seed, diffuse=True, varying=""))
    assert filtered.log_likelihood == pytest.approx(outside.llf, rel=RELATIVE)
    n = outside.nobs_diffuse
    assert n >= 1
    assert_same(filtered.log_likelihoods, outside.llf_obs, "log_likelihoods")
    assert_same(filtered.filtered_means, time_first(outside.filtered_state), "filtered_means")
    # Both hold the finite part of a covariance while some direction is diffuse.
    assert_same(filtered.filtered_covs, time_first(outside.filtered_state_cov), "filtered_covs")
    assert_same(smoothed.smoothed_means, time_first(outside.smoothed_state), "smoothed_means")
    assert_same(smoothed.smoothed_covs, time_first(outside.smoothed_state_cov), "smoothed_covs")
    theirs = time_first(outside.smoothed_state_autocov)[:-1]
    assert_same(smoothed.lag_one_covs[n:], theirs[n:], "lag_one_covs")


def test_orientation_of_the_lag_one_covariance():
    """Entry t is Cov[x(t+1), x(t)], as `smoothed_state_autocov` has it, and not its transpose."""
    system, observations = random_case(4, noise_dim=None)
    assert system.state_dim > 1
    _, smoothed, outside = both(system, observations)
    theirs = time_first(outside.smoothed_state_autocov)[:-1]
    assert np.abs(smoothed.lag_one_covs - theirs).max() < 1e-12
    assert np.abs(smoothed.lag_one_covs - np.swapaxes(theirs, 1, 2)).max() > 1e-2


def test_the_nile():
    """Local level with an exact diffuse start at the variances of Durbin and Koopman (2012), section 2.2.5."""
    level = kem.LinearGaussianSystem(
        transition_matrix=[[1.0]],
        transition_cov=[[1469.1]],
        observation_matrix=[[1.0]],
        observation_cov=[[15099.0]],
        initial_mean=[0.0],
        initial_cov=[[0.0]],
        initial_diffuse=[True],
    )
    flow = pd.read_csv(DATASETS / "nile_annual.csv")["flow_1e8_m3"].to_numpy(float)
    filtered, _, outside = both(level, kem.Observations(flow[:, None]))
    assert filtered.log_likelihood == pytest.approx(outside.llf, rel=1e-12)
    # Programs that leave the 2π of the diffuse level out print -632.5456.
    assert filtered.log_likelihood + 0.5 * np.log(2.0 * np.pi) == pytest.approx(-632.5456, abs=5e-5)
    # Their section 2.7 hides two stretches of twenty years.
    flow[20:40] = np.nan
    flow[60:80] = np.nan
    filtered, smoothed, outside = both(level, kem.Observations(flow[:, None]))
    assert filtered.log_likelihood == pytest.approx(outside.llf, rel=1e-12)
    assert_same(smoothed.smoothed_means, outside.smoothed_state.T, "smoothed_means")
    assert_same(smoothed.smoothed_covs, time_first(outside.smoothed_state_cov), "smoothed_covs")
