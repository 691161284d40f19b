"""The M-step of a Markov chain against a numerical maximiser, under every form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from kalman_em import Fixed, Full, InputError, LeftToRight, Partly, Pattern, Stationary
from kalman_em.inference.regimes import stationary_probabilities
from kalman_em.latent.chain import Chain, chain_height

K = 3
COUNTS = np.array([[30.0, 4.0, 1.0], [3.0, 20.0, 5.0], [2.0, 6.0, 11.0]])
FIRSTS = np.array([0.7, 0.2, 1.1])
SOME = Partly([[0.0, np.nan, np.nan], [0.1, np.nan, np.nan], [np.nan, 0.0, np.nan]],
              free=[[False, True, True], [False, True, True], [True, False, True]])  # fmt: skip


def numerical(initial, moves):
    """Maximise over softmax coordinates of the free entries: no formula of the M-step is used."""
    free_rows = [np.flatnonzero(moves.free[i]) for i in range(K)]

    def unpack(theta):
        transition, at = moves.known.copy(), 0
        for i, free in enumerate(free_rows):
            shares = np.exp(theta[at : at + len(free)] - np.max(theta[at : at + len(free)], initial=-np.inf))
            transition[i, free] = moves.left[i] * shares / (shares.sum() if len(free) else 1.0)
            at += len(free)
        if isinstance(initial, Stationary):
            values, vectors = np.linalg.eig(transition.T)
            first = np.real(vectors[:, np.argmax(values.real)])
            return first / first.sum(), transition
        first = np.exp(theta[at:])
        return first / first.sum(), transition

    size = sum(map(len, free_rows)) + (0 if isinstance(initial, Stationary) else K)
    counts = np.where(moves.free, COUNTS, 0.0)
    found = minimize(lambda theta: -chain_height(FIRSTS, counts, *unpack(theta)), np.zeros(size), tol=1e-13)
    return unpack(found.x)


@pytest.mark.parametrize("initial", [Full(), Stationary()], ids=repr)
@pytest.mark.parametrize("transition", [Full(), SOME], ids=["Full", "Partly"])
def test_the_m_step_is_the_numerical_maximum(initial, transition):
    chain = Chain(K, initial, transition)
    begin = chain.start()
    # What is impossible is not counted.
    counts = np.where(begin[1] > 0.0, COUNTS, 0.0)
    first, moves = chain.most_likely(FIRSTS, counts, *begin)
    expected_first, expected_moves = numerical(initial, chain.moves)
    np.testing.assert_allclose(moves, expected_moves, atol=2e-6)
    np.testing.assert_allclose(first, expected_first, atol=2e-6)
    np.testing.assert_allclose(moves.sum(axis=1), 1.0, atol=1e-14)


def test_the_direction_of_the_stationary_step_is_that_of_the_gradient():
    chain = Chain(K, Stationary(), Full())
    _, moves = chain.start(COUNTS)
    direction = chain._direction(FIRSTS, COUNTS, moves)
    np.testing.assert_allclose(direction.sum(axis=1), 0.0, atol=1e-14)
    rng = np.random.default_rng(0)
    weights = COUNTS.sum(axis=1, keepdims=True) / moves
    for _ in range(3):
        move = rng.normal(size=(K, K))
        move -= move.mean(axis=1, keepdims=True)
        ends = [moves + sign * 1e-6 * move for sign in (1.0, -1.0)]
        up, down = (chain_height(FIRSTS, COUNTS, stationary_probabilities(end), end) for end in ends)
        # In the metric N_i / A_ij the direction is the gradient along moves that keep the sums of rows.
        assert (up - down) / 2e-6 == pytest.approx(float(np.sum(weights * direction * move)), rel=1e-5)


def test_zeros_stay_zeros_and_known_numbers_themselves():
    chain = Chain(K, Fixed([0.2, 0.3, 0.5]), LeftToRight(reach=1))
    first, moves = chain.most_likely(FIRSTS, COUNTS, *chain.start())
    np.testing.assert_array_equal(moves[np.tril_indices(K, -1)], 0.0)
    assert moves[0, 2] == 0.0
    assert moves[2, 2] == 1.0
    assert first.tolist() == [0.2, 0.3, 0.5]
    assert chain.n_free == 2


def test_a_regime_that_is_never_left_keeps_its_moves():
    chain = Chain(K, Full(), Full())
    begin = chain.start()
    counts = COUNTS.copy()
    counts[1] = 0.0
    _, moves = chain.most_likely(FIRSTS, counts, *begin)
    np.testing.assert_array_equal(moves[1], begin[1][1])
    np.testing.assert_allclose(moves[0], COUNTS[0] / COUNTS[0].sum())


@pytest.mark.parametrize(
    ("initial", "transition", "n_free"),
    [
        (Full(), Full(), 2 + 6),
        (Stationary(), Full(), 6),
        (Fixed([1.0, 0.0, 0.0]), LeftToRight(), 2 + 1),
        (Full(), SOME, 2 + 3),
        (Full(), Pattern([["a", "b", 0.0], [0.0, "c", "d"], [0.25, 0.25, 0.5]]), 2 + 2),
    ],
)
def test_free_numbers_are_counted(initial, transition, n_free):
    assert Chain(K, initial, transition).n_free == n_free


def test_random_starts_are_probabilities_of_the_form():
    chain = Chain(K, Full(), SOME)
    rng = np.random.default_rng(1)
    starts = [chain.random_start(rng) for _ in range(5)]
    for first, moves in starts:
        np.testing.assert_allclose(moves.sum(axis=1), 1.0)
        assert first.sum() == pytest.approx(1.0)
        assert moves[0, 0] == 0.0
        assert moves[1, 0] == 0.1
        assert moves.min() >= 0.0
    assert not np.allclose(starts[0][1], starts[1][1])


@pytest.mark.parametrize(
    ("initial", "transition", "said"),
    [
        (Full(), "full", "transition_matrix: expected a form"),
        (Full(), LeftToRight, "transition_matrix: expected a form .* the class LeftToRight; call it"),
        (Full(), Fixed(np.eye(2)), r"transition_matrix: expected shape \(3, 3\)"),
        (Full(), Fixed(np.eye(3) * 0.9), "transition_matrix, row 0: expected probabilities that add up to 1, got 0.9"),
        (Full(), Fixed([[1.5, -0.5, 0.0], [0, 1, 0], [0, 0, 1]]), "row 0: expected probabilities of at least 0"),
        (Full(), Partly(np.eye(3), free=[[False, True, True]] + [[False] * 3] * 2), "row 0: .* leave something"),
        (Full(), Pattern([["a", "b", "b"]] * 3), "which ties entries together"),
        (Fixed([0.5, 0.4, 0.0]), Full(), "initial_probabilities: expected probabilities that add up to 1, got 0.9"),
        (Stationary(), Fixed(np.eye(3)), "zeros keep regimes apart"),
    ],
)
def test_forms_that_do_not_fit_are_refused(initial, transition, said):
    with pytest.raises(InputError, match=said):
        Chain(K, initial, transition)


@pytest.mark.parametrize(
    ("initial", "moves", "said"),
    [
        ([0.5, 0.5, 0.5], np.eye(3), "initial_probabilities.*add up to 1"),
        ([1.0, 0.0, 0.0], np.full((3, 3), 0.5), "transition_matrix.*add up to 1"),
        ([1.0, 0.0, 0.0], np.full((3, 3), 1.0 / 3.0), "expected the known entries"),
    ],
)
def test_values_that_do_not_fit_are_refused(initial, moves, said):
    with pytest.raises(InputError, match=said):
        Chain(K, Full(), LeftToRight()).checked(np.array(initial), np.array(moves))


@pytest.mark.parametrize("reach", [0, 1.5, True])
def test_a_reach_that_is_none_is_refused(reach):
    with pytest.raises(InputError, match="reach: expected a whole number"):
        LeftToRight(reach=reach)
