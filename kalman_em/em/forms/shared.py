"""A form for the covariances of several components: one for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kalman_em.em.forms.free import Full
from kalman_em.em.forms.protocols import checked_covariance_form


@dataclass(frozen=True)
class Shared:
    """One covariance for all components of a mixture, or all regimes (of whatever form inside).

    Parameters
    ----------
    form : form, default Full()
        The form of that covariance: ``Full()``, ``Diagonal()``, ``Isotropic()``, ``Fixed(value)``, ...

    Raises
    ------
    InputError
        If `form` is no form for a covariance.

    Examples
    --------
    >>> import kalman_em as kem
    >>> kem.Shared(), kem.Shared(kem.Diagonal())
    (Shared(form=Full()), Shared(form=Diagonal()))
    """

    form: Any = field(default_factory=Full)

    def __post_init__(self) -> None:
        checked_covariance_form(self.form, "Shared")
