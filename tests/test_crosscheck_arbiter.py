"""A third opinion where two packages differ: one dense Gaussian, held against the oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles.dense import DenseGaussian

import kalman_em as kem
from kalman_em.crosscheck.arbiter import judged, opinion
from kalman_em.crosscheck.smoothing import WorstRow

RNG = np.random.default_rng(11)


def rows(n, p, missing):
    values = np.cumsum(RNG.normal(size=(n, p)), axis=0) + 40.0
    values[RNG.random((n, p)) < missing] = np.nan
    return kem.Observations(values)


SYSTEMS = {
    "diffuse trend": kem.LinearGaussianSystem(
        transition_matrix=[[1.0, 1.0], [0.0, 1.0]],
        transition_cov=np.diag([0.5, 0.01]),
        observation_matrix=[[1.0, 0.0], [1.0, 0.5]],
        observation_cov=[[1.0, 0.3], [0.3, 2.0]],
        initial_mean=np.zeros(2),
        initial_cov=np.zeros((2, 2)),
        initial_diffuse=[True, True],
    ),
    "half diffuse, offsets": kem.LinearGaussianSystem(
        transition_matrix=[[0.8, 0.1], [0.0, 1.0]],
        transition_offset=[0.3, -0.1],
        transition_cov=[[1.0, 0.2], [0.2, 0.4]],
        observation_matrix=[[1.0, 1.0], [0.0, 1.0]],
        observation_offset=[2.0, 5.0],
        observation_cov=np.diag([0.5, 0.7]),
        initial_mean=[1.0, 0.0],
        initial_cov=np.diag([2.0, 0.0]),
        initial_diffuse=[False, True],
    ),
}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("row", [0, 4, 14])
def test_it_is_what_the_oracle_says(name, row):
    system, one = SYSTEMS[name], rows(15, 2, 0.25)
    exact = DenseGaussian(system, one).smoothed()
    found = opinion(system, one, row)
    assert found.log_likelihood == pytest.approx(exact.log_likelihood, rel=1e-11)
    np.testing.assert_allclose(found.cov, exact.state_covs[row], rtol=1e-8, atol=1e-10)


def test_it_is_silent_where_it_cannot_be_had():
    exact = replace(SYSTEMS["half diffuse, offsets"], observation_cov=np.zeros((2, 2)), transition_cov=np.zeros((2, 2)))
    assert opinion(exact, rows(8, 2, 0.0), 0) is None  # a singular covariance
    assert opinion(SYSTEMS["diffuse trend"], rows(1600, 2, 0.0), 0) is None  # too many values


def test_it_says_who_is_wrong():
    system, panel = SYSTEMS["diffuse trend"], kem.Panel([rows(12, 2, 0.1), rows(9, 2, 0.0)])
    own = kem.rts_smoother(system, kem.kalman_filter(system, panel.series[1]))
    cov, sd = own.smoothed_covs[3], np.sqrt(np.diagonal(own.smoothed_covs[3]))
    found = judged(system, panel, WorstRow(1, 3, cov, 1.1 * cov, sd))
    total = sum(kem.kalman_filter(system, one).log_likelihood for one in panel)
    assert found.log_likelihood == pytest.approx(total, rel=1e-11)
    assert found.our_cov_error < 1e-10
    assert found.their_cov_error == pytest.approx(0.1, rel=1e-6)
