"""The rows of all series one after another, and a system as tables of distinct matrices with an index per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, Table, frozen
from kalman_em.errors import InputError
from kalman_em.gaps import Gaps, gaps_of
from kalman_em.observations import Observations
from kalman_em.systems import LinearGaussianSystem

# Axes of a parameter that is constant.
NDIMS = {"matrix": 2, "offset": 1, "input": 2, "cov": 2}


@dataclass(frozen=True, eq=False)
class Rows:
    """The observations of N series stacked: row `starts[s]` is the first of series s.

    `times` (N,) are the time stamps of the rows, if all series have them.
    `pattern` numbers the distinct missing-data patterns, whose masks (True where observed) are `patterns`. The first
    `n_leading` rows of each series come before the data (`initial_step="before"`): no observation belongs to them.
    """

    values: Array
    starts: IntArray
    inputs: Array | None
    pattern: IntArray
    patterns: BoolArray
    n_leading: int = 0
    times: Array | None = None

    @cached_property
    def gaps(self) -> Gaps:
        """The distinct gaps between time stamps, and the gap after every row."""
        assert self.times is not None  # `lay` has looked
        return gaps_of(self.times, self.starts)

    @cached_property
    def step(self) -> IntArray:
        """The step of every row within its series."""
        lengths = np.diff(self.starts)
        return frozen(np.arange(self.n_rows) - np.repeat(self.starts[:-1], lengths))

    @cached_property
    def series(self) -> IntArray:
        """The series of every row, by position."""
        return frozen(np.repeat(np.arange(self.n_series), np.diff(self.starts)))

    @cached_property
    def no_index(self) -> IntArray:
        """The index of every row into a table of one entry."""
        return frozen(np.zeros(self.n_rows, dtype=np.int64))

    @cached_property
    def pattern_groups(self) -> tuple[IntArray, IntArray]:
        """The groups of rows with one missing pattern: (group of a row, first row of a group)."""
        # Sorting rows that are all alike would take longer than filtering them.
        return (
            (self.no_index, frozen(np.zeros(1, dtype=np.int64))) if len(self.patterns) == 1 else numbered(self.pattern)
        )

    @cached_property
    def pattern_order(self) -> tuple[IntArray, IntArray]:
        """The rows of the data, leading ones left out, by group of `pattern_groups`, and where each group begins."""
        group, first = self.pattern_groups
        return by_group(self.data_rows, group, len(first))

    @cached_property
    def data_rows(self) -> IntArray:
        """The rows that are not leading ones."""
        return frozen(np.flatnonzero(self.step >= self.n_leading) if self.n_leading else np.arange(self.n_rows))

    @cached_property
    def moving_rows(self) -> IntArray:
        """The rows that another of their series follows."""
        return frozen(np.delete(np.arange(self.n_rows), self.starts[1:] - 1))

    @property
    def n_rows(self) -> int:
        """Number of rows over all series."""
        return int(self.values.shape[0])

    @property
    def n_series(self) -> int:
        """Number of series."""
        return len(self.starts) - 1

    def of(self, position: int) -> slice:
        """Return the rows of the series at `position`."""
        return slice(int(self.starts[position]), int(self.starts[position + 1]))


def stack_rows(series: Sequence[Observations], n_leading: int = 0) -> Rows:
    """Stack the rows of `series`; the missing-data patterns are found once, here."""
    values = series[0].values if len(series) == 1 else np.concatenate([one.values for one in series])
    inputs = None
    if series[0].inputs is not None:
        inputs = frozen(np.concatenate([one.inputs for one in series if one.inputs is not None]))
    times = [one.times for one in series if one.times is not None]
    patterns, pattern = _patterns(~np.isnan(values))
    starts = np.concatenate([[0], np.cumsum([one.n_steps for one in series])])
    return Rows(
        values=frozen(values),
        starts=frozen(starts.astype(np.int64)),
        inputs=inputs,
        pattern=frozen(pattern),
        patterns=frozen(patterns),
        n_leading=n_leading,
        times=frozen(np.concatenate(times)) if len(times) == len(series) else None,
    )


def _patterns(observed: BoolArray) -> tuple[BoolArray, IntArray]:
    """Return the distinct rows of `observed` (n, p) and which of them each row is (N,)."""
    n_rows, p = observed.shape
    if observed.all():
        return np.ones((1, p), dtype=bool), np.zeros(n_rows, dtype=np.int64)
    # Bits as one number a row: numbers sort much faster than rows.
    width = -(-p // 8) * 8
    codes = np.zeros((n_rows, max(-(-width // 64), 1) * 8), dtype=np.uint8)
    codes[:, : width // 8] = np.packbits(observed, axis=1)
    words = codes.view(np.uint64)
    if words.shape[1] == 1:
        _, first, pattern = np.unique(words[:, 0], return_index=True, return_inverse=True)
    else:
        _, first, pattern = np.unique(words, axis=0, return_index=True, return_inverse=True)
    return observed[first], pattern.reshape(-1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class SystemRows:
    """A system laid over the rows of a data set: what the compiled loops read.

    `noise_cov` is G Q G'. The offsets carry the inputs: b + B u and d + D u. Rows with the same missing
    pattern, H and R form a group, whose first row is `group_rows`. The initial moments are those of every series, or
    have a leading axis with one entry each.
    """

    transition: Table
    offset: Table
    noise_cov: Table
    observation: Table
    observation_offset: Table
    observation_cov: Table
    group_index: IntArray
    group_rows: IntArray
    initial_mean: Array
    initial_cov: Array
    initial_factor: Array
    initial_columns: int

    @property
    def state_dim(self) -> int:
        """Number of states d."""
        return int(self.initial_mean.shape[-1])


def lay(system: LinearGaussianSystem, rows: Rows) -> SystemRows:
    """Lay `system` over `rows`.

    Raises
    ------
    InputError
        If the numbers of columns, inputs or steps of system and data differ.
    """
    if rows.values.shape[1] != system.obs_dim:
        raise InputError(
            f"observations: expected {system.obs_dim} columns, as the system's observation_matrix has rows, got "
            f"{rows.values.shape[1]}"
        )
    _check_inputs(system, rows)
    if not system.is_constant:
        for length in np.diff(rows.starts):
            system.check_n_steps(int(length))
    if system.n_series not in (None, rows.n_series):
        raise InputError(
            f"observations: expected {system.n_series} series, as the system has entries, got {rows.n_series}"
        )
    if system.row_starts and not np.array_equal(system.row_starts, rows.starts):
        expected, got = (", ".join(map(str, np.diff(starts))) for starts in (system.row_starts, rows.starts))
        raise InputError(f"observations: expected series of {expected} rows, as the system has entries for, got {got}")
    system, moves = _moves(system, rows)
    H = _table(system, "observation_matrix", rows)
    R = _table(system, "observation_cov", rows)
    group_index, group_rows = _groups(rows, H, R)
    state_dim = system.state_dim
    diffuse = np.flatnonzero(_diffuse(system))
    factor = np.zeros((state_dim, state_dim))
    factor[diffuse, np.arange(len(diffuse))] = 1.0
    mean, cov = _initial(system)
    return SystemRows(
        transition=_table(system, "transition_matrix", rows, moves),
        offset=_offset(system, "transition", rows, moves),
        noise_cov=_noise_table(system, rows, moves),
        observation=H,
        observation_offset=_offset(system, "observation", rows),
        observation_cov=R,
        group_index=group_index,
        group_rows=group_rows,
        initial_mean=mean,
        initial_cov=cov,
        initial_factor=frozen(factor),
        initial_columns=len(diffuse),
    )


def noise_covs(system: LinearGaussianSystem) -> Array:
    """Return G Q G', the covariance of the noise as it enters the state: (d, d) or (T, d, d)."""
    if system.noise_selection is None:
        return system.transition_cov
    G = system.noise_selection
    product = G @ system.transition_cov @ np.swapaxes(G, -1, -2)
    return frozen(0.5 * (product + np.swapaxes(product, -1, -2)))


