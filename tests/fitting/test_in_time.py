"""Fits in continuous time: panels of tracks with time stamps of their own, and everything asked of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from oracles.dense import DenseGaussian
from support.motion import long_frame, tracks

import kalman_em as kem

MODEL = kem.ConstantVelocity(dim=2)


@pytest.fixture(scope="module")
def frame():
    found = tracks(4, MODEL, 0.3, np.diag([1.0, 2.0]), [30, 12, 45], missing=0.1)
    return long_frame([(f"track-{i}", one) for i, (_, one) in enumerate(found)], ["x", "y"])


@pytest.fixture(scope="module")
def fitted(frame):
    return kem.fit(MODEL, frame, time="t", series="track", values=["x", "y"])


def whole(fitted, key, extra=()):
    """The dense oracle's Gaussian of a track, with missing rows at `extra` times; and the times."""
    one = fitted.panel[key]
    times = np.concatenate([one.times, extra])
    order = np.argsort(times)
    values = np.vstack([one.values, np.full((len(extra), 2), np.nan)])[order]
    exact = DenseGaussian(
        fitted.system.at_gaps(np.unique(np.diff(times[order]))).along(times[order]), kem.Observations(values)
    ).smoothed()
    return exact, times[order]


def test_a_panel_of_tracks_is_learnt_whatever_their_times(frame, fitted):
    assert fitted.panel.keys == ("track-0", "track-1", "track-2")
    assert fitted.em.stop_reason.is_converged
    assert list(fitted.params) == ["acceleration_density", "observation_cov"]
    total = sum(whole(fitted, key)[0].log_likelihood for key in fitted.panel.keys)
    assert fitted.log_likelihood == pytest.approx(total, rel=1e-9)
    smoothed = fitted.smooth("track-1").to_frame()
    np.testing.assert_array_equal(smoothed.index, frame.loc[frame["track"] == "track-1", "t"])
    assert "acceleration_density" in str(fitted.summary())


def test_states_at_any_times_are_those_of_the_dense_oracle(fitted):
    first, last = fitted.panel["track-1"].times[[0, -1]]
    wanted = np.array([first - 1.0, first + 0.01, first + 3.3, last + 2.5])
    exact, times = whole(fitted, "track-1", wanted)
    places = np.searchsorted(times, wanted)
    found = fitted.smooth("track-1", times=wanted)
    np.testing.assert_allclose(found.smoothed_means, exact.state_means[places], atol=1e-7)
    np.testing.assert_allclose(found.smoothed_covs, exact.state_covs[places], atol=1e-7)
    across = np.array([exact.state_cov[b, :, a] for a, b in pairwise(places)])
    np.testing.assert_allclose(found.lag_one_covs, across, atol=1e-7)
    assert found.to_frame().index.tolist() == wanted.tolist()


def test_the_times_of_the_rows_are_found_among_any_times(fitted):
    times = fitted.panel["track-2"].times
    np.testing.assert_allclose(
        fitted.smooth("track-2", times=times[5:9]).smoothed_means, fitted.smooth("track-2").smoothed_means[5:9]
    )


def test_forecasts_at_times_of_ones_own_equal_the_dense_oracle(fitted):
    last = fitted.panel["track-1"].times[-1]
    wanted = last + np.array([0.5, 7.0])
    exact, _ = whole(fitted, "track-1", wanted)
    found = fitted.forecast(times=wanted, series="track-1")
    np.testing.assert_allclose(found.means, exact.obs_means[-2:], rtol=1e-7)
    np.testing.assert_allclose(found.covs, exact.obs_covs[-2:], rtol=1e-7, atol=1e-9)
    steps = fitted.forecast(3, series="track-1")
    gap = np.median(np.diff(fitted.panel["track-1"].times))
    np.testing.assert_allclose(steps.index, last + gap * np.arange(1, 4))


def test_rows_that_come_later_extend_a_track(fitted, frame):
    track = frame[frame["track"] == "track-2"].set_index("t")[["x", "y"]]
    shorter = kem.fit(MODEL, track.iloc[:30])
    longer = shorter.extend(track.iloc[30:])
    direct = kem.kalman_filter(shorter.system, kem.Observations(track.to_numpy(), times=track.index.to_numpy()))
    assert longer.log_likelihood == pytest.approx(direct.log_likelihood, rel=1e-12)
    with pytest.raises(kem.InputError, match="data: expected labels after"):
        shorter.extend(track.iloc[29:])
    with pytest.raises(kem.InputError, match="data: expected a Series or DataFrame labelled"):
        shorter.extend(track.iloc[30:].to_numpy())


