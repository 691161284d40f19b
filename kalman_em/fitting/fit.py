"""`fit`: a model and data in, a `Fit` out."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from kalman_em.em.result import EMIteration
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping
from kalman_em.fitting.learning import learn
from kalman_em.fitting.result import Fit
from kalman_em.inference.numerics import AUTO
from kalman_em.models.model import Model
from kalman_em.systems import LinearGaussianSystem


def fit(
    model: Model,
    data: Any,
    *,
    start: Any = None,
    stopping: Stopping = DEFAULT_STOPPING,
    method: str = "em",
    numerics: str = AUTO,
    n_starts: int = 1,
    seed: int | np.random.Generator | None = None,
    inputs: Any = None,
    time: Hashable | None = None,
    series: Hashable | None = None,
    values: Any = None,
    progress: bool = False,
    callback: Callable[[EMIteration[LinearGaussianSystem]], object] | None = None,
) -> Fit:
    """Learn the parameters of `model` from `data` by expectation-maximisation.

    Parameters
    ----------
    model : LocalLevel, LocalLinearTrend or LinearGaussian
        What may vary, and how.
    data : Series, DataFrame, array_like of shape (T,) or (T, p), Observations or Panel
        Rows in time order; NaN is missing. A long DataFrame with `series` is a panel, whose series share parameters.
    start : mapping, optional
        Starting values for some or all of the model's parameters, by name; the others come from the data.
    stopping : Stopping
        When to stop.
    method : {"em", "plain"}
        "em" is EM, which every ten iterations from the 500th on, and where it would end, tries leaps (extrapolation,
        variances at 0, quasi-Newton steps), taken only if the likelihood is not lower; "plain" is EM alone.
    numerics : {"auto", "standard", "square_root"}
        Whether the E-step carries covariances or their triangular factors, which keep twice the digits at several times
        the cost. "auto" begins with covariances and goes over to factors, for the rest of the run, when an E-step needs
        them; `Fit.numerics` and the summary say so. See `kalman_filter`.
    n_starts, seed : int, and int or numpy.random.Generator, optional
        Number of starts: the first from the data (or `start`), the others scattered around it. The best wins.
    inputs : array_like of shape (T,) or (T, k), Series, DataFrame or column names, optional
        Known inputs, one row a row of data.
    time, series, values : column names, optional
        Of a long DataFrame: the column of row labels, that of the series a row belongs to, and the observed ones.
    progress : bool
        Show a progress bar on stderr.
    callback : callable, optional
        Called with an `EMIteration` after every iteration.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If an argument cannot be used; the message says which, what was expected and what came.
    NumericalError
        If the likelihood cannot be computed at the starting values.

    References
    ----------
    Shumway and Stoffer, An approach to time series smoothing and forecasting using the EM algorithm, JTSA 3 (1982).

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> fitted.em.stop_reason.is_converged, round(fitted.log_likelihood, 3)
    (True, -633.465)
    """
    learnt = learn(
        model,
        data,
        start=start,
        stopping=stopping,
        method=method,
        numerics=numerics,
        n_starts=n_starts,
        seed=seed,
        inputs=inputs,
        time=time,
        series=series,
        values=values,
        progress=progress,
        callback=callback,
    )
    return Fit(
        model=model,
        specification=learnt.specification,
        panel=learnt.panel,
        em=learnt.em,
        numerics=learnt.numerics,
    )
