"""Units and origin of the data, for the models that do not take rows as steps, and for those of several columns."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem

BRIEF = kem.Stopping(max_iterations=12, relative_tolerance=0.0, parameter_tolerance=0.0)
TWO = np.cumsum(np.cumsum(np.random.default_rng(0).normal(size=(40, 2)), axis=0), axis=0)
TWO = TWO + np.random.default_rng(1).normal(size=(40, 2))
TWO[[4, 5], 0] = np.nan
TIMES = np.cumsum(np.random.default_rng(2).exponential(size=40))
STILL = np.random.default_rng(3).normal(size=(40, 3))
STILL = STILL + 0.8 * np.vstack([np.zeros((1, 3)), STILL[:-1]]) + np.random.default_rng(4).normal(size=(40, 1))

# The model, its data, and whether a constant added to the data is taken up by an offset or a diffuse state.
MODELS = {
    "RandomWalk": (kem.RandomWalk(dim=2), TWO, True),
    "ConstantVelocity": (kem.ConstantVelocity(dim=2), TWO, True),
    "ConstantAcceleration": (kem.ConstantAcceleration(dim=2), TWO, True),
    "CorrelatedRandomWalk": (kem.CorrelatedRandomWalk(time_constant=kem.Full(), dim=2), TWO, True),
    "Singer": (kem.Singer(time_constant=3.0, dim=2), TWO, True),
    "CoordinatedTurn": (kem.CoordinatedTurn(turn_rate=0.2), TWO, True),
    "Irregular": (kem.Irregular(kem.LocalLinearTrend()), TWO, True),
    "ContinuousTime": (
        kem.ContinuousTime([[0.0, 1.0], [-1.0, -0.3]], [[0.0], [1.0]], [[1.0, 0.0], [0.0, 1.0]]),
        TWO,
        False,
    ),
    "VectorAutoregression": (kem.VectorAutoregression(1), STILL, True),
    "DynamicFactor": (kem.DynamicFactor(1), STILL, True),
    "DynamicFactor, idiosyncratic": (kem.DynamicFactor(1, idiosyncratic=True), STILL, True),
    "DampedTrend": (kem.DampedTrend(), TWO[:, :1], True),
    "LocalLevel + Autoregression": (kem.LocalLevel() + kem.Autoregression(1), TWO[:, :1], True),
    "LocalLevel + Cycle": (kem.LocalLevel() + kem.Cycle(), TWO[:, :1], True),
}


def fitted(name, values):
    model, data, _ = MODELS[name]
    times = TIMES if data is TWO else None
    return kem.fit(model, kem.Observations(values, times=times), stopping=BRIEF, method="plain")


def signal(fit):
    system = fit.system
    return fit.smooth().smoothed_means @ system.observation_matrix.T + system.observation_offset


def furthest(plain, moved, units, origin=0.0):
    """Return how far two fits are apart, the second brought back to the first one's units: signals and R, relative."""
    expected = signal(plain) * units + origin
    sizes = np.nanstd(expected, axis=0) + 1e-9 * np.abs(origin)
    back = moved.params.observation_cov / np.outer(units, units)
    size = np.abs(plain.params.observation_cov).max()
    return max(
        np.abs((signal(moved) - expected) / sizes).max(), np.abs(back - plain.params.observation_cov).max() / size
    )


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize("name", MODELS)
def test_units_of_the_data(name, unit):
    _, values, _ = MODELS[name]
    plain, moved = fitted(name, values), fitted(name, unit * values)
    assert moved.em.n_iterations == plain.em.n_iterations
    assert furthest(plain, moved, np.full(values.shape[1], unit)) < 1e-5


# One density for all axes is of their common unit.
BY_COLUMNS = ("Irregular", "VectorAutoregression", "DynamicFactor", "DynamicFactor, idiosyncratic")


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize("name", BY_COLUMNS)
def test_units_of_one_column(name, unit):
    _, values, _ = MODELS[name]
    units = np.ones(values.shape[1])
    units[1] = unit
    plain, moved = fitted(name, values), fitted(name, units * values)
    assert moved.em.n_iterations == plain.em.n_iterations
    assert furthest(plain, moved, units) < 1e-5


@pytest.mark.parametrize("name", [n for n in MODELS if MODELS[n][2]])
def test_origin_of_the_data(name):
    _, values, _ = MODELS[name]
    plain, moved = fitted(name, values), fitted(name, values + 1e4)
    assert moved.em.n_iterations == plain.em.n_iterations
    assert furthest(plain, moved, np.ones(values.shape[1]), origin=1e4) < 1e-5