def test_dates_are_counted_in_the_unit_of_the_model(frame):
    track = frame[frame["track"] == "track-0"].set_index("t")[["x", "y"]]
    plain = kem.fit(MODEL, track)
    dates = track.set_axis(
        pd.Timestamp("2024-03-30 23:59", tz="Europe/Berlin") + pd.to_timedelta(track.index, unit="s")
    )
    dated = kem.fit(MODEL, dates)
    np.testing.assert_allclose(dated.params.acceleration_density, plain.params.acceleration_density, rtol=1e-4)
    minutes = kem.fit(kem.ConstantVelocity(dim=2, time_unit="min"), dates)
    np.testing.assert_allclose(
        minutes.params.acceleration_density, dated.params.acceleration_density * 60.0**3, rtol=1e-3
    )
    durations = kem.fit(MODEL, track.set_axis(pd.to_timedelta(track.index - track.index[0], unit="s")))
    assert durations.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-4)
    ahead = dated.forecast(2)
    assert ahead.index.tz is not None
    assert ahead.index[0] > dates.index[-1]
    between = dated.smooth(times=[dates.index[3] + pd.Timedelta("10ms")]).to_frame()
    assert between.index.dtype == dates.index.dtype


def test_a_saved_fit_comes_back_and_goes_on(fitted, tmp_path):
    fitted.save(tmp_path / "tracks.json")
    again = kem.load(tmp_path / "tracks.json")
    assert again.model == fitted.model
    assert again.log_likelihood == fitted.log_likelihood
    last = fitted.panel["track-0"].times[-1]
    ahead = [one.forecast(times=[last + 0.123], series="track-0") for one in (again, fitted)]
    np.testing.assert_array_equal(ahead[0].means, ahead[1].means)


@pytest.mark.parametrize(
    "model",
    [
        kem.RandomWalk(dim=2, time_unit="h"),
        kem.ConstantAcceleration(dim=2, jerk_density=kem.Diagonal()),
        kem.CorrelatedRandomWalk(time_constant=3.0, dim=2),
        kem.Singer(time_constant=3.0, dim=2),
        kem.CoordinatedTurn(turn_rate=0.2),
        kem.ContinuousTime(np.diag([-1.0, -0.2]), [[1.0, 1.0], [0.0, 1.0]], np.eye(2)),
    ],
)
def test_every_model_is_learnt_saved_and_checked(model, frame, tmp_path):
    track = frame[frame["track"] == "track-2"].set_index("t")[["x", "y"]]
    fitted = kem.fit(model, track, stopping=kem.Stopping(max_iterations=15))
    fitted.save(tmp_path / "fit.json")
    again = kem.load(tmp_path / "fit.json")
    assert again.model == model
    for name, value in fitted.params.items():
        np.testing.assert_array_equal(again.params[name], value)
    started = kem.fit(model, track, start=fitted.params, stopping=kem.Stopping(max_iterations=1))
    assert started.em.log_likelihoods[0] == pytest.approx(fitted.log_likelihood, rel=1e-9)


def test_statsmodels_agrees_with_matrices_that_vary_in_time(fitted):
    found = fitted.crosscheck(max_iterations=3)
    assert found.relative_difference < 1e-9
    assert found.largest_mean_difference_in_sd < 1e-6


def test_draws_have_the_labels_of_the_track(fitted):
    drawn = fitted.simulate(series="track-1", rng=np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.index, fitted.panel["track-1"].times)
    assert fitted.simulate(4, series="track-1", rng=np.random.default_rng(0)).shape == (4, 2)
    assert fitted.impute(series="track-1").notna().all().all()


def test_f_and_q_of_a_fit_are_those_of_the_model_at_its_density(fitted):
    ours, theirs = fitted.discretize(0.3), MODEL.discretize(0.3, fitted.params.acceleration_density)
    np.testing.assert_allclose(ours.transition_matrix, theirs.transition_matrix, rtol=1e-14)
    np.testing.assert_allclose(ours.transition_cov, theirs.transition_cov, rtol=1e-13, atol=1e-18)


def bad(frame, **changes):
    return frame.assign(**changes)


