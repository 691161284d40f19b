"""An autoregression about a mean that jumps with the regime: its parameters, densities, sums and M-step.

    y[t] - μ(z[t]) = Σ_i φ_i (y[t-i] - μ(z[t-i])) + e[t],        e ~ N(0, v),

so the density of a row depends on the history of p + 1 regimes c = (z[t], ..., z[t-p]). With Y[t] the values
(y[t], ..., y[t-p]), M_c the means along the history and a = (1, -φ), the error is a'(Y[t] - M_c).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, pi

import numpy as np

from kalman_em.arrays import Array, IntArray, as_floats, check_shape
from kalman_em.em.stopping import EMStop, StopReason
from kalman_em.errors import InputError
from kalman_em.latent.covariances import EMPTY
from kalman_em.latent.shares import checked_rows

# The conditional maximisations of the M-step are repeated until they move nothing by more than this, relative.
SETTLED = 1e-11
MOST_CYCLES = 500


@dataclass(frozen=True, eq=False)
class MarkovAutoregressionParams:
    """The means of K regimes, the autoregression about them, and the chain.

    Parameters
    ----------
    means : array_like, shape (K,)
    coefficients : array_like, shape (p,) or (K, p)
        φ; one row a regime if they switch.
    variances : array_like, shape (1,) or (K,)
        v; one a regime if it switches.
    initial_probabilities : array_like, shape (K,)
    transition_matrix : array_like, shape (K, K)

    Raises
    ------
    InputError
        If a shape is wrong, a variance is negative, or probabilities are none.
    """

    means: Array
    coefficients: Array
    variances: Array
    initial_probabilities: Array
    transition_matrix: Array

    def __post_init__(self) -> None:
        for name in ("means", "coefficients", "variances"):
            object.__setattr__(self, name, as_floats(getattr(self, name), name))
        K = len(self.means)
        if self.variances.shape not in ((1,), (K,)) or self.variances.min() < 0.0:
            raise InputError(f"variances: expected 1 or {K} numbers of at least 0, got {self.variances.tolist()}")
        check_shape(self.coefficients, (*self.coefficients.shape[-2:-1], self.order), "coefficients")
        for name, shape in (("initial_probabilities", (K,)), ("transition_matrix", (K, K))):
            object.__setattr__(self, name, checked_rows(getattr(self, name), shape, name))

    @property
    def n_regimes(self) -> int:
        """Number of regimes, K."""
        return len(self.means)

    @property
    def order(self) -> int:
        """Number of lags, p."""
        return int(self.coefficients.shape[-1])

    @property
    def filters(self) -> Array:
        """(1, -φ) of each regime, shape (K, p + 1)."""
        K, p = self.n_regimes, self.order
        return np.hstack([np.ones((K, 1)), -np.broadcast_to(self.coefficients, (K, p))])

    @property
    def spreads(self) -> Array:
        """v of each regime, shape (K,)."""
        return np.broadcast_to(self.variances, self.means.shape)


@dataclass(frozen=True, eq=False)
class LaggedRows:
    """The rows that the likelihood explains, each with its lags, less the centre, shape (N, p + 1).

    `histories` (K^(p+1), p + 1) are the regimes of each history, the latest first.
    """

    values: Array
    centre: float
    scale: float
    histories: IntArray


@dataclass(frozen=True, eq=False)
class LaggedSums:
    """Expected sums over the rows: how often each history comes (n,), Σ Y in it (n, p + 1), Σ Y Y' by regime."""

    counts: Array
    first: Array
    second: Array


def log_densities(params: MarkovAutoregressionParams, rows: LaggedRows) -> Array:
    """Return log p(y[t] | lags, history) for every row and history, shape (N, n)."""
    latest, filters = rows.histories[:, 0], params.filters
    expected = np.einsum("ci,ci->c", filters[latest], (params.means - rows.centre)[rows.histories])
    errors = (rows.values @ filters.T)[:, latest] - expected
    variances = params.spreads[latest]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        heights = -0.5 * (np.log(2.0 * pi * variances) + errors**2 / variances)
    return np.asarray(heights)


def lagged_sums(rows: LaggedRows, weights: Array, n_regimes: int) -> LaggedSums:
    """Return the sums over rows that are in history c with weight `weights[t, c]`."""
    by_regime = weights.reshape(len(weights), n_regimes, -1).sum(axis=2)
    second = np.array([(rows.values * by_regime[:, k : k + 1]).T @ rows.values for k in range(n_regimes)])
    return LaggedSums(weights.sum(axis=0), weights.T @ rows.values, second)


