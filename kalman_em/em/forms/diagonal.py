"""Forms of covariances of independent noise: they need no more of a scatter than its diagonal."""

from __future__ import annotations

from typing import Any

from kalman_em.em.forms.blocks import BlockDiagonal
from kalman_em.em.forms.fixed import Fixed
from kalman_em.em.forms.free import Diagonal, Isotropic
from kalman_em.em.forms.per_series import PerSeries
from kalman_em.linalg import has_correlations


def is_of_independent_noise(form: Any) -> bool:
    """Return whether covariances of this form are diagonal, and found from the diagonal of the scatter alone.

    Of a form that is not known here nothing is supposed.

    Examples
    --------
    >>> from kalman_em import BlockDiagonal, Diagonal, Fixed, Full, Isotropic
    >>> is_of_independent_noise(BlockDiagonal([(Isotropic(), 3), (Fixed([[2.0]]), 1)]))
    True
    >>> is_of_independent_noise(Full())
    False
    """
    if isinstance(form, BlockDiagonal):
        return all(size == 1 or is_of_independent_noise(block) for block, size in form.blocks)
    if isinstance(form, PerSeries):
        return is_of_independent_noise(form.form)
    if isinstance(form, Fixed):
        return form.value.ndim < 2 or not has_correlations(form.value)
    return isinstance(form, Diagonal | Isotropic)
