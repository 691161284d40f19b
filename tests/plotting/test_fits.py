"""Plots, by their artists: what is drawn, where, and that nothing is left behind."""

from io import BytesIO

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from scipy.stats import norm

import kalman_em as kem
from kalman_em.em.bound import BoundCurve
from kalman_em.fitting.signal import signal_moments
from kalman_em.plotting import plot_bound, plot_em, plot_fit

FEW = kem.Stopping(max_iterations=5)
YEARS = pd.period_range("1900", periods=30, freq="Y", name="year")


def series(index=None, n=30, name="flow") -> pd.Series:
    """Return a noisy walk with a gap."""
    rng = np.random.default_rng(0)
    values = 10.0 + np.cumsum(rng.normal(size=n)) + rng.normal(size=n)
    values[[4, 12, 13]] = np.nan
    return pd.Series(values, index=index, name=name)


def fitted_to(data, **options):
    return kem.fit(
        kem.LocalLevel(level_cov=kem.Diagonal(), observation_cov=kem.Diagonal()), data, stopping=FEW, **options
    )


@pytest.fixture(scope="module")
def yearly():
    return fitted_to(series(YEARS))


@pytest.fixture(autouse=True)
def _leaves_nothing_behind():
    before = style()
    yield
    assert plt.get_fignums() == []
    assert style() == before


def style() -> dict:
    # To read the backend is to choose one.
    return {name: mpl.rcParams[name] for name in mpl.rcParams if not name.startswith("backend")}


def line(ax: Axes, label: str):
    """Return the one line called `label`."""
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return found


def band(ax: Axes, label: str):
    """Return x, lower and upper of the one band called `label`."""
    (found,) = [one for one in ax.collections if one.get_label() == label]
    points = pd.DataFrame(found.get_paths()[0].vertices, columns=["x", "y"]).groupby("x")["y"]
    return np.array(list(points.groups)), points.min().to_numpy(), points.max().to_numpy()


def legend_texts(ax: Axes) -> list[str]:
    own = ax.get_legend()
    legend = own if own is not None else ax.figure.legends[0]
    return [text.get_text() for text in legend.get_texts()]


def draw(ax) -> None:
    """Render, so that anything that fails or warns only then does so."""
    np.ravel(ax)[0].figure.savefig(BytesIO(), format="png")


def test_observed_values_are_points_and_gaps_have_none(yearly) -> None:
    points = line(yearly.plot(), "observed")
    data = series(YEARS).dropna()
    assert len(points.get_xdata()) == yearly.n_observed == 27
    assert np.array_equal(points.get_ydata(), data.to_numpy())
    assert np.array_equal(np.asarray(points.get_xdata(), dtype="M8[s]"), data.index.to_timestamp().to_numpy("M8[s]"))
    assert points.get_linestyle() == "None"


def test_the_signal_and_its_interval_are_those_of_the_fit(yearly) -> None:
    ax = yearly.plot(levels=(50, 95))
    means, sds = signal_moments(yearly)
    assert np.array_equal(line(ax, "smoothed signal").get_ydata(), means[:, 0])
    for level, z in ((50, norm.ppf(0.75)), (95, norm.ppf(0.975))):
        x, lower, upper = band(ax, f"signal, {level}%")
        assert np.allclose(x, date2num(YEARS.to_timestamp()))
        assert np.allclose(lower, means[:, 0] - z * sds[:, 0])
        assert np.allclose(upper, means[:, 0] + z * sds[:, 0])


def test_the_widest_interval_lies_below_the_others(yearly) -> None:
    for levels in ((50, 80, 95), (95, 50, 80)):
        ax = yearly.plot(levels=levels)
        assert [one.get_label() for one in ax.collections] == ["signal, 95%", "signal, 80%", "signal, 50%"]
        alphas = [one.get_alpha() for one in ax.collections]
        assert alphas == sorted(set(alphas))


def test_the_forecast_follows_with_its_own_interval(yearly) -> None:
    ax = yearly.plot(steps=8, levels=90)
    table = yearly.forecast(8).to_frame(levels=90)
    drawn = line(ax, "forecast")
    assert np.array_equal(drawn.get_ydata(), table["mean"])
    assert np.asarray(drawn.get_xdata(), dtype="M8[Y]").astype(str).tolist() == [str(y) for y in range(1930, 1938)]
    _, lower, upper = band(ax, "forecast, 90%")
    assert np.allclose(lower, table["lower_90"])
    assert np.allclose(upper, table["upper_90"])
    assert legend_texts(ax) == ["observed", "smoothed signal", "signal, 90%", "forecast", "forecast, 90%"]


