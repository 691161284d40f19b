"""Starts for sums: the noise ratios and transitions of highest likelihood, the common scale in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, product
from math import prod
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.forms import LowRank, Stationary
from kalman_em.errors import NumericalError
from kalman_em.inference.kalman import kalman_filter, rts_smoother
from kalman_em.inference.stationary import stationary_cov
from kalman_em.linalg import block_diagonal
from kalman_em.models.component import Component
from kalman_em.models.layout import Layout, laid_out
from kalman_em.models.loadings import with_loadings
from kalman_em.models.scale import data_scale
from kalman_em.models.specification import Specification
from kalman_em.observations import Observations, Panel
from kalman_em.systems import LinearGaussianSystem

# The part of a series that the profile of the start looks at: enough to see the signal-to-noise ratio.
PROFILED_ROWS = 2000
# A grid of at most so many points is searched whole; a larger one along its axes, in at most so many rounds.
WHOLE_GRID = 64
ROUNDS = 4

Point = tuple[int, ...]


class Profile(NamedTuple):
    """What the search found for one column: R, the variances of all noises (one a noisy state), F, D.

    `moves` are what the smoothed states do beyond F x, one row a step of every series, in units of their own.
    """

    observation: float
    variances: Array
    transition: Array
    coefficients: Array
    moves: Array


def profiled_start(specification: Specification, panel: Panel, components: Sequence[Component]) -> LinearGaussianSystem:
    """Return the start whose noise ratios and transitions have the highest likelihood on a grid, column by column.

    For each point of the grid the common scale has a closed form, so the grid is free of the units of the data; the
    diffuse start of a level makes it free of their origin. Loadings of noises in common come from the correlations of
    the smoothed noises of the columns.
    """
    p = panel.obs_dim
    layout = laid_out(components, p)
    found = [_profiled_column(panel, column, components, bool(layout.commons)) for column in range(p)]
    R = np.array([column.observation for column in found])
    Q = np.array([column.variances for column in found]).T
    coefficients = np.zeros((p, panel.input_dim))
    learnt = _learnt_columns(components)
    coefficients[:, learnt] = [column.coefficients for column in found]
    first = np.array([_first_value(panel, column) for column in range(p)])
    values = {
        "observation_cov": np.diag(R),
        "transition_cov": np.diag(_noise_variances(layout, Q)),
        "transition_matrix": layout.stacked(_interleaved([column.transition for column in found])),
        "observation_matrix": with_loadings(
            layout, specification.constraint("observation_matrix").fixed, Q, [column.moves for column in found]
        ),
        "initial_mean": np.concatenate([first, np.zeros(layout.state_dim - p)]),
        "initial_cov": _first_cov(layout, R, Q),
        "observation_input": coefficients,
    }
    return specification.projected(values)


def _noise_variances(layout: Layout, Q: Array) -> Array:
    """Return the variances in the order of the noises from those of each noisy state and column: 1 in common ones."""
    parts, row = [], 0
    for noise, size in layout.noises:
        n = len(noise.states)
        parts.append(np.ones(n * size) if isinstance(noise.form, LowRank) else Q[row : row + n].ravel())
        row += n
    return np.concatenate([np.zeros(0), *parts])


def scattered(
    specification: Specification, system: LinearGaussianSystem, rng: np.random.Generator
) -> LinearGaussianSystem:
    """Return `system` with every variance multiplied by a log-normal factor (a factor of e is one sigma).

    What is learnt of the transition is drawn towards another that does not explode, or dies away as its start asks.
    """
    values = {
        name: _rescaled(getattr(system, name), rng) for name in ("transition_cov", "observation_cov", "initial_cov")
    }
    F = system.transition_matrix
    if specification.is_free("transition_matrix"):
        F = F + 0.2 * rng.standard_normal(F.shape)
        F = F / max(float(np.abs(np.linalg.eigvals(F)).max()), 1.0)
    kept = {name: getattr(system, name) for name in specification.coefficients}
    return specification.start_from({**kept, **values, "transition_matrix": F})


def _interleaved(blocks: Sequence[Array]) -> Array:
    """Return F (c p, c p) of one (c, c) transition a column."""
    p = len(blocks)
    return np.asarray(sum(np.kron(block, np.outer(unit, unit)) for block, unit in zip(blocks, np.eye(p), strict=True)))


def _first_cov(layout: Layout, R: Array, Q: Array) -> Array:
    P = np.zeros((layout.state_dim, layout.state_dim))
    P[layout.own, layout.own] = _initial_variances(R, Q, len(layout.own) // layout.p)
    return P


def _initial_variances(R: Array, Q: Array, n_states: int) -> Array:
    if not len(Q):
        return np.tile(R, n_states)
    rows = [R + Q[0], *(Q[min(i, len(Q) - 1)] + Q[0] for i in range(1, n_states))]
    return np.concatenate(rows)


def _profiled_column(panel: Panel, column: int, components: Sequence[Component], has_common: bool) -> Profile:
    """Return the best point of one column; the moves of its states only if a noise is in common."""
    search = _Search(panel, column, components)
    best, height = search.start, -np.inf
    if prod(search.sizes) <= WHOLE_GRID:
        for point in product(*(range(size) for size in search.sizes)):
            if search.height(point) > height:
                best, height = point, search.height(point)
    else:
        best = search.climbed()
    scale = float(data_scale(panel)[column])
    unit = scale**2 * search.unit(best)
    return Profile(
        unit,
        unit * search.variances(best),
        search.transition(best),
        scale * search.coefficients(best),
        search.moves(best, [one.n_steps for one in panel]) if has_common else np.zeros((0, 0)),
    )


def _learnt_columns(components: Sequence[Component]) -> list[int]:
    return [j for component in components if not component.is_moving for j in component.columns]


class _Search:
    """The grid of one column: an axis for each noise, then one for each component whose transition is learnt."""

    def __init__(self, panel: Panel, column: int, components: Sequence[Component]) -> None:
        self.components = components
        self.noises = [noise for component in components for noise in component.noises]
        self.learnt = [component for component in components if len(component.tried_transitions) > 1]
        self.sizes = [len(noise.tried) for noise in self.noises]
        self.sizes += [len(component.tried_transitions) for component in self.learnt]
        scale = float(data_scale(panel)[column])
        self.state_dim = sum(component.state_dim for component in components)
        self.series: list[tuple[Array, Array, Array]] = []
        self.windows: list[tuple[int, slice]] = []
        for position, one in enumerate(panel):
            rows = window_of(one.values[:, column])
            values = one.values[rows, column] / scale
            if np.count_nonzero(~np.isnan(values)) > self.state_dim:
                inputs = np.zeros((len(values), 0)) if one.inputs is None else one.inputs[rows]
                self.series.append((values, inputs[:, _learnt_columns(components)], self._observed(inputs)))
                self.windows.append((position, rows))
        self.seen: dict[Point, tuple[float, float, Array]] = {}

    @property
    def start(self) -> Point:
        return tuple(size // 2 for size in self.sizes)

    def height(self, point: Point) -> float:
        return self._profiled(point)[0]

    def unit(self, point: Point) -> float:
        return self._profiled(point)[1]

    def coefficients(self, point: Point) -> Array:
        return self._profiled(point)[2]

    def moves(self, point: Point, lengths: Sequence[int]) -> Array:
        """Return x[t+1] - F x[t] of the smoothed states, a row a step of every series, 0 where nothing is known."""
        found = [np.zeros((max(n - 1, 0), self.state_dim)) for n in lengths]
        F = self.transition(point)
        for (values, inputs, observed), (position, rows) in zip(self.series, self.windows, strict=True):
            system = self._system(point, observed)
            left = (values - inputs @ self.coefficients(point))[:, None]
            try:
                means = rts_smoother(system, kalman_filter(system, Observations(left))).smoothed_means
            except NumericalError:
                continue
            found[position][rows.start : rows.stop - 1] = means[1:] - means[:-1] @ F.T
        return np.concatenate(found)

    def _observed(self, inputs: Array) -> Array:
        """Return the row of H (c,), or one a row of the series where inputs are seen through states."""
        if not any(component.is_moving for component in self.components):
            return np.concatenate([component.observation for component in self.components])
        rows = [
            inputs[:, list(c.columns)] if c.is_moving else np.tile(c.observation, (len(inputs), 1))
            for c in self.components
        ]
        return np.hstack(rows)

    def variances(self, point: Point) -> Array:
        """Return the variance of every noisy state in units of that of the observations."""
        ratios = [noise.tried[i] for noise, i in zip(self.noises, point, strict=False)]
        return np.repeat(ratios, [len(noise.states) for noise in self.noises])

    def transition(self, point: Point) -> Array:
        choice = dict(zip(map(id, self.learnt), point[len(self.noises) :], strict=True))
        blocks = [component.tried_transitions[choice.get(id(component), 0)] for component in self.components]
        return block_diagonal(*blocks)

    def climbed(self) -> Point:
        """Return the point that no move along one axis betters."""
        best = self.start
        for _ in range(ROUNDS):
            before = best
            for axis, size in enumerate(self.sizes):
                line = [(*best[:axis], i, *best[axis + 1 :]) for i in range(size)]
                best = max([best, *line], key=self.height)
            if best == before:
                break
        return best

    def _profiled(self, point: Point) -> tuple[float, float, Array]:
        if point not in self.seen:
            self.seen[point] = self._computed(point)
        return self.seen[point]

    def _computed(self, point: Point) -> tuple[float, float, Array]:
        """Return the log-likelihood, up to a constant, at the best common scale and regression; scale; coefficients.

        The filter is linear: innovations of the data regressed on those of the inputs are generalised least squares
        (Harvey 1989, section 3.4.2).
        """
        whitened, logs, count = [], 0.0, 0
        for values, inputs, observed in self.series:
            try:
                ours, variances = _innovations(self._system(point, observed), values)
                others = [
                    _innovations(self._system(point, observed), np.where(np.isnan(values), np.nan, u))[0]
                    for u in inputs.T
                ]
            except NumericalError:
                continue
            seen = ~np.isnan(ours)
            deviations = np.sqrt(variances[seen])
            whitened.append(np.array([ours[seen], *(one[seen] for one in others)]) / deviations)
            logs += float(np.sum(np.log(variances[seen])))
            count += int(np.count_nonzero(seen))
        if count == 0:
            return -np.inf, 1.0, np.zeros(len(_learnt_columns(self.components)))
        ours, regressors = np.hstack(whitened)[0], np.hstack(whitened)[1:].T
        coefficients = np.linalg.lstsq(regressors, ours, rcond=None)[0]
        squares = float(np.sum((ours - regressors @ coefficients) ** 2))
        if not squares > 1e-24 * count:
            return -np.inf, 1.0, coefficients
        return -0.5 * (count * np.log(squares / count) + logs), squares / count, coefficients

    def _system(self, point: Point, observed: Array) -> LinearGaussianSystem:
        c = self.state_dim
        firsts = list(accumulate((component.state_dim for component in self.components), initial=0))
        moved = [
            first + state
            for component, first in zip(self.components, firsts, strict=False)
            for noise in component.noises
            for state in noise.states
        ]
        G = np.eye(c)[:, moved]
        F, noise = self.transition(point), G @ np.diag(self.variances(point)) @ G.T
        P, diffuse = np.zeros((c, c)), np.ones(c, dtype=bool)
        for component, first in zip(self.components, firsts, strict=False):
            if isinstance(component.initial_cov, Stationary):
                rows = slice(first, first + component.state_dim)
                P[rows, rows] = stationary_cov(F[rows, rows], noise[rows, rows])
                diffuse[rows] = False
        return LinearGaussianSystem(
            transition_matrix=F,
            transition_cov=noise,
            observation_matrix=observed[..., None, :],
            observation_cov=np.eye(1),
            initial_mean=np.zeros(c),
            initial_cov=P,
            initial_diffuse=diffuse,
        )


def _innovations(system: LinearGaussianSystem, values: Array) -> tuple[Array, Array]:
    """Return the innovations of one column and their variances, NaN where there are none."""
    filtered = kalman_filter(system, Observations(values[:, None]))
    return filtered.innovations[:, 0], filtered.innovation_covs[:, 0, 0]


def window_of(values: Array) -> slice:
    """Return the rows from the first observed one on, at most `PROFILED_ROWS`."""
    observed = np.flatnonzero(~np.isnan(values))
    if len(observed) == 0:
        return slice(0, 0)
    return slice(int(observed[0]), min(int(observed[0]) + PROFILED_ROWS, len(values)))


def _first_value(panel: Panel, column: int) -> float:
    """Return the mean over the series of the first observed value of a column."""
    firsts = [
        v[np.flatnonzero(~np.isnan(v))[0]] for v in (one.values[:, column] for one in panel) if not np.isnan(v).all()
    ]
    return float(np.mean(firsts))


def _rescaled(cov: Array, rng: np.random.Generator) -> Array:
    factor = np.exp(0.5 * rng.standard_normal(len(cov)))
    result: Array = cov * np.outer(factor, factor)
    return result
