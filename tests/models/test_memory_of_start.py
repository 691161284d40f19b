"""A first state that is known exactly and never forgotten: the noise then follows from the data and its digits."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.fitting.learning import stated
from kalman_em.models.leading import rows_of
from kalman_em.models.memory_of_start import keeps_start
from kalman_em.models.problem import LeapingProblem
from kalman_em.models.scale import data_scale


def average(weight, *, noise=0.0, first=0.0, change=None, unit=1.0, **others):
    """Return y[t] = e[t] + weight e[t-1], seen with `noise`, in another basis of the states and another unit."""
    T = np.eye(2) if change is None else np.asarray(change)
    back = np.linalg.inv(T)
    return kem.LinearGaussianSystem(
        **{
            "transition_matrix": T @ [[0.0, 0.0], [1.0, 0.0]] @ back,
            "transition_cov": T @ np.diag([1.0, 0.0]) @ T.T,
            "observation_matrix": unit * np.array([[1.0, weight]]) @ back,
            "observation_cov": [[noise * unit**2]],
            "initial_mean": [0.0, 0.0],
            "initial_cov": first * np.eye(2),
        }
        | others
    )


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("change", [np.eye(2), [[3.0, 1.0], [-40.0, 2.0]]])
def test_it_is_kept_where_the_noise_is_told_by_what_comes_later(unit, change):
    assert keeps_start(average(2.0, unit=unit, change=change), 100)
    assert not keeps_start(average(0.5, unit=unit, change=change), 100)
    # A tenth more a row is nothing over five rows, and all over a hundred.
    assert keeps_start(average(1.1, unit=unit, change=change), 100)
    assert not keeps_start(average(1.1, unit=unit, change=change), 5)


def test_a_variance_of_the_start_or_a_noise_of_its_own_ends_it():
    assert not keeps_start(average(2.0, first=1e-6), 100)
    assert not keeps_start(average(2.0, noise=0.01), 100)
    assert not keeps_start(average(2.0, initial_diffuse=[True, True]), 100)


def test_a_state_that_grows_by_itself_is_no_sign_of_it():
    """A zero that is a mode without noise, of a state that explodes or stays, is what the states do by themselves."""
    for factor in (1.2, 1.0):
        system = kem.LinearGaussianSystem(
            transition_matrix=[[0.5, 0.0], [0.0, factor]],
            transition_cov=np.diag([1.0, 0.0]),
            observation_matrix=[[1.0, 1.0]],
            observation_cov=[[0.0]],
            initial_mean=[0.0, 1.0],
            initial_cov=np.zeros((2, 2)),
        )
        assert not keeps_start(system, 1000)


def test_the_noise_is_selected_and_the_columns_are_taken_together():
    chosen = average(2.0, transition_cov=[[4.0]], noise_selection=[[1.0], [0.0]])
    assert keeps_start(chosen, 100)
    two = {
        "transition_matrix": np.kron(np.eye(2), [[0.0, 0.0], [1.0, 0.0]]),
        "transition_cov": np.diag([1.0, 0.0, 1.0, 0.0]),
        "observation_cov": np.zeros((2, 2)),
        "initial_mean": np.zeros(4),
        "initial_cov": np.zeros((4, 4)),
    }
    for weights, expected in (((0.5, 2.0), True), ((0.5, -0.3), False)):
        H = np.block([[1.0, weights[0], 0.0, 0.0], [0.0, 0.0, 1.0, weights[1]]])
        assert keeps_start(kem.LinearGaussianSystem(observation_matrix=H.reshape(2, 4), **two), 100) is expected


def test_a_run_that_ends_there_says_so_and_what_to_try():
    values = np.random.default_rng(0).standard_normal(60)
    specification, panel = stated(kem.LinearGaussian(2, 1), values)
    problem = LeapingProblem(specification, rows_of(panel, specification), data_scale(panel))
    reason, note = problem.examine_end(average(2.0))
    assert reason is kem.StopReason.degenerate_covariance
    assert "initial_cov=Stationary()" in note
    assert problem.examine_end(average(0.5)) is None
    held = kem.LinearGaussian(2, 1, initial_mean=kem.Fixed([0.0, 0.0]), initial_cov=kem.Fixed(np.zeros((2, 2))))
    specification, panel = stated(held, values)
    assert LeapingProblem(specification, problem.rows, problem.scale).examine_end(average(2.0)) is None


def stated_average(cov):
    """Return the model of `average(2.0)` with the first state to learn, and this form of the noise of e[t]."""
    return kem.LinearGaussian(
        2,
        1,
        transition_matrix=kem.Fixed([[0.0, 0.0], [1.0, 0.0]]),
        transition_cov=kem.BlockDiagonal([(cov, 1), (kem.Fixed([[0.0]]), 1)]),
        observation_matrix=kem.Fixed([[1.0, 2.0]]),
        observation_cov=kem.Fixed([[1e-9]]),
        initial_mean=kem.Full(),
        initial_cov=kem.Fixed(np.zeros((2, 2))),
    )


@pytest.mark.parametrize("method", ["em", "plain"])
def test_many_fits_at_once_end_as_each_by_itself(method):
    noise = np.random.default_rng(0).standard_normal((2, 13))
    series = list(noise[:, 1:] + 2.0 * noise[:, :-1])
    fits = kem.fit_each(stated_average(kem.Full()), series, method=method, numerics="standard")
    for k, one in enumerate(series):
        alone = kem.fit(stated_average(kem.Full()), one, method=method, numerics="standard")
        assert alone.em.stop_reason is kem.StopReason.degenerate_covariance
        assert (fits[k].em.stop_reason, fits[k].em.detail) == (alone.em.stop_reason, alone.em.detail)


def test_where_only_means_are_learnt_the_likelihood_has_a_maximum():
    noise = np.random.default_rng(0).standard_normal(13)
    fitted = kem.fit(stated_average(kem.Fixed([[1.0]])), noise[1:] + 2.0 * noise[:-1])
    assert keeps_start(fitted.system, 12)
    assert fitted.em.stop_reason is kem.StopReason.converged
