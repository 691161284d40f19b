"""A form that every series of a panel has for itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kalman_em.arrays import Array
from kalman_em.em.constraints import LinearConstraint
from kalman_em.em.families import Family
from kalman_em.em.forms.blocks import BlockDiagonal
from kalman_em.em.forms.protocols import (
    CoefficientForm,
    CovarianceForm,
    LinearForm,
    checked_covariance_form,
    coefficient_form,
    covariance_form,
    is_direct,
)
from kalman_em.errors import InputError


@dataclass(frozen=True)
class PerSeries:
    """Every series of a panel has numbers of its own, of one form; what is not per series is shared by all.

    For covariances, offsets, input matrices and the initial mean and covariance, as one Q for all devices and one R
    each. `fitted.params` has an entry a series, ``observation_cov[track-7]``, and ``params.observation_cov["track-7"]``
    reads it. In a fit of one series it is the same as `form`.

    Parameters
    ----------
    form : form
        What each one may be: `Full()`, `Diagonal()`, `Pattern(...)`, ...

    Raises
    ------
    InputError
        If `form` is none, or per series itself; where it is used, if it does not fit, varies in time, or stands for a
        transition or observation matrix.

    Notes
    -----
    The E-step is that of all series with their own matrices. The M-step of a covariance is the form's own maximiser of
    each series' scatter; coefficients are one generalised least squares problem over shared and own numbers, whose own
    part is eliminated series by series: the joint maximum of the expected log-likelihood.

    Examples
    --------
    One speed of change for two rivers, and a noise each:

    >>> import kalman_em as kem
    >>> nile = kem.datasets.load("nile").to_numpy()
    >>> rivers = kem.Panel((kem.Observations(nile), kem.Observations(3.0 * nile[:60])), keys=("a", "b"))
    >>> fitted = kem.fit(kem.LocalLevel(observation_cov=kem.PerSeries(kem.Full())), rivers)
    >>> list(fitted.params), fitted.n_parameters
    (['level_cov', 'observation_cov[a]', 'observation_cov[b]'], 3)
    >>> bool(fitted.params.observation_cov["b"] > 5.0 * fitted.params.observation_cov["a"])
    True
    """

    form: Any

    def __post_init__(self) -> None:
        if isinstance(self.form, PerSeries):
            raise InputError("PerSeries: expected a form such as Full(), got PerSeries: once is enough")
        if not isinstance(self.form, CoefficientForm | CovarianceForm) or isinstance(self.form, type):
            checked_covariance_form(self.form, "PerSeries")

    @property
    def is_direct(self) -> bool:
        """Whether the form has its own maximiser."""
        return is_direct(self.form)

    def constraint(self, shape: tuple[int, ...], name: str) -> LinearConstraint:
        """Return the constraint on the array of one series."""
        found = coefficient_form(self.form, name).constraint(shape, name)
        if found.fixed.ndim > len(shape):
            raise InputError(f"{name}: expected a form that is constant in time inside PerSeries, got {self.form!r}")
        return found

    def most_likely(self, scatter: Array) -> Array:
        """The form's own maximiser, for the scatter of one series."""
        return checked_covariance_form(self.form, "PerSeries").most_likely(scatter)

    def n_free_in_covariance(self, dim: int) -> int:
        """Those of one series."""
        return checked_covariance_form(self.form, "PerSeries").n_free_in_covariance(dim)

    def check_covariance(self, dim: int, name: str) -> None:
        """Check that the form fits, and is constant in time."""
        covariance_form(self.form, name, dim)
        value = getattr(self.form, "value", None)
        varies = value is not None and value.ndim == 3
        if varies or (not is_direct(self.form) and self.family(dim, name).n_entries > 1):
            raise InputError(f"{name}: expected a form that is constant in time inside PerSeries, got {self.form!r}")

    def family(self, dim: int, name: str) -> Family:
        """The linear family of one series."""
        if not isinstance(self.form, LinearForm):
            raise InputError(f"{name}: the form {type(self.form).__name__} has no linear family")
        return self.form.family(dim, name)


def has_series(form: Any) -> bool:
    """Return whether any part of a form is per series.

    Examples
    --------
    >>> from kalman_em import BlockDiagonal, Full, PerSeries
    >>> has_series(BlockDiagonal([(Full(), 1), (PerSeries(Full()), 2)])), has_series(Full())
    (True, False)
    """
    if isinstance(form, BlockDiagonal):
        return any(has_series(block) for block, _ in form.blocks)
    return isinstance(form, PerSeries)


def shared_form(form: Any) -> Any:
    """Return the form with whatever is per series shared by all.

    Examples
    --------
    >>> from kalman_em import Full, PerSeries
    >>> shared_form(PerSeries(Full()))
    Full()
    """
    if isinstance(form, BlockDiagonal) and has_series(form):
        return BlockDiagonal([(shared_form(block), size) for block, size in form.blocks])
    return form.form if isinstance(form, PerSeries) else form
