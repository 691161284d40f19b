"""What the level and trend models begin with: scales of the data, the profiled start, and scattered ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.models.profile import profiled_start, scattered
from kalman_em.models.scale import data_scale


def panel_of(*series):
    return kem.Panel([kem.Observations(np.reshape(np.array(one, dtype=float), (len(one), -1))) for one in series])


def walk(seed, n_steps=60, noise=1.0):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=n_steps)) + noise * rng.normal(size=n_steps)


def test_the_scale_of_a_column_is_its_deviation_or_its_size():
    values = np.column_stack([walk(0, 30), np.full(30, 0.1), np.zeros(30), np.full(30, -1e6)])
    values[3, :] = np.nan
    # Rounding gives the constant columns a deviation that is not 0.
    assert 0.0 < np.nanstd(values[:, 1]) < 1e-15
    expected = [np.nanstd(values[:, 0]), 0.1, 1.0, 1e6]
    np.testing.assert_allclose(data_scale(panel_of(values)), expected, rtol=1e-12)
    np.testing.assert_allclose(data_scale(panel_of([1.0, 2.0], [6.0])), [np.std([1.0, 2.0, 6.0])])


def level_of(ratios):
    """Return the local level with a grid of its own."""
    level = kem.LocalLevel().component("level", None)
    return [replace(level, noises=(replace(level.noises[0], ratios=tuple(ratios)),))]


@pytest.mark.parametrize("gaps", [False, True])
def test_the_profiled_start_is_the_highest_of_its_grid_at_the_best_scale(gaps):
    ratios = [0.001, 0.1, 10.0, 1000.0]
    for seed, noise in ((1, 0.05), (2, 3.0), (3, 20.0)):
        values = 1e3 + 50.0 * walk(seed, noise=noise)
        if gaps:
            values[[0, 7, 8, 30]] = np.nan
        panel = panel_of(values[:40], values[40:])
        specification = kem.LocalLevel().specify(panel)
        start = profiled_start(specification, panel, level_of(ratios))

        def height(ratio, unit, start=start, panel=panel):
            changed = replace(start, transition_cov=[[ratio * unit]], observation_cov=[[unit]])
            return sum(kem.kalman_filter(changed, one).log_likelihood for one in panel)

        unit, highest = start.observation_cov.item(), sum(kem.kalman_filter(start, one).log_likelihood for one in panel)
        assert min(abs(start.transition_cov.item() / unit / ratio - 1.0) for ratio in ratios) < 1e-9
        for ratio in ratios:
            assert max(height(ratio, unit * factor) for factor in np.geomspace(1e-6, 1e6, 121)) <= highest + 1e-9


def test_a_known_start_begins_at_the_mean_of_the_first_values():
    panel = panel_of([np.nan, 3.0, 4.0, 2.5], [10.0, np.nan, 9.0, 11.0])
    model = kem.LocalLinearTrend(initial_mean=kem.Full(), initial_cov=kem.Full())
    start = model.start(model.specify(panel), panel)
    assert start.initial_mean.tolist() == [6.5, 0.0]
    assert np.linalg.eigvalsh(start.initial_cov).min() > 0.0


def test_every_column_of_a_trend_has_its_own_level_and_slope():
    """States are levels first, then slopes; each column sees its own level, which its own slope moves."""
    panel = panel_of(np.column_stack([walk(4), walk(5)]))
    system = kem.LocalLinearTrend().start(kem.LocalLinearTrend().specify(panel), panel)
    state = np.array([10.0, 20.0, 1.0, 2.0])
    assert (system.observation_matrix @ state).tolist() == [10.0, 20.0]
    assert (system.transition_matrix @ state).tolist() == [11.0, 22.0, 1.0, 2.0]


def test_scattered_starts_keep_forms_and_correlations():
    panel = panel_of(np.column_stack([walk(6), walk(7)]))
    model = kem.LocalLevel(observation_cov=kem.Diagonal())
    specification = model.specify(panel)
    cov = np.array([[4.0, 1.0], [1.0, 9.0]])
    begun = replace(model.start(specification, panel), transition_cov=cov)
    drawn = [scattered(specification, begun, np.random.default_rng(seed)) for seed in range(200)]
    for system in drawn:
        deviation = np.sqrt(np.diagonal(system.transition_cov))
        assert (system.transition_cov / np.outer(deviation, deviation))[0, 1] == pytest.approx(1.0 / 6.0)
        assert np.array_equal(system.transition_cov, system.transition_cov.T)
        assert system.observation_cov[0, 1] == 0.0
    factors = np.log([system.transition_cov[0, 0] / 4.0 for system in drawn])
    assert factors.mean() == pytest.approx(0.0, abs=0.3)
    assert factors.std() == pytest.approx(1.0, abs=0.2)
