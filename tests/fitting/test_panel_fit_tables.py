"""Fits of many series: scored against what came, drawn, saved and loaded."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem

QUICK = kem.Stopping(max_iterations=30)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    index = pd.period_range("2000-01", periods=60, freq="M", name="month")
    frame = pd.DataFrame(rng.normal(size=(60, 3)).cumsum(axis=0), index=index, columns=["a", "b", "c"])
    return frame + 0.3 * rng.normal(size=(60, 3))


@pytest.fixture(scope="module")
def fits(table):
    return kem.fit_each(kem.LocalLevel(), table[:-6].assign(none=np.nan), wide=True, stopping=QUICK)


def test_forecasts_are_scored_series_by_series(fits, table):
    came = table[-6:].copy()
    came.iloc[5, 1] = np.nan
    scores = fits.score(came, wide=True, levels=(90,))
    assert scores.index.tolist() == ["a", "b", "c"]
    assert scores["n"].tolist() == [6, 5, 6]
    expected = fits["b"].forecast(6).score(came["b"].to_numpy(), levels=(90,))
    np.testing.assert_allclose(scores.loc["b"], expected.iloc[0])
    long = came.reset_index().melt(id_vars="month", var_name="series")
    again = fits.score(long, time="month", series="series", values=["value"], levels=(90,))
    pd.testing.assert_frame_equal(again, scores)


def test_what_cannot_be_scored_is_refused(fits, table):
    with pytest.raises(kem.InputError, match="no series is called 'z'"):
        fits.score(table[-6:].rename(columns={"a": "z"}), wide=True)
    with pytest.raises(kem.InputError, match="label"):
        fits.score(table[:6], wide=True)
    with pytest.raises(kem.InputError, match="got ndarray"):
        fits.score(table[-6:].to_numpy(), wide=True)
    with pytest.raises(kem.InputError, match="at least one series that was fitted"):
        fits.score(table[-6:].rename(columns={"a": "none"})[["none"]], wide=True)


def test_saved_fits_come_back_to_the_last_bit(fits, tmp_path: Path):
    fits.save(tmp_path / "fits.json")
    loaded = kem.load(tmp_path / "fits.json")
    assert isinstance(loaded, kem.PanelFit)
    pd.testing.assert_frame_equal(loaded.params_frame(), fits.params_frame(), check_exact=True)
    pd.testing.assert_frame_equal(loaded.failures(), fits.failures())
    pd.testing.assert_frame_equal(loaded.forecast(3), fits.forecast(3), check_exact=True)
    assert str(loaded.summary()) == str(fits.summary())
    assert (loaded.series_name, loaded.time_name) == (fits.series_name, fits.time_name)


def test_series_are_drawn_below_each_other(fits):
    axes = fits.plot(steps=6)
    assert [ax.get_title() for ax in axes] == ["a", "b", "c"]
    assert axes[-1].get_xlabel() == "month"
    assert not axes[0].get_xlabel()
    assert [ax.get_title() for ax in fits.plot(keys=["c"])] == ["c"]
    with pytest.raises(kem.InputError, match="'none' has no fit"):
        fits.plot(keys=["none"])
    with pytest.raises(kem.InputError, match="expected at least one"):
        fits.plot(keys=[])
