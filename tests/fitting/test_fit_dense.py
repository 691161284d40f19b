"""What a `Fit` gives, against the joint Gaussian of its data at its estimates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from oracles.dense import DenseGaussian, forecast
from support.learning import problem_of

import kalman_em as kem
from kalman_em import Diagonal, Fixed, Full
from kalman_em.fitting.signal import signal_moments
from kalman_em.fitting.starting import started

SHORT = kem.Stopping(max_iterations=3)


def rows(seed, n_steps, p=2, missing=0.2):
    """Return a noisy random walk in p columns, with gaps, (n_steps, p)."""
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.normal(size=(n_steps, p)), axis=0) + rng.normal(size=(n_steps, p))
    values[rng.random(values.shape) < missing] = np.nan
    return values


def led(fitted, values):
    """Return the series as the filter sees it (a missing row in front for `initial_step="before"`)."""
    return problem_of(fitted.model, kem.Observations(values))[1][0]


@pytest.fixture(scope="module")
def driven():
    """Return a fit with inputs in both equations, and its inputs."""
    inputs = np.random.default_rng(0).normal(size=(12, 1))
    model = kem.LinearGaussian(2, 2, transition_input=Full(), observation_input=Full())
    return kem.fit(model, rows(1, 12), inputs=inputs, stopping=SHORT), inputs


@pytest.fixture(scope="module")
def before():
    """Return a fit whose prior is one step before the data, and its data."""
    values = rows(2, 9)
    # Known loadings that vary: entry t of them belongs to row t of the data, not to the row in front.
    H = np.random.default_rng(3).normal(size=(9, 2, 2))
    model = kem.LinearGaussian(
        2, 2, observation_matrix=Fixed(H), transition_cov=Diagonal(), initial_mean=Full(), initial_step="before"
    )
    return kem.fit(model, values, stopping=SHORT), values


def test_the_last_input_pushes_the_first_step_of_a_forecast(driven):
    fitted, inputs = driven
    future = np.array([[2.0], [-1.0], [0.5]])
    ahead = fitted.forecast(3, inputs=future)
    expected = forecast(fitted.system, kem.Observations(fitted.panel.series[0].values, inputs=inputs), 3, future)
    np.testing.assert_allclose(ahead.state_means, expected.state_means, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(ahead.state_covs, expected.state_covs, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(ahead.means, expected.obs_means, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(ahead.covs, expected.obs_covs, rtol=1e-7, atol=1e-8)
    # So that leaving it out would be seen.
    assert np.abs(fitted.system.transition_input @ inputs[-1]).max() > 1e-3


def test_each_series_of_a_panel_is_forecast_with_its_own_last_input(driven):
    fitted, _ = driven
    series = [kem.Observations(rows(seed, 12), inputs=np.full((12, 1), float(seed))) for seed in (1, 5)]
    panel = kem.fit(fitted.model, kem.Panel(series, ("a", "b")), start=dict(fitted.params), stopping=SHORT)
    for key, one in zip(("a", "b"), series, strict=True):
        expected = forecast(panel.system, one, 2, np.ones((2, 1)))
        ahead = panel.forecast(2, inputs=np.ones((2, 1)), series=key)
        np.testing.assert_allclose(ahead.state_means, expected.state_means, rtol=1e-7, atol=1e-8)


def test_criteria_count_the_observed_entries():
    values = rows(6, 15, p=3, missing=0.4)
    fitted = kem.fit(kem.LocalLevel(level_cov=Diagonal(), observation_cov=Diagonal()), values, stopping=SHORT)
    n, k, log_likelihood = np.count_nonzero(~np.isnan(values)), 6, fitted.log_likelihood
    assert n not in (15, 45)
    assert fitted.n_observed == n
    assert fitted.n_parameters == k
    assert fitted.bic == pytest.approx(-2.0 * log_likelihood + k * np.log(n), rel=1e-12)
    assert fitted.aicc == pytest.approx(-2.0 * log_likelihood + 2 * k + 2 * k * (k + 1) / (n - k - 1), rel=1e-12)


def test_aicc_is_infinite_without_room_for_the_parameters():
    values = np.random.default_rng(0).normal(size=4)
    for model, n_rows in ((kem.LocalLevel(), 3), (kem.LinearGaussian(1, 1), 4)):
        fitted = kem.fit(model, values[:n_rows], stopping=kem.Stopping(max_iterations=1))
        assert fitted.n_observed - fitted.n_parameters - 1 <= 0
        assert fitted.aicc == np.inf
        assert np.isfinite(fitted.bic)


def test_states_with_the_prior_one_step_before(before):
    """The row in front is cut off everywhere, and nothing else."""
    fitted, values = before
    oracle = DenseGaussian(fitted.system, led(fitted, values))
    expected, filtered = oracle.smoothed(), oracle.filtered()
    smooth = fitted.smooth()
    np.testing.assert_allclose(smooth.smoothed_means, expected.state_means[1:], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(smooth.smoothed_covs, expected.state_covs[1:], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(smooth.lag_one_covs, expected.lag_one_covs[1:], rtol=1e-7, atol=1e-8)
    assert smooth.lag_one_covs.shape == (8, 2, 2)
    shown = fitted.filter()
    np.testing.assert_allclose(shown.predicted_means, filtered.predicted_means[1:], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(shown.filtered_covs, filtered.filtered_covs[1:], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(shown.log_likelihoods, filtered.log_likelihoods[1:], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(shown.innovations, filtered.innovations[1:], rtol=1e-7, atol=1e-8)
    assert fitted.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-10)


def test_imputed_values_with_the_prior_one_step_before(before):
    fitted, values = before
    expected = DenseGaussian(fitted.system, led(fitted, values)).smoothed()
    table = fitted.impute()
    for column, name in enumerate(fitted.panel.names):
        np.testing.assert_allclose(table[name], expected.obs_means[1:, column], rtol=1e-7, atol=1e-8)
        sds = np.sqrt(np.maximum(expected.obs_covs[1:, column, column], 0.0))
        np.testing.assert_allclose(table[f"{name}_sd"], sds, rtol=1e-7, atol=1e-7)


def test_known_loadings_that_vary_come_back_without_the_row_in_front(before):
    fitted, _ = before
    assert np.array_equal(fitted.params.observation_matrix, fitted.model.observation_matrix.value)


def test_simulation_with_the_prior_one_step_before_starts_one_step_on():
    """x[0] is F m + noise; with next to no noise the first row says which of the two it was."""
    forms = {
        "transition_matrix": Fixed([[0.5]]),
        "transition_cov": Fixed([[1e-12]]),
        "observation_matrix": Fixed([[1.0]]),
        "observation_cov": Fixed([[1e-12]]),
        "initial_mean": Fixed([8.0]),
        "initial_cov": Fixed([[1e-12]]),
    }
    for step, first in (("first", 8.0), ("before", 4.0)):
        fitted = kem.fit(kem.LinearGaussian(1, 1, initial_step=step, **forms), [first, first / 2, first / 4])
        drawn = fitted.simulate(3, rng=np.random.default_rng(0))
        np.testing.assert_allclose(drawn.to_numpy()[:, 0], first * 0.5 ** np.arange(3), atol=1e-4)


def test_simulation_of_inputs_takes_those_of_the_data_or_the_given(driven):
    fitted, inputs = driven
    drawn = fitted.simulate(rng=np.random.default_rng(4)).to_numpy()
    same = fitted.simulate(12, rng=np.random.default_rng(4), inputs=inputs).to_numpy()
    other = fitted.simulate(12, rng=np.random.default_rng(4), inputs=inputs + 1.0).to_numpy()
    assert np.array_equal(drawn, same)
    # The same noise: the difference is what the inputs add, here the response to a constant of 1.
    x, expected = np.zeros(2), []
    for _ in range(12):
        expected.append(fitted.system.observation_matrix @ x + fitted.system.observation_input[:, 0])
        x = fitted.system.transition_matrix @ x + fitted.system.transition_input[:, 0]
    np.testing.assert_allclose(other - drawn, expected, rtol=1e-8, atol=1e-9)


def test_a_diffuse_start_is_drawn_from_the_smoothed_first_state():
    fitted = kem.fit(kem.LocalLevel(), rows(7, 20, p=1, missing=0.0) + 50.0)
    rng = np.random.default_rng(0)
    firsts = np.array([fitted.simulate(1, rng=rng).to_numpy().item() for _ in range(400)])
    smooth = fitted.smooth()
    variance = smooth.smoothed_covs[0, 0, 0] + fitted.params.observation_cov.item()
    assert firsts.mean() == pytest.approx(smooth.smoothed_means[0, 0], abs=4.0 * np.sqrt(variance / 400))
    assert firsts.var() == pytest.approx(variance, rel=0.3)


def test_extending_a_series_of_a_panel_leaves_the_others_and_joins_inputs(driven):
    fitted, inputs = driven
    series = [kem.Observations(rows(seed, 12), inputs=inputs) for seed in (1, 5)]
    panel = kem.fit(fitted.model, kem.Panel(series, ("a", "b")), start=dict(fitted.params), stopping=SHORT)
    new, pushed = rows(8, 3, missing=0.0), np.array([[1.0], [2.0], [3.0]])
    longer = panel.extend(new, inputs=pushed, series="b")
    assert longer.panel.keys == ("a", "b")
    assert longer.panel["a"].n_steps == 12
    whole = kem.Observations(np.vstack([series[1].values, new]), inputs=np.vstack([inputs, pushed]))
    expected = DenseGaussian(panel.system, whole).smoothed()
    np.testing.assert_allclose(longer.smooth("b").smoothed_means, expected.state_means, rtol=1e-7, atol=1e-8)
    assert isinstance(longer.smooth("b").index, pd.RangeIndex)


def test_the_signal_is_what_the_sensors_see_without_their_noise(driven, before):
    """H x + d + D u: with inputs, and with known loadings and offsets that vary behind the row in front."""
    rng = np.random.default_rng(9)
    offset = rng.normal(size=(9, 2))
    model = kem.LinearGaussian(
        2,
        2,
        observation_matrix=before[0].model.observation_matrix,
        observation_offset=Fixed(offset),
        initial_mean=Full(),
        initial_step="before",
    )
    shifted = kem.fit(model, before[1], stopping=SHORT)
    H = model.observation_matrix.value
    smooth = shifted.smooth()
    means, sds = signal_moments(shifted)
    np.testing.assert_allclose(means, np.einsum("tij,tj->ti", H, smooth.smoothed_means) + offset, rtol=1e-10)
    variances = [np.diagonal(H[t] @ smooth.smoothed_covs[t] @ H[t].T) for t in range(9)]
    np.testing.assert_allclose(sds, np.sqrt(variances), rtol=1e-8)
    fitted, inputs = driven
    system, smooth = fitted.system, fitted.smooth()
    expected = smooth.smoothed_means @ system.observation_matrix.T + system.observation_offset
    np.testing.assert_allclose(signal_moments(fitted)[0], expected + inputs @ system.observation_input.T, rtol=1e-10)


def test_extending_keeps_the_frequency_of_the_dates():
    days = pd.date_range("2024-01-31", periods=12, freq="ME")
    monthly = pd.Series(rows(10, 12, p=1, missing=0.0)[:, 0], index=days, name="y")
    fitted = kem.fit(kem.LocalLevel(), monthly[:10], stopping=SHORT)
    for longer in (fitted.extend(monthly[10:]), fitted.extend(monthly[10:].to_numpy())):
        index = longer.smooth().to_frame().index
        assert index.equals(days)
        assert index.freq == days.freq
        assert list(longer.forecast(2).index) == [pd.Timestamp("2025-01-31"), pd.Timestamp("2025-02-28")]


def test_business_days_go_on_after_the_weekend_where_the_dates_alone_would_not_say():
    """Monday to Thursday could be days as well; the first rows said business days."""
    days = pd.bdate_range("2024-01-01", periods=4)
    weekdays = pd.Series([1.0, 3.0, 2.0, 4.0], index=days, name="y")
    longer = kem.fit(kem.LocalLevel(), weekdays[:3], stopping=SHORT).extend(weekdays[3:])
    assert list(longer.forecast(2).index) == [pd.Timestamp("2024-01-05"), pd.Timestamp("2024-01-08")]


def test_a_start_for_one_component_leaves_the_others_as_they_come_from_the_data():
    panel = kem.Panel([kem.Observations(rows(11, 20, missing=0.0))])
    model = kem.LocalLinearTrend()
    specification = model.specify(panel)
    base = model.start(specification, panel)
    level, slope = base.transition_cov[:2, :2].copy(), base.transition_cov[2:, 2:].copy()
    begun = started(specification, base, {"slope_cov": 7.0 * np.eye(2)})
    assert np.array_equal(begun.transition_cov[2:, 2:], 7.0 * np.eye(2))
    assert np.array_equal(begun.transition_cov[:2, :2], level)
    assert level.any()
    # What was handed in is as it was.
    assert np.array_equal(base.transition_cov[2:, 2:], slope)
