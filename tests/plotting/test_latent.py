"""Plots of factors, topics and Bayesian state-space models: what is drawn is what was learnt."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import kalman_em as kem


@pytest.fixture(scope="module")
def factors():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(200, 2))
    loadings = [[2.0, -30.0, 0.0, 1.0, 2.0], [0.0, 10.0, 0.4, 1.0, -2.0]]
    rows = scores @ loadings + rng.normal(size=(200, 5)) * [1.0, 9.0, 0.2, 1.0, 1.0]
    return kem.fit(kem.FactorAnalysis(2), pd.DataFrame(rows, columns=list("abcde")))


@pytest.fixture(scope="module")
def system():
    rng = np.random.default_rng(1)
    rows = np.cumsum(rng.normal(size=(60, 1)), axis=0) @ [[1.0, -3.0]] + rng.normal(size=(60, 2))
    rows[20:25, 0] = np.nan
    return kem.fit(kem.VariationalLinearGaussian(2), pd.DataFrame(rows, columns=["a", "b"]))


def widths(ax, label):
    (bars,) = [one for one in ax.containers if one.get_label() == label]
    return np.array([bar.get_width() for bar in bars])


def test_bars_are_correlations_whose_squares_add_up_to_the_communality(factors):
    ax = factors.plot()
    drawn = np.array([widths(ax, f"factor {k}") for k in (1, 2)])
    params = factors.params
    cov = params.loadings @ params.loadings.T + np.diag(params.noise_variances)
    np.testing.assert_allclose(drawn, (params.loadings / np.sqrt(np.diag(cov))[:, None]).T, rtol=1e-12)
    np.testing.assert_allclose((drawn**2).sum(axis=0), widths(ax, "communality"), rtol=1e-10)
    assert [label.get_text() for label in ax.get_yticklabels()] == list("abcde")


def test_words_are_drawn_by_their_probability():
    fitted = kem.fit(kem.TopicModel(2), [[9, 8, 0, 0], [7, 9, 1, 0], [0, 1, 9, 8], [0, 0, 8, 9]])
    axes = fitted.plot(n_words=3)
    for ax, (_, words) in zip(axes, fitted.topics.iterrows(), strict=True):
        best = words.sort_values(ascending=False)[:3]
        assert [label.get_text() for label in ax.get_yticklabels()] == best.index.tolist()
        np.testing.assert_array_equal([bar.get_width() for bar in ax.patches], best.to_numpy())
    own = Figure().subplots(2)
    assert fitted.plot(ax=own)[1] is own[1]
    with pytest.raises(kem.InputError, match="ax: expected 2 axes, one a topic, got 1"):
        fitted.plot(ax=own[0])
    with pytest.raises(kem.InputError, match="n_words"):
        fitted.plot(n_words=0)


def test_the_signal_is_drawn_with_its_band_and_the_data_as_they_are(system):
    axes = system.plot(levels=90)
    signal = system.signal(levels=90)
    for ax, name in zip(axes, ("a", "b"), strict=True):
        points, line = ax.get_lines()
        seen = system.panel.series[0].values[:, ["a", "b"].index(name)]
        np.testing.assert_array_equal(points.get_ydata(), seen[~np.isnan(seen)])
        np.testing.assert_array_equal(line.get_ydata(), signal[name])
        band = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert band.max() == pytest.approx(signal[f"{name}_upper_90"].max())
        assert band.min() == pytest.approx(signal[f"{name}_lower_90"].min())


def test_the_signal_is_the_filled_row_without_its_noise(system):
    signal, filled = system.signal(), system.impute()
    gap = slice(20, 25)
    np.testing.assert_allclose(signal["a"][gap], filled["a"][gap])
    noise = filled["a_sd"][gap] ** 2 - signal["a_sd"][gap] ** 2
    np.testing.assert_allclose(noise, system.noise_variances["a"], rtol=1e-9)


def test_states_switched_off_are_named_and_not_printed(system):
    assert system.n_relevant == 1
    (off,) = system.relevance.index[system.relevance < 0.5]
    text = str(system.summary())
    assert f"switched off: {off}" in text
    assert f"from {off}" not in text


@pytest.mark.parametrize("name", ["plot_loadings", "plot_topics", "plot_signal"])
def test_another_fit_is_refused_by_its_kind(name):
    with pytest.raises(kem.InputError, match="fitted: expected the fit of a"):
        getattr(kem.plotting, name)(3)
