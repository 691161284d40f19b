"""A fit taken apart: the parts and what is left add up to the data, their bands are those of the states."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem

QUICK = kem.Stopping(max_iterations=5)


def gas(n_columns=1):
    rng = np.random.default_rng(0)
    index = pd.date_range("2001-01-31", periods=40, freq="ME", name="month")
    steps = np.arange(40)[:, None]
    season = 3.0 * np.cos(np.pi * steps / 6.0 + np.arange(n_columns))
    values = 100.0 + 0.5 * steps + season + rng.normal(size=(40, n_columns))
    values[5, 0] = np.nan
    return pd.DataFrame(values, index=index, columns=list("abc"[:n_columns]))


def test_parts_and_residual_add_up_to_the_data():
    data = gas()["a"]
    fitted = kem.fit(kem.LocalLinearTrend() + kem.Seasonal(12, harmonics=2), data, stopping=QUICK)
    parts = fitted.components(levels=(80, 95))
    assert parts.columns.tolist()[:6] == [
        "trend",
        "trend_sd",
        *(f"trend_{b}" for b in ("lower_80", "upper_80", "lower_95", "upper_95")),
    ]
    assert parts.index.equals(data.index)
    whole = parts["trend"] + parts["seasonal"] + parts["residual"]
    seen = data.notna()
    np.testing.assert_allclose(whole[seen], data[seen], rtol=1e-13)
    assert parts["residual"].isna().equals(~seen)
    assert parts["residual_sd"].isna().equals(~seen)
    np.testing.assert_allclose(
        parts["trend"] + parts["seasonal"],
        fitted.impute()["a"].where(~seen).fillna(parts["trend"] + parts["seasonal"]),
        rtol=1e-13,
    )


def test_the_spread_of_a_part_is_that_of_the_sum_of_its_states():
    fitted = kem.fit(kem.LocalLevel() + kem.Seasonal(12, harmonics=2), gas()["a"], stopping=QUICK)
    parts, states = fitted.components(levels=()), fitted.smooth()
    block = states.smoothed_covs[:, 1:, 1:]
    seen = np.array([1.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(parts["seasonal_sd"], np.sqrt(np.einsum("i,tij,j->t", seen, block, seen)), rtol=1e-12)
    np.testing.assert_allclose(parts["level_sd"], np.sqrt(states.smoothed_covs[:, 0, 0]), rtol=1e-12)


def test_every_column_has_its_parts():
    data = gas(3)
    parts = kem.fit(kem.LocalLevel() + kem.Seasonal(12, harmonics=1), data, stopping=QUICK).components(levels=())
    assert parts.columns.tolist()[::2] == [f"{n}.{c}" for n in ("level", "seasonal", "residual") for c in "abc"]
    whole = sum(parts[[f"{n}.{c}" for c in "abc"]].to_numpy() for n in ("level", "seasonal", "residual"))
    np.testing.assert_allclose(whole[~data.isna()], data.to_numpy()[~data.isna()], rtol=1e-13)


def test_a_model_that_is_no_sum_is_taken_apart_by_its_states():
    rng = np.random.default_rng(1)
    data = 5.0 + rng.normal(size=(60, 2)).cumsum(axis=0)
    model = kem.LinearGaussian(2, 2, observation_offset=kem.Full(), initial_step="before", initial_cov=kem.Fixed(0))
    parts = kem.fit(model, data, stopping=QUICK).components(levels=())
    names = ("x1", "x2", "offset", "residual")
    assert parts.columns.tolist()[::4] == [f"{name}.y1" for name in names]
    np.testing.assert_allclose(sum(parts[f"{name}.y2"] for name in names), data[:, 1], rtol=1e-12)


def test_a_panel_asks_which_series():
    data = pd.concat([gas().assign(id=name) for name in ("north", "south")])
    model = kem.LocalLevel() + kem.Seasonal(12, harmonics=1)
    fitted = kem.fit(model, data, series="id", stopping=QUICK)
    assert len(fitted.components(series="south")) == 40
    with pytest.raises(kem.InputError, match="series: expected the key of one of 2 series"):
        fitted.components()
    with pytest.raises(kem.InputError, match="levels"):
        fitted.components(levels=(100,), series="south")


def test_a_composed_fit_is_read_back_exactly(tmp_path):
    model = kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.Seasonal(365.25 / 30, harmonics=2)
    fitted = kem.fit(model, gas(2), stopping=QUICK)
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.model == model
    assert loaded.params == fitted.params
    pd.testing.assert_frame_equal(loaded.components(), fitted.components(), check_freq=False)
    refitted = loaded.refit(gas(2), stopping=QUICK)
    assert refitted.log_likelihood >= fitted.log_likelihood


def test_the_summary_says_what_is_fixed_and_names_the_parts():
    text = str(
        kem.fit(
            kem.LocalLevel(level_cov=kem.Fixed(9.0)) + kem.Seasonal(12, harmonics=1), gas(), stopping=QUICK
        ).summary()
    )
    assert text.startswith("LocalLevel + Seasonal of a")
    assert "(fixed)" in next(line for line in text.splitlines() if line.startswith("level_cov"))
    assert "(fixed)" not in next(line for line in text.splitlines() if line.startswith("seasonal_cov"))
