"""Fits that have lost their noise say so where a forecaster looks."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em import Diagonal, Fixed


def test_a_column_without_noise_is_named_in_summary_and_forecast():
    line = np.linspace(0.0, 5.0, 40)
    noisy = np.random.default_rng(0).normal(size=40)
    data = kem.Observations(np.column_stack([line, noisy]), names=("line", "noisy"))
    model = kem.LocalLinearTrend(level_cov=Diagonal(), slope_cov=Diagonal(), observation_cov=Diagonal())
    fitted = kem.fit(model, data)
    assert fitted.em.stop_reason.name == "degenerate_covariance"
    said = "line is predicted without error: the bands have no width"
    text = " ".join(str(fitted.summary()).split())
    assert f"Forecasts: {said}" in text
    ahead = fitted.forecast(2)
    assert ahead.note.startswith(said)
    assert ahead.note.endswith("the fit ended as degenerate_covariance")
    assert ahead.note in repr(ahead)
    assert "noisy" not in ahead.note


@pytest.mark.parametrize("unit", [1.0, 1e-9])
def test_small_noise_is_noise_in_any_unit(unit):
    values = unit * np.cumsum(np.random.default_rng(1).normal(size=40))
    fitted = kem.fit(kem.LocalLevel(), values)
    assert "Forecasts:" not in str(fitted.summary())
    assert fitted.forecast(2).note == ""


def test_an_exact_sensor_of_a_moving_level_is_not_meant():
    values = np.cumsum(np.random.default_rng(2).normal(size=40))
    fitted = kem.fit(kem.LocalLevel(observation_cov=Fixed(0.0)), values)
    assert "Forecasts:" not in str(fitted.summary())
    assert fitted.forecast(1).note == ""


def test_a_noisy_sensor_of_a_level_that_stands_still_is_not_meant():
    values = np.random.default_rng(3).normal(size=40)
    fitted = kem.fit(kem.LocalLevel(level_cov=Fixed(0.0)), values)
    assert "Forecasts:" not in str(fitted.summary())
    assert fitted.forecast(1).note == ""
