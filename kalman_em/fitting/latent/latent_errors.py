"""Standard errors of what a model with hidden values learnt: the curvature of its log-likelihood at the estimates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array, frozen
from kalman_em.em.information import HELD, NO_END, observed_information
from kalman_em.em.numbers import HasFreeNumbers
from kalman_em.errors import InputError, NumericalError
from kalman_em.fitting.uncertainty import StandardErrors
from kalman_em.latent.model import HasShares, LacksErrors, LatentProblem
from kalman_em.latent.shares import Shares
from kalman_em.models.parameters import Parameters

# A share below this is tried at 0, and held there if that costs no more than so much of the log-likelihood.
SMALL = 0.01
COST = 1e-8
AT_EDGE = "a share is at 0, the edge of what it may be: it is held there, and has no standard error"


def latent_errors(problem: LatentProblem[Any, Any], params: Any) -> StandardErrors:
    """Return standard errors from the observed information: see `kalman_em.observed_information`.

    Shares with sum 1 are constrained: they move with one another. One at 0, or so near that its loss costs less than
    1e-8 of the log-likelihood, is held.

    Raises
    ------
    InputError
        If the problem has a reason to give none, or does not say which numbers are free.
    """
    if isinstance(problem, LacksErrors) and problem.why_no_errors:
        raise InputError(f"standard_errors: {problem.why_no_errors}")
    if not isinstance(problem, HasFreeNumbers):
        raise InputError(
            f"standard_errors: expected a problem with the methods free_numbers and with_numbers, which "
            f"{type(problem).__name__} has not"
        )
    params = without_small_shares(problem, params)
    found = observed_information(problem, params)
    learnt = _moved(problem, params, found.numbers)
    values, reasons = {}, {}
    for name, value in problem.named(params).items():
        errors = np.asarray(found.standard_errors[name], dtype=np.float64)
        values[name] = frozen(errors)
        if np.isinf(errors).any():
            reasons[name] = NO_END
        elif isinstance(problem, HasShares) and _at_edge(problem, name, value):
            reasons[name] = AT_EDGE
        elif name in learnt and not errors.any() and HELD in found.reasons:
            reasons[name] = HELD
    return StandardErrors(Parameters(values), reasons, found.cov)


def without_small_shares(problem: Any, params: Any) -> Any:
    """Return the parameters with every share at 0 whose loss costs next to nothing of the log-likelihood.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"])
    >>> without_small_shares(fitted.problem, fitted.em.params) is fitted.em.params
    True
    """
    learnt: Mapping[str, Shares] = problem.shares if isinstance(problem, HasShares) else {}
    least = float(problem.e_step(params)[1]) - COST
    for name, shares in learnt.items():
        rows = np.atleast_2d(getattr(params, name))
        for row, column in np.argwhere(shares.free & (rows > 0.0) & (rows < SMALL)):
            rows = np.atleast_2d(getattr(params, name))
            moved = replace(params, **{name: shares.without(rows, row, column).reshape(getattr(params, name).shape)})
            try:
                # What follows from the shares, as stationary probabilities do, is set anew.
                moved = problem.with_numbers(moved, problem.free_numbers(moved))
                if float(problem.e_step(moved)[1]) >= least:
                    params = moved
            except NumericalError:
                continue
    return params


def _at_edge(problem: HasShares, name: str, value: Array) -> bool:
    shares = problem.shares.get(name)
    return shares is not None and bool(np.any(shares.free & (np.atleast_2d(value) == 0.0)))


def _moved(problem: Any, params: Any, numbers: Array) -> set[str]:
    """Return the names of the parameters in which some number stands."""
    before = problem.named(params)
    after = problem.named(problem.with_numbers(params, numbers + 1e-6 * (np.abs(numbers) + 1e-6)))
    return {name for name, value in before.items() if not np.array_equal(value, after[name])}
