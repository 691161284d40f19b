"""Missing entries against the dense joint Gaussian, where the rest of the row says most through correlated noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles.dense import DenseGaussian
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em.inference.imputation import impute_rows
from kalman_em.inference.rows import lay, stack_rows


def imputed(system, observations):
    smoothed = kem.rts_smoother(system, kem.kalman_filter(system, observations))
    rows = stack_rows([observations])
    return impute_rows(lay(system, rows), rows, smoothed.smoothed_means, smoothed.smoothed_covs)


@pytest.mark.parametrize("options", [{}, {"varying": "HdDR", "input_dim": 1}, {"exact_rows": 1}], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_partly_missing_rows_of_a_full_noise_covariance(options, seed):
    rng = np.random.default_rng([31, seed])
    system = random_system(rng, 2, 4, 8, **options)
    observations = random_observations(rng, system, 8, missing=0.4, missing_rows=[3])
    is_missing = observations.is_missing
    assert (is_missing.any(axis=1) & ~is_missing.all(axis=1)).sum() > 3
    means, variances = imputed(system, observations)
    expected = DenseGaussian(system, observations).smoothed()
    np.testing.assert_allclose(means, expected.obs_means, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(variances, np.diagonal(expected.obs_covs, axis1=1, axis2=2), rtol=1e-9, atol=1e-10)


def test_noise_that_the_observed_entry_tells_is_taken_out():
    """Two sensors with one noise: the missing reading is as far off as the other."""
    system = random_system(np.random.default_rng(5), 1, 2, 4, offsets=False)
    system = replace(system, observation_matrix=[[1.0], [1.0]], observation_cov=[[4.0, 4.0], [4.0, 4.0]])
    values = np.array([[1.0, 1.0], [7.0, np.nan], [np.nan, -3.0], [0.5, 0.5]])
    means, variances = imputed(system, kem.Observations(values))
    np.testing.assert_allclose(means, np.repeat([[1.0], [7.0], [-3.0], [0.5]], 2, axis=1), rtol=1e-9)
    np.testing.assert_allclose(variances, 0.0, atol=1e-9)
