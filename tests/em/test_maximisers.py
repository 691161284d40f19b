"""The most likely member of a linear family of covariances: against a numerical maximiser, closed form or climb."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from support.systems import random_cov

import kalman_em as kem
from kalman_em import BlockDiagonal, Diagonal, EqualVarCov, Fixed, Full, Isotropic, Known, Partly, Pattern, Scaled
from kalman_em.em.noise import NoiseStep

FREE = np.ones((2, 2), dtype=bool)
NO = np.zeros((2, 2), dtype=bool)
MASK = np.block([[FREE, NO], [NO, NO]])
CLOSED = {
    "full": (Full(), 4, 10),
    "equal variances and covariances": (EqualVarCov(), 4, 2),
    "scaled": (Scaled(np.diag([1.0, 100.0, 1e-4, 1.0])), 4, 1),
    "scaled, correlated": (Scaled([[1 / 3, 0.5], [0.5, 1.0]]), 2, 1),
    "shared variances": (Pattern([["a", 0, 0], [0, "b", 0], [0, 0, "a"]]), 3, 2),
    "scaled variances": (Pattern([["a", 0, 0], [0, "100*a", 0], [0, 0, "b"]]), 3, 2),
    "shared blocks": (
        Pattern([["a", "c", 0, 0], ["c", "b", 0, 0], [0, 0, "a", "c"], [0, 0, "c", "b"]]),
        4,
        3,
    ),
    "an equally correlated block": (Pattern([["a", "c", 0], ["c", "a", 0], [0, 0, "r"]]), 3, 3),
    "a scaled block": (Pattern([["q", "1.5*q", 0], ["1.5*q", "3*q", 0], [0, 0, 2.0]]), 3, 1),
    "a ring": (Pattern([["a", "b", "c", "b"], ["b", "a", "b", "c"], ["c", "b", "a", "b"], ["b", "c", "b", "a"]]), 4, 3),
    "known and free blocks": (Partly(np.diag([0.0, 0.0, 2.0, 3.0]), free=MASK), 4, 3),
    "blocks with a name in common": (
        BlockDiagonal([(Pattern([["q"]]), 1), (Pattern([["r", 0], [0, "2*q"]]), 2), (Isotropic(), 1)]),
        4,
        3,
    ),
}
CLIMBED = {
    "a known covariance between learnt variances": (
        Partly([[0.0, 0.3], [0.3, 0.0]], free=[[True, False], [False, True]]),
        2,
        2,
    ),
    "a constant in a variance": (Pattern([["0.1+a", 0], [0, "a"]]), 2, 1),
    "a chain of correlations": (Pattern([["a", "b", 0], ["b", "a", "b"], [0, "b", "a"]]), 3, 2),
    "no covariance between two of three": (Pattern([["a", "d", 0], ["d", "b", "e"], [0, "e", "c"]]), 3, 5),
}


def height(cov, scatter, counts):
    """Return Σ n (-log|C| - tr C^-1 S) over groups, -inf outside the covariances."""
    total = 0.0
    for C, S, n in zip(np.broadcast_to(cov, scatter.shape), scatter, counts, strict=True):
        sign, log_det = np.linalg.slogdet(C)
        if sign <= 0.0 or np.linalg.eigvalsh(C)[0] <= 0.0:
            return -np.inf
        total -= n * (log_det + np.trace(np.linalg.solve(C, S)))
    return total


def best(step, scatter, counts, start):
    """Return the maximum over the free numbers by Nelder-Mead from `start`: of ours the family alone."""
    family = step.family
    scale = np.where(start != 0.0, np.abs(start), np.abs(start).max())

    def loss(v):
        value = height(family.at(start + scale * v), scatter, counts)
        return 1e6 if not np.isfinite(value) else -value

    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20000, "maxfev": 20000}
    found = minimize(loss, np.zeros(len(start)), method="Nelder-Mead", options=options)
    found = minimize(loss, found.x, method="Nelder-Mead", options=options)
    return -found.fun


@pytest.mark.parametrize("name", [*CLOSED, *CLIMBED])
def test_nothing_in_the_family_is_more_likely(name):
    form, dim, n_free = (CLOSED | CLIMBED)[name]
    rng = np.random.default_rng(5)
    scatter, counts = random_cov(rng, dim)[None], np.array([7.0])
    step = NoiseStep(form, dim, "transition_cov")
    assert step.n_free == n_free
    assert step.is_closed == (name in CLOSED)
    cov = step.most_likely(scatter, counts, np.eye(dim))
    assert np.array_equal(cov, cov.T)
    np.testing.assert_allclose(step.family.at(step.family.free(cov)), cov, atol=1e-12 * np.abs(cov).max())
    reached = height(cov, scatter, counts)
    # The gradient in every free direction is 0, and no numerical maximiser finds more.
    free = step.family.free(cov)
    inverse = np.linalg.inv(cov)
    slopes = [np.trace(inverse @ B[0] @ inverse @ (scatter[0] - cov)) for B in step.family.basis()]
    units = [np.linalg.norm(inverse @ B[0]) for B in step.family.basis()]
    assert np.all(np.abs(slopes) < 1e-6 * np.array(units))
    if n_free < 6:
        assert reached >= best(step, scatter, counts, free) - 1e-8


VARYING = {
    "a factor of what varies": lambda G, V: Scaled(G),
    "a factor of reported variances": lambda G, V: Scaled(Known(V)),
    "other variances in the second half": lambda G, V: Pattern([[["a", 0], [0, "b"]]] * 3 + [[["c", 0], [0, "b"]]] * 3),
    "a block that varies beside one that is learnt": lambda G, V: BlockDiagonal([(Known(V[:, :1]), 1), (Full(), 1)]),
    "a climb": lambda G, V: Pattern([[["a", 0], [0, "0.2+a"]]] * 3 + [[["a", 0], [0, "0.4+a"]]] * 3),
}


@pytest.mark.parametrize("name", VARYING)
def test_nothing_is_more_likely_where_the_noise_varies(name):
    rng = np.random.default_rng(6)
    G = np.stack([random_cov(rng, 2) for _ in range(6)]) * np.geomspace(1e-3, 1e3, 6)[:, None, None]
    V = rng.uniform(0.5, 2.0, (6, 2))
    step = NoiseStep(VARYING[name](G, V), 2, "observation_cov")
    scatter, counts = np.stack([random_cov(rng, 2) for _ in range(6)]), np.array([1.0, 3.0, 2.0, 0.0, 5.0, 1.0])
    cov = step.most_likely(scatter, counts, np.tile(np.eye(2), (6, 1, 1)))
    assert cov.shape == (6, 2, 2)
    assert step.varies
    assert step.is_closed == (name != "a climb")
    free = step.family.free(cov)
    assert height(cov, scatter, counts) >= best(step, scatter, counts, free) - 1e-8


def test_the_factor_is_the_mean_of_squares_in_units_of_the_basis():
    """MARSS projects S on G by least squares; the maximum is tr(G^-1 S) / q."""
    form = Scaled(np.diag([1.0, 100.0]))
    assert form.most_likely(np.diag([1.0, 300.0]))[0, 0] == pytest.approx((1.0 + 3.0) / 2.0)
    projection = (1.0 + 300.0 * 100.0) / (1.0 + 100.0**2)
    assert abs(form.most_likely(np.diag([1.0, 300.0]))[0, 0] - projection) > 0.5


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e9])
def test_a_singular_basis_counts_its_rank(unit):
    """q = tr(G^+ S) / rank G, in whatever unit of the second row."""
    G = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 3.0]])
    units = np.diag([1.0, unit, 1.0])
    cov = Scaled(units @ G @ units).most_likely(units @ (G * 5.0) @ units)
    np.testing.assert_allclose(cov, 5.0 * units @ G @ units, rtol=1e-12)


def test_fixed_values_come_back_bit_for_bit():
    value = np.array([[0.1 + 0.2, 1e-17], [1e-17, 3.0]])
    form = BlockDiagonal([(Fixed(value), 2), (Pattern([["q"]]), 1)])
    cov = form.most_likely(np.diag([5.0, 6.0, 7.0]))
    assert np.array_equal(cov[:2, :2], value)
    assert cov[2, 2] == pytest.approx(7.0)


def test_a_climb_never_falls_and_begins_where_it_is_told():
    rng = np.random.default_rng(8)
    form = Partly([[0.0, 0.3, 0.0], [0.3, 0.0, 0.0], [0.0, 0.0, 0.0]], free=np.eye(3, dtype=bool))
    step = NoiseStep(form, 3, "transition_cov")
    for _ in range(20):
        scatter = random_cov(rng, 3, rank=1)[None]
        near = np.diag(rng.uniform(0.5, 4.0, 3)) + form.values
        cov = step.most_likely(scatter, np.ones(1), near)
        assert height(cov, scatter, [1.0]) >= height(near, scatter, [1.0])


def test_variances_that_rounding_made_negative_are_zero():
    form = Pattern([["a", 0, 0], [0, "b", 0], [0, 0, "a"]])
    cov = form.most_likely(np.diag([1.0, -1e-20, 1.0]))
    assert cov[1, 1] == 0.0
    np.testing.assert_allclose(cov, np.diag([1.0, 0.0, 1.0]), atol=1e-15)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Scaled([[1.0, 2.0], [2.0, 1.0]]).check_covariance(2, "Q"), "Q: basis of Scaled: .* semi-definite"),
        (lambda: Scaled(np.eye(2)).check_covariance(3, "Q"), r"Q: expected a Scaled basis of shape \(3, 3\)"),
        (lambda: Scaled(np.zeros((2, 2))), "Scaled: expected a basis with a variance above 0"),
        (lambda: Scaled([1.0, 2.0]), r"Scaled: expected a basis of shape \(q, q\) or \(T, q, q\), got \(2,\)"),
        (lambda: Scaled(np.eye(2), name="2q"), "Scaled: expected a name"),
        (lambda: Known([[1.0, -1.0]]), "Known: expected variances, none of them negative, got -1"),
        (lambda: Known(2.0), r"Known: expected shape \(T, q\) or \(T, q, q\)"),
        (lambda: Known(np.ones((5, 2))).check_covariance(3, "R"), r"R: expected Known values of shape \(T, 3\)"),
        (
            lambda: Pattern([["a", "b"], ["c", "a"]]).check_covariance(2, "R"),
            "symmetric Pattern, got 'b' at",
        ),
        (lambda: Pattern([[1.0, "a"], ["a", "-1*b*0-1"]]).check_covariance(2, "R"), "R: expected a form that some"),
        (lambda: Pattern([[1.0, 2.0], [2.0, 1.0]]).check_covariance(2, "R"), "R: .* semi-definite"),
        (
            lambda: Partly(np.eye(2), free=[[True, True], [False, False]]).check_covariance(2, "R"),
            "to be symmetric",
        ),
        (lambda: Partly(np.eye(2), free=np.eye(2)), "Partly: expected free to be an array of booleans"),
        (lambda: Partly([[np.nan, 1.0]], free=[[False, True]]), "Partly: holds NaN at position"),
        (lambda: EqualVarCov().check_covariance(1, "R"), "R: EqualVarCov needs at least two rows, got 1"),
        (
            lambda: BlockDiagonal([(Known(np.ones((4, 1))), 1), (Known(np.ones((5, 1))), 1)]).check_covariance(2, "R"),
            "4 and 5",
        ),
    ],
)
def test_what_is_no_form_of_a_covariance_is_refused(make, said):
    with pytest.raises(kem.InputError, match=said):
        make()


def test_blocks_keep_their_own_maximisers():
    scatter = random_cov(np.random.default_rng(1), 4)
    form = BlockDiagonal([(Full(), 2), (Diagonal(), 2)])
    assert form.is_direct
    step = NoiseStep(form, 4, "R")
    assert np.array_equal(step.most_likely(scatter[None], np.ones(1), scatter), form.most_likely(scatter))
