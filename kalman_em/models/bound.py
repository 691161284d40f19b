"""The expected complete log-likelihood of the linear-Gaussian model: what its lower bound is made of."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.regression import Moments, scatter_after
from kalman_em.errors import InputError
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.rows import noise_covs
from kalman_em.linalg import smallest_scaled_eigenvalue
from kalman_em.models.completion import completed
from kalman_em.systems import LinearGaussianSystem

# A covariance, scaled to a unit diagonal, has no noise in a direction whose eigenvalue is below this.
SINGULAR = 1e-12
# Coefficients move in a direction without noise if that part of their change is more than this share of it.
MOVED = 1e-9
# A change of varying coefficients counts as the same at every step up to this much of their size.
ROUNDING = 1e-12


def expected_gain(old: LinearGaussianSystem, new: LinearGaussianSystem, expectations: Expectations) -> float:
    """Return Q(new, old) - Q(old, old), from the expectations at `old`.

    Q(new, old) is E[log p(x, y; new)] over the states and the missing entries given what was observed, at `old`:
    the function that the M-step maximises. Added to the log-likelihood at `old` it is a lower bound on the
    log-likelihood at `new` (see `kalman_em.em.bound.lower_bound`).

    Parameters
    ----------
    old, new : LinearGaussianSystem
        Of equal shapes; coefficients may differ by a change that is constant in time.
    expectations : Expectations
        The E-step at `old`.

    Returns
    -------
    float
        -inf where `new` excludes states that `old` allows or the other way round: a noise appears or vanishes in
        some direction, or coefficients (or a known initial state) move where there is none.

    Raises
    ------
    InputError
        If the shapes or the diffuse elements differ, or the coefficients differ by a change that varies in time.

    References
    ----------
    Shumway and Stoffer, An approach to time series smoothing and forecasting using the EM algorithm, Journal of Time
    Series Analysis 3 (1982), equation (8); missing entries as in their section 6.4 (4th ed. 2017).

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> from dataclasses import replace
    >>> from kalman_em.inference.expectations import expect_all
    >>> from kalman_em.inference.rows import lay, stack_rows
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> rows = stack_rows(fitted.panel.series)
    >>> expectations, _ = expect_all(lay(fitted.system, rows), rows)
    >>> noisier = replace(fitted.system, observation_cov=np.array([[20000.0]]))
    >>> round(expected_gain(fitted.system, noisier, expectations), 2)          # at the optimum nothing gains
    -1.8
    """
    _check_alike(old, new)
    if "transition_cov" in old.by_series and old.dynamics is not None:
        raise InputError("transition_cov: the bound is not known for densities by series in continuous time")
    sums = expectations.transition
    transition = Moments(sums.residual, sums.cross, sums.regressor, sums.count)
    observation, old_R = completed(expectations, old.observation_cov)
    return (
        _gain(transition, _change(old, new, "transition", sums.cross), _table(noise_covs(old)), _table(noise_covs(new)))
        + _gain(observation, _change(old, new, "observation", observation.cross), old_R, _table(new.observation_cov))
        + _initial_gain(old, new, expectations)
    )


def _initial_gain(old: LinearGaussianSystem, new: LinearGaussianSystem, expectations: Expectations) -> float:
    """Return the part of x[0]; diffuse elements have the same flat density before and after."""
    known = ~np.asarray(old.initial_diffuse)
    deviations = (expectations.initial_means - old.initial_mean)[:, known, None]
    rows, columns = np.ix_(known, known)
    n = len(deviations)
    moments = Moments(
        expectations.initial_covs[:, rows, columns] + deviations @ np.swapaxes(deviations, 1, 2),
        deviations,
        np.ones((n, 1, 1)),
        np.ones(n),
    )
    change = (new.initial_mean - old.initial_mean)[..., known, None]
    before, after = (_table(system.initial_cov[..., rows, columns]) for system in (old, new))
    return _gain(moments if len(before) > 1 else moments.pooled(), change, before, after)


def _gain(moments: Moments, change: Array, old_cov: Array, new_cov: Array) -> float:
    """Return the gain in sum_g E[log N(e; 0, C_g)] from C_g = `old_cov[g]` to `new_cov[g]` and M to M + `change`."""
    before, after = (_whole(part) for part in (moments.residual, scatter_after(moments, change)))
    used = np.flatnonzero(moments.count > 0)
    changes = np.broadcast_to(change, (len(before), *change.shape[-2:]))
    return float(
        sum(_group_gain(moments.count[g], before[g], after[g], old_cov[g], new_cov[g], changes[g]) for g in used)
    )


def _whole(residual: Array) -> Array:
    """Return residual moments as matrices; where only diagonals were kept no more is looked at."""
    return residual if residual.ndim == 3 else residual[:, :, None] * np.eye(residual.shape[1])


def _group_gain(count: float, before: Array, after: Array, old_cov: Array, new_cov: Array, change: Array) -> float:
    """Return -1/2 [n log|C'| + tr C'^-1 S' - n log|C| - tr C^-1 S] on the directions in which C has noise."""
    deviations = np.sqrt(np.diagonal(old_cov))
    unit = np.where(deviations > 0.0, deviations, 1.0)
    eigenvalues, vectors = np.linalg.eigh(old_cov / unit[:, None] / unit)
    live = eigenvalues > SINGULAR * max(float(eigenvalues.max(initial=0.0)), 0.0)
    noisy, silent, variances = vectors[:, live], vectors[:, ~live], eigenvalues[live]
    C, step = new_cov / unit[:, None] / unit, change / unit[:, None]
    appears = np.abs(silent.T @ C @ silent).max(initial=0.0) > SINGULAR * np.abs(C).max(initial=0.0)
    moves = np.abs(silent.T @ step).max(initial=0.0) > MOVED * np.abs(step).max(initial=0.0)
    C = noisy.T @ C @ noisy
    if appears or moves or (len(C) and smallest_scaled_eigenvalue(C) <= SINGULAR):
        return -np.inf
    spread_before = np.diagonal(noisy.T @ (before / unit[:, None] / unit) @ noisy)
    spread_after = noisy.T @ (after / unit[:, None] / unit) @ noisy
    log_ratio = np.linalg.slogdet(C)[1] - np.log(variances).sum()
    squares = np.trace(np.linalg.solve(C, spread_after)) - np.sum(spread_before / variances)
    return float(-0.5 * (count * log_ratio + squares))


def _change(old: LinearGaussianSystem, new: LinearGaussianSystem, kind: str, cross: Array) -> Array:
    """Return the change of [F b B] or [H d D]; an absent input matrix counts as zeros."""
    is_table = any(f"{kind}_{part}" in old.by_series for part in ("offset", "input"))
    change = np.zeros(cross.shape if is_table else cross.shape[1:])
    d = old.state_dim
    for part, columns in (("matrix", slice(0, d)), ("offset", slice(d, d + 1)), ("input", slice(d + 1, None))):
        name = f"{kind}_{part}"
        before, after = getattr(old, name), getattr(new, name)
        if before is None and after is None:
            continue
        difference = np.asarray((0.0 if after is None else after) - (0.0 if before is None else before))
        if name not in old.by_series and difference.ndim > (1 if part == "offset" else 2):
            size = max(np.abs(array).max(initial=0.0) for array in (before, after) if array is not None)
            if np.abs(difference - difference[:1]).max(initial=0.0) > ROUNDING * size:
                raise InputError(f"{name}: expected a change that is the same at every step, got one that varies")
            difference = difference[0]
        change[..., columns] = difference[..., None] if part == "offset" else difference
    return change


def _table(cov: Array) -> Array:
    return cov if cov.ndim == 3 else cov[None]


def _check_alike(old: LinearGaussianSystem, new: LinearGaussianSystem) -> None:
    for name in ("transition_matrix", "transition_cov", "observation_matrix", "observation_cov", "initial_cov"):
        if getattr(old, name).shape != getattr(new, name).shape:
            raise InputError(
                f"{name}: expected the same shape in both systems, got {getattr(old, name).shape} and "
                f"{getattr(new, name).shape}"
            )
    if not np.array_equal(np.asarray(old.initial_diffuse), np.asarray(new.initial_diffuse)):
        raise InputError("initial_diffuse: expected the same elements in both systems")