def _diffuse(system: LinearGaussianSystem) -> BoolArray:
    return np.zeros(system.state_dim, dtype=bool) if system.initial_diffuse is None else system.initial_diffuse


def _moves(system: LinearGaussianSystem, rows: Rows) -> tuple[LinearGaussianSystem, IntArray | None]:
    """Return the entry of varying transition parameters that holds after each row, if gaps say so (None: the step).

    The system comes back with entries for the gaps of `rows`, where it had not all of them.
    """
    if system.transition_gaps is None:
        return system, None
    if rows.times is None:
        raise InputError("times: expected a time for every row, because the system moves by gaps in time, got none")
    index = rows.gaps.within(system.transition_gaps)
    return (system, index) if index is not None else (system.at_gaps(rows.gaps.values), rows.gaps.index)


def _table(system: LinearGaussianSystem, name: str, rows: Rows, moves: IntArray | None = None) -> Table:
    array: Array = getattr(system, name)
    if array.ndim == NDIMS[name.rpartition("_")[2]]:
        return Table(frozen(array[None]), rows.no_index)
    return Table(array, _entries(system, name, rows, moves))


def _entries(system: LinearGaussianSystem, name: str, rows: Rows, moves: IntArray | None) -> IntArray:
    """Return the entry of a parameter with a leading axis for each row: that of its series, its gap or its step."""
    if name in system.by_series:
        return rows.series
    if system.row_starts and name.startswith("observation"):
        return frozen(np.arange(rows.n_rows))
    # A series of T rows needs T-1 transitions; the one past the end is never taken.
    return frozen(np.minimum(rows.step, len(getattr(system, name)) - 1)) if moves is None else moves


