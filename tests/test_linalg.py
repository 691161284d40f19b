"""Covariances: what is accepted, what is not, and solves and roots of singular ones."""

from __future__ import annotations

import numpy as np
import pytest

from kalman_em.errors import InputError
from kalman_em.linalg import (
    checked_covariance,
    smallest_scaled_eigenvalue,
    solve_each,
    solve_symmetric,
    square_root,
    square_roots,
    symmetrised,
)


def random_psd(rng, dim, rank):
    factor = rng.normal(size=(dim, rank))
    return factor @ factor.T


def test_symmetrised_is_exactly_symmetric():
    matrix = np.random.default_rng(0).normal(size=(4, 5, 5))
    result = symmetrised(matrix)
    assert np.array_equal(result, np.swapaxes(result, 1, 2))
    assert np.array_equal(symmetrised(result), result)


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        ([[1.0, 0.5], [0.2, 1.0]], "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "positive semi-definite"),
        ([[-1.0, 0.0], [0.0, 1.0]], "positive semi-definite"),
        ([[0.0, 1e-3], [1e-3, 1.0]], "positive semi-definite"),
        ([[1.0]], "shape"),
        ([1.0, 2.0], "shape"),
    ],
)
def test_what_is_no_covariance_is_refused_by_name(matrix, complaint):
    with pytest.raises(InputError, match=f"^noise: .*{complaint}"):
        checked_covariance(np.array(matrix), 2, "noise")


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_singular_covariances_and_rounding_are_accepted_in_any_unit(unit):
    singular = unit * np.array([[1.0, 1e3], [1e3, 1e6]])
    off = singular.copy()
    off[0, 1] *= 1.0 + 1e-13
    assert np.array_equal(checked_covariance(singular, 2, "noise"), singular)
    assert np.array_equal(checked_covariance(off, 2, "noise"), checked_covariance(off, 2, "noise").T)
    assert checked_covariance(np.zeros((2, 2)), 2, "noise").flags.writeable is False


def test_the_scaled_eigenvalue_does_not_depend_on_units():
    matrix = random_psd(np.random.default_rng(1), 3, 3)
    units = np.array([1e-6, 1.0, 1e6])
    rescaled = matrix * np.outer(units, units)
    assert smallest_scaled_eigenvalue(rescaled) == pytest.approx(float(smallest_scaled_eigenvalue(matrix)))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_solving_with_a_singular_matrix_in_mixed_units(rank):
    rng = np.random.default_rng(2)
    units = np.array([1e-5, 1.0, 1e5])
    matrix = random_psd(rng, 3, rank) * np.outer(units, units)
    right = matrix @ rng.normal(size=(3, 2))
    assert np.allclose((matrix @ solve_symmetric(matrix, right)) / units[:, None], right / units[:, None], rtol=1e-8)
    if rank == 3:
        assert np.allclose(solve_symmetric(matrix, right), np.linalg.solve(matrix, right), rtol=1e-3)


@pytest.mark.parametrize("rank", [0, 1, 3, 4])
def test_a_square_root_gives_the_matrix_back(rank):
    units = np.array([1e-5, 1.0, 1e5, 1.0])
    matrix = random_psd(np.random.default_rng(3), 4, rank) * np.outer(units, units) if rank else np.zeros((4, 4))
    root = square_root(matrix)
    scale = np.sqrt(np.outer(np.diag(matrix), np.diag(matrix))) + (rank == 0)
    assert np.allclose(root @ root.T / scale, matrix / scale, atol=1e-12)


def test_each_of_many_is_solved_and_rooted_as_it_is_alone():
    rng = np.random.default_rng(5)
    matrices = np.array([random_psd(rng, 3, rank) for rank in (3, 2, 3, 1, 3, 3, 2)])
    matrices[4] *= np.outer([1e-5, 1.0, 1e5], [1e-5, 1.0, 1e5])
    matrices[5, 2], matrices[5, :, 2] = 0.0, 0.0
    right = matrices @ rng.normal(size=(7, 3, 2))
    solved, roots = solve_each(matrices, right), square_roots(matrices)
    for k, matrix in enumerate(matrices):
        assert np.array_equal(solved[k], solve_symmetric(matrix, right[k]))
        assert np.array_equal(roots[k], square_root(matrix))
        np.testing.assert_allclose(matrix @ solved[k], right[k], rtol=1e-10, atol=1e-10 * np.abs(right[k]).max())
        np.testing.assert_allclose(roots[k] @ roots[k].T, matrix, rtol=1e-10, atol=1e-10 * np.abs(matrix).max())


def test_what_has_a_cholesky_factor_but_is_nearly_singular_is_solved_without_its_null_direction():
    nearly = np.array([[1.0, 1.0], [1.0, 1.0 + 4e-16]])
    assert np.linalg.cholesky(nearly)[1, 1] > 0.0
    np.testing.assert_allclose(solve_symmetric(nearly, np.ones((2, 1))), [[0.5], [0.5]], rtol=1e-12)


def test_a_single_equation_is_a_quotient_and_one_without_weight_says_nothing():
    found = solve_each(np.array([2.0, 0.0, 1e-200]).reshape(3, 1, 1), np.array([[[3.0, -1.0]]] * 3))
    np.testing.assert_allclose(found[:, 0], [[1.5, -0.5], [0.0, 0.0], [3e200, -1e200]], rtol=1e-15)
