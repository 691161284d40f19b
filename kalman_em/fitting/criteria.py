"""Information criteria: a log-likelihood made comparable between models of different size."""

from __future__ import annotations

import math


def aic(log_likelihood: float, n_parameters: int) -> float:
    """Return -2 log L + 2 k (Akaike 1974)."""
    return -2.0 * log_likelihood + 2.0 * n_parameters


def aicc(log_likelihood: float, n_parameters: int, n_observed: int) -> float:
    """Return AIC + 2 k (k + 1) / (n - k - 1) (Hurvich and Tsai 1989); inf where n is too small for k.

    Examples
    --------
    >>> aicc(-10.0, 2, 20)
    24.705882352941178
    """
    room = n_observed - n_parameters - 1
    return -2.0 * log_likelihood + 2.0 * n_parameters * n_observed / room if room > 0 else math.inf


def bic(log_likelihood: float, n_parameters: int, n_observed: int) -> float:
    """Return -2 log L + k log n (Schwarz 1978)."""
    return -2.0 * log_likelihood + n_parameters * math.log(n_observed)
