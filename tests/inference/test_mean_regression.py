"""The likelihood in what moves means alone: a parabola, held against the joint Gaussian, no recursion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles.dense import DenseGaussian
from support.systems import random_observations, random_system

from kalman_em.arrays import Table, frozen
from kalman_em.inference.mean_regression import MeanColumns, MeanParabola, mean_parabola
from kalman_em.inference.rows import lay, stack_rows

N_STEPS = 9
CASES = {
    "plain": {"state_dim": 2, "obs_dim": 2},
    "exact rows": {"state_dim": 3, "obs_dim": 2, "exact_rows": 1},
    "no observation noise": {"state_dim": 3, "obs_dim": 2, "exact_rows": 2},
    "diffuse": {"state_dim": 3, "obs_dim": 2, "diffuse": 2},
    "diffuse and exact": {"state_dim": 2, "obs_dim": 2, "diffuse": 2, "exact_rows": 1},
    "known start, singular noise": {"state_dim": 3, "obs_dim": 1, "initial_rank": 0, "cov_rank": 2},
    "varying": {"state_dim": 2, "obs_dim": 3, "varying": "all", "input_dim": 1},
    "many columns": {"state_dim": 1, "obs_dim": 4, "noise_dim": 1},
}


def columns_of(rng, system, n_rows, k, *, varying):
    """Return random columns of k numbers, those of diffuse states 0 at the start."""
    d, p = system.state_dim, system.obs_dim
    n = n_rows if varying else 1
    index = frozen(np.arange(n_rows) if varying else np.zeros(n_rows, dtype=np.int64))
    initial = np.where(system.initial_diffuse[:, None], 0.0, rng.normal(size=(d, k)))
    state, observation = rng.normal(size=(n, d, k)), rng.normal(size=(n, p, k))
    return MeanColumns(Table(frozen(state), index), Table(frozen(observation), index), frozen(initial))


def shifted(system, columns, rows, delta):
    """Return `system` with its offsets and first state moved by the columns times `delta`, over the given rows."""
    b, d = (
        np.broadcast_to(x, (len(rows), x.shape[-1]))
        for x in (steps(system.transition_offset, rows), steps(system.observation_offset, rows))
    )
    return replace(
        system,
        transition_offset=(b + columns.state.at_rows()[rows] @ delta)[:-1],
        observation_offset=d + columns.observation.at_rows()[rows] @ delta,
        initial_mean=system.initial_mean + columns.initial @ delta,
    )


def steps(offset, rows):
    return offset if offset.ndim == 1 else offset[np.minimum(np.arange(len(rows)), len(offset) - 1)]


@pytest.mark.parametrize("varying", [False, True], ids=["constant columns", "columns that vary"])
@pytest.mark.parametrize("name", CASES)
def test_the_parabola_is_the_likelihood(name, varying):
    rng = np.random.default_rng(sorted(CASES).index(name))
    system = random_system(rng, n_steps=N_STEPS, **CASES[name])
    series = [random_observations(rng, system, N_STEPS, missing=0.2) for _ in range(2)]
    k = 3
    columns = columns_of(rng, system, 2 * N_STEPS, k, varying=varying)
    rows = stack_rows(series)
    parabola = mean_parabola(lay(system, rows), rows, columns)
    assert not parabola.exact.any()

    def height(delta):
        places = [np.arange(N_STEPS), N_STEPS + np.arange(N_STEPS)]
        parts = [
            DenseGaussian(shifted(system, columns, own, delta), one).smoothed().log_likelihood
            for own, one in zip(places, series, strict=True)
        ]
        return sum(parts)

    base = height(np.zeros(k))
    for delta in (*np.eye(k), rng.normal(size=k), 10.0 * rng.normal(size=k)):
        gained = parabola.score @ delta - 0.5 * delta @ parabola.information @ delta
        np.testing.assert_allclose(height(delta) - base, gained, rtol=1e-8, atol=1e-8)
    best = parabola.best()
    assert all(height(best) >= height(best + step) for step in 1e-3 * rng.normal(size=(20, k)))


def test_what_the_data_say_nothing_of_stays_where_it_is():
    """A constant beside a diffuse level, exactly; and two equal columns, which share what one would take."""
    rng = np.random.default_rng(1)
    system = random_system(rng, 1, 1, N_STEPS, diffuse=1)
    system = replace(system, transition_matrix=np.eye(1), observation_matrix=np.ones((1, 1)))
    one = random_observations(rng, system, N_STEPS)
    rows = stack_rows([one])
    seen = rng.normal(size=(N_STEPS, 1))
    entries = np.stack([np.ones((N_STEPS, 1)), seen, seen], axis=2)
    index = frozen(np.arange(N_STEPS))
    none = Table(frozen(np.zeros((1, 1, 3))), frozen(np.zeros(N_STEPS, dtype=np.int64)))
    parabola = mean_parabola(
        lay(system, rows), rows, MeanColumns(none, Table(frozen(entries), index), np.zeros((1, 3)))
    )
    best = parabola.best()
    assert best[0] == 0.0
    assert parabola.information[0, 0] == 0.0
    np.testing.assert_allclose(best[1], best[2], rtol=1e-9)
    assert abs(best[1]) > 1e-3


def test_a_value_known_without_error_holds_the_numbers_that_move_it():
    """Two columns of data that see one state without noise: their offsets can only move together."""
    rng = np.random.default_rng(2)
    system = replace(
        random_system(rng, 1, 2, N_STEPS),
        observation_matrix=np.array([[1.0], [2.0]]),
        observation_cov=np.zeros((2, 2)),
        observation_offset=np.zeros(2),
    )
    rows = stack_rows([random_observations(rng, system, N_STEPS)])
    index = frozen(np.zeros(N_STEPS, dtype=np.int64))
    columns = MeanColumns(
        Table(frozen(np.zeros((1, 1, 2))), index), Table(frozen(np.eye(2)[None]), index), np.zeros((1, 2))
    )
    parabola = mean_parabola(lay(system, rows), rows, columns)
    best = parabola.best()
    np.testing.assert_allclose(best[1], 2.0 * best[0], rtol=1e-9)
    assert abs(best[0]) > 1e-3


def test_the_best_of_a_made_up_parabola():
    parabola = MeanParabola(np.array([2.0, 0.0, 3.0]), np.diag([4.0, 0.0, 1.0]), np.diag([0.0, 0.0, 1.0]))
    assert parabola.best().tolist() == [0.5, 0.0, 0.0]
