"""Independent fits of many series: each as if it were alone, whatever the others do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em.fitting import together
from kalman_em.fitting.learning import Learnt
from kalman_em.inference import stacks
from kalman_em.models import lockstep
from kalman_em.models.stacked_forms import can_be_stacked

BRIEF = kem.Stopping(max_iterations=40)


def walks(n_series, *, seed=0, longest=40, missing=0.0, columns=1):
    """Return a panel of random walks seen through noise, of different lengths."""
    rng = np.random.default_rng(seed)
    series = []
    for _ in range(n_series):
        n = int(rng.integers(longest // 2, longest + 1))
        values = np.cumsum(rng.normal(size=(n, columns)), axis=0) * rng.uniform(0.1, 1.0) + rng.normal(
            size=(n, columns)
        )
        values[rng.random(values.shape) < missing] = np.nan
        series.append(kem.Observations(values))
    return kem.Panel(series, keys=[f"s{i}" for i in range(n_series)])


def same(left, right, tolerance=1e-9):
    assert left.em.stop_reason == right.em.stop_reason
    assert left.em.detail == right.em.detail
    assert left.em.n_iterations == right.em.n_iterations
    assert left.em.best_iteration == right.em.best_iteration
    np.testing.assert_allclose(left.em.log_likelihoods, right.em.log_likelihoods, rtol=tolerance)
    np.testing.assert_allclose(left.em.parameter_changes, right.em.parameter_changes, rtol=1e-4, atol=1e-9)
    for name, value in right.params.items():
        np.testing.assert_allclose(left.params[name], value, rtol=1e-6, atol=tolerance * np.abs(value).max(initial=0.0))


CASES = {
    "level": (kem.LocalLevel(), {"missing": 0.0}, kem.Stopping()),
    "level, gaps": (kem.LocalLevel(), {"missing": 0.3}, kem.Stopping()),
    "trend": (kem.LocalLinearTrend(), {"missing": 0.1}, BRIEF),
    "season": (kem.LocalLevel() + kem.Seasonal(4), {"missing": 0.1}, BRIEF),
    "two columns, season": (kem.LocalLevel() + kem.Seasonal(3), {"columns": 2}, BRIEF),
    "two columns, full": (kem.LocalLevel(), {"columns": 2, "missing": 0.2}, BRIEF),
    "two columns, diagonal": (
        kem.LocalLevel(level_cov=kem.Isotropic(), observation_cov=kem.Diagonal()),
        {"columns": 2, "missing": 0.2},
        BRIEF,
    ),
    "everything": (kem.LinearGaussian(2, 2, observation_offset=kem.Full()), {"columns": 2, "missing": 0.1}, BRIEF),
    "learnt start": (
        kem.LinearGaussian(2, 2, initial_mean=kem.Full(), initial_cov=kem.Full(), initial_step="first"),
        {"columns": 2},
        BRIEF,
    ),
    "noise enters one row": (
        kem.LinearGaussian(
            2,
            1,
            transition_matrix=kem.Fixed([[1.0, 1.0], [0.0, 1.0]]),
            noise_selection=[[0.5], [1.0]],
            observation_matrix=kem.Fixed([[1.0, 0.0]]),
            initial_cov=kem.Diffuse(),
        ),
        {"missing": 0.1},
        BRIEF,
    ),
    "not together": (kem.LinearGaussian(2, 1, transition_matrix=kem.Diagonal()), {}, kem.Stopping(max_iterations=5)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_fit_is_that_of_the_series_alone(name):
    model, options, stopping = CASES[name]
    panel = walks(5, **options)
    fits = kem.fit_each(model, panel, stopping=stopping)
    assert list(fits) == list(panel.keys)
    for key in fits:
        same(fits[key], kem.fit(model, panel[key], stopping=stopping))


def test_seasons_climb_together():
    panel = walks(2)
    model = kem.LocalLevel() + kem.Seasonal(4)
    specification = model.specify(panel)
    assert can_be_stacked(specification, model.start(specification, panel))


def test_groups_are_cut_where_their_covariances_would_leave_the_cache(monkeypatch):
    """The results stay those of each series, to the last bit."""
    panel = walks(7, seed=3)
    whole = kem.fit_each(kem.LocalLevel(), panel)
    calls = []
    climb = together.climb_together
    monkeypatch.setattr(stacks, "AT_HAND", 90)
    monkeypatch.setattr(
        together, "climb_together", lambda problem, *a, **k: calls.append(problem) or climb(problem, *a, **k)
    )
    cut = kem.fit_each(kem.LocalLevel(), panel)
    assert 2 <= len(calls) <= 4
    assert all(one.over.rows.n_rows <= 90 for one in calls)
    for key in whole:
        assert np.array_equal(whole[key].em.log_likelihoods, cut[key].em.log_likelihoods)


@pytest.mark.parametrize("method", ["em", "plain"])
def test_long_climbs_are_those_of_the_series_alone(method):
    """Beyond 500 iterations leaps are tried: the ordinary loop takes over, and goes on as if it had begun."""
    panel = walks(3, seed=4)
    stopping = kem.Stopping(max_iterations=540, relative_tolerance=0.0, parameter_tolerance=0.0)
    fits = kem.fit_each(kem.LocalLevel(), panel, stopping=stopping, method=method)
    assert list(fits) == list(panel.keys)
    assert max(fitted.em.n_iterations for fitted in fits.values()) > 500
    for key in fits:
        same(fits[key], kem.fit(kem.LocalLevel(), panel[key], stopping=stopping, method=method))


def test_a_likelihood_that_runs_away_stops_its_own_series_alone():
    panel = kem.Panel([kem.Observations(np.full((12, 1), 3.0)), *walks(2, seed=2)], keys=["flat", "a", "b"])
    model = kem.LinearGaussian(1, 1, initial_mean=kem.Full(), initial_cov=kem.Full(), initial_step="first")
    fits = kem.fit_each(model, panel, stopping=kem.Stopping(max_iterations=200))
    for key in panel.keys:
        if key in fits:
            same(fits[key], kem.fit(model, panel[key], stopping=kem.Stopping(max_iterations=200)))
    assert fits["flat"].em.stop_reason == "degenerate_covariance"


def test_a_series_that_fails_is_listed_and_stops_no_other():
    empty, flat = np.full((5, 1), np.nan), np.full((9, 1), 2.0)
    a, b = walks(2)
    panel = kem.Panel(
        [kem.Observations(empty), a, kem.Observations(flat), kem.Observations([[1.0]]), b],
        keys=["empty", "a", "flat", "short", "b"],
    )
    fits = kem.fit_each(kem.LocalLevel(), panel, stopping=BRIEF)
    assert list(fits) == ["a", "flat", "b"]
    for key in fits:
        same(fits[key], kem.fit(kem.LocalLevel(), panel[key], stopping=BRIEF))
    assert not fits["flat"].em.stop_reason.is_converged
    failures = fits.failures()
    assert list(failures.index) == ["empty", "short"]
    assert "two rows" in failures.loc["short", "reason"]
    assert "observed" in failures.loc["empty", "reason"]
    with pytest.raises(KeyError, match="'short' has no fit: InputError"):
        fits["short"]
    with pytest.raises(KeyError, match="no series is called 'c'"):
        fits["c"]
    assert "failed" in str(fits.summary())
    assert "2 failed" in repr(fits)


def test_a_start_that_is_impossible_is_a_failure_of_its_series():
    """Without any noise the model says that the series is constant: one is, the other is not."""
    panel = kem.Panel([kem.Observations([[1.0], [1.0], [1.0]]), kem.Observations([[1.0], [2.0], [3.0]])])
    model = kem.LinearGaussian(
        1,
        1,
        transition_matrix=kem.Fixed([[1.0]]),
        transition_cov=kem.Fixed([[0.0]]),
        observation_matrix=kem.Fixed([[1.0]]),
        observation_cov=kem.Fixed([[0.0]]),
        initial_mean=kem.Fixed([1.0]),
        initial_cov=kem.Full(),
    )
    fits = kem.fit_each(model, panel, stopping=kem.Stopping(max_iterations=3), start={"initial_cov": [[1.0]]})
    assert 1 not in fits
    assert "NumericalError" in fits.failures().loc[1, "reason"]


@pytest.mark.parametrize("n_threads", [2, 3, None])
def test_results_do_not_depend_on_the_number_of_threads(monkeypatch, n_threads):
    monkeypatch.setattr(together, "TOGETHER", 4)
    panel = walks(18, missing=0.1)
    one = kem.fit_each(kem.LocalLevel(), panel)
    several = kem.fit_each(kem.LocalLevel(), panel, n_threads=n_threads)
    assert sum(fitted.em.stop_reason.is_converged for fitted in one.values()) > 9
    for key in one:
        assert np.array_equal(one[key].em.log_likelihoods, several[key].em.log_likelihoods)
        assert one[key].params == several[key].params


def test_series_leave_the_others_as_they_converge(monkeypatch):
    """Chunks in which most are over are laid anew: the same results as one by one."""
    panel = walks(8, seed=7)
    stopping = kem.Stopping(max_iterations=250)
    fits = kem.fit_each(kem.LocalLevel(), panel, method="plain", stopping=stopping)
    monkeypatch.setattr(together, "TOGETHER", 1)
    alone = kem.fit_each(kem.LocalLevel(), panel, method="plain", stopping=stopping)
    assert len({one.em.n_iterations for one in fits.values()}) > 3
    for key in fits:
        same(fits[key], alone[key])


def test_long_wide_dict_and_list_are_read_alike():
    index = pd.period_range("2020-01", periods=20, freq="M", name="month")
    rng = np.random.default_rng(3)
    table = pd.DataFrame(np.cumsum(rng.normal(size=(20, 2)), axis=0), index=index, columns=["north", "south"])
    table.loc[table.index[:3], "south"] = np.nan
    long = table.rename_axis(columns="region").stack(future_stack=True).rename("sales").reset_index().dropna()
    options = {"stopping": BRIEF}
    wide = kem.fit_each(kem.LocalLevel(), table, wide=True, **options)
    by_id = kem.fit_each(kem.LocalLevel(), long, series="region", time="month", values="sales", **options)
    as_dict = kem.fit_each(kem.LocalLevel(), {name: table[name].dropna() for name in table}, **options)
    as_list = kem.fit_each(kem.LocalLevel(), [table[name].dropna() for name in table], **options)
    assert list(wide) == list(as_dict) == ["north", "south"]
    assert list(as_list) == [0, 1]
    for key, position in (("north", 0), ("south", 1)):
        for other in (by_id[key], as_dict[key], as_list[position]):
            assert np.array_equal(wide[key].em.log_likelihoods, other.em.log_likelihoods)
    assert wide["south"].panel.series[0].n_steps == 17
    forecast = by_id.forecast(2, levels=80)
    assert forecast.columns.tolist() == ["region", "month", "mean", "sd", "lower_80", "upper_80"]
    assert forecast["month"].astype(str).tolist() == ["2021-09", "2021-10"] * 2
    np.testing.assert_array_equal(forecast["mean"].to_numpy()[2:], by_id["south"].forecast(2).means[:, 0])
    smooth = by_id.smooth()
    assert smooth.groupby("region").size().to_dict() == {"north": 20, "south": 17}


def test_parameters_come_as_a_table():
    fits = kem.fit_each(kem.LinearGaussian(1, 2), walks(3, columns=2), stopping=kem.Stopping(max_iterations=4))
    table = fits.params_frame()
    assert table.index.tolist() == ["s0", "s1", "s2"]
    assert {"observation_cov[1, 0]", "observation_matrix[1, 0]", "initial_mean", "stop_reason"} <= set(table.columns)
    assert "observation_cov[0, 1]" not in table.columns
    assert table.loc["s1", "observation_cov[1, 0]"] == fits["s1"].params.observation_cov[1, 0]
    assert (table["stop_reason"] == "max_iterations").all()


def test_a_bar_counts_the_series(capfd):
    kem.fit_each(kem.LocalLevel(), walks(3), stopping=kem.Stopping(max_iterations=3), progress=True)
    assert "3/3" in capfd.readouterr().err


TABLE = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 3.0, 2.0]})
BAD = {
    "a table": ((TABLE,), {}, "series: expected the column"),
    "a wide array": ((np.ones((3, 2)),), {"wide": True}, "wide: expected a DataFrame"),
    "wide with ids": ((TABLE,), {"wide": True, "series": "a"}, "series: expected None with wide=True"),
    "a flag": ((TABLE,), {"wide": "yes"}, "wide: expected True or False"),
    "an array": ((np.ones((3, 2)),), {}, "panel: expected a Panel"),
    "nothing": (([],), {}, "panel: expected at least one series"),
    "text": (({"a": "x"},), {}, "panel: series 'a': data: expected"),
    "threads": ((walks(1),), {"n_threads": 0}, "n_threads: expected a whole number"),
    "a column": (({"a": [1.0, 2.0]},), {"time": "t"}, "time: names a column"),
    "stopping": ((walks(1),), {"stopping": 3}, "stopping: expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    arguments, options, message = BAD[name]
    with pytest.raises(kem.InputError, match=message):
        kem.fit_each(kem.LocalLevel(), *arguments, **options)


QUICK = {"stopping": kem.Stopping(max_iterations=2)}


def test_a_series_that_cannot_be_read_stops_no_other():
    fits = kem.fit_each(
        kem.LocalLevel(), {"a": [1.0, 2, 3, 2], "b": [1, np.inf, 2], "c": ["x", 1], "d": [3.0, 2, 2]}, **QUICK
    )
    assert list(fits) == ["a", "d"]
    assert list(fits.failures().index) == ["b", "c"]
    assert "holds inf" in fits.failures().loc["b", "reason"]
    assert "text such as 'x'" in fits.failures().loc["c", "reason"]


def test_nor_does_one_of_a_long_table():
    table = pd.DataFrame(
        {"id": list("aaaabbbbcccc"), "t": [0, 1, 2, 3, 0, 1, 1, 2, 0, 1, 2, 3], "x": [1.0, 2, 3, 2] * 3}
    )
    fits = kem.fit_each(kem.LocalLevel(), table, series="id", time="t", **QUICK)
    assert list(fits) == ["a", "c"]
    assert "of series 'b': expected distinct labels, got 1 again" in fits.failures().loc["b", "reason"]
    alone = kem.fit(kem.LocalLevel(), table[table["id"] == "c"].set_index("t")["x"], **QUICK)
    assert fits["c"].log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-12)


def test_nor_does_a_column_of_a_wide_table():
    table = pd.DataFrame({"a": [1.0, 2, 3, 2, 1], "b": [1.0, np.inf, 3, 2, 1], "c": [np.nan, 2, 1, 4, 5]})
    fits = kem.fit_each(kem.LocalLevel(), table, wide=True, **QUICK)
    assert list(fits) == ["a", "c"]
    assert len(fits["c"].panel.series[0].index) == 4
    assert "column 'b' holds inf at 1" in fits.failures().loc["b", "reason"]


def test_what_is_wrong_with_all_series_is_an_error():
    table = pd.DataFrame({"t": [0, 2, 1], "a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    with pytest.raises(kem.InputError, match="time: column 't': expected labels in time order"):
        kem.fit_each(kem.LocalLevel(), table, wide=True, time="t")
    long = pd.DataFrame({"id": ["a", None], "x": [1.0, 2.0]})
    with pytest.raises(kem.InputError, match="series: expected an id in every row"):
        kem.fit_each(kem.LocalLevel(), long, series="id")


def test_a_fit_that_ran_away_is_not_among_the_quantiles():
    rng = np.random.default_rng(2)
    series = {f"s{k}": np.cumsum(rng.normal(size=40)) + rng.normal(size=40) for k in range(6)}
    fits = kem.fit_each(kem.LocalLevel(), series | {"flat": np.full(40, 2.0)})
    assert not fits["flat"].em.stop_reason.is_converged
    text = str(fits.summary())
    assert "quantiles of the 6 that converged" in text
    expected = fits.params_frame().drop(index="flat")["log_likelihood"].quantile(0.95)
    assert f"{expected:.5g}" in text


def test_a_series_that_went_over_to_square_roots_says_so():
    values = np.random.default_rng(0).normal(size=(20, 1)).cumsum(axis=0)
    fits = kem.fit_each(kem.LocalLevel(), {"a": values}, stopping=kem.Stopping(max_iterations=3))
    one = fits.learnt["a"]
    assert fits["a"].numerics == Learnt.by(one.specification, one.panel, one.em, "auto").numerics == "standard"
    switched = Learnt.by(one.specification, one.panel, replace(one.em, switched_at=1), "auto")
    assert replace(fits, learnt={"a": switched})["a"].numerics == "square_root"


def two_sensors(noise, seed):
    """Return the values of two sensors that hardly differ, with this noise."""
    rng = np.random.default_rng(seed)
    states = np.cumsum(rng.normal(size=(40, 2)), axis=0)
    return states @ np.array([[1.0, 1.0], [1.0, 1.0 + 1e-5]]).T + noise * rng.normal(size=(40, 2))


SENSORS = kem.LinearGaussian(
    2,
    2,
    transition_matrix=kem.Fixed(np.eye(2)),
    observation_matrix=kem.Fixed([[1.0, 1.0], [1.0, 1.0 + 1e-5]]),
    observation_cov=kem.Isotropic(),
    transition_cov=kem.Diagonal(),
    initial_cov=kem.Fixed(1e4 * np.eye(2)),
)


def test_a_series_that_needs_square_roots_gets_them_and_the_others_do_not():
    """What is lost in one of many is noticed as it is in one alone, here on the way."""
    start = {"observation_cov": 1e-2 * np.eye(2), "transition_cov": np.eye(2)}
    brief = kem.Stopping(max_iterations=25)
    values = {"rough": two_sensors(1.0, 0), "smooth": two_sensors(1e-7, 1), "plain": two_sensors(0.5, 2)}
    fits = kem.fit_each(SENSORS, values, start=start, stopping=brief)
    used = {"rough": "standard", "smooth": "square_root", "plain": "standard"}
    assert {key: fit.numerics for key, fit in fits.items()} == used
    assert fits["smooth"].em.switched_at > 0
    for key, one in values.items():
        alone = kem.fit(SENSORS, one, start=start, stopping=brief)
        assert (alone.numerics, alone.em.switched_at) == (fits[key].numerics, fits[key].em.switched_at)
        np.testing.assert_allclose(fits[key].em.log_likelihoods, alone.em.log_likelihoods, rtol=1e-8)
    # As asked, nothing is looked at.
    asked = kem.fit_each(SENSORS, values, start=start, stopping=brief, numerics="standard")
    assert {fit.numerics for fit in asked.values()} == {"standard"}
    assert asked["smooth"].em.switched_at is None


@pytest.mark.parametrize("numerics", ["standard", "square_root"])
def test_numerics_as_asked_for_every_series(numerics):
    series, brief = walks(3, longest=20), kem.Stopping(max_iterations=5)
    fits = kem.fit_each(kem.LocalLevel(), series, numerics=numerics, stopping=brief)
    for key, one in zip(series.keys, series, strict=True):
        alone = kem.fit(kem.LocalLevel(), one, numerics=numerics, stopping=brief)
        assert fits[key].numerics == alone.numerics == numerics
        np.testing.assert_allclose(fits[key].em.log_likelihoods, alone.em.log_likelihoods, rtol=1e-10)
    several = kem.fit_each(kem.LocalLevel(), series, numerics=numerics, stopping=brief, n_starts=2, seed=0)
    assert {fit.numerics for fit in several.values()} == {numerics}
    with pytest.raises(kem.InputError, match="numerics 'roots' is not known"):
        kem.fit_each(kem.LocalLevel(), series, numerics="roots")


def test_a_fall_in_one_of_many_is_taken_anew_by_factors(monkeypatch):
    """Rounding that lowers one series at one iteration: by itself it goes over to factors, and climbs on."""
    series, options = walks(3, longest=25), {"stopping": kem.Stopping(max_iterations=8), "method": "plain"}
    plain = kem.fit_each(kem.LocalLevel(), series, **options)
    calls, whole = [], lockstep.expect_stack

    def rounded(stack, over, **more):
        found = whole(stack, over, **more)
        calls.append(len(stack))
        if len(calls) == 5:
            fallen = found.log_likelihoods.copy()
            fallen[1] -= 10.0
            found = replace(found, log_likelihoods=fallen)
        return found

    monkeypatch.setattr(lockstep, "expect_stack", rounded)
    fits = kem.fit_each(kem.LocalLevel(), series, **options)
    assert fits["s1"].em.n_falls == 0
    assert fits["s0"].em.switched_at is None
    np.testing.assert_allclose(fits["s1"].em.log_likelihoods, plain["s1"].em.log_likelihoods, rtol=1e-9)
    assert len(fits["s1"].em.log_likelihoods) == 9
    # As asked, a fall is a fall.
    calls.clear()
    fallen = kem.fit_each(kem.LocalLevel(), series, numerics="standard", **options)["s1"]
    assert fallen.em.stop_reason is kem.StopReason.objective_fell
