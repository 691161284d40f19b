"""Forms: linear constraints on coefficients, maximisers on covariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from kalman_em.em.constraints import join
from kalman_em.em.forms import BlockDiagonal, Diagonal, Fixed, Full, Isotropic, coefficient_form, covariance_form
from kalman_em.errors import InputError

SCATTER = np.array([[2.0, 0.6, -0.3], [0.6, 1.5, 0.2], [-0.3, 0.2, 0.7]])


def expected_log_likelihood(cov, scatter):
    return -np.linalg.slogdet(cov)[1] - np.trace(np.linalg.solve(cov, scatter))


@pytest.mark.parametrize(
    ("form", "build", "n_free"),
    [
        (Diagonal(), lambda v: np.diag(np.exp(v)), 3),
        (Isotropic(), lambda v: np.exp(v[0]) * np.eye(3), 1),
        (
            BlockDiagonal([(Isotropic(), 2), (Full(), 1)]),
            lambda v: np.diag(np.exp([v[0], v[0], v[1]])),
            2,
        ),
    ],
)
def test_a_covariance_form_maximises(form, build, n_free):
    best = minimize(lambda v: -expected_log_likelihood(build(v), SCATTER), np.zeros(n_free), tol=1e-12)
    assert np.allclose(form.most_likely(SCATTER), build(best.x), rtol=1e-5)
    assert form.n_free_in_covariance(3) == n_free


def test_full_returns_the_scatter_and_fixed_its_own_value_bit_for_bit():
    assert np.array_equal(Full().most_likely(SCATTER), SCATTER)
    value = np.array([[0.1 + 0.2, 1e-17], [1e-17, 3.0]])
    assert np.array_equal(Fixed(value).most_likely(np.eye(2)), value)
    assert Full().n_free_in_covariance(3) == 6
    assert Fixed(value).n_free_in_covariance(2) == 0


def test_the_most_likely_covariance_is_exactly_symmetric():
    """Rounding leaves a scatter a little asymmetric; a covariance that keeps it grows it from step to step."""
    rounded = SCATTER.copy()
    rounded[0, 1] *= 1.0 + 1e-14
    rounded[2, 1] *= 1.0 - 1e-14
    assert not np.array_equal(rounded, rounded.T)
    for form in (Full(), BlockDiagonal([(Full(), 2), (Full(), 1)])):
        cov = form.most_likely(rounded)
        assert np.array_equal(cov, cov.T)
        assert np.allclose(np.diagonal(cov), np.diagonal(SCATTER), rtol=1e-15)


def test_variances_that_rounding_made_negative_are_zero():
    scatter = np.diag([1.0, -1e-20, 2.0])
    assert Diagonal().most_likely(scatter).tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]
    assert Isotropic().most_likely(-1e-20 * np.eye(2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("form", "shape", "free", "expected"),
    [
        (Full(), (2, 2), [1.0, 2.0, 3.0, 4.0], [[1.0, 2.0], [3.0, 4.0]]),
        (Diagonal(), (2, 2), [1.0, 2.0], [[1.0, 0.0], [0.0, 2.0]]),
        (Isotropic(), (2, 2), [3.0], [[3.0, 0.0], [0.0, 3.0]]),
        (Isotropic(), (3,), [3.0], [3.0, 3.0, 3.0]),
        (Diagonal(), (2,), [1.0, 2.0], [1.0, 2.0]),
        (Fixed([[5.0, 6.0]]), (1, 2), [], [[5.0, 6.0]]),
    ],
)
def test_a_coefficient_form_is_a_linear_constraint(form, shape, free, expected):
    constraint = form.constraint(shape, "F")
    value = constraint.fixed + (constraint.design @ np.array(free)).reshape(shape)
    assert np.array_equal(value, np.array(expected))
    assert constraint.n_free == len(free)
    assert np.allclose(constraint.project(np.array(expected)), expected)


def test_joined_blocks_know_which_columns_are_wholly_free():
    blocks = [
        Full().constraint((2, 2), "F"),
        Fixed(0.0).constraint((2,), "b"),
        Full().constraint((2, 1), "B"),
    ]
    joint = join(blocks)
    assert (joint.n_rows, joint.n_columns, joint.n_free) == (2, 4, 6)
    assert joint.free_columns.tolist() == [True, True, False, True]
    assert join([Diagonal().constraint((2, 2), "F"), blocks[1]]).free_columns is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: coefficient_form("full", "F"), "^F: expected a form such as Full"),
        (lambda: coefficient_form(Full, "F"), "^F: expected a form .* got the class Full; call it$"),
        (lambda: coefficient_form(np.eye(2), "F"), r"^F: expected a form .* got an array; .* with Fixed\(\.\.\.\)$"),
        (lambda: covariance_form(3.0, "Q", 2), "^Q: expected a form .* got 3.0$"),
        (lambda: covariance_form("Diagnal", "Q", 2), r"^Q: .* got 'Diagnal' \(did you mean Diagonal\(\)\?\)$"),
        (lambda: covariance_form("fixed", "Q", 2), "^Q: expected a form .* got 'fixed'$"),
        (
            lambda: covariance_form(Fixed([[1.0]]), "Q", 2),
            r"^Q: expected shape \(2, 2\) or \(T, 2, 2\), got Fixed of shape \(1, 1\)",
        ),
        (lambda: covariance_form(Fixed(-np.eye(2)), "Q", 2), "^Q: .*semi-definite"),
        (lambda: covariance_form(Fixed([[1.0, 2.0], [0.0, 1.0]]), "Q", 2), "^Q: .*symmetric"),
        (lambda: covariance_form(BlockDiagonal([(Full(), 1)]), "Q", 2), "^Q: BlockDiagonal has blocks of 1 rows"),
        (
            lambda: covariance_form(BlockDiagonal([(Fixed([[1.0]]), 2)]), "Q", 2),
            r"^Q: block 0: .* Fixed of shape \(1, 1\)",
        ),
        (lambda: Diagonal().constraint((2, 3), "H"), "^H: Diagonal needs a square"),
        (lambda: Isotropic().constraint((2, 3), "H"), "^H: Isotropic needs a square"),
        (lambda: Fixed(2.0).constraint((2, 2), "F"), r"^F: expected shape \(2, 2\) .*, got Fixed\(2\), one number"),
        (lambda: Fixed(None), "^Fixed: expected numbers, got None"),
        (lambda: Fixed(np.nan), "^Fixed: expected a finite number, got NaN"),
        (lambda: BlockDiagonal(3), r"^blocks: expected pairs \(form, size\), got 3"),
        (lambda: BlockDiagonal([Full()]), r"^blocks: expected pairs .*, got Full\(\) at position 0"),
        (lambda: BlockDiagonal([(Full(), 1, 2)]), "^blocks: expected pairs"),
        (lambda: BlockDiagonal([(Full(), 1), (Full(), 0)]), "^blocks: size of block 1: expected a whole number"),
        (lambda: BlockDiagonal([(Full(), True)]), "^blocks: size of block 0: expected a whole number .* got True"),
        (lambda: BlockDiagonal([(3, 1)]), "^blocks: form of block 0: expected a form such as .* got 3$"),
        (lambda: BlockDiagonal([(Full(), 1), (Full, 1)]), "^blocks: form of block 1: .* got the class Full; call it$"),
        (lambda: Fixed([["a"]]), "^Fixed: expected real numbers"),
    ],
)
def test_forms_that_do_not_fit_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_known_values_are_equal_as_numbers_are():
    """0 and -0 are equal, so their hashes must be."""
    one, other = Fixed([[0.0, 1.0]]), Fixed([[-0.0, 1.0]])
    assert one == other
    assert hash(one) == hash(other)
    assert one != Fixed([0.0, 1.0])
    assert one != Fixed([[0.0, 2.0]])
    assert one != 3
