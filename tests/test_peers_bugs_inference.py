"""Bugs found in the filters, smoothers, samplers and forecasts of other packages, pinned here.

What each of them did, and where, is in the names and docstrings; those of their EM are in
`test_peers_bugs_learning.py`. Pinned elsewhere: the constant of a diffuse likelihood (`test_nile.py`), the lag-one
covariance of long series (`inference/`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles.dense import DenseGaussian
from scipy.stats import multivariate_normal
from support.cases import random_case, scalar, series
from support.learning import log_likelihood
from support.systems import random_cov

import kalman_em as kem
from kalman_em import Diagonal, Fixed

# --- pykalman ------------------------------------------------------------------------------------------------------


def test_pykalman_4_noise_that_varies_by_name_only_is_constant_noise():
    _, system, one = random_case(4)
    varying = replace(
        system,
        transition_cov=np.array([system.transition_cov] * 12),
        observation_cov=np.array([system.observation_cov] * 12),
    )
    assert log_likelihood(varying, one) == pytest.approx(log_likelihood(system, one), rel=1e-13)


@pytest.mark.parametrize("name", ["observation_cov", "transition_cov"])
def test_pykalman_4_simulated_noise_follows_the_noise_of_its_step(name):
    """Entries after the first were ignored by its sampler."""
    sizes = np.repeat([0.01, 100.0], 2000)
    quiet = {"transition_cov": [[0.0]], "observation_cov": [[0.0]], "initial_cov": [[0.0]]}
    system = scalar(**quiet | {name: sizes[:, None, None], "transition_matrix": [[0.0]]})
    drawn = kem.simulate(system, 4000, np.random.default_rng(0)).values[:, 0]
    halves = drawn[1:2000].std(), drawn[2001:].std()
    assert halves[0] == pytest.approx(0.1, rel=0.1)
    assert halves[1] == pytest.approx(10.0, rel=0.1)


def test_pykalman_5_nan_is_a_missing_value_and_no_other_row_is_lost():
    """NaN made 27 of 30 rows NaN, and the likelihood finite and wrong."""
    _, system, one = random_case(5)
    values = np.array(one.values)
    values[4] = np.nan
    filtered = kem.kalman_filter(system, kem.Observations(values))
    assert np.isfinite(filtered.filtered_means).all()
    assert filtered.log_likelihood == pytest.approx(
        DenseGaussian(system, kem.Observations(values)).smoothed().log_likelihood, rel=1e-10
    )
    masked = np.ma.masked_invalid(values)
    assert log_likelihood(system, kem.Observations(masked.filled(np.nan))) == filtered.log_likelihood


def test_pykalman_5_a_partly_missing_row_counts_with_what_it_has():
    """One masked element dropped the row."""
    system = random_case(6, n_steps=1)[1]
    y = np.array([0.7, np.nan])
    mean = system.observation_matrix @ system.initial_mean + system.observation_offset
    cov = system.observation_matrix @ system.initial_cov @ system.observation_matrix.T + system.observation_cov
    expected = multivariate_normal(mean[:1], cov[:1, :1]).logpdf(y[:1])
    assert log_likelihood(system, kem.Observations(y[None])) == pytest.approx(expected, rel=1e-12)


def test_pykalman_5_one_row_of_many_columns_is_not_transposed():
    _, system, one = random_case(7, p=3, n_steps=1)
    filtered = kem.kalman_filter(system, kem.Observations(one.values))
    assert one.values.shape == (1, 3)
    assert filtered.innovations.shape == (1, 3)
    assert filtered.filtered_means.shape == (1, 2)


# --- simdkalman, astsa ---------------------------------------------------------------------------------------------


def test_simdkalman_9_lag_one_covariances_from_the_first_to_the_last():
    """Off by one, and 0 in the last place."""
    _, system, one = random_case(9, n_steps=5, missing=0.2)
    smoothed = kem.rts_smoother(system, kem.kalman_filter(system, one))
    expected = DenseGaussian(system, one).smoothed().lag_one_covs
    np.testing.assert_allclose(smoothed.lag_one_covs, expected, rtol=1e-9, atol=1e-11)
    asymmetry = np.abs(expected - np.swapaxes(expected, 1, 2)).max(axis=(1, 2))
    assert asymmetry.min() > 1e-4  # so that a transposed answer (kalmanbox) would be seen


def test_simdkalman_11_astsa_19_the_likelihood_has_every_2_pi():
    _, system, one = random_case(11, n_steps=1)
    mean = system.observation_matrix @ system.initial_mean + system.observation_offset
    cov = system.observation_matrix @ system.initial_cov @ system.observation_matrix.T + system.observation_cov
    assert log_likelihood(system, one) == pytest.approx(multivariate_normal(mean, cov).logpdf(one.values[0]), rel=1e-12)


def test_simdkalman_13_a_transition_matrix_for_every_step():
    _, system, one = random_case(13, varying="F")
    expected = DenseGaussian(system, one).smoothed().log_likelihood
    assert log_likelihood(system, one) == pytest.approx(expected, rel=1e-10)


# --- dynamax -------------------------------------------------------------------------------------------------------


def test_dynamax_16_an_impulse_arrives_one_step_later_everywhere():
    """u[t] acts on y[t] through D, and on x[t+1] through B: in filter, simulation and forecast alike."""
    system = scalar(
        transition_matrix=[[0.5]],
        transition_cov=[[0.0]],
        observation_cov=[[1e-6]],
        initial_cov=[[0.0]],
        transition_input=[[3.0]],
        observation_input=[[0.1]],
    )
    impulse = np.zeros((6, 1))
    impulse[2] = 1.0
    expected = np.array([0.0, 0.0, 0.1, 3.0, 1.5, 0.75])[:, None]
    drawn = kem.simulate(system, 6, np.random.default_rng(0), inputs=impulse)
    np.testing.assert_allclose(drawn.values, expected, atol=0.01)
    filtered = kem.kalman_filter(system, kem.Observations(expected, inputs=impulse))
    np.testing.assert_allclose(filtered.innovations, 0.0, atol=1e-12)
    early = kem.kalman_filter(system, kem.Observations(expected[:3], inputs=impulse[:3]))
    ahead = kem.predict_rows(system, early, 3, inputs=impulse[3:], last_input=impulse[2])
    np.testing.assert_allclose(ahead.observation_means, expected[3:], atol=1e-12)


def test_dynamax_16_the_first_forecast_is_one_step_beyond_the_end():
    """It was the last filtered state itself, and left D u out."""
    rng, system, one = random_case(16, input_dim=2)
    filtered = kem.kalman_filter(system, one)
    future = rng.normal(size=(2, 2))
    ahead = kem.predict_rows(system, filtered, 2, inputs=future, last_input=one.inputs[-1])
    first = (
        system.transition_matrix @ filtered.filtered_means[-1]
        + system.transition_offset
        + system.transition_input @ one.inputs[-1]
    )
    np.testing.assert_allclose(ahead.state_means[0], first, rtol=1e-12)
    seen = system.observation_matrix @ first + system.observation_offset + system.observation_input @ future[0]
    np.testing.assert_allclose(ahead.observation_means[0], seen, rtol=1e-12)


def test_dynamax_18_the_filter_step_by_step_has_the_likelihood_of_the_batch():
    """Serial and parallel filters differed for an initial mean far from 0."""
    _, system, one = random_case(18, missing=0.2)
    system = replace(system, initial_mean=[1e6, -1e6])
    mean, cov, total = system.initial_mean, system.initial_cov, 0.0
    for t, y in enumerate(one.values):
        if t:
            mean, cov = kem.predict(
                mean, cov, system.transition_matrix, system.transition_cov, system.transition_offset
            )
        mean, cov, gained = kem.update(
            mean, cov, y, system.observation_matrix, system.observation_cov, system.observation_offset
        )
        total += gained
    assert log_likelihood(system, one) == pytest.approx(total, rel=1e-12)
    assert total == pytest.approx(DenseGaussian(system, one).smoothed().log_likelihood, rel=1e-8)


# --- MARSS, KFAS, statsmodels --------------------------------------------------------------------------------------


def test_marss_20d_an_explosive_transition_is_no_error():
    """A fixed B outside the unit circle was refused."""
    system = scalar(transition_matrix=[[1.2]])
    assert np.isfinite(log_likelihood(system, series(1.2 ** np.arange(20))))


def test_marss_20e_one_observation_and_then_nothing():
    """Missing rows after the last observation lowered the likelihood."""
    one = series([1.5])
    followed = series([1.5] + [np.nan] * 10)
    assert log_likelihood(scalar(), followed) == log_likelihood(scalar(), one)
    expected = multivariate_normal([0.0], [[6.0]]).logpdf([1.5])
    assert log_likelihood(scalar(), followed) == pytest.approx(expected, rel=1e-14)


def test_marss_20f_the_likelihood_is_smooth_down_to_a_tiny_observation_noise():
    """A tolerance in the filter made steps in it."""
    _, system, one = random_case(20, n_steps=10)
    sizes = np.geomspace(1e-16, 1e-9, 200)
    systems = [replace(system, observation_cov=size * np.eye(2)) for size in sizes]
    values = np.array([log_likelihood(noisy, one) for noisy in systems])
    assert np.abs(np.diff(values, n=2)).max() < 1e-6
    assert values[0] == pytest.approx(log_likelihood(replace(system, observation_cov=np.zeros((2, 2))), one), abs=1e-6)
    assert values[-1] == pytest.approx(DenseGaussian(systems[-1], one).smoothed().log_likelihood, rel=1e-9)


def test_kfas_65_small_loadings_are_loadings_in_the_diffuse_phase():
    """A tolerance took them for zeros: states in other units must only move the likelihood by the logarithm."""
    one = series(np.cumsum(np.random.default_rng(0).normal(size=30)))
    diffuse = {"initial_cov": [[0.0]], "initial_diffuse": [True]}
    plain = log_likelihood(scalar(**diffuse), one)
    for unit in (1e-9, 1e-4, 1e5, 1e10):
        other = scalar(observation_matrix=[[unit]], transition_cov=[[1.0 / unit**2]], **diffuse)
        # The flat prior is on the state in its own units.
        assert log_likelihood(other, one) + np.log(unit) == pytest.approx(plain, abs=1e-8)


# --- hmmlearn, scikit-learn, and the rest --------------------------------------------------------------------------


def test_pymc_24_no_value_is_a_marker():
    """-9999 stood for missing, and a true -9999 was lost."""
    values = [1.0, -9999.0, 2.0]
    with_value, without = log_likelihood(scalar(), series(values)), log_likelihood(scalar(), series([1.0, np.nan, 2.0]))
    assert with_value < without - 1e6


def test_tfp_25_a_mask_is_for_entries_not_for_rows():
    rng = np.random.default_rng(25)
    system = kem.LinearGaussianSystem(
        transition_matrix=np.eye(2),
        transition_cov=np.eye(2),
        observation_matrix=np.eye(2),
        observation_cov=np.eye(2),
        initial_mean=np.zeros(2),
        initial_cov=random_cov(rng, 2) * np.eye(2),
    )
    values = rng.normal(size=(6, 2))
    values[1, 0] = values[3, 1] = np.nan
    # Two independent columns: the joint likelihood is the sum of theirs.
    alone = [
        log_likelihood(scalar(observation_cov=[[1.0]], initial_cov=[[system.initial_cov[i, i]]]), series(values[:, i]))
        for i in range(2)
    ]
    assert log_likelihood(system, kem.Observations(values)) == pytest.approx(sum(alone), rel=1e-12)


def test_tfp_25_the_prior_is_on_the_state_at_the_first_observation():
    """And one step before it where the model says so: the first prediction is then F m, F P F' + Q."""
    one = series([1.0, 2.0, 0.5])
    forms = {
        "transition_matrix": Fixed([[0.5]]),
        "transition_cov": Fixed([[1.0]]),
        "observation_matrix": Fixed([[1.0]]),
        "observation_cov": Diagonal(),
        "initial_mean": Fixed([2.0]),
        "initial_cov": Fixed([[4.0]]),
    }
    firsts = {}
    for step in ("first", "before"):
        fitted = kem.fit(kem.LinearGaussian(1, 1, initial_step=step, **forms), one)
        filtered = fitted.filter()
        firsts[step] = filtered.predicted_means[0].item(), filtered.predicted_covs[0].item()
    assert firsts == {"first": (2.0, 4.0), "before": (1.0, pytest.approx(2.0))}
