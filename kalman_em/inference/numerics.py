"""Which arithmetic filter and smoother use, and when covariances have lost too many digits to be trusted."""

from __future__ import annotations

from typing import Any

from kalman_em.errors import InputError, NumericalError, unknown_name

AUTO, STANDARD, SQUARE_ROOT = "auto", "standard", "square_root"
NUMERICS = [AUTO, STANDARD, SQUARE_ROOT]
# A variance that falls by this factor in one step keeps eight digits at most: the rest was subtracted away. So does the
# spread of an observation that is so much smaller than the variances of the states which cancel in it.
LOST_DIGITS = 1e8
# An observation with so little noise leaves that much variance in its own direction alone: what a next one sees of it
# is mostly what has been added since.
LOST_IN_NOISE = 1e10
# In the smoother nothing is carried on from such a row but the variances before it: six digits will do.
LOST_IN_SMOOTHING = 1e10


class LostDigits(NumericalError):
    """Rounding has taken too many digits of a covariance; factors would have kept them."""


def check_numerics(numerics: Any) -> None:
    """Raise `InputError` unless `numerics` is "auto", "standard" or "square_root"."""
    if not isinstance(numerics, str) or numerics not in NUMERICS:
        raise InputError(unknown_name("numerics", numerics, NUMERICS))
