"""The default smoother goes over to factors where a diffuse phase takes its digits, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.mp import exact, floats, scaled_error

import kalman_em as kem


def target(times, time_constant):
    """A position, a velocity and an acceleration that dies away, with noise, all diffuse at the start."""
    gaps = np.diff(times)
    a = np.exp(-gaps / time_constant)
    F = np.zeros((len(gaps), 3, 3))
    F[:, 0, 0] = F[:, 1, 1] = 1.0
    F[:, 0, 1], F[:, 2, 2] = gaps, a
    F[:, 0, 2] = time_constant * (gaps - time_constant * (1.0 - a))
    F[:, 1, 2] = time_constant * (1.0 - a)
    Q = gaps[:, None, None] * np.diag([1e-3, 1e-2, 1.0])
    return kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=Q,
        observation_matrix=[[1.0, 0.0, 0.0]],
        observation_cov=[[1e-2]],
        initial_mean=np.zeros(3),
        initial_cov=np.zeros((3, 3)),
        initial_diffuse=np.ones(3, dtype=bool),
    )


@pytest.mark.parametrize("time_constant", [0.2, 0.03])
def test_an_acceleration_that_dies_between_observations(time_constant):
    times = np.array([0.0, 3.0, 10.0, 18.0, 19.0, 27.0, 30.0])
    system = target(times, time_constant)
    values = np.array([0.0, np.nan, 1.0, np.nan, 2.5, 2.0, 3.0])
    one = kem.Observations(values[:, None])
    filtered = kem.kalman_filter(system, one)
    smoothed, truth = kem.rts_smoother(system, filtered), exact(system, one)
    assert smoothed.numerics == "square_root"
    size = np.sqrt(np.diagonal(floats(truth.smoothed_covs), axis1=1, axis2=2))
    assert scaled_error(smoothed.smoothed_means, truth.smoothed_means, size) < 1e-8
    assert scaled_error(smoothed.smoothed_covs, truth.smoothed_covs, size[:, :, None] * size[:, None]) < 1e-8
    # The test of the test: covariances lose all digits.
    lost = kem.rts_smoother(system, kem.kalman_filter(system, one, numerics="standard"), numerics="standard")
    assert scaled_error(lost.smoothed_covs, truth.smoothed_covs, size[:, :, None] * size[:, None]) > 1e-6


ORDINARY = {
    "trend": kem.LocalLinearTrend(),
    "months": kem.LocalLevel() + kem.Seasonal(12),
    "harmonics": kem.LocalLinearTrend() + kem.Seasonal(12, kind="trigonometric"),
}


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_ordinary_diffuse_starts_stay_with_covariances(name, missing):
    rng = np.random.default_rng(3)
    values = np.cumsum(rng.normal(size=80)) + 0.5 * rng.normal(size=80)
    values[rng.random(80) < missing] = np.nan
    fitted = kem.fit(ORDINARY[name], values, stopping=kem.Stopping(max_iterations=3))
    assert fitted.numerics == "standard"
    one = kem.Observations(values[:, None])
    assert kem.rts_smoother(fitted.system, kem.kalman_filter(fitted.system, one)).numerics == "standard"


@pytest.mark.parametrize("gap", [1e-6, 1.0, 1e6])
def test_a_track_at_even_times_stays_with_covariances(gap):
    F = np.array([[1.0, gap], [0.0, 1.0]])
    Q = np.array([[gap**3 / 3.0, gap**2 / 2.0], [gap**2 / 2.0, gap]]) / gap**3
    system = kem.LinearGaussianSystem(
        transition_matrix=np.kron(F, np.eye(2)),
        transition_cov=np.kron(Q, np.eye(2)),
        observation_matrix=np.kron([[1.0, 0.0]], np.eye(2)),
        observation_cov=np.eye(2),
        initial_mean=np.zeros(4),
        initial_cov=np.zeros((4, 4)),
        initial_diffuse=np.ones(4, dtype=bool),
    )
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(size=(40, 2)), axis=0)
    values[rng.random((40, 2)) < 0.3] = np.nan
    one = kem.Observations(values)
    filtered = kem.kalman_filter(system, one)
    assert filtered.numerics == kem.rts_smoother(system, filtered).numerics == "standard"
