"""The stationary distribution of the states, beside scipy's Lyapunov solver and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from support.systems import random_cov, random_transition

import kalman_em as kem
from kalman_em.inference.stationary import outermost_eigenvalue, stationary_cov, stationary_gradients, stationary_mean


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rank", [None, 1, 0])
def test_moments_solve_their_equations(seed, rank):
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 7))
    F, Q, b = random_transition(rng, d), random_cov(rng, d, rank=rank), rng.normal(size=d)
    m, P = kem.stationary_moments(F, Q, b)
    np.testing.assert_allclose(m, F @ m + b, rtol=1e-12, atol=1e-12)
    size = np.abs(P).max(initial=1.0)
    np.testing.assert_allclose(P, scipy.linalg.solve_discrete_lyapunov(F, Q), rtol=0.0, atol=1e-11 * size)
    assert np.array_equal(P, P.T)
    assert np.linalg.eigvalsh(P).min() >= -1e-14 * size


def test_noise_that_enters_some_rows_reaches_the_others():
    """An AR(2) in companion form: its autocovariances (Hamilton 1994, equations 3.4.26 to 3.4.30)."""
    first, second, q = 1.2, -0.5, 2.0
    _, P = kem.stationary_moments([[first, second], [1.0, 0.0]], [[q]], noise_selection=[[1.0], [0.0]])
    variance = (1.0 - second) * q / ((1.0 + second) * ((1.0 - second) ** 2 - first**2))
    np.testing.assert_allclose(P, variance * np.array([[1.0, first / (1 - second)], [first / (1 - second), 1.0]]))


@pytest.mark.parametrize("phi", [0.0, 0.5, -0.999, 1.0 - 1e-6])
def test_one_state(phi):
    _, P = kem.stationary_moments([[phi]], [[3.0]])
    assert P[0, 0] == pytest.approx(3.0 / ((1.0 - phi) * (1.0 + phi)), rel=1e-9)


def test_units_of_the_states_come_out_as_they_went_in():
    rng = np.random.default_rng(3)
    F, Q = random_transition(rng, 3), random_cov(rng, 3)
    unit = np.array([2.0**-30, 1.0, 2.0**30])
    _, P = kem.stationary_moments(F, Q)
    _, scaled = kem.stationary_moments(F * np.outer(unit, 1.0 / unit), Q * np.outer(unit, unit))
    np.testing.assert_allclose(scaled / np.outer(unit, unit), P, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_differences(seed):
    rng = np.random.default_rng(seed)
    d = 3
    F, Q, b = random_transition(rng, d, radius=0.8), random_cov(rng, d), rng.normal(size=d)
    in_mean, in_cov = rng.normal(size=d), random_cov(rng, d) - random_cov(rng, d)

    def value(F, b, Q):
        return in_mean @ stationary_mean(F, b) + np.sum(in_cov * stationary_cov(F, Q))

    found = stationary_gradients(F, stationary_cov(F, Q), stationary_mean(F, b), in_mean, in_cov)
    for which, gradient in enumerate(found):
        step = rng.normal(size=gradient.shape)
        step = step + step.T if which == 2 else step
        moved = [[x + sign * 1e-6 * step if i == which else x for i, x in enumerate((F, b, Q))] for sign in (1, -1)]
        slope = (value(*moved[0]) - value(*moved[1])) / 2e-6
        assert np.sum(gradient * step) == pytest.approx(slope, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([[1.0]], [[1.0]]), "the eigenvalue 1 of modulus 1"),
        (([[0.0, 1.1], [-1.1, 0.0]], np.eye(2)), "modulus 1.1"),
        (([0.5], [[1.0]]), r"transition_matrix: expected shape \(d, d\)"),
        (([[0.5]], np.eye(2)), "transition_cov: expected shape"),
        (([[0.5]], [1.0]), "transition_cov: expected shape"),
        (([[0.5]], [[-1.0]]), "positive semi-definite"),
        (([[0.5]], [[1.0]], [1.0, 2.0]), "transition_offset: expected shape"),
    ],
)
def test_what_has_no_such_distribution_is_refused(arguments, said):
    with pytest.raises(kem.InputError, match=said):
        kem.stationary_moments(*arguments)


def test_the_outermost_eigenvalue_may_be_complex():
    assert abs(outermost_eigenvalue(np.array([[0.0, 0.9], [-0.9, 0.0]]))) == pytest.approx(0.9)
