"""Noise that sensors report: NaN beside gaps, one column, new rows and forecasts with reports of their own."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.dense import DenseGaussian

import kalman_em as kem
from kalman_em import Diagonal, Fixed, Known, Scaled

FEW = kem.Stopping(max_iterations=15)


def readings(n=30, seed=0):
    rng = np.random.default_rng(seed)
    variances = rng.uniform(0.1, 4.0, size=(n, 2))
    values = np.outer(rng.normal(size=n).cumsum(), [1.0, 1.0]) + rng.normal(size=(n, 2)) * np.sqrt(variances)
    values[4:7, 0], values[9] = np.nan, np.nan
    return values, variances


def level(form):
    return kem.LocalLevel(level_cov=Diagonal(), observation_cov=form)


def test_no_report_is_needed_where_there_is_no_reading():
    values, variances = readings()
    bare = np.where(np.isnan(values), np.nan, variances)
    whole, ours = (kem.fit(level(Known(one)), values, stopping=FEW) for one in (variances, bare))
    assert ours.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(ours.params.level_cov, whole.params.level_cov, rtol=1e-9)
    np.testing.assert_allclose(ours.params.observation_cov[4, 0, 0], np.nanmean(bare[:, 0]))
    matrices = np.where(np.isnan(bare)[:, :, None] | np.isnan(bare)[:, None, :], np.nan, variances[:, None] * np.eye(2))
    full = kem.fit(level(Known(matrices)), values, stopping=FEW)
    assert full.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-12)


def test_a_reading_without_a_report_is_named():
    values, variances = readings()
    variances[12, 1] = np.nan
    for form in (Known(variances), Scaled(Known(variances))):
        with pytest.raises(kem.InputError, match=r"observation_cov: Known is NaN beside a reading: 'y2' in the row 12"):
            kem.fit(level(form), values)
    for noise in (Known(variances), Scaled(Known(variances))):
        with pytest.raises(kem.InputError, match=r"level_cov: expected finite Known values, got NaN"):
            kem.fit(kem.LocalLevel(level_cov=noise), values)
    variances[:, 1] = np.nan
    with pytest.raises(kem.InputError, match=r"expected a Known variance in every column, got none in column 2"):
        kem.fit(level(Known(variances)), values)


def test_one_column_needs_one_axis():
    values, variances = readings()
    ours = kem.fit(level(Known(variances[:, 0])), values[:, 0], stopping=FEW)
    theirs = kem.fit(level(Known(variances[:, :1])), values[:, 0], stopping=FEW)
    assert ours.log_likelihood == theirs.log_likelihood
    with pytest.raises(kem.InputError, match=r"expected Known values of shape \(T, 2\) or \(T, 2, 2\), got \(30, 1\)"):
        kem.fit(level(Known(variances[:, 0])), values)


@pytest.mark.parametrize("kind", ["known", "scaled", "fixed"])
def test_what_is_ahead_has_reports_of_its_own(kind):
    values, variances = readings()
    form = {
        "known": Known(variances[:25]),
        "scaled": Scaled(Known(variances[:25])),
        "fixed": Fixed(variances[:25, None] * np.eye(2)),
    }[kind]
    fitted = kem.fit(level(form), values[:25], stopping=FEW)
    factor = fitted.params.observation_cov[0, 0, 0] / variances[0, 0]
    ahead = fitted.forecast(5, observation_cov=variances[25:])
    longer = np.vstack([values[:25], np.full((5, 2), np.nan)])
    R = factor * variances[:, None] * np.eye(2)
    system = fitted.system.replaced(observation_cov=R)
    dense = DenseGaussian(system, kem.Observations(longer)).smoothed()
    np.testing.assert_allclose(ahead.means, dense.obs_means[25:], rtol=1e-8)
    np.testing.assert_allclose(ahead.covs, [dense.obs_cov[t, :, t] for t in range(25, 30)], rtol=1e-8)
    whole = fitted.extend(values[25:], observation_cov=variances[25:])
    expected = DenseGaussian(system, kem.Observations(values)).smoothed().log_likelihood
    assert whole.log_likelihood == pytest.approx(expected, rel=1e-9)
    again = whole.refit(values, stopping=FEW)
    assert again.log_likelihood >= whole.log_likelihood - 1e-9


def test_rows_ahead_without_reports_are_refused_with_advice():
    values, variances = readings()
    fitted = kem.fit(level(Known(variances)), values, stopping=FEW)
    with pytest.raises(kem.InputError, match=r"observation_cov: varies in time.* pass that of the rows ahead as obs"):
        fitted.forecast(2)
    with pytest.raises(kem.InputError, match=r"observation_cov: varies in time.* pass that of new rows as observation"):
        fitted.extend(values[:1])
    with pytest.raises(kem.InputError, match=r"observation_cov: expected 2 entries, one a row, got 3"):
        fitted.forecast(2, observation_cov=variances[:3])
    with pytest.raises(kem.InputError, match=r"observation_cov: expected finite numbers for the rows ahead, got NaN"):
        fitted.forecast(2, observation_cov=[[1.0, np.nan], [1.0, 1.0]])
    with pytest.raises(kem.InputError, match=r"Known is NaN beside a reading"):
        fitted.extend(values[:2], observation_cov=[[1.0, np.nan], [1.0, 1.0]])
    plain = kem.fit(level(Diagonal()), values, stopping=FEW)
    with pytest.raises(kem.InputError, match=r"observation_cov: expected None, because that of the fit does not vary"):
        plain.forecast(2, observation_cov=variances[:2])


def test_a_fit_in_a_sum_is_extended_and_saved(tmp_path):
    values, variances = readings()
    variances[5, 0] = np.nan
    model = level(Known(variances)) + kem.Seasonal(3, seasonal_cov=Fixed(np.zeros((2, 2))))
    fitted = kem.fit(model, values, stopping=FEW).extend(values[:4], observation_cov=variances[:4])
    assert fitted.model.components[0].observation_cov.values.shape == (34, 2)
    fitted.save(tmp_path / "fit.json")
    assert kem.load(tmp_path / "fit.json").log_likelihood == fitted.log_likelihood
