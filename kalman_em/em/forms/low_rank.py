"""A noise covariance of low rank: what columns have in common moves them."""

from __future__ import annotations

from dataclasses import dataclass

from kalman_em.arrays import as_count


@dataclass(frozen=True)
class LowRank:
    """A few common noises move all columns (for the noise of levels, slopes and seasonals).

    .. math:: w_t = \\Theta u_t, \\; u_t \\sim N(0, I_r), \\qquad \\operatorname{Cov}(w_t) = \\Theta \\Theta'

    Of p columns and rank r the loadings :math:`\\Theta`, shape (p, r), are learnt. With rank 1 all levels are one
    random walk, each in its own units, beside a constant of each column (common levels; a common trend in
    `SmoothTrend`): the columns are cointegrated. With rank p the covariance is as free as `Full`.

    Parameters
    ----------
    rank : int
        r, at least 1 and at most the number of columns.

    Raises
    ------
    InputError
        If the rank is not a whole number of at least 1; at the fit, if it is above the number of columns, or where it
        stands for another covariance.

    Notes
    -----
    EM keeps the range of a singular covariance, so the common noises are states of their own: every column keeps a
    motion without that noise, which starts as the model says, and r common motions that start at 0 are seen through
    :math:`\\Theta`. That is the same model, the diffuse likelihood included. Its M-step is an exact regression on the
    common states, whose noise is let go with it and brought back to the identity (parameter expansion).
    :math:`\\Theta` is 0 above its diagonal, which identifies it up to the signs of its columns, for every order of the
    columns. It is the parameter ``level_loadings`` (``slope_loadings``, ``seasonal_loadings``).

    References
    ----------
    Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, section 8.5, equations (8.5.3) to
    (8.5.5); Liu, Rubin and Wu, Parameter expansion to accelerate EM: the PX-EM algorithm, Biometrika 85 (1998).

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> trend = np.cumsum(rng.normal(size=100))
    >>> values = np.outer(trend, [1.0, -2.0, 0.5]) + [5.0, 0.0, 10.0] + 0.3 * rng.normal(size=(100, 3))
    >>> fitted = kem.fit(kem.LocalLevel(level_cov=kem.LowRank(1), observation_cov=kem.Diagonal()), values)
    >>> loadings = fitted.params.level_loadings
    >>> (loadings / loadings[0]).round(1).tolist()
    [[1.0], [-2.0], [0.5]]
    """

    rank: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", as_count(self.rank, "rank"))
