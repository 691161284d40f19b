"""The E-step in the arithmetic that the system needs."""

from __future__ import annotations

from kalman_em.arrays import Array
from kalman_em.errors import NumericalError
from kalman_em.inference.expectations import Expectations, expect_filtered
from kalman_em.inference.filtering import FilteredRows
from kalman_em.inference.kalman import filter_by
from kalman_em.inference.numerics import AUTO, SQUARE_ROOT, STANDARD, LostDigits
from kalman_em.inference.regression_sums import are_variances
from kalman_em.inference.rows import Rows, SystemRows
from kalman_em.inference.scores import initial_scores
from kalman_em.inference.square_root import filter_factors
from kalman_em.inference.square_root_expectations import expect_factors
from kalman_em.inference.square_root_scores import factored_scores


def expect_by(
    laid: SystemRows, rows: Rows, numerics: str = AUTO, *, diagonal: bool = False
) -> tuple[Expectations, float]:
    """Return the expectations given all observations, and the log-likelihood; "auto" takes factors where it must.

    With `diagonal` the residuals of many observed columns may be given by their diagonals alone, if R is diagonal.

    Raises
    ------
    NumericalError
        If the filter fails, or a diffuse start is never resolved.

    References
    ----------
    Shumway and Stoffer, An approach to time series smoothing and forecasting using the EM algorithm, Journal of
    Time Series Analysis 3 (1982), equations (9)-(11), with residuals in the place of raw moments.
    """
    found = filter_by(laid, rows, numerics)
    if isinstance(found, FilteredRows):
        try:
            expectations = expect_filtered(laid, rows, found, diagonal=diagonal, watched=numerics == AUTO)
            if numerics != AUTO or are_variances(expectations.transition).all():
                return expectations, float(found.log_likelihoods.sum())
            found = filter_factors(laid, rows)
        except LostDigits:
            found = filter_factors(laid, rows)
    return expect_factors(laid, rows, found, diagonal=diagonal), found.log_likelihood


def initial_scores_by(laid: SystemRows, rows: Rows, numerics: str = AUTO) -> tuple[Array, Array]:
    """Return what `initial_scores` does; "auto" takes factors where covariances fail."""
    if numerics == SQUARE_ROOT:
        return factored_scores(laid, rows)[:2]
    try:
        return initial_scores(laid, rows)
    except NumericalError:
        if numerics == STANDARD:
            raise
        return factored_scores(laid, rows)[:2]
