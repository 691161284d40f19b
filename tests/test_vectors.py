"""Products of small matrices in vector instructions are those of numpy, for every number of states they know."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from kalman_em.vectors import add_multiple, multiply, multiply_crossed, solve_factored, subtract_square

DIMS = (1, 2, 3, 4)


def compiled(function):
    """Return what calls `function` from a kernel, for any number of arguments that it takes."""

    @numba.njit
    def of_three(size, a, b, c):
        function(size, a, b, c)

    @numba.njit
    def of_four(size, a, b, c, d):
        function(size, a, b, c, d)

    return {3: of_three, 4: of_four}


def called(function, d, *arguments):
    """Run `function` compiled for d states."""
    compiled(function)[len(arguments)]((0.0,) * d, *arguments)


def assert_near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("d", DIMS)
def test_products(d):
    rng = np.random.default_rng(3)
    start, left, right = rng.normal(size=(3, d, d))
    result = np.empty((d, d))
    called(multiply, d, start, left, right, result)
    assert_near(result, start + left @ right)
    called(multiply, d, None, left, right, result)
    assert_near(result, left @ right)
    called(multiply_crossed, d, start, left, right, result)
    assert_near(result, start + left.T @ right)


@pytest.mark.parametrize("d", DIMS)
def test_a_vector_times_a_matrix_in_place(d):
    rng = np.random.default_rng(3)
    start, vector = rng.normal(size=(2, d))
    matrix = rng.normal(size=(d, d))
    expected = start + vector @ matrix
    called(multiply, d, start, vector, matrix, vector)
    assert_near(vector, expected)


@pytest.mark.parametrize("d", DIMS)
def test_results_may_be_what_they_come_from(d):
    rng = np.random.default_rng(3)
    start, left = rng.normal(size=(2, d, d))
    for place in range(3):
        parts = [start.copy(), left.copy(), left.T.copy()]
        called(multiply, d, *parts, parts[place])
        assert_near(parts[place], start + left @ left.T)


@pytest.mark.parametrize("d", DIMS)
def test_multiples_of_vectors_and_matrices_are_added(d):
    rng = np.random.default_rng(3)
    for shape in ((d,), (d, d)):
        array, result = rng.normal(size=(2, *shape))
        expected = result + 0.7 * array
        called(add_multiple, d, 0.7, array, result)
        assert_near(result, expected)


@pytest.mark.parametrize("d", DIMS)
def test_what_a_square_is_taken_from_stays_symmetric_to_the_last_bit(d):
    rng = np.random.default_rng(3)
    root, vector = rng.normal(size=(d, d)), rng.normal(size=d)
    cov = root @ root.T
    cov = cov + cov.T
    result = cov.copy()
    called(subtract_square, d, vector, 0.3, result)
    assert_near(result, cov - 0.3 * np.outer(vector, vector))
    assert np.array_equal(result, result.T)


@pytest.mark.parametrize("d", DIMS)
def test_the_solve_reads_only_what_is_above_the_diagonal(d):
    rng = np.random.default_rng(3)
    upper, pivots, right = np.triu(rng.normal(size=(d, d)), 1), rng.uniform(0.5, 2.0, d), rng.normal(size=(d, d))
    U = upper + np.eye(d)
    result = np.empty((d, d))
    called(solve_factored, d, upper + np.tril(np.full((d, d), np.nan)), 1.0 / pivots, right, result)
    assert_near(result, np.linalg.solve(U @ np.diag(pivots) @ U.T, right))


def test_arrays_for_any_number_of_states_are_left_to_loops():
    result = np.full((5, 5), 7.0)

    @numba.njit
    def run(size, matrix):
        multiply(size, matrix, matrix, matrix, matrix)

    run(np.zeros(5), result)
    assert np.all(result == 7.0)


@pytest.mark.parametrize("array", [np.ones((3, 3), dtype=np.float32), np.asfortranarray(np.ones((3, 3)))])
def test_arrays_whose_rows_are_no_vectors_are_refused(array):
    with pytest.raises(TypingError, match="rows side by side"):
        called(multiply, 3, None, array, np.ones((3, 3)), np.ones((3, 3)))
