"""Information criteria: a log-likelihood made comparable between models of different size."""

from __future__ import annotations

import math


def aic(log_likelihood: float, n_parameters: int) -> float:
    """Return AIC = -2 log L + 2 k, k the number of free parameters.

    References
    ----------
    Akaike, A new look at the statistical model identification, IEEE Transactions on Automatic Control 19 (1974).

    Examples
    --------
    >>> aic(-10.0, 2)
    24.0
    """
    return -2.0 * log_likelihood + 2.0 * n_parameters


def aicc(log_likelihood: float, n_parameters: int, n_observed: int) -> float:
    """Return AICc = AIC + 2 k (k + 1) / (n - k - 1), n the number of observed values; inf where n <= k + 1.

    References
    ----------
    Hurvich and Tsai, Regression and time series model selection in small samples, Biometrika 76 (1989).

    Examples
    --------
    >>> aicc(-10.0, 2, 20)
    24.705882352941178
    """
    room = n_observed - n_parameters - 1
    return -2.0 * log_likelihood + 2.0 * n_parameters * n_observed / room if room > 0 else math.inf


def bic(log_likelihood: float, n_parameters: int, n_observed: int) -> float:
    """Return BIC = -2 log L + k log n, n the number of observed values.

    References
    ----------
    Schwarz, Estimating the dimension of a model, Annals of Statistics 6 (1978).

    Examples
    --------
    >>> bic(-10.0, 2, 1)
    20.0
    """
    return -2.0 * log_likelihood + n_parameters * math.log(n_observed)