def test_what_does_not_fit_is_named(frame, fitted):
    track = frame[frame["track"] == "track-0"].set_index("t")[["x", "y"]]
    swapped = frame.iloc[[1, 0, *range(2, len(frame))]]
    twice = frame.iloc[[0, 0, *range(1, len(frame))]]
    empty = frame.copy()
    empty.loc[empty["track"] == "track-1", ["x", "y"]] = np.nan
    level = kem.fit(kem.LocalLevel(), np.arange(10.0) % 3)
    asked = {"time": "t", "series": "track", "values": ["x", "y"]}
    cases = [
        (lambda: kem.fit(MODEL, swapped, **asked), "expected labels in time order.*track-0|track-0.*time order"),
        (lambda: kem.fit(MODEL, twice, **asked), "track-0.*distinct labels|distinct labels.*track-0"),
        (lambda: kem.fit(MODEL, frame, time="when", series="track", values=["x", "y"]), "time: .*when"),
        (lambda: kem.fit(MODEL, frame, time="t", series="id", values=["x", "y"]), "series: .*id"),
        (lambda: kem.fit(MODEL, empty, **asked), "track-1"),
        (lambda: kem.fit(MODEL, track[["x"]]), "data: expected 2 columns, as the model measures, got 1"),
        (lambda: kem.fit(MODEL, track.set_axis([f"row {i}" for i in range(len(track))])), "expected times"),
        (lambda: kem.fit(MODEL, track, inputs=np.ones(len(track))), "inputs: expected none"),
        (lambda: kem.ConstantVelocity(dim=4), "dim: expected 1, 2 or 3"),
        (lambda: kem.ConstantVelocity(time_unit="fortnight"), "time_unit: expected one of"),
        (lambda: kem.ConstantVelocity(measured="speed"), "measured: quantity 'speed'"),
        (lambda: kem.Singer(time_constant=0.0), "time_constant: expected a positive number"),
        (lambda: kem.CoordinatedTurn(turn_rate=0.0), "turn_rate: expected a number other than 0"),
        (lambda: kem.ConstantVelocity().discretize(-1.0), "dt: expected a positive number"),
        (lambda: kem.ContinuousTime(np.zeros((2, 2)), [[0.0], [0.0]], [[1.0, 0.0]]), "diffusion: expected columns"),
        (lambda: kem.ContinuousTime(np.zeros((2, 2)), [[0.0], [1.0]], [[1.0]]), "observation_matrix: expected shape"),
        (lambda: fitted.forecast(times=[0.0, -1.0], series="track-0"), "times: expected labels in time order"),
        (lambda: fitted.forecast(times=[-1e9], series="track-0"), "times: expected labels after"),
        (lambda: fitted.forecast(series="track-0"), "steps: expected a number of steps, or the times"),
        (lambda: fitted.smooth("track-0", times=pd.to_datetime(["2024-01-01"])), "times: expected labels like"),
        (lambda: level.smooth(times=[1.5]), "times: is for models in continuous time, got LocalLevel"),
        (lambda: level.forecast(times=[1.5]), "times: is for models in continuous time, got LocalLevel"),
    ]
    for act, said in cases:
        with pytest.raises(kem.InputError, match=said):
            act()


def test_new_rows_may_come_in_a_frame_like_that_of_the_fit(fitted, frame):
    new = pd.DataFrame({"track": "track-1", "t": fitted.panel["track-1"].times[-1] + [0.5, 1.25], "y": [1.0, 2.0]})
    new["x"] = [3.0, np.nan]
    longer = fitted.extend(new, time="t", series="track-1")
    assert longer.panel["track-1"].values[-2].tolist() == [3.0, 1.0]
    plain = fitted.extend(new.set_index("t")[["x", "y"]], series="track-1")
    assert longer.log_likelihood == plain.log_likelihood
    with pytest.raises(kem.InputError, match="time: no column is called 'when'"):
        fitted.extend(new, time="when", series="track-1")


def test_components_of_a_track_are_what_its_columns_see(fitted):
    parts = fitted.components(levels=(), series="track-0")
    assert [name for name in parts if not name.endswith("_sd")] == [
        "position.x.x",
        "position.y.y",
        "residual.x",
        "residual.y",
    ]
    one = fitted.panel["track-0"]
    total = parts[["position.x.x", "position.y.y"]].to_numpy() + parts[["residual.x", "residual.y"]].to_numpy()
    np.testing.assert_allclose(total[~one.is_missing], one.values[~one.is_missing], rtol=1e-12)
