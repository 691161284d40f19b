"""What models with several lags share: the companion transition, and least squares on what came before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.loop import run_em
from kalman_em.em.stopping import Stopping
from kalman_em.errors import NumericalError
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# Candidates for a start are given so many iterations to show where they lead.
TRIALS = 10
# A coefficient on the last lag is at least this: what has none of it could not be seen from later rows.
LEAST_LAST = 1e-3


def free_rows(n: int, order: int, first: int = 0) -> list[tuple[int, int, int, float]]:
    """Return the learnt entries of a companion of `order` lags of n values: its first n rows, from `first` on."""
    width = n * order
    return [(row, column, row * width + column + first, 1.0) for row in range(n) for column in range(width)]


def shifted(n: int, order: int) -> Array:
    """Return the known part of that companion (n order, n order): each lag becomes the next."""
    return np.eye(n * order, k=-n)


def regressed_on_lags(series: list[Array], order: int) -> tuple[Array, Array]:
    """Return coefficients (n, n order) and residual covariance (n, n) of rows regressed on those before.

    Least squares over all series (T, n), about 0; with a little of the last lag in any case.
    """
    n = series[0].shape[1]
    usable = [values for values in series if len(values) > order]
    targets = np.vstack([values[order:] for values in usable])
    lags = np.vstack([np.hstack([v[order - 1 - i : len(v) - 1 - i] for i in range(order)]) for v in usable])
    coefficients = np.linalg.lstsq(lags, targets, rcond=1e-8)[0].T
    last = coefficients[:, -n:]
    last[np.diag_indices(n)] += np.where(np.abs(np.diagonal(last)) < LEAST_LAST, LEAST_LAST, 0.0)
    residual = targets - lags @ coefficients.T
    spread = np.mean(targets**2, axis=0)
    cov = residual.T @ residual / len(targets) + np.diag(1e-3 * spread)
    return np.asarray(coefficients, dtype=np.float64), np.asarray(cov)


def most_promising(
    specification: Specification, panel: Panel, candidates: Iterator[LinearGaussianSystem]
) -> LinearGaussianSystem:
    """Return the candidate that leads highest in a few iterations of EM.

    Raises
    ------
    NumericalError
        If none has a finite likelihood.
    """
    problem = LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel))
    reached, failures = [], []
    for candidate in candidates:
        try:
            run = run_em(problem, candidate, stopping=Stopping(max_iterations=TRIALS))
        except NumericalError as error:
            failures.append(error)
            continue
        reached.append((run.log_likelihood, candidate))
    if not reached:
        reason = f" (the first failed with: {failures[0]})" if failures else ""
        raise NumericalError(f"start: no starting values with a finite likelihood were found{reason}; pass start=")
    return max(reached, key=lambda found: found[0])[1]