def test_a_forecast_made_before_can_be_drawn(yearly) -> None:
    ahead = yearly.forecast(3, index=pd.period_range("1930", periods=3, freq="Y"))
    drawn = line(plot_fit(yearly, forecast=ahead), "forecast")
    assert np.asarray(drawn.get_xdata(), dtype="M8[Y]").astype(str).tolist() == ["1930", "1931", "1932"]


def test_one_step_ahead_is_a_point_with_a_bar(yearly) -> None:
    ax = yearly.plot(steps=1)
    assert line(ax, "forecast").get_marker() == "o"
    (bar,) = [one for one in ax.collections if one.get_label() == "forecast, 95%"]
    table = yearly.forecast(1).to_frame(levels=95)
    assert np.allclose(bar.get_segments()[0][:, 1], table[["lower_95", "upper_95"]].to_numpy()[0])


def test_titles_and_labels(yearly) -> None:
    ax = yearly.plot(units={"flow": "1e8 m3"})
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("LocalLevel of flow", "year", "flow (1e8 m3)")
    assert yearly.plot().get_ylabel() == "flow"


def test_the_axes_given_are_used_and_returned(yearly) -> None:
    mine = Figure().subplots()
    assert yearly.plot(ax=mine, steps=2) is mine
    assert mine.get_legend() is not None
    assert mine.figure.legends == []


def test_last_shows_the_end_alone(yearly) -> None:
    ax = yearly.plot(last=10)
    assert len(line(ax, "smoothed signal").get_xdata()) == 10
    assert len(line(ax, "observed").get_xdata()) == 10
    assert np.array_equal(line(ax, "smoothed signal").get_ydata(), signal_moments(yearly)[0][-10:, 0])
    assert len(line(yearly.plot(last=1000), "smoothed signal").get_xdata()) == 30


