"""exp(A t) and the noise of a gap: against closed forms, many digits, and many small Euler steps."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from kalman_em.discretisation import moves, noise_covs, reachable_rank, roots, transition_matrices

GAPS = np.array([1e-6, 0.01, 0.7, 5.0, 300.0])
VELOCITY = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0], [1.0]])
ACCELERATION = np.diag([1.0, 1.0], 1), np.array([[0.0], [0.0], [1.0]])
DECAYING = np.array([[0.0, 1.0], [0.0, -0.3]]), np.array([[0.0], [1.0]])
SINGER = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -0.3]]), np.array([[0.0], [0.0], [1.0]])
TURN = np.array([[-0.1, 2.0], [-2.0, -0.1]]), np.eye(2)


def many_digits(drift, diffusion, gap):
    """F and Q by Van Loan's block matrix in 60 digits."""
    d = len(drift)
    with mpmath.workdps(60):
        block = mpmath.matrix(2 * d, 2 * d)
        density = diffusion @ diffusion.T
        for i in range(d):
            for j in range(d):
                block[i, j] = -mpmath.mpf(drift[i, j]) * gap
                block[i, d + j] = mpmath.mpf(density[i, j]) * gap
                block[d + i, d + j] = mpmath.mpf(drift[j, i]) * gap
        whole = mpmath.expm(block, method="taylor")
        F = whole[d : 2 * d, d : 2 * d].T
        Q = F * whole[0:d, d : 2 * d]
        return tuple(np.array([[float(M[i, j]) for j in range(d)] for i in range(d)]) for M in (F, Q))


@pytest.mark.parametrize("motion", [VELOCITY, ACCELERATION, DECAYING, SINGER, TURN])
def test_they_equal_van_loan_in_many_digits(motion):
    drift, diffusion = motion
    F, Q = transition_matrices(drift, GAPS), noise_covs(drift, diffusion, GAPS)
    for k, gap in enumerate(GAPS):
        exact_F, exact_Q = many_digits(drift, diffusion, mpmath.mpf(float(gap)))
        deviation = np.sqrt(np.diagonal(exact_Q))
        # exp turns a relative error of its argument into an absolute one: the turn by 600 rad costs three digits.
        assert np.abs(F[k] - exact_F).max() <= 1e-15 * max(np.abs(exact_F).max(), gap * 2.0)
        assert np.abs((Q[k] - exact_Q) / np.outer(deviation, deviation)).max() < 1e-14


def test_a_random_stable_motion_equals_van_loan():
    rng = np.random.default_rng(3)
    drift, diffusion = rng.normal(size=(4, 4)) - 2.0 * np.eye(4), rng.normal(size=(4, 2))
    exact_F, exact_Q = many_digits(drift, diffusion, mpmath.mpf("0.7"))
    np.testing.assert_allclose(transition_matrices(drift, np.array([0.7]))[0], exact_F, rtol=1e-13)
    np.testing.assert_allclose(noise_covs(drift, diffusion, np.array([0.7]))[0], exact_Q, rtol=1e-13)


def test_constant_velocity_and_acceleration_have_their_polynomials():
    t = GAPS
    np.testing.assert_allclose(
        noise_covs(*VELOCITY, t),
        np.moveaxis(np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]]), -1, 0),
        rtol=1e-15,
    )
    np.testing.assert_allclose(
        noise_covs(*ACCELERATION, t),
        np.moveaxis(
            np.array(
                [[t**5 / 20, t**4 / 8, t**3 / 6], [t**4 / 8, t**3 / 3, t**2 / 2], [t**3 / 6, t**2 / 2, t]],
            ),
            -1,
            0,
        ),
        rtol=1e-15,
    )


def test_a_decaying_velocity_has_its_exponentials_and_ends_in_its_stationary_spread():
    b, t = 0.3, np.array([0.7, 5.0, 300.0])
    F, Q = transition_matrices(DECAYING[0], t), noise_covs(*DECAYING, t)
    np.testing.assert_allclose(F[:, 0, 1], -np.expm1(-b * t) / b, rtol=1e-14)
    np.testing.assert_allclose(Q[:, 1, 1], -np.expm1(-2 * b * t) / (2 * b), rtol=1e-14)
    np.testing.assert_allclose(noise_covs(*DECAYING, np.array([1e7]))[0, 1, 1], 1 / (2 * b), rtol=1e-12)


@pytest.mark.parametrize("motion", [ACCELERATION, SINGER, TURN])
def test_a_gap_is_the_composition_of_many_small_euler_steps(motion):
    drift, diffusion = motion
    gap, n = 0.8, 20_000
    F, Q = np.eye(len(drift)), np.zeros_like(drift)
    step = np.eye(len(drift)) + drift * gap / n
    for _ in range(n):
        F, Q = step @ F, step @ Q @ step.T + diffusion @ diffusion.T * gap / n
    assert np.abs(transition_matrices(drift, np.array([gap]))[0] - F).max() < 1e-3 * np.abs(F).max()
    assert np.abs(noise_covs(drift, diffusion, np.array([gap]))[0] - Q).max() < 1e-3 * np.abs(Q).max()


@pytest.mark.parametrize("motion", [VELOCITY, SINGER, TURN])
def test_two_gaps_in_a_row_are_one(motion):
    drift, diffusion = motion
    (first, second, both) = noise_covs(drift, diffusion, np.array([0.3, 1.1, 1.4]))
    F = transition_matrices(drift, np.array([1.1]))[0]
    np.testing.assert_allclose(F @ first @ F.T + second, both, rtol=1e-13, atol=1e-15)


def test_the_reachable_rank_is_free_of_the_units_of_time_and_states():
    chain = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    last = np.array([[0.0], [0.0], [1.0]])
    for rate in (0.0, 1e-9, 1.0, 1e10):
        for unit in (1e-8, 1.0, 1e8):
            drift = chain + np.diag([0.0, 0.0, -rate])
            assert reachable_rank(drift, unit * last) == 3
    assert reachable_rank(-np.eye(2), np.array([[1.0], [1e8]])) == 1
    assert reachable_rank(chain, np.array([[1.0], [0.0], [0.0]])) == 1
    assert reachable_rank(np.zeros((3, 3)), np.eye(3)) == 3


def test_roots_give_the_covariances_back():
    covs = noise_covs(*SINGER, GAPS)
    found = roots(covs, 3)
    deviation = np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
    unit = deviation[:, :, None] * deviation[:, None, :]
    assert np.abs((found @ np.swapaxes(found, 1, 2) - covs) / unit).max() < 1e-14


@pytest.mark.parametrize("motion", [VELOCITY, SINGER, TURN], ids=["velocity", "singer", "turn"])
def test_both_in_one_are_what_each_is(motion):
    drift, diffusion = motion
    F, Q = moves(drift, diffusion, GAPS)
    np.testing.assert_allclose(F, transition_matrices(drift, GAPS), rtol=1e-15)
    np.testing.assert_array_equal(Q, noise_covs(drift, diffusion, GAPS))
