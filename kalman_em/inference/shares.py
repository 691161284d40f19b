"""The E-step of a long panel in shares of its series, side by side on threads, and the sums of all put together.

Which series make a share depends on their lengths alone, and sums are added in the order of the shares: the result is
the same, to the last bit, on any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from kalman_em.arrays import IntArray, frozen
from kalman_em.errors import NumericalError
from kalman_em.inference.e_step import expect_by
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.numerics import AUTO, SQUARE_ROOT, STANDARD
from kalman_em.inference.regression_sums import RegressionMoments
from kalman_em.inference.rows import Rows, lay
from kalman_em.systems import LinearGaussianSystem
from kalman_em.threads import shared_out

# A share has so many rows or more, for what each costs in Python not to count; there are so many shares at most.
FEWEST_ROWS, MOST_SHARES = 25_000, 8


def shares_of(rows: Rows) -> list[Rows]:
    """Return the rows in shares of whole series; the rows themselves where they are few, or of one series."""
    n_shares = min(MOST_SHARES, rows.n_series, rows.n_rows // FEWEST_ROWS)
    if n_shares < 2:
        return [rows]
    cuts = np.searchsorted(rows.starts, rows.n_rows * np.arange(1, n_shares) // n_shares)
    bounds = np.unique([0, *cuts.tolist(), rows.n_series]).tolist()
    return [_part(rows, first, last) for first, last in pairwise(bounds)]


def _part(rows: Rows, first: int, last: int) -> Rows:
    """Return the rows of the series from `first` to before `last`."""
    starts = rows.starts[first : last + 1]
    at = slice(int(starts[0]), int(starts[-1]))
    return replace(
        rows,
        values=rows.values[at],
        starts=frozen(starts - starts[0]),
        inputs=None if rows.inputs is None else rows.inputs[at],
        pattern=rows.pattern[at],
        times=None if rows.times is None else rows.times[at],
    )


def can_be_shared(system: LinearGaussianSystem) -> bool:
    """Whether shares of the series have the same tables: nothing varies in time or by series."""
    return system.is_constant and system.transition_gaps is None and not system.by_series


def expect_shared(
    system: LinearGaussianSystem,
    rows: Rows,
    shares: Sequence[Rows],
    numerics: str = AUTO,
    *,
    diagonal: bool = False,
    n_threads: int = 1,
) -> tuple[Expectations, float]:
    """Return what `expect_by` does for `system` over `rows`, from their `shares`.

    Raises
    ------
    NumericalError
        If the filter fails, or a diffuse start is never resolved.
    """
    if len(shares) == 1 or not can_be_shared(system):
        return expect_by(lay(system, rows), rows, numerics, diagonal=diagonal)

    def expected(share: Rows) -> tuple[Expectations, float]:
        return expect_by(lay(system, share), share, numerics, diagonal=diagonal)

    try:
        found = list(shared_out(expected, shares, n_threads))
    except NumericalError:
        # Taken as one, the rows say which series it was.
        return expect_by(lay(system, rows), rows, numerics, diagonal=diagonal)
    return put_together([one for one, _ in found]), float(sum(log_likelihood for _, log_likelihood in found))


def put_together(parts: Sequence[Expectations]) -> Expectations:
    """Return the expectations of all series from those of shares of them, under one constant system.

    The transitions have one group; the observations have groups by missing pattern, which need not be those of all.
    """
    transition = parts[0].transition
    for part in parts[1:]:
        transition = _sum(transition, part.transition)
    observed = np.concatenate([part.observed for part in parts])
    distinct, position = np.unique(observed, axis=0, return_inverse=True)
    of_part = np.split(position.reshape(-1), np.cumsum([len(part.observed) for part in parts])[:-1])
    observation = _empty(parts[0].observation, len(distinct))
    for part, groups in zip(parts, of_part, strict=True):
        _add_at(observation, groups, part.observation)
    return Expectations(
        transition=transition,
        observation=observation,
        observation_cov_entry=frozen(np.zeros(len(distinct), dtype=np.int64)),
        observed=frozen(distinct),
        initial_means=frozen(np.concatenate([part.initial_means for part in parts])),
        initial_covs=frozen(np.concatenate([part.initial_covs for part in parts])),
        numerics=SQUARE_ROOT if any(part.numerics == SQUARE_ROOT for part in parts) else STANDARD,
    )


def _sum(left: RegressionMoments, right: RegressionMoments) -> RegressionMoments:
    return RegressionMoments(
        left.residual + right.residual,
        left.cross + right.cross,
        left.regressor + right.regressor,
        left.count + right.count,
    )


def _empty(like: RegressionMoments, n: int) -> RegressionMoments:
    parts = (like.residual, like.cross, like.regressor, like.count)
    return RegressionMoments(*(np.zeros((n, *part.shape[1:])) for part in parts))


def _add_at(sums: RegressionMoments, groups: IntArray, part: RegressionMoments) -> None:
    """Add the sums of one share to the groups that are its own, each once."""
    sums.residual[groups] += part.residual
    sums.cross[groups] += part.cross
    sums.regressor[groups] += part.regressor
    sums.count[groups] += part.count
