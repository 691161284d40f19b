"""The form of an initial state of which nothing is known, and the check of both forms of an initial state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kalman_em.em.forms.protocols import checked_covariance_form, coefficient_form


@dataclass(frozen=True)
class Diffuse:
    """Nothing is known of the initial state: a flat prior, treated exactly (for `initial_cov` alone).

    Examples
    --------
    >>> from kalman_em import Diffuse
    >>> Diffuse()
    Diffuse()
    """


def check_initial_forms(mean: Any, cov: Any) -> None:
    """Raise `InputError` unless `mean` is a form or None and `cov` is one for a covariance, or Diffuse()."""
    if mean is not None:
        coefficient_form(mean, "initial_mean")
    if not isinstance(cov, Diffuse):
        checked_covariance_form(cov, "initial_cov")