def m_step(params: MarkovAutoregressionParams, sums: LaggedSums, rows: LaggedRows) -> MarkovAutoregressionParams:
    """Return means, coefficients and variances at a maximum of the expected log-likelihood; the chain as it was.

    Each of the three has a closed form given the others, and is set to it in turn until they agree: the conditional
    maximisations of ECM (Meng & Rubin, Maximum likelihood estimation via the ECM algorithm, Biometrika 80 (1993)).

    Raises
    ------
    EMStop
        If a regime has died, or its variance has collapsed.
    """
    held = sums.counts.reshape(params.n_regimes, -1).sum(axis=1)
    if held.min() < EMPTY:
        raise EMStop(StopReason.empty_component, f"regime {int(held.argmin())} has no rows left")
    floor = (4.0 * np.finfo(float).eps * (abs(rows.centre) + rows.scale)) ** 2
    for _ in range(MOST_CYCLES):
        before = params
        params = replace(params, coefficients=_coefficients(params, scatters(params, sums, rows)))
        params = replace(params, means=_means(params, sums, rows))
        params = replace(params, variances=_variances(params, scatters(params, sums, rows), held))
        if params.variances.min() <= floor:
            raise EMStop(
                StopReason.degenerate_covariance,
                f"the variance of regime {int(params.variances.argmin())} has collapsed",
            )
        if change(before, params) <= SETTLED:
            break
    return params


def scatters(params: MarkovAutoregressionParams, sums: LaggedSums, rows: LaggedRows) -> Array:
    """Return Σ (Y - M_c)(Y - M_c)' over the rows of each regime, in expectation, shape (K, p + 1, p + 1)."""
    K = params.n_regimes
    means = (params.means - rows.centre)[rows.histories]
    crossed = (sums.first - 0.5 * sums.counts[:, None] * means)[:, :, None] * means[:, None, :]
    crossed = crossed.reshape(K, -1, *crossed.shape[1:]).sum(axis=1)
    return np.asarray(sums.second - crossed - np.swapaxes(crossed, 1, 2))


def expected_height(params: MarkovAutoregressionParams, sums: LaggedSums, rows: LaggedRows) -> float:
    """Return the expected log density of the rows given their histories."""
    held = sums.counts.reshape(params.n_regimes, -1).sum(axis=1)
    squares = np.einsum("ki,kij,kj->k", params.filters, scatters(params, sums, rows), params.filters)
    if params.variances.min() <= 0.0:
        return -np.inf
    return -0.5 * float(held @ np.log(params.spreads) + held.sum() * log(2.0 * pi) + np.sum(squares / params.spreads))


def change(old: MarkovAutoregressionParams, new: MarkovAutoregressionParams) -> float:
    """Return the largest change: of means in standard deviations, of variances relative to them, of others as is."""
    deviation = np.sqrt(old.spreads)
    return max(
        float(np.max(np.abs(new.means - old.means) / deviation)),
        float(np.max(np.abs(new.variances - old.variances) / old.variances)),
        float(np.abs(new.coefficients - old.coefficients).max()),
        float(np.abs(new.initial_probabilities - old.initial_probabilities).max()),
        float(np.abs(new.transition_matrix - old.transition_matrix).max()),
    )


def _coefficients(params: MarkovAutoregressionParams, about_means: Array) -> Array:
    """Return the regression of y[t] less its mean on the lags less theirs, weighted by 1 / v."""
    if params.coefficients.ndim == 2:
        return np.array([np.linalg.lstsq(one[1:, 1:], one[1:, 0], rcond=None)[0] for one in about_means])
    pooled = np.einsum("kij,k->ij", about_means, 1.0 / params.spreads)
    return np.asarray(np.linalg.lstsq(pooled[1:, 1:], pooled[1:, 0], rcond=None)[0])


def _means(params: MarkovAutoregressionParams, sums: LaggedSums, rows: LaggedRows) -> Array:
    """Return the regression of a'Y on what the mean of each regime adds to it, Σ_i a_i [z(t-i) = k]."""
    latest = rows.histories[:, 0]
    filters = params.filters[latest]
    design = np.zeros((len(latest), params.n_regimes))
    for i in range(params.order + 1):
        design[np.arange(len(latest)), rows.histories[:, i]] += filters[:, i]
    precision = 1.0 / params.spreads[latest]
    normal = (design * (precision * sums.counts)[:, None]).T @ design
    right = design.T @ (precision * np.einsum("ci,ci->c", filters, sums.first))
    return np.asarray(np.linalg.lstsq(normal, right, rcond=None)[0] + rows.centre)


def _variances(params: MarkovAutoregressionParams, about_means: Array, held: Array) -> Array:
    """Return the mean squared errors, of each regime or of all."""
    squares = np.maximum(np.einsum("ki,kij,kj->k", params.filters, about_means, params.filters), 0.0)
    if len(params.variances) == 1 and len(held) > 1:
        return np.array([squares.sum() / held.sum()])
    return np.asarray(squares / held)
