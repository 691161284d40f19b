"""A Markov chain of regimes as a part of a model: its forms, starts and M-step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.forms import Stationary, coefficient_form
from kalman_em.errors import InputError
from kalman_em.inference.regimes import stationary_probabilities
from kalman_em.latent.shares import Shares, shares_of

# A climb of the stationary M-step is over when a step gains less than this, relative to the number of moves.
GAINED = 1e-15
MOST_STEPS = 200
MOST_HALVINGS = 40
# Slopes in free numbers are differences over so much.
WIDTH = 1e-5
# Chance to stay in a regime where nothing is known of it yet.
STAY = 0.9


def check_chain_forms(initial: Any, transition: Any) -> None:
    """Raise `InputError` unless these are forms for `initial_probabilities` and `transition_matrix`."""
    coefficient_form(transition, "transition_matrix")
    if not isinstance(initial, Stationary):
        coefficient_form(initial, "initial_probabilities")


@dataclass(frozen=True, eq=False)
class Chain:
    """The forms of a chain laid out for K regimes.

    Parameters
    ----------
    n_regimes : int
    initial : form or Stationary()
        Of the probabilities of the first regime, shape (K,).
    transition : form
        Of the probabilities of the moves, shape (K, K).

    Raises
    ------
    InputError
        If a form does not fit, or with `Stationary()` the chain may have several stationary distributions.
    """

    n_regimes: int
    initial: Any
    transition: Any

    def __post_init__(self) -> None:
        self.moves, self.firsts  # noqa: B018 - the forms are read here
        if self.is_stationary and not _settles(self._possible):
            raise InputError(
                "initial_probabilities: expected a chain that comes to one stationary distribution, got a "
                "transition_matrix whose zeros keep regimes apart"
            )

    @property
    def is_stationary(self) -> bool:
        """Whether the first regime is drawn from the stationary distribution of the moves."""
        return isinstance(self.initial, Stationary)

    @property
    def goes_back(self) -> bool:
        """Whether a regime may be followed by one before it."""
        return bool(np.tril(self._possible, -1).any())

    @property
    def n_free(self) -> int:
        """Number of free numbers."""
        return self.moves.n_free + (0 if self.firsts is None else self.firsts.n_free)

    @cached_property
    def moves(self) -> Shares:
        """The moves as shares, a row for each regime left."""
        return shares_of(self.transition, (self.n_regimes, self.n_regimes), "transition_matrix")

    @cached_property
    def firsts(self) -> Shares | None:
        """The initial probabilities as shares; None where they follow the moves."""
        return None if self.is_stationary else shares_of(self.initial, (self.n_regimes,), "initial_probabilities")

    @property
    def _possible(self) -> Array:
        return np.asarray((self.moves.free | (self.moves.known > 0.0)).astype(np.float64))

    def first(self, initial_weights: Array, transition: Array) -> Array:
        """Return initial probabilities of the form, (K,), as near as it lets them to `initial_weights`."""
        if self.firsts is None:
            return stationary_probabilities(transition)
        return np.asarray(self.firsts.spread(initial_weights[None])[0])

    def free_numbers(self, initial: Array, transition: Array) -> Array:
        """Return the free numbers of the chain: see `Shares`."""
        own = np.zeros(0) if self.firsts is None else self.firsts.free_numbers(initial[None])
        return np.concatenate([own, self.moves.free_numbers(transition)])

    def with_numbers(self, initial: Array, transition: Array, numbers: Array) -> tuple[Array, Array]:
        """Return initial probabilities and moves like these with these free numbers."""
        n = 0 if self.firsts is None else len(self.firsts.free_numbers(initial[None]))
        moves = self.moves.with_numbers(transition, numbers[n:])
        if self.firsts is None:
            return stationary_probabilities(moves), moves
        return self.firsts.with_numbers(initial[None], numbers[:n])[0], moves

    def slopes(self, initial: Array, transition: Array) -> Array:
        """Return the slopes of initial probabilities and moves in the free numbers, (K + K², n).

        By differences: the numbers are logarithms of ratios, so that one step suits all.
        """
        numbers = self.free_numbers(initial, transition)
        columns = np.zeros((len(numbers), initial.size + transition.size))
        for k in range(len(numbers)):
            step = WIDTH * np.eye(len(numbers))[k]
            up, down = (
                np.concatenate([part.ravel() for part in self.with_numbers(initial, transition, numbers + sign * step)])
                for sign in (1.0, -1.0)
            )
            columns[k] = (up - down) / (2.0 * WIDTH)
        return columns.T

    def start(self, moves: Array | None = None) -> tuple[Array, Array]:
        """Return initial probabilities and moves to begin with; `moves` (K, K) are counts seen in a first guess."""
        K = self.n_regimes
        sticky = np.eye(K) if K == 1 else STAY * np.eye(K) + (1.0 - STAY) / (K - 1) * (1.0 - np.eye(K))
        # The counts of one more row each, so that nothing begins at 0 and no move is lost before it was tried.
        transition = self.moves.spread(sticky if moves is None else moves + K * sticky)
        return self.first(np.ones(K), transition), transition

    def random_start(self, rng: np.random.Generator, moves: Array | None = None) -> tuple[Array, Array]:
        """Return others, drawn around those of `start`."""
        _, transition = self.start(moves)
        weights = np.asarray(rng.gamma(1.0 + 4.0 * transition), dtype=np.float64)
        drawn = self.moves.spread(weights + np.finfo(float).tiny)
        return self.first(rng.gamma(2.0, size=self.n_regimes), drawn), drawn

    def checked(self, initial: Array, transition: Array) -> tuple[Array, Array]:
        """Return probabilities that a user gave, or `InputError` if they are none or not of the forms."""
        moves = self.moves.checked(transition, "start['transition_matrix']")
        if self.firsts is None:
            return stationary_probabilities(moves), moves
        return self.firsts.checked(initial, "start['initial_probabilities']"), moves

    def most_likely(
        self, initial_counts: Array, transition_counts: Array, initial: Array, transition: Array
    ) -> tuple[Array, Array]:
        """Return the probabilities that maximise Σ n_k log π_k + Σ N_ij log A_ij; a regime not left keeps its moves.

        Closed forms, but for a stationary start, where π follows A: there steps that gain climb from the better of
        `transition` and the closed form without π, to where the gradient is zero.
        """
        moves = self.moves.most_likely(transition_counts, transition)
        if self.firsts is not None:
            return self.firsts.most_likely(initial_counts[None], initial[None])[0], moves
        moves = self._climbed(initial_counts, transition_counts, transition, moves)
        return stationary_probabilities(moves), moves

    def _climbed(self, initial_counts: Array, counts: Array, old: Array, closed: Array) -> Array:
        """Climb along A_ij (∂ - its mean over the row) / N_i, which is the step to the closed form where π is known."""
        heights = [chain_height(initial_counts, counts, stationary_probabilities(A), A) for A in (old, closed)]
        moves, reached = (closed, heights[1]) if heights[1] >= heights[0] else (old, heights[0])
        for _ in range(MOST_STEPS):
            direction = self._direction(initial_counts, counts, moves)
            before, size = reached, 1.0
            for _ in range(MOST_HALVINGS):
                tried = moves + size * direction
                if tried.min() >= 0.0:
                    height = chain_height(initial_counts, counts, stationary_probabilities(tried), tried)
                    if height > reached:
                        moves, reached = tried, height
                        break
                size *= 0.5
            if reached - before <= GAINED * (1.0 + counts.sum()):
                break
        return moves

    def _direction(self, initial_counts: Array, counts: Array, moves: Array) -> Array:
        """Return the step; the gradient of Σ n_k log π_k is by d π = π dA (I - A + 1 π')^-1."""
        free = self.moves.free
        stationary = stationary_probabilities(moves)
        ratio = np.where(initial_counts > 0.0, initial_counts / np.where(stationary > 0.0, stationary, 1.0), 0.0)
        resolved = np.linalg.lstsq(np.eye(len(moves)) - moves + stationary, ratio, rcond=None)[0]
        own = np.where(free, counts + moves * stationary[:, None] * resolved, 0.0)
        inside = np.where(free, moves, 0.0)
        shares = inside.sum(axis=1, keepdims=True)
        total = np.where(free, counts, 0.0).sum(axis=1, keepdims=True)
        seen = (total > 0.0) & (shares > 0.0)
        centred = own - inside / np.where(seen, shares, 1.0) * own.sum(axis=1, keepdims=True)
        return np.where(seen, centred * self.moves.left[:, None] / np.where(seen, total, 1.0), 0.0)


def named_shares(chain: Chain, prefix: str = "") -> dict[str, Shares]:
    """Return the shares of a chain by the names of the parameters, the initial ones if they have numbers of their own.

    Examples
    --------
    >>> from kalman_em import Full
    >>> list(named_shares(Chain(2, Stationary(), Full()), "regime_"))
    ['regime_transition_matrix']
    """
    own = {} if chain.firsts is None else {f"{prefix}initial_probabilities": chain.firsts}
    return own | {f"{prefix}transition_matrix": chain.moves}


def chain_height(initial_counts: Array, transition_counts: Array, initial: Array, transition: Array) -> float:
    """Return Σ n_k log π_k + Σ N_ij log A_ij, with 0 log 0 = 0; -inf where something counted is impossible."""
    return _weighted_logs(initial_counts, initial) + _weighted_logs(transition_counts, transition)


def _weighted_logs(counts: Array, probabilities: Array) -> float:
    seen = counts > 0.0
    if np.any(probabilities[seen] <= 0.0):
        return -np.inf
    return float(counts[seen] @ np.log(probabilities[seen]))


def _settles(possible: Array) -> bool:
    """Whether some regime can be reached from every other, so that the chain has one stationary distribution."""
    reached = possible + np.eye(len(possible)) > 0.0
    for _ in range(len(possible)):
        reached = reached @ reached
    return bool(reached.all(axis=0).any())
