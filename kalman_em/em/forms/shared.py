"""A form for the covariances of several components: one for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kalman_em.em.forms.protocols import checked_covariance_form


@dataclass(frozen=True)
class Shared:
    """One covariance for all components of a mixture, or all regimes (of whatever form inside).

    Parameters
    ----------
    form : form
        The form of that covariance: ``Full()``, ``Diagonal()``, ``Isotropic()``, ``Fixed(value)``, ...

    Raises
    ------
    InputError
        If `form` is no form for a covariance.

    Examples
    --------
    >>> import kalman_em as kem
    >>> kem.Shared(kem.Diagonal())
    Shared(form=Diagonal())
    """

    form: Any

    def __post_init__(self) -> None:
        checked_covariance_form(self.form, "Shared")
