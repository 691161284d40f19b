"""Innovations as diagnostics: their size against chi-square, their whiteness against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.diagnostic import acorr_ljungbox
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em.diagnostics import consistency, standardised_innovations


@pytest.fixture(scope="module")
def nile():
    return kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])


def test_nis_is_the_quadratic_form_of_the_innovations():
    rng = np.random.default_rng(1)
    system = random_system(rng, 3, 3, 12)
    filtered = kem.kalman_filter(system, random_observations(rng, system, 12, missing=0.3))
    report = consistency(filtered, ("a", "b", "c"), lags=2)
    for t, innovation in enumerate(filtered.innovations):
        seen = ~np.isnan(innovation)
        assert report.n_observed[t] == seen.sum()
        if seen.any():
            spread = filtered.innovation_covs[t][np.ix_(seen, seen)]
            assert report.nis[t] == pytest.approx(innovation[seen] @ np.linalg.solve(spread, innovation[seen]))
        else:
            assert np.isnan(report.nis[t])


def test_a_single_column_is_divided_by_its_standard_deviation(nile):
    filtered = nile.filter()
    expected = filtered.innovations[1:, 0] / np.sqrt(filtered.innovation_covs[1:, 0, 0])
    assert np.allclose(standardised_innovations(filtered)[1:, 0], expected)
    assert np.isnan(standardised_innovations(filtered)[0, 0])


def test_ljung_box_equals_statsmodels(nile):
    report = nile.consistency(lags=9)
    series = standardised_innovations(nile.filter())[1:, 0]
    reference = acorr_ljungbox(series, lags=[9])
    assert report.whiteness.loc["flow", "statistic"] == pytest.approx(float(reference["lb_stat"].iloc[0]))
    assert report.whiteness.loc["flow", "p_value"] == pytest.approx(float(reference["lb_pvalue"].iloc[0]))


def test_the_right_noise_is_consistent_and_wrong_noise_is_not(nile):
    assert nile.consistency().is_consistent
    model = kem.LocalLevel(level_cov=kem.Fixed([[400.0]]), observation_cov=kem.Fixed([[4000.0]]))
    small = kem.fit(model, kem.datasets.load("nile")["flow"])
    report = small.consistency()
    assert report.mean_nis > report.upper
    assert not report.is_consistent
    assert "outside" in str(report)


def test_perfectly_collinear_columns_bring_nothing_new():
    system = kem.LinearGaussianSystem(
        transition_matrix=np.eye(1),
        transition_cov=np.eye(1),
        observation_matrix=np.ones((2, 1)),
        observation_cov=np.zeros((2, 2)),
        initial_mean=np.zeros(1),
        initial_cov=np.eye(1),
    )
    filtered = kem.kalman_filter(system, kem.Observations([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0]]))
    standardised = standardised_innovations(filtered)
    assert np.allclose(standardised[:, 0], [1.0, 1.0, -2.0])
    assert np.isnan(standardised[:, 1]).all()


@pytest.mark.parametrize(
    ("options", "name"), [({"level": 0}, "levels"), ({"lags": 0}, "lags"), ({"lags": 1.5}, "lags")]
)
def test_bad_options_are_named(nile, options, name):
    with pytest.raises(kem.InputError, match=f"^{name}: expected"):
        nile.consistency(**options)
