"""The EM problem of a Markov autoregression with missing values: paths over gaps, histories elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.errors import NumericalError
from kalman_em.latent.autoregression_gaps import Gap, GapMoments, Stretch, gap_moments, gap_sums
from kalman_em.latent.markov_autoregression_problem import LaggedExpectations, MarkovAutoregressionProblem
from kalman_em.latent.regime_autoregression import (
    LaggedSums,
    MarkovAutoregressionParams,
    lagged_sums,
    log_densities,
)
from kalman_em.latent.regime_problem import RegimePosterior
from kalman_em.latent.series_parts import rows_of_series, shared_out


@dataclass(frozen=True, eq=False)
class Run:
    """One pass over a series: weights of the histories (or paths) at every piece, given the rows so far and given all,
    of the first p regimes given all, and the log-likelihood."""

    so_far: list[Array]
    weights: list[Array]
    first: Array
    log_likelihood: float


@dataclass(frozen=True, eq=False)
class GappedProblem(MarkovAutoregressionProblem):
    """The problem where values are missing; exact, at the cost of all paths of regimes over every gap.

    `rows` are those with all their lags, of all series; `stretches` say how series consist of them and of gaps.
    """

    stretches: tuple[Stretch, ...] = field(kw_only=True)

    def e_step(self, params: MarkovAutoregressionParams) -> tuple[LaggedExpectations, float]:
        """Return the expectations, and the log-likelihood given the first p rows of every series."""
        K, p = params.n_regimes, self.order
        by_row = np.zeros((len(self.rows.values), K ** (p + 1)))
        initial, moves, height = np.zeros(K), np.zeros((K, K)), 0.0
        added: list[LaggedSums] = []
        seen = self._seen(params)
        for one in self.stretches:
            run = self._hard_run(params, one, seen) if self.temperature == 0.0 else self._run(params, one, seen)
            height += run.log_likelihood
            first = run.first.reshape((K,) * p)
            initial += first.reshape(-1, K).sum(axis=0)
            for lag in range(p - 1):
                others = tuple(axis for axis in range(p) if axis not in (lag, lag + 1))
                moves += first.sum(axis=others).T
            for piece, weights in zip(one.pieces, run.weights, strict=True):
                if isinstance(piece, Gap):
                    added.append(gap_sums(piece, seen.moments[id(piece)], weights))
                    for row in range(p, len(piece.values)):
                        np.add.at(moves, (piece.paths[:, row - 1], piece.paths[:, row]), weights)
                else:
                    by_row[piece] = weights
                    moves += weights.reshape(K, K, -1).sum(axis=2).T
        sums = lagged_sums(self.rows, by_row, K)
        whole = LaggedSums(
            *(
                sum((getattr(part, name) for part in added), getattr(sums, name))
                for name in ("counts", "first", "second")
            )
        )
        return LaggedExpectations(whole, initial, moves), height

    def posterior(self, params: MarkovAutoregressionParams) -> RegimePosterior:
        """Return the probabilities of the regimes at all rows; after the last value those of the chain ahead."""
        K, p, seen = params.n_regimes, self.order, self._seen(params)
        n = int(self.starts[-1])
        result = RegimePosterior(np.empty((n, K)), np.empty((n, K)))
        for one in self.stretches:
            run = self._run(params, one, seen)
            first, ahead = run.first.reshape((K,) * p), params.initial_probabilities
            for row in range(p):
                axis = p - 1 - row
                result.smoothed[one.begin + row] = first.sum(axis=tuple(a for a in range(p) if a != axis))
                result.filtered[one.begin + row] = ahead
                ahead = ahead @ params.transition_matrix
            at, before = one.begin + p, self._first(params)
            for piece, so_far, weights in zip(one.pieces, run.so_far, run.weights, strict=True):
                if isinstance(piece, Gap):
                    for row in range(piece.n_rows):
                        here = piece.paths[:, p + row]
                        result.smoothed[at + row] = np.bincount(here, weights, K)
                        result.filtered[at + row] = self._part_way(params, piece.up_to(row + 1), before)
                    ends = piece.histories(len(piece.values) - 1, p)
                    before = np.bincount(ends, so_far, K**p).astype(np.float64)
                    at += piece.n_rows
                else:
                    result.smoothed[at] = weights.reshape(K, -1).sum(axis=1)
                    result.filtered[at] = so_far.reshape(K, -1).sum(axis=1)
                    before = so_far.reshape(-1, K).sum(axis=1)
                    at += 1
            for row in range(at, one.begin + one.n_steps):
                for part in result:
                    part[row] = part[row - 1] @ params.transition_matrix
        return result

    def last_history(self, params: MarkovAutoregressionParams, series: int) -> Array:
        """Return the probabilities of the histories at the last value of a series given all, shape (K^(p+1),)."""
        one, K = self.stretches[series], params.n_regimes
        last, weights = one.pieces[-1], self._run(params, one, self._seen(params)).so_far[-1]
        if not isinstance(last, Gap):
            return weights
        histories = last.histories(len(last.values) - 1, self.order + 1)
        return np.bincount(histories, weights, K ** (self.order + 1)).astype(np.float64)

    def path(self, params: MarkovAutoregressionParams) -> tuple[IntArray, Array]:
        """Return the most probable regimes of all rows, what is missing integrated out, and log p of every series."""
        path, heights = np.empty(self.starts[-1], dtype=np.int64), []
        seen = self._seen(params)
        for one in self.stretches:
            found, height = self._best_of(params, one, seen)
            path[one.begin : one.begin + one.n_steps] = found
            heights.append(height)
        return path, np.array(heights)

    def expected_values(self, params: MarkovAutoregressionParams) -> Array:
        """Return every value given all that was observed, (n, 1); NaN after the last one of a series."""
        seen, result = self._seen(params), np.full((int(self.starts[-1]), 1), np.nan)
        for one in self.stretches:
            run, at = self._run(params, one, seen), one.begin + self.order
            for piece, weights in zip(one.pieces, run.weights, strict=True):
                if isinstance(piece, Gap):
                    expected = weights @ seen.moments[id(piece)].means
                    result[at : at + piece.n_rows, 0] = expected[self.order :] + self.rows.centre
                    at += piece.n_rows
                else:
                    at += 1
        return result

    def divided(self, n_parts: int, rng: np.random.Generator) -> tuple[GappedProblem, ...]:
        """Return the problems of random parts of the series."""
        found = []
        for series in shared_out(self.n_units, n_parts, rng):
            rows, starts = rows_of_series(self.starts, series)
            own = tuple(replace(self.stretches[s], begin=int(b)) for s, b in zip(series, starts[:-1], strict=True))
            used = [piece for one in own for piece in one.pieces if not isinstance(piece, Gap)]
            number = dict(zip(used, range(len(used)), strict=True))
            own = tuple(
                replace(one, pieces=tuple(p if isinstance(p, Gap) else number[p] for p in one.pieces)) for one in own
            )
            lagged = replace(self.rows, values=self.rows.values[used])
            points = self.points.chosen(rows)
            found.append(replace(self, points=points, rows=lagged, starts=starts, stretches=own))
        return tuple(found)

    def _seen(self, params: MarkovAutoregressionParams) -> _Seen:
        gaps = [piece for one in self.stretches for piece in one.pieces if isinstance(piece, Gap)]
        moments = {id(gap): gap_moments(params, gap, self.rows.centre) for gap in gaps}
        return _Seen(log_densities(params, self.rows), moments)

    def _first(self, params: MarkovAutoregressionParams) -> Array:
        """Return the probabilities of the first p regimes, the latest first, (K^p,), to the power of 1 / T."""
        ahead, moves = self._warm(params.initial_probabilities), self._warm(params.transition_matrix)
        found = ahead
        for _ in range(self.order - 1):
            found = (moves.T[:, :, None] * found.reshape(1, len(moves), -1)).ravel()
        return found

    def _warm(self, probabilities: Array) -> Array:
        return probabilities if self.temperature in (0.0, 1.0) else probabilities ** (1.0 / self.temperature)

    def _steps(self, params: MarkovAutoregressionParams, one: Stretch, seen: _Seen) -> list[_Step]:
        """Return for every piece what its histories or paths come from, go to, and weigh."""
        K, p, moves = params.n_regimes, self.order, self._warm(params.transition_matrix)
        own = np.arange(K ** (p + 1))
        row_from, row_to = own % K**p, own // K
        row_moves = moves.T[own // K**p, row_from // K ** (p - 1)]
        scale = 1.0 if self.temperature == 0.0 else self.temperature
        found = []
        for piece in one.pieces:
            if isinstance(piece, Gap):
                heights = seen.moments[id(piece)].log_densities
                come, go = piece.histories(p - 1, p), piece.histories(len(piece.values) - 1, p)
                found.append(_Step(come, go, piece.moves(moves), heights / scale))
            else:
                found.append(_Step(row_from, row_to, row_moves, seen.rows[piece] / scale))
        return found

    def _run(self, params: MarkovAutoregressionParams, one: Stretch, seen: _Seen) -> Run:
        """Go forwards and backwards over a series (Hamilton 1989; Baum et al. 1970)."""
        n = params.n_regimes**self.order
        so_far, likelies, total = [], [], 0.0
        first = self._first(params)
        before = first
        steps = self._steps(params, one, seen)
        for step in steps:
            highest = float(step.heights.max())
            likely = step.moves * np.exp(step.heights - highest)
            joint = before[step.come] * likely
            mass = float(joint.sum())
            if not (0.0 < mass < np.inf):
                raise NumericalError("an observation is impossible in every regime")
            so_far.append(joint / mass)
            likelies.append(likely / mass)
            total += highest + np.log(mass)
            before = np.bincount(step.go, so_far[-1], n).astype(np.float64)
        ahead, weights = np.ones(n), []
        for step, joint, likely in zip(steps[::-1], so_far[::-1], likelies[::-1], strict=True):
            weights.append(joint * ahead[step.go])
            ahead = np.bincount(step.come, likely * ahead[step.go], n)
        own = first * ahead
        return Run(so_far, weights[::-1], own / own.sum(), total * (self.temperature or 1.0))

    def _best_pieces(
        self, params: MarkovAutoregressionParams, one: Stretch, seen: _Seen
    ) -> tuple[list[int], Array, float]:
        """Return which history or path of every piece is on the best path, the first p regimes, and its log p."""
        n = params.n_regimes**self.order
        with np.errstate(divide="ignore"):
            first = np.log(replace(self, temperature=1.0)._first(params))
            steps = self._steps(params, one, seen)
            logs = [np.log(step.moves) + step.heights for step in steps]
        reached, tops = first, []
        for step, log in zip(steps, logs, strict=True):
            heights = reached[step.come] + log
            order = np.lexsort((-heights, step.go))
            states, at = np.unique(step.go[order], return_index=True)
            top = np.zeros(n, dtype=np.int64)
            top[states] = order[at]
            tops.append(top)
            reached = np.full(n, -np.inf)
            reached[states] = heights[top[states]]
        state = int(reached.argmax())
        height, chosen = float(reached[state]), []
        for step, top in zip(steps[::-1], tops[::-1], strict=True):
            chosen.append(int(top[state]))
            state = int(step.come[top[state]])
        return chosen[::-1], np.eye(n)[state], height

    def _best_of(self, params: MarkovAutoregressionParams, one: Stretch, seen: _Seen) -> tuple[IntArray, float]:
        K, p = params.n_regimes, self.order
        chosen, first, height = self._best_pieces(params, one, seen)
        path = [int(regime) for regime in np.unravel_index(int(first.argmax()), (K,) * p)][::-1]
        for piece, own in zip(one.pieces, chosen, strict=True):
            path += piece.paths[own, p:].tolist() if isinstance(piece, Gap) else [own // K**p]
        with np.errstate(divide="ignore"):
            moves = np.log(params.transition_matrix)
        # After the last value the regimes that are likeliest to follow.
        for left in range(one.n_steps - len(path), 0, -1):
            ahead = np.zeros(K)
            for _ in range(left - 1):
                ahead = (moves + ahead).max(axis=1)
            path.append(int((moves[path[-1]] + ahead).argmax()))
            height += float(moves[path[-2], path[-1]])
        return np.array(path, dtype=np.int64), height

    def _hard_run(self, params: MarkovAutoregressionParams, one: Stretch, seen: _Seen) -> Run:
        chosen, first, height = self._best_pieces(params, one, seen)
        steps = self._steps(params, one, seen)
        weights = [np.eye(1, len(step.heights), own)[0] for step, own in zip(steps, chosen, strict=True)]
        return Run(weights, weights, first, height)

    def _part_way(self, params: MarkovAutoregressionParams, gap: Gap, before: Array) -> Array:
        """Return the probabilities of the regimes at the last row of `gap`, given the rows up to it."""
        heights = gap_moments(params, gap, self.rows.centre).log_densities
        joint = before[gap.histories(self.order - 1, self.order)] * gap.moves(params.transition_matrix)
        joint *= np.exp(heights - heights.max())
        found = np.bincount(gap.paths[:, -1], joint, params.n_regimes)
        return np.asarray(found / found.sum())


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the parameters say of rows (N, n), and of gaps by their identity."""

    rows: Array
    moments: dict[int, GapMoments]


@dataclass(frozen=True, eq=False)
class _Step:
    """The histories or paths of a piece: the p regimes that each comes from and goes to, its moves and log density."""

    come: IntArray
    go: IntArray
    moves: Array
    heights: Array
