"""Starting values for a state-space model of which nothing is known: a state from past and future of the data."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.observations import Panel

# A start needs some noise everywhere: EM cannot leave a variance of zero.
LEAST_NOISE = 1e-3


def subspace_values(
    panel: Panel, state_dim: int, *, has_offset: bool, has_drift: bool, scale: Array
) -> dict[str, Array]:
    """Return starting arrays for every parameter by subspace identification.

    The columns are brought to unit variance, gaps are bridged (for the start alone), the future of the data is
    regressed on its past, and the leading directions of that prediction are the states (van Overschee and De Moor
    1996, Subspace Identification for Linear Systems, section 3.3); regressions then give the parameters.
    The states have unit variance, so the units of the data enter H, d and R alone.
    """
    p, d = panel.obs_dim, state_dim
    offset = column_means(panel) if has_offset else np.zeros(p)
    series = [bridged((one.values - offset) / scale) for one in panel]
    pairs = [_states(values, d) for values in _project(series, d)]
    states = np.concatenate([x for x, _ in pairs])
    rows = np.concatenate([y for _, y in pairs])
    deviation = np.sqrt(np.mean(states**2, axis=0))
    deviation = np.where(deviation > 1e-8, deviation, 1.0)
    pairs = [(x / deviation, y) for x, y in pairs]
    states = states / deviation
    before = np.concatenate([x[:-1] for x, _ in pairs])
    after = np.concatenate([x[1:] for x, _ in pairs])
    F, drift, Q = _regressed(after, before, has_drift)
    H, _, R = _regressed(rows, states, False)
    first = np.array([x[0] for x, _ in pairs])
    return {
        "transition_matrix": F,
        "transition_offset": drift,
        "transition_cov": Q,
        "observation_matrix": H * scale[:, None],
        "observation_offset": offset,
        "observation_cov": R * np.outer(scale, scale),
        "initial_mean": first.mean(axis=0),
        "initial_cov": np.cov(states.T, bias=True).reshape(d, d) + LEAST_NOISE * np.eye(d),
    }


def correlations(panel: Panel, scale: Array) -> Array:
    """Return the correlations of the columns (p, p), gaps bridged."""
    values = np.concatenate([bridged(one.values) for one in panel]) / scale
    centred = values - values.mean(axis=0)
    return np.asarray(centred.T @ centred / len(centred))


def _project(series: list[Array], state_dim: int) -> list[tuple[Array, Array, Array]]:
    """Return, for each series, its rows and its past, with the common map from the past to the states."""
    p = series[0].shape[1]
    longest = max(len(values) for values in series)
    lags = max(1, min(-(-state_dim // p) + 1, (longest - 1) // 3))
    stacked = [_windows(values, lags) for values in series if len(values) > 2 * lags]
    if not stacked:
        return [(values, np.zeros((len(values), 0)), np.zeros((0, state_dim))) for values in series]
    past = np.concatenate([one[0] for one in stacked])
    future = np.concatenate([one[1] for one in stacked])
    prediction, *_ = np.linalg.lstsq(past, future, rcond=1e-10)
    _, _, directions = np.linalg.svd(past @ prediction, full_matrices=False)
    to_state = prediction @ directions[:state_dim].T
    if to_state.shape[1] < state_dim:
        to_state = np.hstack([to_state, np.zeros((len(to_state), state_dim - to_state.shape[1]))])
    return [(values, _past(values, lags), to_state) for values in series]


def _windows(values: Array, lags: int) -> tuple[Array, Array]:
    n = len(values) - 2 * lags + 1
    past = np.hstack([values[lags - 1 - i : lags - 1 - i + n] for i in range(lags)])
    future = np.hstack([values[lags + i : lags + i + n] for i in range(lags)])
    return past, future


def _past(values: Array, lags: int) -> Array:
    """Return, for each row, it and the `lags` - 1 rows before it; the first row stands for what came earlier."""
    padded = np.vstack([np.repeat(values[:1], lags - 1, axis=0), values])
    return np.hstack([padded[lags - 1 - i : lags - 1 - i + len(values)] for i in range(lags)])


def _states(parts: tuple[Array, Array, Array], state_dim: int) -> tuple[Array, Array]:
    values, past, to_state = parts
    if past.shape[1] == 0:
        repeated = np.resize(values.T, (state_dim, len(values))).T
        return repeated, values
    return past @ to_state, values


def _regressed(target: Array, regressor: Array, has_constant: bool) -> tuple[Array, Array, Array]:
    """Return coefficients, constant and noise covariance; a ridge keeps idle states at 0."""
    n, q = target.shape
    design = np.hstack([regressor, np.ones((n, 1))]) if has_constant else regressor
    ridge = 1e-8 * max(n, 1) * np.eye(design.shape[1])
    coefficients: Array = np.linalg.solve(design.T @ design + ridge, design.T @ target).T
    residual = target - design @ coefficients.T
    spread = np.var(target, axis=0) if n else np.zeros(q)
    least = LEAST_NOISE * np.maximum(spread, LEAST_NOISE)
    noise: Array = residual.T @ residual / max(n, 1) + np.diag(least)
    d = regressor.shape[1]
    constant: Array = coefficients[:, d] if has_constant else np.zeros(q)
    return coefficients[:, :d], constant, noise


def column_means(panel: Panel) -> Array:
    stacked = np.concatenate([one.values for one in panel])
    result: Array = np.nanmean(stacked, axis=0)
    return result


def bridged(values: Array) -> Array:
    """Return the rows with gaps bridged by straight lines; a column without values by 0."""
    result = values.copy()
    steps = np.arange(len(values))
    for column in range(values.shape[1]):
        seen = ~np.isnan(values[:, column])
        if not seen.any():
            result[:, column] = 0.0
        elif not seen.all():
            result[:, column] = np.interp(steps, steps[seen], values[seen, column])
    return result
