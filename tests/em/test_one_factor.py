"""One factor gives the change and the scatter of the plain regression M-step, or says that it keeps no digits."""

from __future__ import annotations

import numpy as np
import pytest

from kalman_em.em.constraints import JointConstraint
from kalman_em.em.one_factor import regressed
from kalman_em.em.regression import Moments, best_change, best_change_and_noise, scatter_after


def moments_of(rng, q=2, r=3, units=1.0):
    z = rng.normal(size=(30, r)) * units
    e = z @ rng.normal(size=(r, q)) / np.mean(units) + rng.normal(size=(30, q))
    return Moments((e.T @ e)[None], (e.T @ z)[None], (z.T @ z)[None], np.array([30.0]))


def constraint_of(columns, q=2):
    """Return the constraint with some columns of M free."""
    free = np.broadcast_to(columns, (q, len(columns))).ravel()
    return JointConstraint(q, len(columns), np.eye(len(free))[:, free])


@pytest.mark.parametrize("columns", [[True, True, True], [True, False, True], [False, False, True]])
@pytest.mark.parametrize("units", [1.0, np.array([1e-9, 1.0, 1e9])], ids=["one unit", "others"])
def test_it_is_the_plain_step(columns, units):
    moments, constraint = moments_of(np.random.default_rng(1), units=units), constraint_of(np.array(columns))
    order, n_free = constraint.free_first
    change, scatter = regressed(moments.residual[0], moments.cross[0], moments.regressor[0], order, n_free)
    plain = best_change(moments, constraint, np.eye(2)[None])
    np.testing.assert_allclose(change, plain, rtol=1e-11, atol=0.0)
    np.testing.assert_allclose(scatter, scatter_after(moments, plain)[0], rtol=1e-11)
    assert np.array_equal(scatter, scatter.T)


def test_the_m_step_takes_it():
    moments, constraint = moments_of(np.random.default_rng(2)), constraint_of(np.array([True, True, False]))
    seen = []

    def most_likely(scatter, counts, near):
        seen.append((scatter, counts, near))
        return scatter[0]

    change, cov = best_change_and_noise(moments, constraint, np.eye(2), most_likely)
    plain = best_change(moments, constraint, np.eye(2)[None])
    np.testing.assert_allclose(change, plain, rtol=1e-11)
    np.testing.assert_allclose(cov, scatter_after(moments, plain)[0] / 30.0, rtol=1e-11)
    assert len(seen) == 1


def test_rows_without_noise_keep_their_coefficients():
    moments, constraint = moments_of(np.random.default_rng(3)), constraint_of(np.array([True, True, True]))
    change, _ = best_change_and_noise(
        moments, constraint, np.diag([1.0, 0.0]), lambda scatter, counts, near: scatter[0]
    )
    assert np.all(change[0] != 0.0)
    assert np.all(change[1] == 0.0)


def test_what_is_nearly_singular_is_left_to_the_plain_step():
    rng = np.random.default_rng(4)
    z = rng.normal(size=(30, 2))
    z[:, 1] = z[:, 0] * (1.0 + 1e-9)
    e = rng.normal(size=(30, 1))
    order = np.arange(2)
    assert regressed(e.T @ e, e.T @ z, z.T @ z, order, 2) is None
    assert regressed(np.zeros((1, 1)), np.zeros((1, 2)), np.eye(2), order, 2) is None
    exact = z[:, :1] * 2.0
    assert regressed(exact.T @ exact, exact.T @ z[:, :1], z[:, :1].T @ z[:, :1], order[:1], 1) is None
