"""Loadings of sensors without noise: their score, their standard errors, and a noise that goes to 0 beside them."""

from __future__ import annotations

import numpy as np
import pytest
from support.learning import problem_of

import kalman_em as kem
from kalman_em import Diagonal, LowRank
from kalman_em.inference.kalman import log_likelihood_by
from kalman_em.inference.numerics import AUTO
from kalman_em.inference.rows import lay
from kalman_em.models.free_coefficients import FreeCoefficients
from kalman_em.models.score import Numbers
from kalman_em.models.silent_loadings import are_turned


def columns(n_steps=40, seed=0, silent=(1,)):
    """Return three columns on a common walk, `silent` of them without noise, with some values missing."""
    rng = np.random.default_rng(seed)
    walks = rng.normal(size=(n_steps, 2)).cumsum(axis=0)
    values = walks @ np.array([[1.0, -2.0, 0.5], [0.3, 0.4, 0.8]]) + np.array([5.0, 0.0, 10.0])
    noise = 0.5 * rng.normal(size=values.shape)
    noise[:, list(silent)] = 0.0
    values += noise
    values[4:6, 0], values[8, 1], values[12] = np.nan, np.nan, np.nan
    return values


def learnt(model, series, silent):
    """Return the problem and a system near its start, with R at 0 in the columns `silent`."""
    problem, _ = problem_of(model, *series)
    start = model.start(problem.specification, kem.Panel(list(series)))
    R = start.observation_cov.copy()
    for column in silent:
        R[column, column] = 0.0
    return problem, start.replaced(observation_cov=R)


@pytest.mark.parametrize(
    ("model", "silent"),
    [
        (kem.LocalLevel(level_cov=LowRank(1), observation_cov=Diagonal()), (1,)),
        (kem.LocalLevel(level_cov=LowRank(2), observation_cov=Diagonal()), (0, 1)),
        (kem.LocalLevel(level_cov=LowRank(2), observation_cov=Diagonal()), (2,)),
        (
            kem.LocalLevel(level_cov=LowRank(1), observation_cov=Diagonal()) + kem.Seasonal(4, seasonal_cov=LowRank(2)),
            (0,),
        ),
    ],
    ids=["one of one", "two of two", "one of two", "beside waves"],
)
def test_the_score_of_a_row_without_noise_is_the_derivative_of_the_likelihood(model, silent):
    series = [kem.Observations(columns(n, n)) for n in (18, 14)]
    problem, system = learnt(model, series, silent)
    numbers = Numbers(problem.specification, system, problem.rows)
    score, information = numbers.score(numbers.start)

    def height(vector):
        return log_likelihood_by(lay(numbers.system(vector), problem.rows), problem.rows, AUTO)

    n = problem.specification.constraint("observation_matrix").n_free
    for k in range(n):
        step = np.zeros(len(score))
        step[k] = 1e-5 * abs(numbers.start[:n]).max()
        slope = (height(numbers.start + step) - height(numbers.start - step)) / (2.0 * step[k])
        assert score[k] == pytest.approx(slope, rel=1e-4, abs=1e-4)
        assert information[k] > 0.0
    coefficients = FreeCoefficients(problem.specification, system, problem.rows, problem.e_step(system)[0])
    ours = coefficients.score(system, coefficients.expectations) / coefficients.units
    np.testing.assert_allclose(ours, score[:n], rtol=1e-8)


def test_a_noise_with_its_maximum_at_zero_goes_there_and_the_loadings_go_on():
    model = kem.LocalLevel(level_cov=LowRank(1), observation_cov=Diagonal())
    walk = np.random.default_rng(7).normal(size=60).cumsum()
    noise = np.random.default_rng(8).normal(size=(60, 3)) * np.array([0.6, 0.0, 0.9])
    values = walk[:, None] * np.array([1.0, 0.7, -0.4]) + noise
    fitted = kem.fit(model, values)
    assert fitted.em.stop_reason.is_converged
    assert fitted.params.observation_cov[1, 1] == 0.0
    assert "observation_cov[1, 1] went to 0, where the likelihood is highest" in fitted.em.detail
    errors = fitted.standard_errors
    assert np.all(np.isfinite(errors.level_loadings))
    # Of a walk that is seen exactly: the standard deviation of its moves, known from n - 1 of them.
    moves = np.diff(values[:, 1])
    assert fitted.params.level_loadings[1, 0] == pytest.approx(np.sqrt(np.mean(moves**2)), rel=1e-3)
    # What is known of it says nothing of the noises of the other columns, nor they of it.
    assert errors.level_loadings[1, 0] == pytest.approx(np.sqrt(np.mean(moves**2) / (2 * 59)), rel=1e-2)
    assert list(errors.reasons) == ["observation_cov"]


def test_rows_that_no_turn_can_tell_apart_are_left():
    model = kem.LocalLevel(level_cov=LowRank(1), observation_cov=Diagonal())
    problem, system = learnt(model, [kem.Observations(columns(20))], ())
    assert are_turned(problem.specification, system, (1,))
    assert not are_turned(problem.specification, system, (0, 1))
    plain = kem.LocalLevel(level_cov=kem.Full(), observation_cov=Diagonal())
    problem, system = learnt(plain, [kem.Observations(columns(20))], ())
    assert not are_turned(problem.specification, system, (1,))
