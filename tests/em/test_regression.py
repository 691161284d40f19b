"""The regression M-step on made-up moments: exact rows stay, scatter stays definite, the maximum is the joint one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from kalman_em.em.constraints import join
from kalman_em.em.forms import Diagonal, Fixed, Full, Isotropic, Partly
from kalman_em.em.regression import Moments, best_change, best_change_and_noise, scatter_after

FIRST_ROW = Partly(np.zeros((2, 2)), free=np.array([[True, True], [False, False]]))


def moments_of(rng, n_rows=(9,), q=2, r=2):
    """Return the moments of residuals e and regressors z drawn together, one group a number of rows."""
    parts = []
    for n in n_rows:
        z = rng.normal(size=(n, r))
        e = z @ rng.normal(size=(r, q)) + rng.normal(size=(n, q))
        parts.append((e.T @ e, e.T @ z, z.T @ z, float(n)))
    return Moments(*(np.array(part) for part in zip(*parts, strict=True)))


def expected_log_likelihood(moments, change, covs):
    total = 0.0
    for g, cov in enumerate(covs):
        moved = change @ moments.cross[g].T
        scatter = moments.residual[g] - moved - moved.T + change @ moments.regressor[g] @ change.T
        total -= 0.5 * (moments.count[g] * np.linalg.slogdet(cov)[1] + np.trace(np.linalg.solve(cov, scatter)))
    return total


@pytest.mark.parametrize(
    "forms",
    [
        (Full(), (2, 2)),
        (Diagonal(), (2, 2)),
        (Isotropic(), (2, 2)),
        (FIRST_ROW, (2, 2)),
    ],
    ids=["full", "diagonal", "isotropic", "one row of two"],
)
@pytest.mark.parametrize("n_rows", [(9,), (9, 5)])
def test_the_change_maximises_for_known_noise(forms, n_rows):
    rng = np.random.default_rng(1)
    moments = moments_of(rng, n_rows)
    constraint = join([forms[0].constraint(forms[1], "F")])
    covs = np.array([[[1.0, 0.6], [0.6, 2.0]], [[9.0, -1.0], [-1.0, 0.5]]])[: len(n_rows)]

    def height(free):
        return -expected_log_likelihood(moments, (constraint.design @ free).reshape(2, 2), covs)

    best = minimize(height, np.zeros(constraint.n_free), tol=1e-12)
    change = best_change(moments, constraint, covs)
    np.testing.assert_allclose(change, (constraint.design @ best.x).reshape(2, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", [Full(), Diagonal()], ids=str)
def test_a_row_without_noise_keeps_its_coefficients_bit_for_bit(form):
    """It fits exactly, so its cross moments are rounding, which must not be fitted."""
    moments = moments_of(np.random.default_rng(2))
    rounded = Moments(moments.residual, moments.cross * [[1.0], [1e-16]], moments.regressor, moments.count)
    constraint = join([form.constraint((2, 2), "F")])
    change = best_change(rounded, constraint, np.array([[[1.0, 0.0], [0.0, 0.0]]]))
    assert not change[1].any()
    assert change[0].any()


def test_rows_with_the_same_free_columns_need_one_solve_if_the_others_have_no_noise():
    """As in a companion matrix. Noise in the other rows would be correlated with theirs, and tell something of it."""
    moments = moments_of(np.random.default_rng(7))
    constraint = join([FIRST_ROW.constraint((2, 2), "F")])
    assert [part.tolist() for part in constraint.free_block] == [[True, False], [True, True]]
    assert constraint.free_columns is None
    regressed = np.linalg.solve(moments.regressor[0], moments.cross[0, 0])
    calls = []

    def most_likely(scatter, counts, near):
        calls.append(near)
        return np.diag([scatter[0, 0, 0], 0.0])

    change, cov = best_change_and_noise(moments, constraint, np.diag([1.0, 0.0]), most_likely)
    np.testing.assert_allclose(change, [regressed, [0.0, 0.0]], rtol=1e-9)
    assert cov[0, 0] == pytest.approx(scatter_after(moments, change)[0, 0, 0] / 9.0)
    assert len(calls) == 1
    beside = best_change(moments, constraint, np.array([[[1.0, 0.6], [0.6, 2.0]]]))
    assert np.abs(beside[0] - regressed).max() > 0.01


def test_a_row_that_is_quiet_in_one_group_only_is_learnt_from_the_other():
    moments = moments_of(np.random.default_rng(3), (9, 5))
    covs = np.array([np.diag([1.0, 0.0]), np.diag([1.0, 4.0])])
    change = best_change(moments, join([Full().constraint((2, 2), "F")]), covs)
    expected = np.linalg.solve(moments.regressor[1], moments.cross[1, 1])
    np.testing.assert_allclose(change[1], expected, rtol=1e-9)
    both = np.linalg.solve(moments.regressor.sum(0), moments.cross[:, 0].sum(0))
    np.testing.assert_allclose(change[0], both, rtol=1e-9)


def test_the_scatter_after_a_change_is_that_of_the_new_residuals():
    rng = np.random.default_rng(4)
    z, e = rng.normal(size=(7, 2)), rng.normal(size=(7, 3))
    change = rng.normal(size=(3, 2))
    moments = Moments((e.T @ e)[None], (e.T @ z)[None], (z.T @ z)[None], np.array([7.0]))
    left = e - z @ change.T
    np.testing.assert_allclose(scatter_after(moments, change)[0], left.T @ left, rtol=1e-9, atol=1e-10)
    assert scatter_after(moments, np.zeros((3, 2))) is moments.residual


def test_a_large_change_cannot_cancel_into_a_negative_variance():
    """e is z times 1e9 and a little noise: the difference of the second moments has no digit of it left."""
    rng = np.random.default_rng(5)
    z = rng.normal(size=(50, 1))
    e = 1e9 * z + rng.normal(size=(50, 1))
    moments = Moments((e.T @ e)[None], (e.T @ z)[None], (z.T @ z)[None], np.array([50.0]))
    for slope in (1e9, 1e9 + 1.0, 1e9 - 1.0):
        assert scatter_after(moments, np.array([[slope]])).item() >= 0.0


@pytest.mark.parametrize("form", [Diagonal(), Isotropic()], ids=str)
def test_change_and_noise_are_the_joint_maximum(form):
    """Where the noise weighs the rows of tied coefficients, one sweep of the two closed forms is not enough."""
    moments = moments_of(np.random.default_rng(6), (6,))
    constraint = join([Isotropic().constraint((2, 2), "F"), Fixed(0.0).constraint((2,), "b")])
    wide = Moments(
        moments.residual, np.pad(moments.cross, ((0, 0), (0, 0), (0, 1))), np.zeros((1, 3, 3)), moments.count
    )
    wide.regressor[0, :2, :2] = moments.regressor[0]
    wide.regressor[0, 2, 2] = 6.0
    start = np.diag([1.0, 100.0])
    change, cov = best_change_and_noise(
        wide, constraint, start, lambda scatter, counts, near: form.most_likely(scatter[0])
    )

    def height(v):
        variances = np.exp(v[1:]) if isinstance(form, Diagonal) else np.repeat(np.exp(v[1]), 2)
        return -expected_log_likelihood(moments, v[0] * np.eye(2), [np.diag(variances)])

    best = minimize(height, np.zeros(3 if isinstance(form, Diagonal) else 2), tol=1e-14)
    np.testing.assert_allclose(change[:, :2], best.x[0] * np.eye(2), atol=1e-5)
    variances = np.exp(best.x[1:])
    np.testing.assert_allclose(np.diagonal(cov), np.resize(variances, 2), rtol=1e-4)
    # Nothing moves any more: another round gives the same to rounding.
    again, same = best_change_and_noise(
        wide, constraint, cov, lambda scatter, counts, near: form.most_likely(scatter[0])
    )
    np.testing.assert_allclose(again, change, rtol=0.0, atol=1e-11)
    np.testing.assert_allclose(same, cov, rtol=1e-11)


def test_a_combination_of_rows_without_noise_stays_as_it_is():
    """e has one direction of noise, (1, 2): only changes along it are possible, and the best of those is taken."""
    rng = np.random.default_rng(6)
    direction = np.array([1.0, 2.0])
    z = rng.normal(size=(40, 2))
    shock = z @ np.array([0.3, -0.2]) + rng.normal(size=40)
    e = np.outer(shock, direction)
    moments = Moments((e.T @ e)[None], (e.T @ z)[None], (z.T @ z)[None], np.array([40.0]))
    noise = np.outer(direction, direction)[None]
    diagonal = join([Diagonal().constraint((2, 2), "F")])
    assert np.allclose(best_change(moments, diagonal, noise), 0.0, atol=1e-12)
    full = best_change(moments, join([Full().constraint((2, 2), "F")]), noise)
    least_squares = np.outer(direction, np.linalg.lstsq(z, shock, rcond=None)[0])
    assert np.allclose(full, least_squares, rtol=1e-9)
    # A vector of ones in place of z: both offsets may move, together.
    ones = np.ones((40, 1))
    moments = Moments((e.T @ e)[None], (e.T @ ones)[None], np.array([[[40.0]]]), np.array([40.0]))
    beside = join([Full().constraint((2,), "b")])
    pooled = best_change(
        Moments(*(np.repeat(part, 2, axis=0) for part in moments._parts())), beside, noise.repeat(2, 0)
    )
    assert np.allclose(pooled[:, 0], direction * shock.mean(), rtol=1e-9)