def _noise_table(system: LinearGaussianSystem, rows: Rows, moves: IntArray | None) -> Table:
    G = system.noise_selection
    if "transition_cov" in system.by_series:
        if G is None or G.ndim == 2:
            return Table(noise_covs(system), rows.series)
        series, entry, index = noises_of_series(system, rows)
        product = G[entry] @ system.transition_cov[series] @ np.swapaxes(G[entry], 1, 2)
        return Table(frozen(0.5 * (product + np.swapaxes(product, 1, 2))), index)
    table = noise_covs(system)
    if table.ndim == 2:
        return Table(frozen(table[None]), rows.no_index)
    return Table(table, frozen(np.minimum(rows.step, len(table) - 1)) if moves is None else moves)


def noises_of_series(system: LinearGaussianSystem, rows: Rows) -> tuple[IntArray, IntArray, IntArray]:
    """Return the pairs of series and entry of a varying noise selection that the rows have, and the pair of every row.

    They are the entries of the table of G Q G' where Q has one a series and G one a gap.
    """
    system, moves = _moves(system, rows)
    assert system.noise_selection is not None  # the caller has looked
    n = len(system.noise_selection)
    entry = np.minimum(rows.step, n - 1) if moves is None else moves
    index, first = numbered(rows.series * n + entry)
    return rows.series[first], entry[first], index


def _offset(system: LinearGaussianSystem, kind: str, rows: Rows, moves: IntArray | None = None) -> Table:
    offset, matrix = f"{kind}_offset", f"{kind}_input"
    B: Array | None = getattr(system, matrix)
    if B is None or rows.inputs is None:
        return _table(system, offset, rows, moves)
    base: Array = getattr(system, offset)
    base = base if base.ndim == 1 else base[_entries(system, offset, rows, moves)]
    if B.ndim == 2:
        pushed = rows.inputs @ B.T
    else:
        pushed = np.einsum("tik,tk->ti", B[_entries(system, matrix, rows, moves)], rows.inputs)
    return Table(frozen(base + pushed), frozen(np.arange(rows.n_rows)))


def _initial(system: LinearGaussianSystem) -> tuple[Array, Array]:
    """Return m and P, both with an entry for each series if either has."""
    m, P, n = system.initial_mean, system.initial_cov, system.n_series
    if m.ndim == 2 and P.ndim == 2:
        P = frozen(np.repeat(P[None], n or 1, axis=0))
    if m.ndim == 1 and P.ndim == 3:
        m = frozen(np.repeat(m[None], len(P), axis=0))
    return m, P


def _groups(rows: Rows, H: Table, R: Table) -> tuple[IntArray, IntArray]:
    """Number the distinct combinations of missing pattern, H and R; return (group of a row, first row of a group)."""
    if len(H.entries) == 1 and len(R.entries) == 1:
        return rows.pattern_groups
    return numbered((rows.pattern * len(H.entries) + H.index) * len(R.entries) + R.index)


def by_group(chosen: IntArray, group: IntArray, n_groups: int) -> tuple[IntArray, IntArray]:
    """Return the `chosen` rows by the group of each row, in order within it, and where each begins (n_groups + 1,).

    Examples
    --------
    >>> order, bounds = by_group(np.array([1, 2, 3]), np.array([0, 1, 0, 1]), 2)
    >>> order.tolist(), bounds.tolist()
    ([2, 1, 3], [0, 1, 3])
    """
    if n_groups == 1:
        return chosen, np.array([0, len(chosen)])
    key, numbers = group[chosen], np.arange(n_groups + 1)
    if np.all(key[1:] >= key[:-1]):
        return chosen, np.searchsorted(key, numbers)
    order = np.argsort(key, kind="stable")
    return frozen(chosen[order]), np.searchsorted(key[order], numbers)


def numbered(key: IntArray) -> tuple[IntArray, IntArray]:
    """Number the distinct keys; return the number of each row and the first row of each number."""
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    return frozen(group.reshape(-1).astype(np.int64)), frozen(first.astype(np.int64))


def _check_inputs(system: LinearGaussianSystem, rows: Rows) -> None:
    given = 0 if rows.inputs is None else rows.inputs.shape[1]
    if system.input_dim and given != system.input_dim:
        raise InputError(
            f"inputs: expected {system.input_dim} columns for the system's input matrices, got {given or 'none'}"
        )
