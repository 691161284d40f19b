"""Innovations as diagnostics: their size against chi-square, their whiteness against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2
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


@pytest.mark.parametrize("level", [50.0, 80.0, 99.0])
def test_bands_are_chi_square_quantiles_at_the_level(nile, level):
    report = nile.consistency(level=level)
    tail = 0.5 * (1.0 - level / 100.0)
    # One value of 100 goes to the diffuse start.
    assert report.lower == pytest.approx(chi2(99).ppf(tail) / 99)
    assert report.upper == pytest.approx(chi2(99).isf(tail) / 99)
    low, high = chi2(1).ppf(tail), chi2(1).isf(tail)
    inside = [low <= square <= high for square in report.nis[1:]]
    assert report.share_inside == pytest.approx(100.0 * np.mean(inside))
    # Some rows are outside on either side, but for the widest band.
    if level < 99.0:
        assert (report.nis[1:] < low).any()
        assert (report.nis[1:] > high).any()


def test_mean_nis_is_per_observed_value():
    rng = np.random.default_rng(2)
    system = random_system(rng, 2, 3, 15)
    filtered = kem.kalman_filter(system, random_observations(rng, system, 15, missing=0.5))
    report = consistency(filtered, ("a", "b", "c"), lags=1)
    counts = np.count_nonzero(~np.isnan(filtered.innovations), axis=1)
    assert report.n_observed.tolist() == counts.tolist()
    assert len(set(counts)) > 2
    assert report.mean_nis == pytest.approx(np.nansum(report.nis) / counts.sum())


def test_noise_of_the_right_size_that_is_not_white_is_not_consistent():
    """A level that hardly moves leaves the drop of the Nile in 1899 to the innovations."""
    still = kem.fit(kem.LocalLevel(level_cov=kem.Fixed([[1e-3]])), kem.datasets.load("nile")["flow"])
    report = still.consistency()
    assert report.lower <= report.mean_nis <= report.upper
    assert 0.01 < report.whiteness.loc["flow", "p_value"] < 0.05
    assert not report.is_consistent
    assert still.consistency(level=99.0).is_consistent


def test_ljung_box_of_a_series_with_gaps_leaves_pairs_out():
    rng = np.random.default_rng(3)
    system = random_system(rng, 1, 1, 60, offsets=False)
    filtered = kem.kalman_filter(system, random_observations(rng, system, 60, missing=0.3))
    values = standardised_innovations(filtered)[:, 0]
    n, centred = np.count_nonzero(~np.isnan(values)), values - np.nanmean(values)
    expected = 0.0
    for lag in (1, 2, 3):
        pairs = [a * b for a, b in zip(centred[lag:], centred[:-lag], strict=True) if not np.isnan(a * b)]
        expected += (sum(pairs) / np.nansum(centred**2)) ** 2 / (n - lag)
    report = consistency(filtered, ("y",), lags=3)
    assert n < 60
    assert report.whiteness.loc["y", "statistic"] == pytest.approx(n * (n + 2) * expected)
    assert report.whiteness.loc["y", "p_value"] == pytest.approx(chi2(3).sf(n * (n + 2) * expected))


def test_too_few_values_for_the_lags_have_no_whiteness():
    short = kem.kalman_filter(
        random_system(np.random.default_rng(0), 1, 1, 10),
        kem.Observations(np.where(np.arange(10) < 4, np.arange(10.0), np.nan)[:, None]),
    )
    assert np.isfinite(consistency(short, ("y",), lags=2).whiteness.loc["y", "p_value"])
    assert np.isnan(consistency(short, ("y",), lags=3).whiteness.loc["y", "p_value"])


@pytest.mark.parametrize(("n_rows", "lags"), [(4, 1), (20, 4), (100, 10), (49, 9)])
def test_lags_left_out_are_a_fifth_of_the_rows_and_ten_at_most(n_rows, lags):
    rng = np.random.default_rng(4)
    system = random_system(rng, 1, 1, n_rows)
    filtered = kem.kalman_filter(system, random_observations(rng, system, n_rows))
    assert consistency(filtered, ("y",)).whiteness.loc["y", "lags"] == lags


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


@pytest.mark.parametrize(("options", "name"), [({"level": 0}, "level"), ({"lags": 0}, "lags"), ({"lags": 1.5}, "lags")])
def test_bad_options_are_named(nile, options, name):
    with pytest.raises(kem.InputError, match=f"^{name}: expected"):
        nile.consistency(**options)
