"""The start by subspace identification: the dynamics of the data, in units that only the observations carry."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.models.scale import data_scale
from kalman_em.models.subspace import correlations, subspace_values


def two_states(n_steps=4000, seed=0):
    """Return a damped rotation seen by three sensors, (T, 3), with its matrices."""
    rng = np.random.default_rng(seed)
    F = np.array([[0.7, 0.5], [-0.5, 0.7]])
    H = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, -1.0]])
    x, rows = np.zeros(2), []
    for _ in range(n_steps):
        rows.append(H @ x + 0.3 * rng.normal(size=3))
        x = F @ x + rng.normal(size=2)
    return np.array(rows), F


def start(values, state_dim=2, **options):
    series = values if isinstance(values, list) else [values]
    panel = kem.Panel([kem.Observations(one) for one in series])
    options = {"has_offset": False, "has_drift": False} | options
    return subspace_values(panel, state_dim, scale=data_scale(panel), **options)


@pytest.mark.parametrize("has_offset", [False, True])
@pytest.mark.parametrize("unit", [1e-6, 250.0, [1e-3, 1.0, 1e5]], ids=str)
def test_units_enter_the_observation_parameters_alone(unit, has_offset):
    values, _ = two_states(120)
    values = values + 1.0
    values[[4, 50, 51], [0, 2, 2]] = np.nan
    plain = start(values, has_offset=has_offset, has_drift=True)
    scaled = start(values * np.array(unit), has_offset=has_offset, has_drift=True)
    units = np.broadcast_to(unit, 3)
    factors = {
        "observation_matrix": units[:, None],
        "observation_offset": units,
        "observation_cov": np.outer(units, units),
    }
    for name, value in plain.items():
        np.testing.assert_allclose(scaled[name] / factors.get(name, 1.0), value, rtol=1e-7, atol=1e-9, err_msg=name)
    assert np.abs(plain["observation_offset"]).max() == pytest.approx(np.nanmean(values, 0).max() if has_offset else 0)


def test_the_start_has_the_dynamics_and_the_covariances_of_the_data():
    values, F = two_states()
    found = start(values)
    expected = np.sort_complex(np.linalg.eigvals(F))
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(found["transition_matrix"])), expected, atol=0.05)
    H, P = found["observation_matrix"], found["initial_cov"]
    centred = values - values.mean(axis=0)
    covariance = centred.T @ centred / len(values)
    size = np.sqrt(np.outer(np.diagonal(covariance), np.diagonal(covariance)))
    np.testing.assert_allclose((H @ P @ H.T + found["observation_cov"]) / size, covariance / size, atol=0.01)
    lagged = centred[1:].T @ centred[:-1] / len(values)
    np.testing.assert_allclose(H @ found["transition_matrix"] @ P @ H.T / size, lagged / size, atol=0.05)
    # The states have unit variance and are nearly stationary: P = F P F' + Q.
    np.testing.assert_allclose(np.diagonal(P), 1.0, atol=0.01)
    moved = found["transition_matrix"] @ P @ found["transition_matrix"].T + found["transition_cov"]
    np.testing.assert_allclose(moved, P, atol=0.01)


def test_a_drift_is_the_constant_of_the_state_regression():
    values = 5.0 + 2.0 * np.arange(60.0)[:, None] + 1e-3 * np.random.default_rng(0).normal(size=(60, 1))
    found = start(values, state_dim=1, has_drift=True)
    F, b, H = (found[name].item() for name in ("transition_matrix", "transition_offset", "observation_matrix"))
    assert abs(F - 1.0) < 0.01
    # In the middle of the line, at 64, the next step is 2 higher.
    assert F * 64.0 + H * b == pytest.approx(66.0, abs=0.1)
    assert H * found["initial_mean"].item() == pytest.approx(5.0, abs=1.0)
    assert not start(values, state_dim=1)["transition_offset"].any()


def test_series_of_a_panel_are_not_joined_at_their_ends():
    """Each half on its own level: a regression across the seam would see one huge step."""
    values, _ = two_states(60)
    parts = [values[:30] + 40.0, values[30:] - 40.0]
    apart, joined = start(parts), start(np.vstack(parts))
    quietest = [np.linalg.eigvalsh(found["transition_cov"])[0] for found in (apart, joined)]
    assert quietest[0] < 0.1 * quietest[1]
    turned = start(parts[::-1])["observation_cov"]
    np.testing.assert_allclose(turned, apart["observation_cov"], rtol=1e-6)


def test_gaps_are_bridged_by_straight_lines():
    line = np.column_stack([np.arange(20.0), np.random.default_rng(0).normal(size=20)])
    gappy = line.copy()
    gappy[5:9, 0] = np.nan
    panel = kem.Panel([kem.Observations(gappy)])
    np.testing.assert_allclose(correlations(panel, np.array([2.0, 5.0])), np.cov((line / [2.0, 5.0]).T, bias=True))


@pytest.mark.parametrize("n_rows", [2, 3, 7])
def test_more_states_than_the_data_can_tell_apart_still_start(n_rows):
    found = start(np.random.default_rng(1).normal(size=(n_rows, 1)), state_dim=3)
    assert all(np.isfinite(value).all() for value in found.values())
    assert found["transition_matrix"].shape == (3, 3)
    for name in ("transition_cov", "observation_cov", "initial_cov"):
        assert np.linalg.eigvalsh(found[name]).min() > 0.0
