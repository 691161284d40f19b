"""Plots of regimes: what is drawn is what the fit says."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import kalman_em as kem


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    levels = np.repeat([0.0, 4.0, 0.0], 30)
    values = np.column_stack([levels, -levels]) + rng.normal(size=(90, 2))
    values[40] = np.nan
    panel = kem.Panel([kem.Observations(values), kem.Observations(values[:50])], keys=["a", "b"])
    return kem.fit(kem.GaussianHMM(2), panel)


@pytest.mark.parametrize("filtered", [False, True])
def test_the_shares_drawn_are_the_probabilities(fitted, filtered):
    axes = fitted.plot(series="b", filtered=filtered)
    table = fitted.filtered_probabilities() if filtered else fitted.probabilities()
    shares = table.loc["b"].to_numpy()
    for ax in axes:
        assert len(ax.collections) == 2
        outline = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert outline.max() == pytest.approx(shares[:, 0].max(), abs=1e-9)
        assert ax.collections[1].get_paths()[0].vertices[:, 1].max() == pytest.approx(1.0)
        assert ax.lines[1].get_xdata().size == 49  # one of fifty rows was not observed
    assert axes[0].get_title() == "GaussianHMM of 2 columns, series b"


def test_the_last_rows_of_one_column(fitted):
    axes = np.ravel(fitted.plot(series="a", columns=["y2"], last=20, units={"y2": "m"}))
    assert len(axes) == 1
    assert axes[0].get_ylabel() == "y2 (m)"
    assert axes[0].lines[1].get_xdata().min() == 70.0


def test_what_cannot_be_drawn_is_refused(fitted):
    with pytest.raises(kem.InputError, match="series: expected the key of one of 2 series"):
        fitted.plot()
    with pytest.raises(kem.InputError, match="fitted: expected the fit of a model with regimes, got int"):
        kem.plotting.plot_regimes(3)
    with pytest.raises(kem.InputError, match="ax: expected 2 axes"):
        fitted.plot(series="a", ax=Figure().subplots())
