"""The forecast value: its tables, and scores that agree with numerical integration and with simulation."""

from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from kalman_em.errors import InputError
from kalman_em.forecasting import Forecast

WEEKS = pd.date_range("2024-01-06", periods=3, freq="W-SAT", name="week")


def one_column(means=(10.0, 11.0, 12.0), variances=(4.0, 5.0, 6.0), index: pd.Index = WEEKS) -> Forecast:
    """Return a forecast of one column whose state has half the variance."""
    covs = np.reshape(variances, (-1, 1, 1))
    columns = np.reshape(means, (-1, 1))
    return Forecast(
        means=columns,
        covs=covs,
        names=("co2_ppm",),
        index=index,
        state_means=columns,
        state_covs=covs / 2,
        state_names=("level",),
    )


def two_columns() -> Forecast:
    """Return a forecast of two correlated columns from one state."""
    return Forecast(
        means=np.arange(6.0).reshape(3, 2),
        covs=np.tile([[1.0, 0.5], [0.5, 4.0]], (3, 1, 1)),
        names=("x", "y"),
        index=WEEKS,
        state_means=np.arange(3.0).reshape(3, 1),
        state_covs=np.full((3, 1, 1), 9.0),
        state_names=("level",),
    )


def test_one_column_has_plain_names() -> None:
    frame = one_column().to_frame()
    assert frame.columns.tolist() == ["mean", "sd", "lower_80", "upper_80", "lower_95", "upper_95"]
    assert frame.index.identical(WEEKS)
    assert np.allclose(frame["sd"], np.sqrt([4.0, 5.0, 6.0]))
    assert np.allclose(frame["lower_80"], norm.ppf(0.1, [10.0, 11.0, 12.0], frame["sd"]))
    assert np.allclose(frame["upper_95"], norm.ppf(0.975, [10.0, 11.0, 12.0], frame["sd"]))


def test_several_columns_are_prefixed() -> None:
    frame = two_columns().to_frame(levels=99.5)
    assert frame.columns.tolist() == [
        *("x_mean", "x_sd", "x_lower_99.5", "x_upper_99.5"),
        *("y_mean", "y_sd", "y_lower_99.5", "y_upper_99.5"),
    ]
    assert frame["y_mean"].tolist() == [1.0, 3.0, 5.0]
    assert frame["y_sd"].tolist() == [2.0, 2.0, 2.0]


def test_states_have_their_own_table() -> None:
    assert two_columns().states_frame().columns.tolist() == ["level", "level_sd"]
    frame = two_columns().states_frame(levels=(95,))
    assert frame.columns.tolist() == ["level", "level_sd", "level_lower_95", "level_upper_95"]
    assert frame["level_sd"].tolist() == [3.0, 3.0, 3.0]


def test_a_forecast_is_a_frozen_value() -> None:
    means = np.zeros((3, 1))
    forecast = one_column(means)
    means[0] = 9.0
    assert forecast.means[0, 0] == 0.0
    assert (forecast.n_steps, forecast.obs_dim, forecast.state_dim) == (3, 1, 1)
    assert np.allclose(forecast.state_sds[:, 0] * np.sqrt(2.0), forecast.sds[:, 0])
    with pytest.raises(FrozenInstanceError):
        forecast.means = means
    with pytest.raises(ValueError, match="read-only"):
        forecast.means[0] = 1.0
    frame = forecast.to_frame()
    frame.iloc[0, 0] = 7.0
    assert forecast.means[0, 0] == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": np.zeros((3, 2))}, r"means: expected shape \(3, 1\), got \(3, 2\)"),
        ({"covs": np.zeros((3, 1))}, r"covs: expected shape \(3, 1, 1\)"),
        ({"covs": np.full((3, 1, 1), -1.0)}, "covs: expected variances of at least 0"),
        ({"means": [[0.0], [np.nan], [0.0]]}, "means: holds NaN"),
        ({"covs": np.full((3, 1, 1), np.inf)}, "covs: holds inf"),
        ({"state_means": np.zeros((2, 1))}, r"state_means: expected shape \(3, 1\)"),
        ({"state_covs": np.full((3, 1, 1), -1.0)}, "state_covs: expected variances"),
        ({"index": WEEKS[:2]}, r"means: expected shape \(2, 1\)"),
        ({"index": WEEKS[[0, 0, 1]]}, "index: expected distinct labels"),
    ],
)
def test_moments_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    whole = one_column()
    fields = {name: getattr(whole, name) for name in Forecast.__dataclass_fields__}
    with pytest.raises(InputError, match=message):
        Forecast(**(fields | changes))


@pytest.mark.parametrize(
    ("levels", "message"),
    [((0,), "above 0 and below 100"), ((100,), "above 0"), ((80, 80), "distinct"), ((0.8,), "write 80")],
)
def test_levels_are_checked_everywhere(levels: object, message: str) -> None:
    for table in (one_column().to_frame, one_column().states_frame, two_columns().to_frame):
        with pytest.raises(InputError, match=message):
            table(levels)
    with pytest.raises(InputError, match=message):
        one_column().score([1.0, 2.0, 3.0], levels)


# --- scores -----------------------------------------------------------------------------------------------------


def crps_by_integration(value: float, mean: float, sd: float) -> float:
    """Return the integral of (Phi((x - mean) / sd) - [x >= value])^2 over x."""
    below = quad(lambda x: norm.cdf(x, mean, sd) ** 2, mean - 40 * sd, value, epsabs=1e-12, limit=400)[0]
    above = quad(lambda x: norm.sf(x, mean, sd) ** 2, value, mean + 40 * sd, epsabs=1e-12, limit=400)[0]
    return below + above


