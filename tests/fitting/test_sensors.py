"""Sensors of different accuracies that report at different times, in one stream."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem


@pytest.fixture(scope="module")
def stream():
    """Two tracks seen by a radar (position) and a gps (position and velocity), each when it likes."""
    rng = np.random.default_rng(8)
    model, rows = kem.ConstantVelocity(), []
    for name in ("a", "b"):
        state, now = np.array([0.0, 3.0]), rng.uniform(0.0, 9.0)
        for _ in range(400):
            gap = rng.uniform(0.05, 0.6)
            F, Q = model.discretize(gap, density=0.5)
            state, now = rng.multivariate_normal(F @ state, Q), now + gap
            if rng.random() < 0.7:
                rows.append((now, name, "radar", state[0] + 2.0 * rng.normal(), np.nan))
            if rng.random() < 0.4:
                rows.append((now, name, "gps", state[0] + 0.5 * rng.normal(), state[1] + 0.3 * rng.normal()))
    return pd.DataFrame(rows, columns=["t", "track", "by", "x", "v"])


def test_each_sensor_has_a_noise_of_its_own(stream):
    table = kem.sensor_columns(
        stream.sample(frac=1.0, random_state=1),
        sensor="by",
        time="t",
        values=["x", "v"],
        series="track",
        sensors=["radar", "gps"],
    )
    assert list(table.columns) == ["track", "t", "radar.x", "gps.x", "gps.v"]
    assert table[["radar.x", "gps.x", "gps.v"]].count().sum() == stream[["x", "v"]].count().sum()
    model = kem.ConstantVelocity(measured={"radar": "position", "gps": ("position", "velocity")})
    fitted = kem.fit(model, table, time="t", series="track")
    assert list(fitted.params) == ["acceleration_density", "observation_cov_radar", "observation_cov_gps"]
    assert fitted.params.observation_cov_radar[0, 0] == pytest.approx(4.0, rel=0.2)
    np.testing.assert_allclose(np.sqrt(np.diagonal(fitted.params.observation_cov_gps)), [0.5, 0.3], rtol=0.2)
    assert fitted.params.acceleration_density[0, 0] == pytest.approx(0.5, rel=0.3)
    # One sensor alone, with the others' columns missing, is the model of one sensor.
    alone = kem.kalman_filter(
        fitted.system, kem.Observations(np.array([[0.0, np.nan, np.nan], [1.0, np.nan, np.nan]]), times=[0.0, 1.0])
    )
    single = fitted.system.replaced(
        observation_matrix=fitted.system.observation_matrix[:1],
        observation_cov=fitted.system.observation_cov[:1, :1],
        observation_offset=np.zeros(1),
    )
    other = kem.kalman_filter(single, kem.Observations([[0.0], [1.0]], times=[0.0, 1.0]))
    assert alone.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-12)


def test_a_noise_can_be_stated_for_each_sensor(stream, tmp_path):
    table = kem.sensor_columns(
        stream, sensor="by", time="t", values=["x", "v"], series="track", sensors=["gps", "radar"]
    )
    model = kem.ConstantVelocity(
        measured={"gps": ("position", "velocity"), "radar": "position"},
        observation_cov={"gps": kem.Full(), "radar": kem.Fixed(4.0)},
    )
    fitted = kem.fit(model, table, time="t", series="track", stopping=kem.Stopping(max_iterations=3))
    assert fitted.params.observation_cov_radar.tolist() == [[4.0]]
    assert fitted.params.observation_cov_gps[0, 1] != 0.0
    fitted.save(tmp_path / "fit.json")
    assert kem.load(tmp_path / "fit.json").model == model


def test_what_does_not_fit_is_named(stream):
    asked = {"sensor": "by", "time": "t", "values": ["x"], "series": "track"}
    twice = pd.concat([stream, stream.iloc[[3]]])
    holes = stream.assign(by=stream["by"].where(stream.index != 2))
    cases = [
        (lambda: kem.sensor_columns(twice, **asked), "time: expected one reading of a sensor at a time, got two of"),
        (lambda: kem.sensor_columns(holes, **asked), "sensor: expected a value in every row"),
        (lambda: kem.sensor_columns(stream, **asked | {"sensor": "who"}), "sensor: .*who"),
        (lambda: kem.sensor_columns(stream, **asked, sensors=["radar"]), "sensors: expected"),
        (lambda: kem.sensor_columns([1.0], **asked), "stream: expected a DataFrame"),
        (lambda: kem.ConstantVelocity(measured={"radar": "range"}), "measured: quantity 'range'"),
        (
            lambda: kem.ConstantVelocity(measured={"radar": "position"}, observation_cov={"lidar": kem.Full()}),
            "observation_cov: sensor 'lidar'",
        ),
    ]
    for act, said in cases:
        with pytest.raises(kem.InputError, match=said):
            act()


def test_columns_in_another_order_than_the_sensors_are_refused(stream):
    model = kem.ConstantVelocity(measured={"radar": "position", "gps": ("position", "velocity")})
    wide = kem.sensor_columns(
        stream, sensor="by", time="t", series="track", values=["x", "v"], sensors=["gps", "radar"]
    )
    with pytest.raises(kem.InputError, match=r"values: .* 'radar' \(1\), 'gps' \(2\), got gps.x, gps.v, radar"):
        kem.fit(model, wide, time="t", series="track")
    unnamed = wide.rename(columns={"gps.x": "a", "gps.v": "b", "radar.x": "c"})
    quick = kem.Stopping(max_iterations=1)
    assert kem.fit(model, unnamed, time="t", series="track", stopping=quick).panel.names == ("a", "b", "c")
