"""What a fit predicts without error, because the noise that it learnt is gone: said where a forecaster looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kalman_em.arrays import BoolArray
from kalman_em.em.stopping import StopReason
from kalman_em.forecasting import Forecast
from kalman_em.inference.rows import noise_covs
from kalman_em.models.scale import data_scale
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# A standard deviation below this part of the scale of the data is none.
NONE = 1e-7


def certainty(specification: Specification, system: LinearGaussianSystem, panel: Panel) -> str:
    """Return which columns have no noise left, in them or in what moves them; "" if each has, or none is learnt."""
    if not any(specification.is_free(name) for name in ("transition_cov", "observation_cov")):
        return ""
    deviations = np.zeros(system.obs_dim)
    positions = range(panel.n_series) if system.n_series else [0]
    for one in [system.of_series(position) for position in positions]:
        noise, R = (np.diagonal(cov, axis1=-2, axis2=-1) for cov in (noise_covs(one), one.observation_cov))
        H = np.abs(one.observation_matrix).reshape(-1, *one.observation_matrix.shape[-2:]).max(axis=0)
        moved = H @ np.sqrt(noise.reshape(-1, noise.shape[-1]).max(axis=0))
        own = np.sqrt(R.reshape(-1, R.shape[-1]).max(axis=0))
        deviations = np.maximum(deviations, np.hypot(moved, own))
    return _said(panel.names, deviations <= NONE * data_scale(panel))


def with_certainty(forecast: Forecast, panel: Panel, reason: StopReason) -> Forecast:
    """Return the forecast with a note of the columns whose bands have no width at some row, and how the fit ended."""
    said = _said(forecast.names, np.any(forecast.sds <= NONE * data_scale(panel), axis=0))
    return replace(forecast, note=f"{said}; the fit ended as {reason}") if said else forecast


def _said(names: tuple[str, ...], is_certain: BoolArray) -> str:
    certain = [name for name, found in zip(names, is_certain, strict=True) if found]
    if not certain:
        return ""
    shown = ", ".join(certain[:4]) + (", ..." if len(certain) > 4 else "")
    return (
        f"{shown} {'is' if len(certain) == 1 else 'are'} predicted without error: the bands have no width, and any "
        "other value contradicts the model"
    )