@pytest.mark.parametrize("value", [-4.0, 0.3, 1.0, 9.0])
def test_the_crps_is_the_integral_it_stands_for(value: float) -> None:
    score = one_column([1.0], [4.0], WEEKS[:1]).score([value])
    assert np.isclose(score.loc["co2_ppm", "crps"], crps_by_integration(value, 1.0, 2.0), rtol=1e-7)


def test_scores_are_means_over_the_observed_rows() -> None:
    score = one_column().score(pd.Series([12.0, np.nan, 9.0], index=WEEKS), levels=(50, 80)).loc["co2_ppm"]
    errors, sds = np.array([2.0, -3.0]), np.sqrt([4.0, 6.0])
    assert score.index.tolist() == [
        *("n", "mean_error", "mae", "rmse", "log_score", "crps", "coverage_50", "coverage_80"),
    ]
    assert score["n"] == 2
    assert score["mean_error"] == -0.5
    assert score["mae"] == 2.5
    assert np.isclose(score["rmse"], np.sqrt(6.5))
    assert np.isclose(score["log_score"], norm.logpdf(errors, 0.0, sds).mean())
    assert np.isclose(
        score["crps"], np.mean([crps_by_integration(e, 0.0, s) for e, s in zip(errors, sds, strict=True)])
    )
    assert score["coverage_50"] == 0.0  # abs(z) of 1 and 1.22 lie outside 0.67, inside 1.28
    assert score["coverage_80"] == 100.0


def test_columns_are_scored_one_by_one_and_matched_by_name() -> None:
    forecast = two_columns()
    actual = pd.DataFrame({"other": 0.0, "y": [1.0, 3.0, 5.0], "x": [1.0, np.nan, np.nan]}, index=WEEKS)
    scores = forecast.score(actual)
    assert scores.index.tolist() == ["x", "y"]
    assert scores["n"].tolist() == [1, 3]
    assert scores["mean_error"].tolist() == [1.0, 0.0]
    assert scores.loc["y", "rmse"] == 0.0
    silent = forecast.score(actual.assign(x=np.nan))
    assert silent.loc["x", "n"] == 0
    assert silent.loc["x"].drop("n").isna().all()


def test_true_forecasts_cover_their_share_and_score_best() -> None:
    rng = np.random.default_rng(3)
    n_rows, index = 4000, pd.RangeIndex(4000)
    means, sds = rng.normal(size=n_rows), rng.uniform(0.5, 3.0, size=n_rows)
    actual = rng.normal(means, sds)
    right = one_column(means, sds**2, index).score(actual, levels=(50, 80, 95)).iloc[0]
    for level in (50, 80, 95):
        assert abs(right[f"coverage_{level}"] - level) < 3.0
    for factor in (0.5, 2.0):
        wrong = one_column(means, (factor * sds) ** 2, index).score(actual).iloc[0]
        assert wrong["log_score"] < right["log_score"]
        assert wrong["crps"] > right["crps"]


def test_scores_change_with_the_unit_as_they_should() -> None:
    values = np.array([12.0, 8.0, 13.5])
    small = one_column().score(values).iloc[0]
    large = one_column(1000.0 * np.array([10.0, 11.0, 12.0]), 1e6 * np.array([4.0, 5.0, 6.0])).score(1000.0 * values)
    for name in ("mean_error", "mae", "rmse", "crps"):
        assert np.isclose(large.iloc[0][name], 1000.0 * small[name])
    assert np.isclose(large.iloc[0]["log_score"], small["log_score"] - np.log(1000.0))


def test_a_certain_forecast_is_right_or_wrong() -> None:
    certain = one_column([1.0, 2.0], [0.0, 0.0], WEEKS[:2])
    right, wrong = certain.score([1.0, 2.0]).iloc[0], certain.score([1.0, 5.0]).iloc[0]
    assert (right["crps"], right["log_score"], right["coverage_95"]) == (0.0, np.inf, 100.0)
    assert (wrong["crps"], wrong["log_score"], wrong["coverage_95"]) == (1.5, -np.inf, 50.0)


@pytest.mark.parametrize(
    "actual",
    [
        [9.0, 10.0, 11.0],
        np.array([[9.0], [10.0], [11.0]]),
        pd.Series([9.0, 10.0, 11.0], index=WEEKS, name="called otherwise"),
        pd.DataFrame({"co2_ppm": [9.0, 10.0, 11.0]}, index=WEEKS),
        pd.Series(pd.array([9, 10, 11], dtype="Int64"), index=WEEKS.as_unit("s")),
    ],
)
def test_what_came_may_be_given_in_any_form(actual: object) -> None:
    assert one_column().score(actual).loc["co2_ppm", "mean_error"] == -1.0


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (pd.Series([1.0, 2.0, 3.0]), "actual: .*got 0 where 2024-01-06 was expected"),
        (pd.Series([1.0, 2.0, 3.0], index=WEEKS.shift(1)), "actual: .*got 2024-01-13 where 2024-01-06 was expected"),
        (pd.Series([1.0, 2.0], index=WEEKS[:2]), "actual: expected 3 rows, got 2"),
        ([1.0, 2.0], "actual: expected 3 rows, one a step ahead, got 2"),
        ([np.nan] * 3, "actual: expected at least one observed value"),
        (["a", "b", "c"], "actual: expected numbers"),
        ([1.0, np.inf, 2.0], "actual: holds inf"),
        (np.zeros((3, 2)), "actual: expected 1 column"),
        (pd.DataFrame({"ppm": [1.0, 2.0, 3.0]}, index=WEEKS), "actual: no column is called 'co2_ppm'"),
    ],
)
def test_what_came_must_fit_the_forecast(actual: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        one_column().score(actual)
