"""Learn state-space models from time series by expectation-maximisation."""

from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.filtering import kalman_filter
from kalman_em.inference.smoothing import rts_smoother
from kalman_em.observations import Observations, Panel
from kalman_em.posteriors import FilteredStates, SmoothedStates
from kalman_em.systems import LinearGaussianSystem

__all__ = [
    "FilteredStates",
    "InputError",
    "LinearGaussianSystem",
    "NumericalError",
    "Observations",
    "Panel",
    "SmoothedStates",
    "kalman_filter",
    "rts_smoother",
]
