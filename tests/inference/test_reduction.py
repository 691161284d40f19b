"""More sensors than states: the rows are turned onto as many scalars as there are states, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.dense import DenseGaussian
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em.inference.filtering import filter_all
from kalman_em.inference.rows import lay, stack_rows


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("varying", ["", "all"])
def test_many_sensors_on_few_states(missing, varying):
    rng = np.random.default_rng(3)
    system = random_system(rng, 2, 9, 6, varying=varying)
    observations = random_observations(rng, system, 6, missing=missing)
    expected = DenseGaussian(system, observations)
    filtered = kem.kalman_filter(system, observations)
    assert np.allclose(filtered.log_likelihoods, expected.filtered().log_likelihoods, rtol=1e-10)
    assert np.allclose(filtered.filtered_covs, expected.filtered().filtered_covs, rtol=1e-9, atol=1e-14)
    smoothed = kem.rts_smoother(system, filtered)
    assert np.allclose(smoothed.smoothed_means, expected.smoothed().state_means, rtol=1e-9, atol=1e-12)
    rows = stack_rows([observations])
    counts = filter_all(lay(system, rows), rows).reduced.counts
    assert counts.max() == 2


def test_values_far_from_zero_keep_their_likelihood():
    """The leftover is a sum of squares of residuals: a difference of sums of squares would lose 12 digits here."""
    rng = np.random.default_rng(4)
    system = random_system(rng, 1, 4, 5)
    observations = random_observations(rng, system, 5)
    shifted = np.full(4, 1e6)
    moved = kem.LinearGaussianSystem(
        **{name: getattr(system, name) for name in system.__dataclass_fields__ if name != "observation_offset"},
        observation_offset=system.observation_offset + shifted,
    )
    plain = kem.kalman_filter(system, observations).log_likelihood
    far = kem.kalman_filter(moved, kem.Observations(observations.values + shifted)).log_likelihood
    assert far == pytest.approx(plain, rel=1e-8)


def test_a_sensor_without_noise_is_not_turned():
    rng = np.random.default_rng(5)
    system = random_system(rng, 1, 3, 4, exact_rows=1)
    observations = random_observations(rng, system, 4)
    expected = DenseGaussian(system, observations).filtered()
    filtered = kem.kalman_filter(system, observations)
    assert np.allclose(filtered.log_likelihoods, expected.log_likelihoods, rtol=1e-8)
