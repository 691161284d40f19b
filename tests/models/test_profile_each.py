"""Starts of many series at once: each is that of the series alone, whoever else is there."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.inference import stacks
from kalman_em.models import profile_each, structural
from kalman_em.models.profile import profiled_start

PARAMETERS = ("transition_matrix", "transition_cov", "observation_matrix", "observation_cov", "initial_mean")


def walks(n, columns=1, seed=0):
    """Return series of many lengths and sizes with gaps, one of them constant, one too short to tell anything."""
    rng = np.random.default_rng(seed)
    found = [np.full((20, columns), 3.0), np.array([[1.0], [2.0]]) * np.ones(columns)]
    for _ in range(n):
        steps = rng.normal(size=(int(rng.integers(8, 60)), columns)) * rng.uniform(0.01, 3.0)
        values = rng.uniform(-1e3, 1e3) + np.cumsum(steps, axis=0) + rng.normal(size=steps.shape)
        values[rng.random(values.shape) < 0.15] = np.nan
        found.append(values)
    return kem.Panel([kem.Observations(one) for one in found])


MODELS = {
    "level": (kem.LocalLevel(), 1),
    "trend": (kem.LocalLinearTrend(), 1),
    "a grid searched along its axes": (kem.LocalLevel() + kem.Seasonal(4), 1),
    "waves": (kem.LocalLinearTrend(slope_cov=kem.Fixed([[0.0]])) + kem.Seasonal(6, harmonics=2), 1),
    "columns": (kem.LocalLevel(level_cov=kem.Isotropic(), observation_cov=kem.Diagonal()), 2),
    "smooth columns": (kem.SmoothTrend(), 2),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_start_is_that_of_the_series_alone(name):
    model, columns = MODELS[name]
    panel = walks(6, columns)
    specification = model.specify(panel)
    starts = model.starts(specification, panel)
    assert len(starts) == panel.n_series
    components = model._components(panel)
    for k, one in enumerate(panel):
        alone = model.start(specification, kem.Panel((one,)))
        for parameter in PARAMETERS:
            np.testing.assert_array_equal(getattr(starts[k], parameter), getattr(alone, parameter))
            # The search that serves panels and inputs too; two values are as likely at any ratio.
            other = getattr(profiled_start(specification, kem.Panel((one,)), components), parameter)
            if one.n_steps > 2:
                np.testing.assert_allclose(getattr(alone, parameter), other, rtol=1e-12)
        np.testing.assert_array_equal(starts[k].initial_cov, alone.initial_cov)
        np.testing.assert_array_equal(starts[k].initial_diffuse, alone.initial_diffuse)


def test_starts_do_not_depend_on_who_else_is_there(monkeypatch):
    model, panel = kem.LocalLevel() + kem.Seasonal(4), walks(6, seed=1)
    specification = model.specify(panel)
    whole = model.starts(specification, panel)
    monkeypatch.setattr(stacks, "AT_HAND", 400)
    cut = model.starts(specification, kem.Panel(panel.series[::-1]))
    assert np.array_equal(whole.transition_cov, cut.transition_cov[::-1])
    assert np.array_equal(whole.observation_cov, cut.observation_cov[::-1])


def test_what_cannot_start_together_says_so():
    panel = walks(2)
    for model in (kem.LocalLevel() + kem.Cycle(), kem.LocalLevel(initial_cov=kem.Full(), initial_mean=kem.Full())):
        assert model.starts(model.specify(panel), panel) is None
    assert not (kem.LocalLevel() + kem.Cycle()).lays_alike(panel)


def test_a_series_whose_digits_are_lost_is_searched_alone(monkeypatch):
    model, panel = kem.LocalLevel(), walks(3)
    specification = model.specify(panel)
    plain, asked = model.starts(specification, panel), []
    heights = profile_each._Grid.heights

    def losing(self, rows, points):
        found, units = heights(self, rows, points)
        return found, np.where(np.arange(len(units)) == 2, np.nan, units)

    monkeypatch.setattr(profile_each._Grid, "heights", losing)
    search = profile_each.profiled_start
    monkeypatch.setattr(profile_each, "profiled_start", lambda *a: asked.append(a[1].series) or search(*a))
    found = model.starts(specification, panel)
    assert [one is panel.series[2] for (one,) in asked] == [True]
    np.testing.assert_allclose(found.transition_cov, plain.transition_cov, rtol=1e-12)
    np.testing.assert_allclose(found.observation_cov, plain.observation_cov, rtol=1e-12)


def test_starts_are_found_together_once_for_all(monkeypatch):
    """Not one series at a time: one search of the grid for all, one layout."""
    rng, asked = np.random.default_rng(2), []
    panel = kem.Panel([kem.Observations(rng.normal(size=(15, 1)).cumsum(axis=0)) for _ in range(5)])
    search = structural.profiled_starts
    monkeypatch.setattr(structural, "profiled_starts", lambda *a: asked.append(len(a[1])) or search(*a))
    fits = kem.fit_each(kem.LocalLevel(), panel, stopping=kem.Stopping(max_iterations=3))
    assert asked == [5]
    assert len({id(one.specification) for one in fits.learnt.values()}) == 1
