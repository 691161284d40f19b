"""Each arithmetic against many digits on systems where one of them fails, and whether the default takes the other."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from oracles.mp import exact, floats, scaled_error

import kalman_em as kem

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def case(monkeypatch):
    """Return the systems of the benchmark by kind and number."""
    monkeypatch.syspath_prepend(str(ROOT))
    cases = importlib.import_module("benchmarks.hard_cases").CASES
    return lambda kind, seed: cases[kind](seed)


def moments(system, one, numerics):
    filtered = kem.kalman_filter(system, one, numerics=numerics)
    return filtered, kem.rts_smoother(system, filtered, numerics=numerics)


def largest_error(found, truth):
    """Return the largest error of smoothed moments, in units of the states' standard deviations."""
    _, smoothed = found
    size = np.sqrt(np.maximum(np.diagonal(floats(truth.smoothed_covs), axis1=1, axis2=2), 0.0))
    return max(
        scaled_error(smoothed.smoothed_means, truth.smoothed_means, size),
        scaled_error(smoothed.smoothed_covs, truth.smoothed_covs, size[:, :, None] * size[:, None]),
        scaled_error(smoothed.lag_one_covs, truth.lag_one_covs, size[1:, :, None] * size[:-1, None]),
    )


# Spreads that cancel in the smoother (18, 36, 252), in the filter (64), variances that fall by 1e10 going back (268).
@pytest.mark.parametrize("seed", [18, 36, 64, 252, 268])
def test_the_default_goes_over_where_covariances_lose_their_digits(case, seed):
    system, one = case("hard", seed)
    truth, found = exact(system, one), moments(system, one, "auto")
    assert found[1].numerics == "square_root"
    assert largest_error(found, truth) < 1e-6
    assert found[0].log_likelihood == pytest.approx(truth.log_likelihood, rel=1e-8)
    # The test of the test: without going over the digits are lost.
    assert largest_error(moments(system, one, "standard"), truth) > 1e-6


@pytest.mark.parametrize("seed", [3, 20, 39, 134, 169, 245])
def test_the_default_stays_where_covariances_do(case, seed):
    system, one = case("hard", seed)
    truth, found = exact(system, one), moments(system, one, "auto")
    assert found[0].numerics == found[1].numerics == "standard"
    assert largest_error(found, truth) < 1e-6


def target(seed):
    """Return a Singer target in the plane with all states diffuse, its tables laid out, and eight rows from nowhere.

    Its time constant is from 1e-5 to 1, its gaps from 0.01 to 30.
    """
    rng = np.random.default_rng(seed)
    time_constant, gaps = 10.0 ** rng.uniform(-5, 0), 10.0 ** rng.uniform(-2, 1.5, size=20)
    values = np.cumsum(rng.normal(size=(20, 2)), axis=0)
    values[rng.random((20, 2)) < 0.4] = np.nan
    values[0] = 0.0
    model = kem.Singer(time_constant=time_constant, dim=2)
    F, Q = zip(*(model.discretize(gap, 1.0) for gap in gaps[1:8]), strict=True)
    system = kem.LinearGaussianSystem(
        transition_matrix=np.stack(F),
        transition_cov=np.stack(Q),
        observation_matrix=np.eye(2, 6),
        observation_cov=np.eye(2),
        initial_mean=np.zeros(6),
        initial_cov=np.zeros((6, 6)),
        initial_diffuse=np.ones(6, dtype=bool),
    )
    return system, kem.Observations(values[:8])


# Time constants of 2e-4, 2.7e-5, 4.5e-4, 1.8e-5 and 4.9e-4, and how well factors know them.
@pytest.mark.parametrize(("seed", "known"), [(2, 1e-9), (3, 1e-7), (24, 1e-6), (29, 1e-4), (35, 1e-6)])
def test_a_diffuse_direction_that_is_hardly_seen_is_left_to_factors(seed, known):
    """The acceleration of the first moment shifts all later positions by the square of its time constant alone."""
    system, one = target(seed)
    truth, found = exact(system, one), moments(system, one, "auto")
    assert found[1].numerics == "square_root"
    assert largest_error(found, truth) < known
    # To covariances it is rounding, or half of it.
    assert largest_error(moments(system, one, "standard"), truth) > 1e-5


def test_of_later_rows_that_which_sees_a_diffuse_direction_best_comes_first():
    """A month never seen leaves a direction diffuse for years; rows that hardly see it must not resolve it."""
    angles = np.pi / 6.0 * np.arange(1, 6)
    turns = [[[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]] for a in angles]
    F = np.zeros((13, 13))
    for first, block in zip(range(0, 12, 2), [[[1.0, 1.0], [0.0, 1.0]], *turns], strict=True):
        F[first : first + 2, first : first + 2] = block
    F[12, 12] = -1.0
    system = kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=np.diag([0.9, 6e-3] + [7e-12] * 11),
        observation_matrix=[[1.0, 0.0] * 6 + [1.0]],
        observation_cov=[[1.7e-4]],
        initial_mean=np.zeros(13),
        initial_cov=np.zeros((13, 13)),
        initial_diffuse=np.ones(13, dtype=bool),
    )
    values = np.random.default_rng(2).normal(size=80)
    values[[5, 6, 8, 11, 18, 19, 20, 23, 27, 29, 30, 32, 34, 37, 40, 42, 45, 50, 51]] = np.nan
    values[[54, 55, 61, 64, 65, 66, 68, 69, 70, 73]] = np.nan
    one = kem.Observations(values[:, None])
    found, other = moments(system, one, "square_root"), moments(system, one, "standard")
    # Covariances are right here: 7e-13 from the truth of 700 digits.
    size = np.sqrt(np.diagonal(other[1].smoothed_covs, axis1=1, axis2=2))
    assert found[0].n_diffuse_steps == other[0].n_diffuse_steps == 78
    covs, lagged = size[:, :, None] * size[:, None], size[1:, :, None] * size[:-1, None]
    assert scaled_error(found[1].smoothed_means, other[1].smoothed_means, size) < 1e-9
    assert scaled_error(found[1].smoothed_covs, other[1].smoothed_covs, covs) < 1e-9
    assert scaled_error(found[1].lag_one_covs, other[1].lag_one_covs, lagged) < 1e-9


@pytest.mark.parametrize("seed", [52, 86])
def test_factors_tell_rounding_of_a_diffuse_direction_by_what_it_has_come_to(case, seed):
    system, one = case("hard", seed)
    assert largest_error(moments(system, one, "square_root"), exact(system, one)) < 1e-7
