"""Likelihood and smoother at the same parameters, in both packages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array
from kalman_em.crosscheck.outside import OutsideModel, silence
from kalman_em.crosscheck.start import OutsideStart
from kalman_em.errors import NumericalError
from kalman_em.inference.kalman import kalman_filter, rts_smoother
from kalman_em.observations import Panel
from kalman_em.posteriors import SmoothedStates
from kalman_em.systems import LinearGaussianSystem

# Standard deviations below this part of the state's own size are rounding, no unit to measure in.
LEAST_UNIT = 1e-6


@dataclass(frozen=True, eq=False)
class WorstRow:
    """Where the smoothed covariances differ most: the position of the series, the row, and both covariances."""

    series: int
    row: int
    ours: Array
    theirs: Array
    sd: Array


@dataclass(frozen=True, eq=False)
class SamePoint:
    """What both packages say at the same parameters.

    `mean` and `mean_in_sd` are the largest differences of smoothed means, `cov` that of smoothed covariances over
    the product of the two standard deviations. `n_left_out` rows are not compared, and the columns
    were divided by `unit` (see `same_point`). `worst` is the row with the largest difference `cov`.
    """

    log_likelihood: float
    mean: float
    mean_in_sd: float
    cov: float
    n_left_out: int
    unit: Array
    worst: WorstRow | None = None


def same_point(
    system: LinearGaussianSystem, panel: Panel, log_likelihood: float, same: float, start: OutsideStart | None = None
) -> SamePoint:
    """Return statsmodels' log-likelihood and the differences of the smoothed moments at `system`.

    Left out are the rows of a diffuse phase of several steps where F varies in time: statsmodels' smoothed moments
    are wrong there. Where the start is diffuse statsmodels takes a squared loading below 1e-10 for zero, in absolute
    units; if the likelihoods differ by more than `same`, relative, columns with loadings of size one are tried.
    """
    units = [np.ones(system.obs_dim)]
    if system.has_diffuse:
        loadings = np.sqrt(
            np.mean(system.observation_matrix.reshape(-1, *system.observation_matrix.shape[-2:]) ** 2, (0, 2))
        )
        units.append(np.where(loadings > 0.0, loadings, 1.0))
    tried = []
    with silence():
        for unit in units:
            models = [OutsideModel(system.of_series(s), one, unit=unit, start=start) for s, one in enumerate(panel)]
            total = _log_likelihood(models)
            tried.append((abs(total - log_likelihood), total, unit, models))
            if tried[-1][0] <= same * max(abs(log_likelihood), 1.0):
                break
        _, total, unit, models = min(tried, key=lambda one: one[0])
        smoothed = [model.ssm.smooth() for model in models]
    mean, mean_in_sd, cov, left_out, worst = 0.0, 0.0, -1.0, 0, None
    for s, (one, theirs) in enumerate(zip(panel, smoothed, strict=True)):
        own = system.of_series(s)
        ours = rts_smoother(own, kalman_filter(own, one))
        first = int(theirs.nobs_diffuse) if system.transition_matrix.ndim == 3 and theirs.nobs_diffuse > 1 else 0
        left_out += first
        means, covs = theirs.smoothed_state.T[first:], np.moveaxis(theirs.smoothed_state_cov, -1, 0)[first:]
        sd = _deviations(ours)[first:]
        difference = np.abs(ours.smoothed_means[first:] - means)
        spread = np.abs(ours.smoothed_covs[first:] - covs) / (sd[:, :, None] * sd[:, None, :])
        mean = max(mean, float(difference.max(initial=0.0)))
        mean_in_sd = max(mean_in_sd, float((difference / sd).max(initial=0.0)))
        highest = float(spread.max(initial=0.0))
        if highest > cov and len(spread):
            t = int(spread.max(axis=(1, 2)).argmax())
            worst = WorstRow(s, first + t, ours.smoothed_covs[first + t], covs[t], sd[t])
        cov = max(cov, highest)
    return SamePoint(total, mean, mean_in_sd, max(cov, 0.0), left_out, unit, worst)


def _log_likelihood(models: list[OutsideModel]) -> float:
    try:
        return float(sum(model.ssm.loglike() + model.jacobian for model in models))
    except np.linalg.LinAlgError as error:
        raise NumericalError(f"statsmodels cannot compute the log-likelihood at these parameters: {error}") from error


def _deviations(smoothed: SmoothedStates) -> Array:
    """Return the smoothed standard deviations (T, d), none below `LEAST_UNIT` of the size of its state."""
    variances = np.diagonal(smoothed.smoothed_covs, axis1=1, axis2=2)
    size = np.sqrt((smoothed.smoothed_means**2 + variances).max(axis=0))
    least = LEAST_UNIT * np.where(size > 0.0, size, 1.0)
    result: Array = np.maximum(np.sqrt(np.maximum(variances, 0.0)), least)
    return result
