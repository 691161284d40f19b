"""Regimes that follow a Markov chain: their probabilities given the data, expected moves, and the likeliest path."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.errors import ImpossibleRowError
from kalman_em.inference.regime_logs import filter_logs, follow_best, smooth_logs
from kalman_em.inference.regime_loops import filter_scaled, smooth_scaled

# A chain in which every move is at least this probable forgets a regime that has grown faint at the next row.
MIXING = 1e-50


class FilteredRegimes(NamedTuple):
    """Probabilities of the K regimes, or K^q histories, at each of N rows: given the rows before, and given it as well.

    With `in_logs` both hold logarithms, because a probability became too small for a number.
    """

    predicted: Array
    filtered: Array
    log_likelihoods: Array
    in_logs: bool

    @property
    def predicted_probabilities(self) -> Array:
        """P(regime at row t given the rows before), shape (N, K)."""
        return np.exp(self.predicted) if self.in_logs else self.predicted

    @property
    def filtered_probabilities(self) -> Array:
        """P(regime at row t given the rows up to it), shape (N, K)."""
        return np.exp(self.filtered) if self.in_logs else self.filtered


class SmoothedRegimes(NamedTuple):
    """Probabilities of the regimes given all rows (N, K), and the expected numbers of starts (K,) and moves (K, K).

    Where there are histories, probabilities and starts are theirs, (N, K^q) and (K^q,).
    """

    probabilities: Array
    initial_counts: Array
    transition_counts: Array


def filter_regimes(starts: IntArray, log_densities: Array, initial: Array, transition: Array) -> FilteredRegimes:
    """Return the probabilities of the regimes given the rows so far, and the log-likelihood of every row.

    .. math:: p(z_t | y_{0:t}) \\propto p(y_t | z_t) \\sum_{z_{t-1}} p(z_t | z_{t-1}) p(z_{t-1} | y_{0:t-1})

    Parameters
    ----------
    starts : array of int, shape (n_series + 1,)
        Where every series begins among the rows; the last entry is their number N.
    log_densities : array, shape (N, K) or (N, K^q)
        log p(y[t] | regime k); 0 in all regimes where nothing was observed, -inf where a regime forbids what was. Or
        given the history of the latest q regimes, numbered by them as digits to the base K, the latest first.
    initial : array, shape (K,) or (K^q,)
        Probabilities of the regimes, or histories, at the first row of a series.
    transition : array, shape (K, K)
        Entry (i, j) is P(z[t+1] = j | z[t] = i).

    Raises
    ------
    ImpossibleRowError
        If an observation is impossible in every regime that can be reached; it names the row.

    References
    ----------
    Hamilton, A new approach to the economic analysis of nonstationary time series, Econometrica 57 (1989).

    Examples
    --------
    >>> import numpy as np
    >>> densities = np.log([[0.5, 0.1], [0.4, 0.4], [0.1, 0.8]])
    >>> moves = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> filtered = filter_regimes(np.array([0, 3]), densities, np.array([0.5, 0.5]), moves)
    >>> filtered.filtered_probabilities.round(3).tolist()
    [[0.833, 0.167], [0.783, 0.217], [0.271, 0.729]]
    """
    shape, n_rows = log_densities.shape, len(log_densities)
    predicted, filtered, log_likelihoods = np.empty(shape), np.empty(shape), np.empty(n_rows)
    row, is_faint = filter_scaled(starts, log_densities, initial, transition, predicted, filtered, log_likelihoods)
    in_logs = is_faint and float(transition.min()) < MIXING
    if in_logs:
        moves = log_of(transition)
        row = filter_logs(starts, log_densities, log_of(initial), moves, predicted, filtered, log_likelihoods)
    _check_possible(row)
    return FilteredRegimes(predicted, filtered, log_likelihoods, in_logs)


def smooth_regimes(starts: IntArray, transition: Array, filtered: FilteredRegimes) -> SmoothedRegimes:
    """Return the probabilities of the regimes given all rows, and how often each move is expected.

    .. math::
        p(z_t = i, z_{t+1} = j | y) = p(z_t = i | y_{0:t}) \\, a_{ij} \\, p(z_{t+1} = j | y) / p(z_{t+1} = j | y_{0:t})

    Parameters
    ----------
    starts, transition
        As given to `filter_regimes`.
    filtered : FilteredRegimes
        What it returned.

    References
    ----------
    Kim, Dynamic linear models with Markov-switching, Journal of Econometrics 60 (1994), section 2.2. The products of
    Baum, Petrie, Soules and Weiss, Ann. Math. Statist. 41 (1970), give the same numbers.

    Examples
    --------
    >>> import numpy as np
    >>> densities = np.log([[0.5, 0.1], [0.4, 0.4], [0.1, 0.8]])
    >>> starts, moves = np.array([0, 3]), np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> smoothed = smooth_regimes(starts, moves, filter_regimes(starts, densities, np.array([0.5, 0.5]), moves))
    >>> smoothed.probabilities.round(3).tolist()
    [[0.661, 0.339], [0.482, 0.518], [0.271, 0.729]]
    >>> float(smoothed.transition_counts.sum().round(12))
    2.0
    """
    smoothed, counts = np.empty_like(filtered.filtered), np.zeros(transition.shape)
    if filtered.in_logs:
        smooth_logs(starts, log_of(transition), filtered.predicted, filtered.filtered, smoothed, counts)
        np.exp(smoothed, out=smoothed)
    else:
        ratio = np.empty(filtered.filtered.shape[1])
        smooth_scaled(starts, transition, filtered.predicted, filtered.filtered, smoothed, counts, ratio)
    return SmoothedRegimes(smoothed, smoothed[first_rows(starts)].sum(axis=0), counts)


def best_path(starts: IntArray, log_densities: Array, initial: Array, transition: Array) -> tuple[IntArray, Array]:
    """Return the most probable regimes of all rows together (N,), and log p(data, path) of every series.

    The arguments are those of `filter_regimes`; with histories the path is one of histories. Of paths that are equally
    probable, the one whose regimes come first.

    Raises
    ------
    ImpossibleRowError
        If no path is possible; it names the row.

    References
    ----------
    Viterbi, Error bounds for convolutional codes and an asymptotically optimum decoding algorithm, IEEE Trans.
    Information Theory 13 (1967).

    Examples
    --------
    >>> import numpy as np
    >>> densities = np.log([[0.5, 0.1], [0.4, 0.4], [0.1, 0.8]])
    >>> moves = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> path, log_joints = best_path(np.array([0, 3]), densities, np.array([0.5, 0.5]), moves)
    >>> path.tolist(), np.exp(log_joints).round(4).tolist()
    ([1, 1, 1], [0.0102])
    """
    n_rows, n_regimes = log_densities.shape
    path, log_joints = np.zeros(n_rows, dtype=np.int64), np.zeros(len(starts) - 1)
    came_from, heights = np.empty((n_rows, n_regimes), dtype=np.int16), np.empty((2, n_regimes))
    moves = log_of(transition)
    row = follow_best(starts, log_densities, log_of(initial), moves, came_from, heights, path, log_joints)
    _check_possible(row)
    return path, log_joints


def draw_path(n_rows: int, initial: Array, transition: Array, rng: np.random.Generator) -> IntArray:
    """Return `n_rows` regimes drawn from the chain.

    Examples
    --------
    >>> import numpy as np
    >>> draw_path(4, np.array([1.0, 0.0]), np.array([[0.0, 1.0], [1.0, 0.0]]), np.random.default_rng(0)).tolist()
    [0, 1, 0, 1]
    """
    bounds = np.cumsum(np.vstack([initial, transition]), axis=1)
    # Rounding may leave the last bound below 1: a draw beyond it is the last regime that is possible.
    last = np.array([np.flatnonzero(row > 0.0)[-1] for row in np.vstack([initial, transition])])
    path, now = np.empty(n_rows, dtype=np.int64), 0
    for t, drawn in enumerate(rng.random(n_rows)):
        path[t] = min(int(np.searchsorted(bounds[now], drawn, side="right")), last[now])
        now = int(path[t]) + 1
    return path


def stationary_probabilities(transition: Array) -> Array:
    """Return the probabilities that one more move leaves as they are, p = p A, shape (K,).

    Where the chain falls apart, so that there are many, the one that a start with equal chances comes to on average.

    References
    ----------
    Hamilton, Time Series Analysis, 1994, equation 22.2.26, for chains that do not fall apart.

    Examples
    --------
    >>> import numpy as np
    >>> stationary_probabilities(np.array([[0.9, 0.1], [0.2, 0.8]])).round(3).tolist()
    [0.667, 0.333]
    """
    # State by state, as Grassmann, Taksar and Heyman (Operations Research 33 (1985)) do it: nothing is subtracted.
    moves, n_regimes = transition.copy(), len(transition)
    for last in range(n_regimes - 1, 0, -1):
        leave = moves[last, :last].sum()
        if not leave > 0.0:
            return _mean_of_powers(transition)
        moves[:last, last] /= leave
        moves[:last, :last] += moves[:last, last, None] * moves[last, :last]
    weights = np.ones(n_regimes)
    for state in range(1, n_regimes):
        weights[state] = weights[:state] @ moves[:state, state]
    return np.asarray(weights / weights.sum())


def _mean_of_powers(transition: Array) -> Array:
    """Return the mean of the rows of the limit of the lazy chain (I + A)/2, by squaring: it has no cycles."""
    moved = 0.5 * (np.eye(len(transition)) + transition)
    for _ in range(64):
        further = moved @ moved
        further /= further.sum(axis=1, keepdims=True)
        if np.abs(further - moved).max() == 0.0:
            break
        moved = further
    result: Array = moved.mean(axis=0) / moved.mean(axis=0).sum()
    return result


def first_rows(starts: IntArray) -> IntArray:
    """Return the first row of every series that has one."""
    return np.asarray(starts[:-1][starts[:-1] < starts[1:]])


def log_of(probabilities: Array) -> Array:
    """Return the logarithms of probabilities, -inf of 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probabilities))


def _check_possible(row: int) -> None:
    if row >= 0:
        raise ImpossibleRowError(row)
