"""What a form is: how a parameter may vary, as a coefficient or as a covariance; and the check that one came."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import LinearConstraint
from kalman_em.em.families import Family
from kalman_em.em.forms.initial import is_initial_form
from kalman_em.em.forms.low_rank import LowRank
from kalman_em.em.maximisers import FamilyMaximiser
from kalman_em.errors import InputError

# The forms that need no arguments, by what a user may write in their place.
SIMPLE = ("Full", "Diagonal", "Isotropic", "EqualVarCov", "Diffuse", "Stationary")


@runtime_checkable
class CoefficientForm(Protocol):
    """A form that a matrix, an offset or an input matrix can take."""

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Return the linear constraint on an array of `shape`; `InputError` naming `name` if it does not fit."""
        ...


@runtime_checkable
class CovarianceForm(Protocol):
    """A form that a covariance can take."""

    def most_likely(self, scatter: Array) -> Array:
        """Return the covariance of this form that maximises -log|S| - tr(S^-1 scatter)."""
        ...

    def n_free_in_covariance(self, dim: int) -> int:
        """Return the number of free numbers of a (dim, dim) covariance."""
        ...

    def check_covariance(self, dim: int, name: str) -> None:
        """Raise `InputError` naming `name` unless the form fits a (dim, dim) covariance."""
        ...


@runtime_checkable
class LinearForm(CovarianceForm, Protocol):
    """A form of a covariance that is linear in its free numbers, which may have names and may vary in time."""

    def family(self, dim: int, name: str) -> Family:
        """Return the linear family of (dim, dim) covariances; `InputError` naming `name` if the form does not fit."""
        ...


class FamilyForm:
    """A form that is its linear family, and has the maximiser of that."""

    def family(self, dim: int, name: str) -> Family:
        """Return the linear family of (dim, dim) covariances."""
        raise NotImplementedError

    def most_likely(self, scatter: Array) -> Array:
        """The closed form where the family has one, else scoring steps (`kalman_em.em.maximisers`)."""
        kind = type(self).__name__
        return FamilyMaximiser(self.family(scatter.shape[-1], kind), kind).fitted(scatter)

    def n_free_in_covariance(self, dim: int) -> int:
        """As many as the family has."""
        return self.family(dim, type(self).__name__).n_free

    def check_covariance(self, dim: int, name: str) -> None:
        """Check that the family fits and holds a covariance."""
        FamilyMaximiser(self.family(dim, name), name)


def is_direct(form: CovarianceForm) -> bool:
    """Whether `most_likely` of one mean scatter says all: nothing varies in time, no names, no need of a climb."""
    own = getattr(form, "is_direct", None)
    return not isinstance(form, LinearForm) if own is None else bool(own)


def coefficient_form(form: Any, name: str) -> CoefficientForm:
    """Return `form` if a coefficient can take it; `InputError` naming `name` otherwise."""
    if isinstance(form, type) or not isinstance(form, CoefficientForm):
        raise InputError(f"{name}: {_expected(form)}")
    return form


def covariance_form(form: Any, name: str, dim: int) -> CovarianceForm:
    """Return `form` if a (dim, dim) covariance can take it; `InputError` naming `name` otherwise."""
    checked = checked_covariance_form(form, name)
    checked.check_covariance(dim, name)
    return checked


def checked_covariance_form(form: Any, name: str) -> CovarianceForm:
    """Return `form` if it is one for a covariance, of whatever size; `InputError` naming `name` otherwise.

    Examples
    --------
    >>> checked_covariance_form("diagonal", "level_cov")
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: level_cov: expected a form such as ..., got 'diagonal' (did you mean Diagonal()?)
    """
    if isinstance(form, type) or not isinstance(form, CovarianceForm):
        raise InputError(f"{name}: {_expected(form)}")
    return form


def checked_noise_form(form: Any, name: str) -> CovarianceForm | LowRank:
    """Return `form` if it is one for the noise of a component: of a covariance, or `LowRank`.

    Examples
    --------
    >>> checked_noise_form(LowRank(1), "level_cov")
    LowRank(rank=1)
    """
    return form if isinstance(form, LowRank) else checked_covariance_form(form, name)


def check_initial_forms(mean: Any, cov: Any) -> None:
    """Raise `InputError` unless `mean` is a form or None and `cov` one for an initial covariance."""
    if mean is not None:
        coefficient_form(mean, "initial_mean")
    if not is_initial_form(cov):
        checked_covariance_form(cov, "initial_cov")


def _expected(form: Any) -> str:
    """Return what was expected, what came instead of a form, and what may have been meant."""
    expected = "expected a form such as Full(), Diagonal() or Fixed(value), got"
    if isinstance(form, type):
        return f"{expected} the class {form.__name__}; call it"
    if isinstance(form, str):
        known = {name.lower(): name for name in SIMPLE}
        near = get_close_matches(form.lower().strip("() "), known, n=1)
        return f"{expected} {form!r}{f' (did you mean {known[near[0]]}()?)' if near else ''}"
    if isinstance(form, np.ndarray | list | tuple):
        return f"{expected} an array; hold known numbers with Fixed(...)"
    if is_initial_form(form):
        return f"{expected} {form!r}, which is for initial_cov alone"
    if isinstance(form, LowRank):
        return f"{expected} {form!r}, which is for LocalLevel, LocalLinearTrend, SmoothTrend and Seasonal alone"
    return f"{expected} {form!r}"
