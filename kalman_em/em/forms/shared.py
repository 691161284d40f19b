"""A form for the covariances of several components: one for all, or some of their volume, shape and orientation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kalman_em.em.forms.free import Diagonal, Full, Isotropic
from kalman_em.em.forms.protocols import checked_covariance_form
from kalman_em.errors import InputError, unknown_name

# Σ = λ D A D', |A| = 1: volume λ, shape A, orientation D.
WHAT = ("volume", "shape", "orientation")


@dataclass(frozen=True)
class Shared:
    """One covariance for all components of a mixture, or all regimes; or some of what makes a covariance.

    With `only`, components share the volume, the shape or the orientation of their covariances, and differ in the rest:

    .. math:: \\Sigma_k = \\lambda_k D_k A_k D_k', \\quad |A_k| = 1

    where λ is the volume (a variance), A, diagonal, the shape and D, orthogonal, the orientation.

    Parameters
    ----------
    form : form, default Full()
        The form of that covariance: ``Full()``, ``Diagonal()``, ``Isotropic()``, ``Fixed(value)``, ...
    only : {"volume", "shape", "orientation"}, or several of these, optional
        What is shared; all when left out. Of ``Full()`` any, of ``Diagonal()``, which has one orientation, volume or
        shape.

    Raises
    ------
    InputError
        If `form` is no form for a covariance, or has not what `only` names.

    Notes
    -----
    Every structure of mclust has its form:

    =====  ==========================================  =====  ================================================
    EII    ``Shared(Isotropic())``                     VEE    ``Shared(only=("shape", "orientation"))``
    VII    ``Isotropic()``                             EVE    ``Shared(only=("volume", "orientation"))``
    EEI    ``Shared(Diagonal())``                      VVE    ``Shared(only="orientation")``
    VEI    ``Shared(Diagonal(), only="shape")``        EEV    ``Shared(only=("volume", "shape"))``
    EVI    ``Shared(Diagonal(), only="volume")``       VEV    ``Shared(only="shape")``
    VVI    ``Diagonal()``                              EVV    ``Shared(only="volume")``
    EEE    ``Shared()``                                VVV    ``Full()``
    =====  ==========================================  =====  ================================================

    A common shape in orientations of their own, or the other way round, depends on the units of the columns.

    References
    ----------
    Celeux and Govaert, Gaussian parsimonious clustering models, Pattern Recognition 28 (1995). Banfield and Raftery,
    Model-based Gaussian and non-Gaussian clustering, Biometrics 49 (1993).

    Examples
    --------
    >>> import kalman_em as kem
    >>> kem.Shared(), kem.Shared(kem.Diagonal())
    (Shared(form=Full(), only=None), Shared(form=Diagonal(), only=None))
    >>> kem.Shared(only="shape").only
    ('shape',)
    """

    form: Any = field(default_factory=Full)
    only: Any = None

    def __post_init__(self) -> None:
        checked_covariance_form(self.form, "Shared")
        if self.only is None:
            return
        named = (self.only,) if isinstance(self.only, str) else self.only
        if not isinstance(named, tuple | list | set | frozenset) or not named:
            raise InputError(f"only: expected some of {', '.join(WHAT)}, got {self.only!r}")
        for name in named:
            if name not in WHAT:
                raise InputError(unknown_name("only", name, list(WHAT)))
        own = {Full: WHAT, Diagonal: WHAT[:2], Isotropic: WHAT[:1]}
        has: tuple[str, ...] = own.get(type(self.form), ())
        for name in named:
            if name not in has:
                raise InputError(
                    f"only: expected what {self.form!r} has of its own ({', '.join(has) or 'nothing'}), got {name!r}"
                )
        chosen = tuple(name for name in WHAT if name in named)
        object.__setattr__(self, "only", None if chosen == has else chosen)
