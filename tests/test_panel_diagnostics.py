"""Consistency of all series of a panel together, and innovations as a table."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import kalman_em as kem
from kalman_em.diagnostics import standardised_innovations


def tracks(n_series=6, n=80, noise=1.0):
    """Return random walks seen with noise, and the model that says so."""
    rng = np.random.default_rng(3)
    rows = [
        pd.DataFrame({"y": np.cumsum(rng.normal(size=n)) + noise * rng.normal(size=n), "t": range(n), "who": f"s{k}"})
        for k in range(n_series)
    ]
    return pd.concat(rows)


def held(observation_cov):
    model = kem.LocalLevel(level_cov=kem.Fixed([[1.0]]), observation_cov=kem.Fixed([[observation_cov]]))
    return kem.fit(model, tracks(), time="t", series="who", values=["y"])


def test_the_verdict_on_a_panel_pools_the_squares_of_all_series():
    fitted = held(1.0)
    report = fitted.consistency(lags=4, level=90.0)
    each = [fitted.consistency(series=f"s{k}", lags=4, level=90.0) for k in range(6)]
    n = sum(one.n_observed.sum() for one in each)
    assert report.mean_nis == pytest.approx(sum(np.nansum(one.nis) for one in each) / n)
    np.testing.assert_allclose([report.lower, report.upper], chi2(n).ppf([0.05, 0.95]) / n, rtol=1e-10)
    tests = [one.whiteness.loc["y", "p_value"] for one in each]
    assert report.smallest_p_value == pytest.approx(min(1.0, 6 * min(tests)))
    assert report.series.index.tolist() == [f"s{k}" for k in range(6)]
    assert report.series["mean_nis"].tolist() == [one.mean_nis for one in each]
    assert report.is_consistent
    assert "verdict: consistent" in str(report)


def test_noise_learnt_too_small_is_seen_and_the_series_named():
    report = held(0.3).consistency()
    assert report.mean_nis > report.upper
    assert not report.is_consistent
    assert report.outside
    assert all(report.series.loc[key, "mean_nis"] > report.series.loc[key, "upper"] for key in report.outside)
    assert "outside its 95 % band" in str(report)
    assert str(report.outside[0]) in str(report)


def test_series_that_are_not_white_are_enough_to_fail():
    fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    own = {"a": fitted.consistency()}
    bad = {**own, "b": kem.diagnostics.Consistency(**{**vars(own["a"]), "whiteness": own["a"].whiteness * 0.0})}
    from_module = kem.panel_diagnostics.panel_consistency
    assert from_module(own).is_consistent
    assert from_module(bad).lower <= from_module(bad).mean_nis <= from_module(bad).upper
    assert not from_module(bad).is_consistent


def test_innovations_are_labelled_and_standardised():
    flows = kem.datasets.load("nile")["flow"].copy()
    flows.iloc[10] = np.nan
    fitted = kem.fit(kem.LocalLevel(), flows)
    table, filtered = fitted.innovations(), fitted.filter()
    assert table.index.equals(flows.index)
    # The first row is diffuse, the eleventh missing.
    assert np.flatnonzero(table.isna().any(axis=1)).tolist() == [0, 10]
    np.testing.assert_array_equal(table["standardised"], standardised_innovations(filtered)[:, 0])
    np.testing.assert_allclose(table["innovation"] / table["innovation_sd"], table["standardised"], rtol=1e-12)
    np.testing.assert_allclose(
        table["innovation"].iloc[1:10], flows.iloc[1:10] - filtered.predicted_means[1:10, 0], rtol=1e-12
    )


def test_innovations_of_several_columns_and_series_are_named():
    rng = np.random.default_rng(0)
    both = pd.DataFrame(rng.normal(size=(40, 2)).cumsum(axis=0), columns=["a", "b"]).assign(who=["x"] * 20 + ["z"] * 20)
    fitted = kem.fit(kem.LocalLevel(), both, series="who", values=["a", "b"], stopping=kem.Stopping(max_iterations=5))
    table = fitted.innovations(series="z")
    assert table.columns.tolist() == [
        f"{c}_{part}" for c in "ab" for part in ("innovation", "innovation_sd", "standardised")
    ]
    assert len(table) == 20
    assert table["a_standardised"].iloc[2] == pytest.approx(
        table["a_innovation"].iloc[2] / table["a_innovation_sd"].iloc[2]
    )
