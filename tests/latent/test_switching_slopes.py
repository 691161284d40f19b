"""The slope of Kim's log-likelihood against differences, and the climb along it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.switching import EVERYTHING, model_of, some_params, some_rows

import kalman_em as kem
from kalman_em.em.quasi_newton import ascended
from kalman_em.frames import to_panel
from kalman_em.inference.switching_slopes import SeenRows, SwitchingSlopes, slope_scratch, unsee
from kalman_em.latent.switching_slopes import unit_steps


@pytest.mark.parametrize("switching", [("transition_cov",), EVERYTHING])
def test_the_slope_is_that_of_differences_in_every_free_number(switching):
    params = some_params(switching=switching)
    model = replace(model_of(params), initial_mean=kem.Full(), initial_cov=kem.Full())
    if switching != EVERYTHING:
        model = replace(model, regime_initial_probabilities=kem.Full())
    panel = kem.Panel([to_panel(values).series[0] for values in (some_rows(30), some_rows(11, seed=3))])
    problem = model.problem(panel)
    height, slope = problem.height_and_slope(params)
    assert height == pytest.approx(problem.e_step(params)[1], rel=1e-13)
    numbers = problem.free_numbers(params)
    assert len(slope) == len(numbers) == problem.n_parameters
    for k, number in enumerate(numbers):
        step = 1e-5 * max(abs(number), 0.1) * np.eye(len(numbers))[k]
        up, down = (problem.height(problem.with_numbers(params, numbers + sign * step)) for sign in (1.0, -1.0))
        assert slope[k] == pytest.approx((up - down) / (2.0 * step[k]), abs=1e-6, rel=1e-6)


def test_the_expected_information_is_the_curvature_of_what_the_m_step_climbs():
    params, values = some_params(switching=EVERYTHING), some_rows(60)
    model = replace(model_of(params), initial_mean=kem.Full(), regime_initial_probabilities=kem.Full())
    problem = model.problem(to_panel(values))
    expectations, _ = problem.e_step(params)
    # At its maximum the observed curvature is the expected one, for coefficients and noise apart.
    best = problem.most_likely(params, expectations)
    information, numbers = problem.information(best, expectations), problem.free_numbers(best)
    top = problem.expected(best, expectations)
    assert information.shape == (len(numbers), len(numbers))
    for k, number in enumerate(numbers):
        step = 1e-4 * max(abs(number), 0.1) * np.eye(len(numbers))[k]
        up, down = (
            problem.expected(problem.with_numbers(best, numbers + sign * step), expectations) for sign in (1.0, -1.0)
        )
        assert (2.0 * top - up - down) / step[k] ** 2 == pytest.approx(information[k, k], rel=2e-3, abs=1e-3)


def test_steps_of_an_information_are_of_its_inverse_and_finite_without_any():
    root = np.random.default_rng(0).normal(size=(3, 3))
    information = root @ root.T * np.array([1.0, 1e3, 1e-4])[:, None] * np.array([1.0, 1e3, 1e-4])
    steps = unit_steps(information)
    np.testing.assert_allclose(steps @ steps.T, np.linalg.inv(information), rtol=1e-8)
    assert np.isfinite(unit_steps(np.diag([1.0, 0.0]))).all()
    assert not unit_steps(np.zeros((2, 2))).any()


def test_a_climb_comes_back_from_where_there_is_no_height_and_never_falls():
    def pole(x):
        # log x - x: at its top in 1, without a value from 0 down.
        if x[0] <= 0.0:
            raise kem.NumericalError("no value there")
        return float(np.log(x[0]) - x[0]), np.array([1.0 / x[0] - 1.0])

    # The first step from 3 along the slope, five units long, would lead beyond 0.
    assert ascended(pole, np.array([3.0]), np.array([[5.0]])) == pytest.approx(1.0, abs=1e-4)
    start = np.array([-1.0])
    assert ascended(pole, start, np.eye(1)) is start
    top = np.array([1.0])
    assert ascended(pole, top, np.eye(1)) is top


def test_a_system_with_all_but_its_sensors_free_ends_at_a_maximum():
    rng = np.random.default_rng(2)
    moves = np.array([[[0.9, 0.2], [-0.1, 0.8]], [[0.5, -0.3], [0.2, 0.6]]])
    x, values = np.zeros(2), []
    for z in np.repeat([0, 1, 0, 1, 0], 30):
        x = moves[z] @ x + [0.5, 2.0][z] * rng.normal(size=2)
        values.append(x + 0.5 * rng.normal(size=2))
    model = kem.SwitchingLinearGaussian(
        2, 2, 2, switching=["transition_matrix", "transition_cov"], observation_matrix=kem.Fixed(np.eye(2))
    )
    fitted = kem.fit(model, np.array(values))
    assert fitted.em.stop_reason.is_converged
    assert fitted.em.n_falls == 0
    problem, end = fitted.problem, fitted.em.params
    steps = unit_steps(problem.information(end, problem.e_step(end)[0]))
    # What a move of a standard error promises.
    assert np.abs(steps.T @ problem.height_and_slope(end)[1]).max() < 1e-2


def test_one_column_keeps_to_its_space():
    scratch = slope_scratch(1, 1, 1)
    for array in scratch:
        array[...] = 1.0
    scratch.heights[...], scratch.square[0], scratch.square[1], scratch.small[...] = 2.0, 3.0, 5.0, np.nan
    one = np.ones((1, 1))
    rows = SeenRows(
        np.ones((1, 1, 1)), np.zeros(1, int), np.zeros((1, 1), int), np.ones(1, int), np.ones((1, 1, 1)), one[None]
    )
    found = SwitchingSlopes(*(np.zeros((1, 1, 1)) for _ in range(6)), *(np.zeros((1, 1)) for _ in range(4)))
    # Python, unlike compiled code, looks at the bounds.
    getattr(unsee, "py_func", unsee)(0, 0, 0, rows, found, scratch)
    # W A'm - h u, and (h (u u' - W) - W A'm u' - u m'A W) / 2 + W A' C A W, with h, m, C = 2, 3, 5 and all else 1.
    assert found.levels.tolist() == [[[-(3.0 - 2.0)]]]
    assert found.observation_covs.tolist() == [[[-3.0 + 5.0]]]
