"""The compiled regressions of many series: what the plain solve and the square root of the plain path give."""

from __future__ import annotations

import numpy as np
import pytest

from kalman_em.inference.regress_each import regress_each
from kalman_em.linalg import solve_symmetric


def moments(rng, n, q, r, n_rows=30):
    """Return residuals and regressors of n series in units of their own, and their second moments."""
    z = rng.normal(size=(n, n_rows, r)) @ rng.normal(size=(n, r, r)) * 10.0 ** rng.uniform(-6, 6, size=(n, 1, r))
    e = rng.normal(size=(n, n_rows, q)) * 10.0 ** rng.uniform(-6, 6, size=(n, 1, q))
    e += z @ rng.normal(size=(n, r, q)) * np.abs(e).mean(axis=1, keepdims=True) / np.abs(z).mean()
    products = [np.swapaxes(left, 1, 2) @ right for left, right in ((e, e), (e, z), (z, z))]
    return e, z, products


def regressed(products, columns, silent):
    n, q, r = products[1].shape
    change, scatter, sound = np.zeros((n, q, r)), np.full((n, q, q), np.nan), np.zeros(n, dtype=bool)
    given = [one.copy() for one in products]
    order = np.argsort(~columns, kind="stable")
    for one in (*given, order, silent):
        one.setflags(write=False)
    space = np.empty((q + r, q + r)), np.empty(q + r)
    regress_each(*given, order, int(columns.sum()), silent, *space, change, scatter, sound)
    return change, scatter, sound


@pytest.mark.parametrize("columns", [[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]])
@pytest.mark.parametrize("q", [1, 3])
def test_it_is_the_regression_row_by_row(columns, q):
    rng = np.random.default_rng(q)
    columns = np.array(columns, dtype=bool)
    e, z, products = moments(rng, 6, q, 4)
    silent = np.zeros((6, q), dtype=bool)
    silent[2, 0], silent[4] = True, True
    change, scatter, sound = regressed(products, columns, silent)
    assert sound.all()
    for g in range(6):
        expected = np.zeros((q, 4))
        if columns.any():
            gram = products[2][g][columns][:, columns]
            expected[:, columns] = solve_symmetric(gram, products[1][g][:, columns].T).T
        expected[silent[g]] = 0.0
        left = e[g] - z[g] @ expected.T
        size = np.sqrt((e[g] ** 2).sum(axis=0))
        unit = np.sqrt((z[g] ** 2).sum(axis=0))
        np.testing.assert_allclose(change[g] * unit, expected * unit, rtol=0.0, atol=1e-10 * size.max())
        np.testing.assert_allclose(scatter[g] / np.outer(size, size), left.T @ left / np.outer(size, size), atol=1e-10)
        assert np.array_equal(scatter[g], scatter[g].T)


def test_what_is_singular_is_left_to_the_plain_path():
    rng = np.random.default_rng(0)
    e, z, _ = moments(rng, 4, 2, 3)
    z[1, :, 2] = z[1, :, 0]
    e[2, :, 1] = 2.0 * e[2, :, 0]
    e[3, :, 0] = 0.0
    products = [np.swapaxes(left, 1, 2) @ right for left, right in ((e, e), (e, z), (z, z))]
    columns, silent = np.ones(3, dtype=bool), np.zeros((4, 2), dtype=bool)
    change, scatter, sound = regressed(products, columns, silent)
    assert sound.tolist() == [True, False, False, False]
    assert not change[1:].any()
    assert np.isfinite(scatter[0]).all()
