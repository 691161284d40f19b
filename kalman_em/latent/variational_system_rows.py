"""The E-step of a Bayesian linear-Gaussian system: the chain of states under averages over the parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, pi

import numpy as np

from kalman_em.arrays import Array, BoolArray, IntArray, frozen
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.mean_field_loops import solve_chain
from kalman_em.latent.variational_system_params import VariationalSystem
from kalman_em.linalg import symmetrised
from kalman_em.observations import Observations, Panel

LOG_2PI = log(2.0 * pi)


@dataclass(frozen=True, eq=False)
class SeriesRows:
    """Rows of all series, one after another.

    Attributes
    ----------
    values : ndarray, shape (N, p)
        Less the prior means of the offsets; 0 where missing.
    seen : ndarray, shape (N, p)
        1 where observed, else 0.
    starts : ndarray of int, shape (S + 1,)
        Where each series begins.
    kinds, kind_of : ndarray, shapes (K, p) and (N,)
        The distinct rows of `seen`, and which of them each row is.
    columns, column_of : ndarray, shapes (C, N) and (p,)
        The distinct columns of `seen`, and which of them each column is.
    """

    values: Array
    seen: Array
    starts: IntArray
    kinds: Array
    kind_of: IntArray
    columns: Array
    column_of: IntArray

    @property
    def n_rows(self) -> int:
        """Number of rows of all series, N."""
        return len(self.values)

    @property
    def follows(self) -> BoolArray:
        """Which rows follow one of the same series, shape (N,)."""
        result = np.ones(self.n_rows, dtype=bool)
        result[self.starts[:-1]] = False
        return result


def ended(panel: Panel) -> Panel:
    """Return every series up to its last observed row: beyond it there is nothing to explain.

    Raises
    ------
    InputError
        If nothing was observed of a series.
    """
    series = []
    for key, one in zip(panel.keys or (), panel, strict=True):
        there = np.flatnonzero(~one.is_missing.all(axis=1))
        if len(there) == 0:
            raise InputError(f"data: series {key!r} has no observed value; leave it out")
        series.append(Observations(one.values[: int(there[-1]) + 1], names=one.names))
    return Panel(tuple(series), keys=panel.keys)


def series_rows(panel: Panel, offset: Array) -> SeriesRows:
    """Return the rows of `panel` measured from `offset` (p,)."""
    parts = [one.values for one in panel]
    values = np.concatenate(parts)
    seen = (~np.isnan(values)).astype(np.float64)
    kinds, kind_of = np.unique(seen, axis=0, return_inverse=True)
    columns, column_of = np.unique(seen.T, axis=0, return_inverse=True)
    return SeriesRows(
        values=frozen(np.where(seen > 0.0, values - offset, 0.0)),
        seen=frozen(seen),
        starts=frozen(np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)),
        kinds=kinds,
        kind_of=kind_of.ravel(),
        columns=columns,
        column_of=column_of.ravel(),
    )


@dataclass(frozen=True, eq=False)
class Chain:
    """q(x): means (N, d), covs and lag-one covs (N, d, d), and its entropy."""

    means: Array
    covs: Array
    lag_one_covs: Array
    entropy: float


def best_chain(params: VariationalSystem, rows: SeriesRows, offset: Array) -> Chain:
    """Return the q(x) that is best for q(parameters), a Gaussian chain with the precision

        E[λ] I or I,   E[F'F] = F'F + d Cov[f],   Σ_i E[ρ_i h_i h_i'] = Σ_i (E[ρ_i] h_i h_i' + V_i)

    at a row: for its prior, for the row that follows, and for what was observed of it (Beal 2003, section 5.3.2;
    Barber and Chiappa 2006 put the same into pseudo-observations beside the data).

    Raises
    ------
    NumericalError
        If a precision is not positive definite.
    """
    n, d = rows.n_rows, params.state_dim
    follows, F = rows.follows, params.transition_means
    H, V, rho = params.observation_means[:, :d], params.observation_covs, params.noise_precisions
    level = params.observation_means[:, d] - offset
    each = (rho[:, None, None] * H[:, :, None] * H[:, None, :] + V[:, :d, :d]).reshape(-1, d * d)
    precisions = (rows.kinds @ each).reshape(-1, d, d)[rows.kind_of] + np.eye(d)
    precisions[rows.starts[:-1]] += (params.initial_precision - 1.0) * np.eye(d)
    leads = np.flatnonzero(follows) - 1
    precisions[leads] += F.T @ F + d * params.transition_cov
    pulls = rows.values @ (rho[:, None] * H)
    pulls -= (rows.kinds @ ((rho * level)[:, None] * H + V[:, :d, d]))[rows.kind_of]
    links = np.zeros((n, d, d))
    links[leads] = F
    found = np.empty((n, d)), np.empty((n, d, d)), np.zeros((n, d, d)), np.empty(n)
    row = solve_chain(rows.starts, precisions, links, pulls, *found, np.empty((3, d, d)))
    if row >= 0:
        raise NumericalError(f"the precision of the state at row {row} (of all series) is not positive definite")
    means, covs, lag_one_covs, log_dets = found
    return Chain(means, symmetrised(covs), lag_one_covs, 0.5 * (n * d * (1.0 + LOG_2PI) - float(log_dets.sum())))


@dataclass(frozen=True, eq=False)
class SystemSums:
    """What the M-step needs of q(x): its entropy, and expected sums over rows.

    Attributes
    ----------
    first : ndarray, shape (d, d)
        Σ x x' over the first rows of the series.
    before, cross, after : ndarray, shape (d, d)
        Σ x[t] x[t]', Σ x[t+1] x[t]' and Σ x[t+1] x[t+1]' over the steps.
    regressors : ndarray, shape (p, d + 1, d + 1)
        Σ z z' over the rows where a column was observed, z = (x, 1).
    targets : ndarray, shape (p, d + 1)
        Σ y z over the same, y less the prior mean of the offset.
    squares, counts : ndarray, shape (p,)
        Σ y² and the number of values.
    n_rows, n_series : int
    entropy : float
    """

    first: Array
    before: Array
    cross: Array
    after: Array
    regressors: Array
    targets: Array
    squares: Array
    counts: Array
    n_rows: int
    n_series: int
    entropy: float

    def turned(self, basis: Array) -> SystemSums:
        """Return the sums of `basis` x in the place of x."""
        d = len(basis)
        whole = np.eye(d + 1)
        whole[:d, :d] = basis
        return replace(
            self,
            first=basis @ self.first @ basis.T,
            before=basis @ self.before @ basis.T,
            cross=basis @ self.cross @ basis.T,
            after=basis @ self.after @ basis.T,
            regressors=whole @ self.regressors @ whole.T,
            targets=self.targets @ whole.T,
            entropy=self.entropy + self.n_rows * float(np.linalg.slogdet(basis)[1]),
        )


def sums_of(chain: Chain, rows: SeriesRows) -> SystemSums:
    """Return the expected sums under q(x)."""
    n, d = chain.means.shape
    means, leads = chain.means, np.flatnonzero(rows.follows) - 1
    seconds = np.empty((n, d + 1, d + 1))
    seconds[:, :d, :d] = chain.covs + means[:, :, None] * means[:, None, :]
    seconds[:, :d, d] = seconds[:, d, :d] = means
    seconds[:, d, d] = 1.0
    table = (rows.columns @ seconds.reshape(n, -1)).reshape(-1, d + 1, d + 1)
    cross = chain.lag_one_covs[leads].sum(axis=0) + means[leads + 1].T @ means[leads]
    padded = np.concatenate([means, np.ones((n, 1))], axis=1)
    return SystemSums(
        first=seconds[rows.starts[:-1], :d, :d].sum(axis=0),
        before=symmetrised(seconds[leads, :d, :d].sum(axis=0)),
        cross=cross,
        after=symmetrised(seconds[leads + 1, :d, :d].sum(axis=0)),
        regressors=symmetrised(table)[rows.column_of],
        targets=rows.values.T @ padded,
        squares=(rows.values**2).sum(axis=0),
        counts=rows.seen.sum(axis=0),
        n_rows=n,
        n_series=len(rows.starts) - 1,
        entropy=chain.entropy,
    )