INDEXES = {
    "none": None,
    "ints": pd.RangeIndex(100, 130),
    "floats": pd.Index(np.arange(30) * 0.5, name="seconds"),
    "dates": pd.date_range("2024-01-06", periods=30, freq="W-SAT", name="week"),
    "zoned": pd.date_range("2024-03-20", periods=30, freq="D", tz="Europe/Berlin"),
    "quarters": pd.period_range("2001Q1", periods=30, freq="Q", name="quarter"),
    "durations": pd.timedelta_range("0h", periods=30, freq="10min", name="run"),
    "seconds": pd.timedelta_range("0s", periods=30, freq="100ms"),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_every_kind_of_index_has_an_axis(kind) -> None:
    fitted = fitted_to(series(INDEXES[kind]))
    ax = fitted.plot(steps=5)
    draw(ax)
    positions = [line(ax, name).get_xdata() for name in ("smoothed signal", "forecast")]
    if kind in ("dates", "zoned", "quarters"):
        positions = [date2num(x) for x in positions]
    steps = np.diff(np.concatenate(positions).astype(float))
    assert len(steps) == 34
    assert np.all(steps > 0.0)
    assert steps.max() < 1.1 * steps.min()
    expected = {"none": "step", "ints": "step", "durations": "run (hours)", "seconds": "elapsed time (s)", "zoned": ""}
    assert ax.get_xlabel() == expected.get(kind, getattr(INDEXES[kind], "name", None))


def test_hours_are_shown_in_the_zone_of_the_data() -> None:
    fitted = fitted_to(series(pd.date_range("2024-07-01", periods=30, freq="h", tz="Asia/Tokyo")))
    ax = fitted.plot()
    draw(ax)
    assert date2num(line(ax, "observed").get_xdata()[0]) == date2num(pd.Timestamp("2024-06-30 15:00"))
    midnight = date2num(pd.Timestamp("2024-07-01 15:00"))  # in UTC
    formatter = ax.xaxis.get_major_formatter()
    texts = formatter.format_ticks(ax.get_xticks())
    at_midnight = [text for tick, text in zip(ax.get_xticks(), texts, strict=True) if abs(tick - midnight) < 1e-6]
    assert at_midnight == ["Jul-02"]


def test_text_labels_stand_at_their_rows() -> None:
    fitted = fitted_to(series([f"shot {i}" for i in range(30)]))
    ax = fitted.plot()
    draw(ax)
    assert line(ax, "smoothed signal").get_xdata().tolist() == list(range(30))
    formatter = ax.xaxis.get_major_formatter()
    assert [formatter(5.0, None), formatter(5.5, None), formatter(30.0, None)] == ["shot 5", "", ""]


@pytest.fixture(scope="module")
def wide():
    """Return a fit of eight columns."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame(rng.normal(size=(25, 8)).cumsum(axis=0), columns=list("abcdefgh"))
    data.loc[3:6, "b"] = np.nan
    return fitted_to(data)


def test_several_columns_have_a_panel_each(wide) -> None:
    axes = wide.plot(steps=3, units={"b": "mm"})
    assert isinstance(axes, np.ndarray)
    assert [ax.get_ylabel() for ax in axes] == ["a", "b (mm)", "c", "d", "e", "f"]
    assert axes[0].get_title() == "LocalLevel of 6 columns of 8"
    assert [len(line(ax, "observed").get_xdata()) for ax in axes[:2]] == [25, 21]
    means, _ = signal_moments(wide)
    for j, ax in enumerate(axes):
        assert np.array_equal(line(ax, "smoothed signal").get_ydata(), means[:, j])
        assert np.array_equal(line(ax, "forecast").get_ydata(), wide.forecast(3).means[:, j])
    assert [ax.get_xlabel() for ax in axes] == [""] * 5 + ["step"]
    assert len(axes[0].figure.legends) == 1


def test_columns_can_be_chosen(wide) -> None:
    axes = wide.plot(columns=["h", "a"])
    assert [ax.get_ylabel() for ax in axes] == ["h", "a"]
    assert np.array_equal(line(axes[0], "smoothed signal").get_ydata(), signal_moments(wide)[0][:, 7])
    (only,) = wide.plot(columns="c")
    assert only.get_title() == "LocalLevel of c (1 of 8 columns shown)"


def test_axes_for_several_columns_can_be_given(wide) -> None:
    mine = Figure().subplots(1, 2)
    axes = wide.plot(columns=["a", "b"], ax=mine)
    assert all(one is given for one, given in zip(axes, mine, strict=True))


def test_a_series_of_a_panel() -> None:
    tables = [series(n=n).to_frame().assign(site=site, t=range(n)) for site, n in (("north", 30), ("south", 20))]
    fitted = fitted_to(pd.concat(tables), time="t", series="site", values="flow")
    ax = fitted.plot(series="south", steps=2)
    assert len(line(ax, "smoothed signal").get_xdata()) == 20
    assert ax.get_title() == "LocalLevel of flow, series south"
    with pytest.raises(kem.InputError, match="series: expected the key of one of 2 series"):
        fitted.plot()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps: expected a whole number of at least 0, got -1"),
        ({"steps": 2.5}, "steps: expected a whole number"),
        ({"last": 0}, "last: expected a whole number of at least 1, got 0"),
        ({"levels": 0.95}, "levels: expected per cent"),
        ({"columns": ["x"]}, "columns: no column is called 'x'; expected some of: flow"),
        ({"columns": []}, "columns: expected at least one"),
        ({"ax": 3}, r"ax: expected 1 axes, one each for flow, got 3 \(int\)"),
        ({"ax": [None, None]}, r"ax: expected 1 axes, one each for flow, got \[None, None\]"),
        ({"forecast": 3}, "forecast: expected a Forecast of flow, got int"),
        ({"units": "m3"}, r"units: expected a mapping from columns to their units, .* got 'm3' \(str\)"),
    ],
)
def test_bad_arguments_are_named(yearly, options, message) -> None:
    with pytest.raises(kem.InputError, match=message):
        yearly.plot(**options)


def test_steps_beside_a_forecast_is_refused(yearly) -> None:
    with pytest.raises(kem.InputError, match="steps: expected 0 beside a forecast"):
        yearly.plot(steps=2, forecast=yearly.forecast(2))


def test_em_history_is_drawn(yearly) -> None:
    for given in (yearly, yearly.em):
        ax = plot_em(given)
        history, best = ax.lines
        assert np.array_equal(history.get_ydata(), yearly.em.log_likelihoods)
        assert np.array_equal(history.get_xdata(), np.arange(yearly.em.n_iterations + 1))
        assert (best.get_xdata()[0], best.get_ydata()[0]) == (yearly.em.best_iteration, yearly.em.log_likelihood)
        assert ax.get_title() == "EM stopped after 5 iterations: max_iterations"
        draw(ax)


def em_result(log_likelihoods, best, reason=kem.StopReason.converged) -> kem.EMResult:
    changes = np.ones(len(log_likelihoods) - 1)
    return kem.EMResult(
        params=0.0, log_likelihoods=log_likelihoods, parameter_changes=changes, best_iteration=best, stop_reason=reason
    )


def test_gains_and_falls_are_drawn_on_a_logarithmic_scale() -> None:
    axes = plot_em(em_result([-10.0, -6.0, -5.0, -5.5], 2, kem.StopReason.objective_fell), gains=True)
    assert len(axes) == 2
    assert axes[1].get_yscale() == "log"
    assert line(axes[1], "gain").get_ydata().tolist() == [4.0, 1.0]
    assert line(axes[1], "fall").get_ydata().tolist() == [0.5]
    assert line(axes[1], "fall").get_xdata().tolist() == [3]
    draw(axes)


@pytest.mark.parametrize("history", [[-3.0], [-3.0, -3.0], [-3.0, -2.0]])
def test_short_histories_are_drawn(history) -> None:
    axes = plot_em(em_result(history, len(history) - 1), gains=True)
    draw(axes)
    assert len(line(axes[1], "gain").get_ydata()) == (history == [-3.0, -2.0])
    assert ("1 iteration" in axes[0].get_title()) == (len(history) == 2)


def test_em_uses_the_axes_given() -> None:
    mine = Figure().subplots(2)
    result = em_result([-3.0, -2.0], 1)
    assert plot_em(result, ax=mine[0]) is mine[0]
    assert plot_em(result, gains=True, ax=mine)[1] is mine[1]
    with pytest.raises(kem.InputError, match="ax: expected 2 axes"):
        plot_em(result, gains=True, ax=mine[0])
    with pytest.raises(kem.InputError, match="result: expected an EMResult or a Fit, got float"):
        plot_em(1.0)


def curve(old=1.0, **changes) -> BoundCurve:
    parts = {
        "values": [0.5, 1.0, 2.0, 8.0],
        "log_likelihoods": [-9.0, -6.0, -4.0, -5.0],
        "bounds": [-np.inf, -6.0, -5.0, -11.0],
        "old": old,
        "old_log_likelihood": -6.0,
        "new": 2.0,
        "new_bound": -5.0,
        "new_log_likelihood": -4.0,
    }
    return BoundCurve(**(parts | changes))


def test_bound_is_drawn_below_the_log_likelihood() -> None:
    ax = plot_bound(curve(), name="variance")
    draw(ax)
    assert line(ax, "log-likelihood").get_ydata().tolist() == [-9.0, -6.0, -4.0, -5.0]
    assert line(ax, "lower bound").get_ydata().tolist() == [-6.0, -5.0, -11.0]
    assert line(ax, "lower bound").get_xdata().tolist() == [1.0, 2.0, 8.0]
    (dot, diamond) = (line(ax, label) for label in ("current estimate", "after the M-step"))
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (1.0, -6.0)
    assert (diamond.get_xdata()[0], diamond.get_ydata()[0]) == (2.0, -5.0)
    assert "gap (KL)" in legend_texts(ax)
    assert ax.get_xlabel() == "variance"
    assert ax.get_xscale() == "log"


def test_bounds_of_several_iterations_share_one_log_likelihood() -> None:
    mine = Figure().subplots()
    ax = plot_bound((c for c in (curve(), curve(), curve())), ax=mine)
    assert ax is mine
    assert legend_texts(ax) == ["log-likelihood", "lower bound 1", "lower bound 2", "lower bound 3"]
    colours = {line(ax, f"lower bound {k}").get_color() for k in (1, 2, 3)}
    assert len(colours) == 3


def test_a_linear_axis_where_values_are_close_or_negative() -> None:
    values = [-1.0, 1.0, 2.0, 8.0]
    assert plot_bound(curve(values=values)).get_xscale() == "linear"


@pytest.mark.parametrize("curves", [[], 3.0, [curve(), None]])
def test_what_is_no_curve_is_refused(curves) -> None:
    with pytest.raises(kem.InputError, match="curves: expected a BoundCurve or several"):
        plot_bound(curves)


def test_components_have_axes_of_their_own_with_what_components_says():
    rng = np.random.default_rng(0)
    steps = np.arange(24)
    values = 10.0 + 0.2 * steps + np.tile([1.0, -1.0, 2.0, -2.0], 6) + 0.1 * rng.normal(size=24)
    values[5] = np.nan
    data = pd.DataFrame({"a": values, "b": 2.0 * values})
    fitted = kem.fit(kem.LocalLevel() + kem.Seasonal(4), data, stopping=kem.Stopping(max_iterations=3))
    axes = kem.plotting.plot_components(fitted, column="b")
    assert [ax.get_ylabel() for ax in axes] == ["level", "seasonal", "residual"]
    table = fitted.components(levels=())
    np.testing.assert_array_equal(axes[1].get_lines()[0].get_ydata(), table["seasonal.b"])
    np.testing.assert_array_equal(axes[2].get_lines()[1].get_ydata(), table["residual.b"])
    with pytest.raises(kem.InputError, match="columns"):
        kem.plotting.plot_components(fitted, column="c")
