"""`fit` and what a `Fit` gives: labels kept, figures right, arguments checked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem

SHORT = kem.Stopping(max_iterations=5)


@pytest.fixture(scope="module")
def nile():
    return kem.datasets.load("nile")["flow"]


@pytest.fixture(scope="module")
def fitted(nile):
    return kem.fit(kem.LocalLevel(), nile)


def long_frame(rng, lengths=(12, 7, 20)):
    parts = []
    for number, length in enumerate(lengths):
        level = rng.normal(size=length).cumsum()
        parts.append(
            pd.DataFrame({"id": f"track-{number}", "t": range(length), "x": level + 0.1 * rng.normal(size=length)})
        )
    return pd.concat(parts, ignore_index=True)


def test_the_index_of_the_input_is_that_of_the_results(fitted, nile):
    assert fitted.smooth().to_frame().index.equals(nile.index)
    assert fitted.filter().to_frame(levels=(95,)).index.equals(nile.index)
    assert fitted.impute().index.equals(nile.index)
    ahead = fitted.forecast(3).to_frame()
    assert ahead.index.equals(pd.period_range("1971", periods=3, freq="Y"))
    assert fitted.simulate(rng=np.random.default_rng(0)).index.equals(nile.index)


@pytest.mark.parametrize(
    ("make", "ahead"),
    [
        (lambda y: list(y), [100, 101]),
        (lambda y: y.to_numpy(), [100, 101]),
        (lambda y: y.to_numpy()[:, None], [100, 101]),
        (lambda y: pd.Series(y.to_numpy(), pd.RangeIndex(5, 105)), [105, 106]),
        (lambda y: pd.Series(y.to_numpy(), pd.date_range("2000-01-31", periods=100, freq=pd.offsets.MonthEnd())), None),
        (lambda y: pd.DataFrame({"flow": y.to_numpy()}, index=np.arange(100) * 0.25), [25.0, 25.25]),
    ],
)
def test_any_container_gives_the_same_fit(nile, fitted, make, ahead):
    same = kem.fit(kem.LocalLevel(), make(nile))
    assert same.log_likelihood == fitted.log_likelihood
    index = same.forecast(2).to_frame().index
    if ahead is None:
        assert list(index.strftime("%Y-%m-%d")) == ["2008-05-31", "2008-06-30"]
    else:
        assert index.tolist() == ahead


def test_figures_of_merit(fitted):
    log_likelihood, k, n = fitted.log_likelihood, 2, 100
    assert fitted.n_parameters == k
    assert log_likelihood == pytest.approx(fitted.em.log_likelihood, rel=1e-12)
    assert fitted.aic == pytest.approx(-2 * log_likelihood + 2 * k)
    assert fitted.aicc == pytest.approx(fitted.aic + 2 * k * (k + 1) / (n - k - 1))
    assert fitted.bic == pytest.approx(-2 * log_likelihood + k * np.log(n))


def test_params_are_read_by_name_and_read_only(fitted):
    assert list(fitted.params) == ["level_cov", "observation_cov"]
    assert fitted.params.level_cov is fitted.params["level_cov"] or np.array_equal(
        fitted.params.level_cov, fitted.system.transition_cov
    )
    with pytest.raises(AttributeError, match=r"'level_covv' is not known; .* \(did you mean 'level_cov'\?\)"):
        _ = fitted.params.level_covv
    with pytest.raises(AttributeError, match="read-only"):
        fitted.params.level_cov = 3.0


def test_smoothed_and_filtered_agree_at_the_end_and_their_bounds_are_quantiles(fitted):
    smooth, filtered = fitted.smooth().to_frame(levels=(95,)), fitted.filter().to_frame()
    assert smooth["level"].iloc[-1] == filtered["level"].iloc[-1]
    assert np.allclose(smooth["level_upper_95"], smooth["level"] + 1.959963984540054 * smooth["level_sd"])


def test_imputing_keeps_what_was_seen_and_covers_what_was_hidden(nile):
    gappy = nile.copy()
    gappy.iloc[20:40] = np.nan
    filled = kem.fit(kem.LocalLevel(), gappy).impute(levels=(95,))
    seen = gappy.notna()
    assert np.array_equal(filled.loc[seen, "flow"], gappy[seen])
    assert (filled.loc[seen, ["flow_sd"]] == 0.0).all(axis=None)
    hidden = filled[~seen]
    inside = (nile[~seen] > hidden["flow_lower_95"]) & (nile[~seen] < hidden["flow_upper_95"])
    assert inside.mean() >= 0.9
    assert hidden["flow_sd"].min() > np.sqrt(15000)


def test_extending_conditions_on_new_rows_without_learning(fitted, nile):
    start = kem.fit(kem.LocalLevel(), nile[:80])
    longer = start.extend(nile[80:])
    assert np.array_equal(longer.params.level_cov, start.params.level_cov)
    assert longer.smooth().to_frame().index.equals(nile.index)
    assert longer.log_likelihood == pytest.approx(
        kem.kalman_filter(start.system, kem.Observations(nile.to_numpy()[:, None])).log_likelihood
    )
    assert start.extend([1.0, np.nan]).forecast(1).to_frame().index[0] == pd.Period("1953", "Y")
    with pytest.raises(kem.InputError, match=r"^data: expected 1951 next, after 1950, got 1871; 5 of 5 labels overlap"):
        start.extend(nile[:5])
    with pytest.raises(kem.InputError, match=r"^data: expected 1951 next, after 1950, got 1956; rows missing between"):
        start.extend(nile[85:])


def test_refitting_starts_from_the_answer(fitted, nile):
    again = fitted.refit(nile)
    assert again.em.n_iterations < 10
    assert again.em.log_likelihoods[0] == pytest.approx(fitted.log_likelihood, rel=1e-12)
    other = fitted.refit(nile[:50])
    assert other.panel.n_observed == 50


def test_a_long_frame_is_a_panel_with_shared_parameters():
    frame = long_frame(np.random.default_rng(2))
    fitted = kem.fit(kem.LocalLevel(), frame, series="id", time="t", values=["x"])
    assert fitted.panel.keys == ("track-0", "track-1", "track-2")
    parts = [
        kem.kalman_filter(fitted.system, kem.Observations(group[["x"]].to_numpy())).log_likelihood
        for _, group in frame.groupby("id")
    ]
    assert fitted.log_likelihood == pytest.approx(sum(parts), rel=1e-12)
    assert len(fitted.smooth("track-1").to_frame()) == 7
    assert fitted.forecast(2, series="track-2").to_frame().index.tolist() == [20, 21]
    with pytest.raises(kem.InputError, match="series: expected the key of one of 3 series"):
        fitted.smooth()
    with pytest.raises(kem.InputError, match="no series is called 'track-9'"):
        fitted.smooth("track-9")


def test_several_columns_keep_their_names():
    frame = kem.datasets.load("us_macro")[["realgdp", "realcons"]]
    fitted = kem.fit(kem.LocalLinearTrend(), frame, stopping=SHORT)
    assert fitted.specification.state_names == ("level.realgdp", "level.realcons", "slope.realgdp", "slope.realcons")
    assert fitted.params.slope_cov.shape == (2, 2)
    assert "realcons_upper_80" in fitted.forecast(2).to_frame().columns
    assert list(fitted.simulate(4, rng=np.random.default_rng(0)).columns) == ["realgdp", "realcons"]
    text = str(fitted.summary())
    assert text.index("level_cov") < text.index("realgdp   ") < text.index("slope_cov")
    assert max(map(len, text.splitlines())) <= 80


def test_inputs_go_in_and_forecasts_ask_for_theirs():
    rng = np.random.default_rng(4)
    u = rng.normal(size=(80, 1))
    y = 3.0 * u + 0.1 * rng.normal(size=(80, 1))
    model = kem.LinearGaussian(
        1, 1, transition_matrix=kem.Fixed([[0.0]]), observation_matrix=kem.Fixed([[1.0]]), observation_input=kem.Full()
    )
    fitted = kem.fit(model, y, inputs=u)
    assert fitted.params.observation_input[0, 0] == pytest.approx(3.0, abs=0.05)
    ahead = fitted.forecast(2, inputs=[[1.0], [-1.0]]).to_frame()
    assert np.allclose(ahead["mean"], fitted.params.observation_input[0, 0] * np.array([1.0, -1.0]), atol=0.05)
    with pytest.raises(kem.InputError, match=r"^inputs: expected"):
        fitted.forecast(2)
    with pytest.raises(kem.InputError, match=r"^inputs: given, but the model has no input matrix"):
        kem.fit(kem.LinearGaussian(1, 1), y, inputs=u)
    with pytest.raises(kem.InputError, match=r"^inputs: the model has an input matrix"):
        kem.fit(model, y)


def test_starts_seed_and_callback():
    values = kem.datasets.load("us_macro")[["realgdp", "realcons"]].pct_change().iloc[1:60]
    seen = []
    one = kem.fit(kem.LinearGaussian(1, 2), values, n_starts=3, seed=1, stopping=SHORT, callback=seen.append)
    two = kem.fit(kem.LinearGaussian(1, 2), values, n_starts=3, seed=1, stopping=SHORT)
    assert len(one.em.start_log_likelihoods) == 3
    assert len(set(one.em.start_log_likelihoods)) == 3
    assert one.em.log_likelihood == max(one.em.start_log_likelihoods) == two.em.log_likelihood
    assert one.log_likelihood == two.log_likelihood == pytest.approx(one.em.log_likelihood, rel=1e-13)
    assert len(seen) == 15
    seen.clear()
    tried = kem.fit(
        kem.LinearGaussian(1, 2), values, n_starts=3, trial_iterations=2, seed=1, stopping=SHORT, callback=seen.append
    )
    assert [event.iteration for event in seen] == [1, 2] * 3 + [1, 2, 3, 4, 5]
    assert tried.em.log_likelihood in one.em.start_log_likelihoods
    with pytest.raises(kem.InputError, match="trial_iterations: expected a whole number"):
        kem.fit(kem.LocalLevel(), values, trial_iterations=0.5)


def test_start_values_by_name(nile, fitted):
    begun = kem.fit(kem.LocalLevel(), nile, start={"level_cov": 1469.0, "observation_cov": [[15098.0]]}, stopping=SHORT)
    assert begun.em.log_likelihoods[0] == pytest.approx(fitted.log_likelihood, abs=1e-5)
    for start, message in [
        ({"level": 1.0}, "^start 'level' is not known; expected one of: level_cov, observation_cov"),
        ({"level_cov": [1.0, 2.0]}, r"^start\['level_cov'\]: expected shape \(1, 1\)"),
        ({"level_cov": -1.0}, r"^start\['level_cov'\]: .*semi-definite"),
        ([1.0], "^start: expected a mapping"),
    ]:
        with pytest.raises(kem.InputError, match=message):
            kem.fit(kem.LocalLevel(), nile, start=start)
    with pytest.raises(kem.InputError, match="does not have the form"):
        kem.fit(kem.LocalLevel(level_cov=kem.Fixed([[1.0]])), nile, start={"level_cov": 2.0})


def test_fixed_parameters_come_back_bit_for_bit(nile):
    value = np.array([[0.1 + 0.2]])
    fitted = kem.fit(kem.LocalLevel(level_cov=kem.Fixed(value)), nile, stopping=SHORT)
    assert np.array_equal(fitted.params.level_cov, value)
    assert fitted.n_parameters == 1


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (kem.LocalLevel, {}, "^model: expected a model such as .*class LocalLevel; call it"),
        ("local-level", {}, "^model: expected a model"),
        (kem.LocalLevel(), {"stopping": 5}, "^stopping: expected Stopping"),
        (kem.LocalLevel(), {"method": "mle"}, "^method 'mle' is not known"),
        (kem.LocalLevel(), {"n_starts": 0}, "^n_starts: expected a whole number"),
        (kem.LocalLevel(), {"inputs": np.zeros((100, 1))}, "^inputs: expected none"),
        (kem.LocalLevel(initial_mean=kem.Full()), {}, "^initial_mean: a Diffuse"),
        (kem.LinearGaussian(1, 2), {}, "expected 2 columns|expected"),
        (
            kem.LinearGaussian(2, 1, noise_selection=[[1.0], [0.0]]),
            {},
            r"^transition_matrix: rows \[1\] have free coefficients but no noise",
        ),
    ],
)
def test_bad_arguments_are_named(nile, model, options, message):
    with pytest.raises(kem.InputError, match=message):
        kem.fit(model, nile, **options)


def test_a_misspelt_parameter_is_a_type_error():
    with pytest.raises(TypeError, match="level_covariance"):
        kem.LocalLevel(level_covariance=kem.Full())
    with pytest.raises(TypeError, match="transition_covariance"):
        kem.LinearGaussian(1, 1, transition_covariance=kem.Full())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1.0], "at least two rows"),
        ([np.nan, 3.0], "expected at least 2 observed values"),
        ([np.nan] * 5, "observed"),
        ([], "row"),
        (np.zeros((2, 9)), "transposed"),
        ([1.0, np.inf, 2.0], "inf"),
        (["a", "b"], "numbers"),
        (pd.Series([1.0, 2.0, 3.0], index=[1, 3, 2]), "order"),
        (pd.Series([1.0, 2.0, 3.0], index=[1, 2, 2]), "distinct|repeat|twice|duplicate"),
        (pd.Series([1.0, 2.0, 3.0, 4.0], index=[1, 2, 4, 5]), "gap after 2"),
    ],
)
def test_bad_data_are_named(data, message):
    with pytest.raises(kem.InputError, match=message):
        kem.fit(kem.LocalLevel(), data)


@pytest.mark.parametrize("value", [0.0, 3.7, -1e6, 1e-100])
def test_a_constant_series_stops_with_a_reason(value):
    fitted = kem.fit(kem.LocalLevel(), np.full(30, value))
    assert fitted.em.stop_reason == "degenerate_covariance"
    assert np.isfinite(fitted.log_likelihood)
    assert np.allclose(fitted.smooth().smoothed_means, value)


def test_ctrl_c_returns_the_best_so_far(nile):
    def stop_at_three(event):
        if event.iteration == 3:
            raise KeyboardInterrupt

    fitted = kem.fit(kem.LocalLevel(), nile, callback=stop_at_three)
    assert fitted.em.stop_reason == "interrupted"
    assert fitted.em.n_iterations == 3
    assert np.isfinite(fitted.forecast(2).means).all()


def test_while_a_state_is_diffuse_its_filtered_band_is_infinite():
    fitted = kem.fit(kem.LocalLinearTrend(), [np.nan, 5.0, 6.0, 8.0, 9.0, 7.0, 8.0, 11.0])
    table = fitted.filter().to_frame(levels=(95,))
    assert np.isinf(table["level_sd"].iloc[0])
    assert np.isinf(table["slope_sd"].iloc[:2]).all()
    assert np.isfinite(table["slope_sd"].iloc[2:]).all()
    assert table["slope_upper_95"].iloc[1] == np.inf


@pytest.mark.parametrize("model", [kem.LocalLevel(), kem.LinearGaussian(1, 1)])
def test_zeros_and_single_rows_are_not_fitted_in_silence(model):
    assert kem.fit(model, np.zeros(50)).em.stop_reason == "degenerate_covariance"
    with pytest.raises(kem.InputError, match="at least two rows"):
        kem.fit(model, [1.0])


def test_ctrl_c_during_the_search_for_a_start_is_not_swallowed(nile, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kalman_em.models.problem.LinearGaussianProblem.m_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kem.fit(kem.LinearGaussian(1, 1), nile)


def test_a_known_array_over_time_comes_back_as_it_was_given(nile):
    H = np.ones((100, 1, 1))
    H[::2] = 2.0
    model = kem.LinearGaussian(1, 1, transition_matrix=kem.Fixed([[1.0]]), observation_matrix=kem.Fixed(H))
    fitted = kem.fit(model, nile, stopping=SHORT)
    assert np.array_equal(fitted.params.observation_matrix, H)


def test_a_short_series_of_a_panel_does_no_harm():
    rng = np.random.default_rng(6)
    series = [kem.Observations(rng.normal(size=(n, 1)).cumsum(0)) for n in (30, 40, 1)]
    with_short, without = kem.fit(kem.LocalLevel(), kem.Panel(series)), kem.fit(kem.LocalLevel(), kem.Panel(series[:2]))
    assert with_short.params.level_cov[0, 0] == pytest.approx(without.params.level_cov[0, 0], rel=1e-4)
    with pytest.raises(kem.InputError, match="expected at least 2 observed values of series 2"):
        kem.fit(kem.LocalLinearTrend(), kem.Panel(series))


def test_a_fit_shows_itself_in_one_line(nile):
    fitted = kem.fit(kem.LocalLevel(), nile, stopping=kem.Stopping(max_iterations=2))
    height = f"{fitted.log_likelihood:.6g}"
    assert repr(fitted) == f"Fit(LocalLevel of flow: 100 rows, log-likelihood {height}, max_iterations)"
    assert str(fitted) == repr(fitted)
    panel = kem.Panel([kem.Observations(np.random.default_rng(k).normal(size=(9, 5))) for k in range(3)])
    several = repr(kem.fit(kem.LocalLevel(level_cov=kem.Diagonal()), panel, stopping=kem.Stopping(max_iterations=1)))
    assert several.startswith("Fit(LocalLevel of y1, y2, y3, y4, ...: 27 rows in 3 series, log-likelihood -")
    assert "\n" not in several


def test_the_system_at_the_first_row_gives_the_likelihood_of_the_fit():
    rng = np.random.default_rng(5)
    y = np.cumsum(rng.normal(size=(60, 2)), axis=0)
    y[3, 1] = np.nan
    fitted = kem.fit(kem.LinearGaussian(2, 2), y, stopping=kem.Stopping(max_iterations=15))
    own = kem.kalman_filter(fitted.system_at_first_row(), kem.Observations(y))
    assert own.log_likelihood == pytest.approx(fitted.log_likelihood, abs=1e-9)
    level = kem.fit(kem.LocalLevel(), y[:, 0], stopping=kem.Stopping(max_iterations=2))
    assert level.system_at_first_row() is level.system
