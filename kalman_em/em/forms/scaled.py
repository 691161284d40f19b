"""Covariances that are known, or known but for a factor; both may vary in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import Array, BoolArray, array_key, as_floats, frozen, shape_text
from kalman_em.em.families import Family, family_of
from kalman_em.em.forms.protocols import FamilyForm
from kalman_em.em.names import check_name
from kalman_em.errors import InputError
from kalman_em.linalg import checked_covariance


@dataclass(frozen=True, eq=False)
class Known(FamilyForm):
    """A known covariance that varies in time: of sensors that report their own accuracy.

    Parameters
    ----------
    values : array_like, shape (T, q), (T, q, q) or, of one column, (T,)
        One row of variances, or one covariance, for each row of the data (for a transition covariance: each step). Of
        the readings NaN stands for no report, where there was no reading either: nothing is learnt from it, and what
        is said of that reading (imputed, drawn) takes the mean of the variances reported in its column.

    Raises
    ------
    InputError
        If `values` is not of finite numbers or NaN, has another number of axes, or a variance is negative; where it is
        used, if the shape is not that of the parameter, a matrix is not symmetric and PSD, or NaN stands beside a
        reading, in a column without any variance, or in a covariance of the states.

    Examples
    --------
    A sensor that says of each reading how accurate it is:

    >>> import numpy as np
    >>> import kalman_em as kem
    >>> nile = kem.datasets.load("nile")["flow"]
    >>> reported = np.linspace(120.0, 130.0, len(nile)) ** 2
    >>> fitted = kem.fit(kem.LocalLevel(observation_cov=kem.Known(reported[:, None])), nile)
    >>> list(fitted.params), fitted.n_parameters
    (['level_cov', 'observation_cov'], 1)
    """

    values: Any

    def __post_init__(self) -> None:
        values = as_floats(self.values, "Known", allow_nan=True)
        values = frozen(values[:, None]) if values.ndim == 1 else values
        if values.ndim not in (2, 3) or 0 in values.shape:
            raise InputError(f"Known: expected shape (T, q) or (T, q, q), one entry a row, got {values.shape}")
        if values.ndim == 2 and np.any(values < 0.0):
            raise InputError(f"Known: expected variances, none of them negative, got {np.nanmin(values):g}")
        object.__setattr__(self, "values", values)

    def __repr__(self) -> str:
        return f"Known(<{' x '.join(map(str, self.values.shape))}>)"

    def __eq__(self, other: object) -> bool:
        return array_key(self.values) == array_key(other.values) if isinstance(other, Known) else NotImplemented

    def __hash__(self) -> int:
        return hash(array_key(self.values))

    def table(self, dim: int, name: str) -> Array:
        """Return the covariances (T, dim, dim), those that were not reported filled in."""
        values: Array = self.values
        if values.shape[1:] not in ((dim,), (dim, dim)):
            shapes = f"{shape_text(('T', dim))} or {shape_text(('T', dim, dim))}"
            raise InputError(f"{name}: expected Known values of shape {shapes}, got {values.shape}")
        if np.isnan(values).any():
            values = self._filled(name)
        return checked_covariance(values[:, :, None] * np.eye(dim) if values.ndim == 2 else values, dim, name)

    def check_covariance(self, dim: int, name: str) -> None:
        """Check the shape and the covariances, and that none is missing but of readings."""
        if np.isnan(self.values).any() and not name.startswith("observation_cov"):
            raise InputError(f"{name}: expected finite Known values, got NaN: every step of the states has a noise")
        super().check_covariance(dim, name)

    @property
    def unreported(self) -> BoolArray:
        """Which variances are missing, (T, q)."""
        missing = np.isnan(self.values)
        return missing if missing.ndim == 2 else np.asarray(missing.any(axis=2) & np.isnan(self._variances))

    @property
    def _variances(self) -> Array:
        values: Array = self.values
        return values if values.ndim == 2 else np.diagonal(values, axis1=1, axis2=2)

    def _filled(self, name: str) -> Array:
        """Return the values with the mean of its column for a variance that is missing, and 0 beside it."""
        missing, variances = self.unreported, self._variances
        if missing.all(axis=0).any():
            column = int(np.argmax(missing.all(axis=0)))
            raise InputError(f"{name}: expected a Known variance in every column, got none in column {column + 1}")
        means = np.nanmean(variances, axis=0)
        if self.values.ndim == 2:
            return np.where(missing, means, variances)
        beside = missing[:, :, None] | missing[:, None, :]
        filled = np.where(beside, 0.0, self.values)
        if np.isnan(filled).any():
            raise InputError(f"{name}: expected Known covariances with NaN in whole rows and columns alone, got others")
        return np.asarray(filled + np.where(missing, means, 0.0)[:, :, None] * np.eye(len(means)))

    def family(self, dim: int, name: str) -> Family:
        """The one member."""
        table = self.table(dim, name)
        return family_of(table, np.zeros((0, *table.shape)), ())


@dataclass(frozen=True, eq=False)
class Scaled(FamilyForm):
    """A learnt factor times a known covariance, which may be singular and may vary in time.

    Parameters
    ----------
    basis : array_like of shape (q, q) or (T, q, q), or Known
        G. With a time axis, one entry for each row of the data (for a transition covariance: each step).
    name : str, optional
        What the factor is called in `fitted.params`.

    Raises
    ------
    InputError
        If `basis` is not of finite numbers, has another number of axes, or is 0; where it is used, if the shape is not
        that of the parameter, or a matrix is not symmetric and PSD.

    Notes
    -----
    The factor is the mean of tr(G_t^+ S_t) / rank(G_t) over the rows, with S_t the expected e e': the maximum of the
    expected log-likelihood, not the projection of S on G.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em import Scaled
    >>> form = Scaled(np.diag([1.0, 100.0]))
    >>> form.most_likely(np.diag([2.0, 400.0])).round(10).tolist()              # 3 = (2 / 1 + 400 / 100) / 2
    [[3.0, 0.0], [0.0, 300.0]]
    """

    basis: Any
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name, "Scaled")
        if isinstance(self.basis, Known):
            return
        basis = as_floats(self.basis, "Scaled")
        if basis.ndim not in (2, 3) or 0 in basis.shape:
            raise InputError(f"Scaled: expected a basis of shape (q, q) or (T, q, q), got {basis.shape}")
        if not np.any(basis):
            raise InputError("Scaled: expected a basis with a variance above 0, got zeros")
        object.__setattr__(self, "basis", basis)

    def __repr__(self) -> str:
        small = isinstance(self.basis, np.ndarray) and self.basis.ndim == 2
        shown = self.basis.tolist() if small else repr(self.basis) if isinstance(self.basis, Known) else "<over time>"
        return f"Scaled({shown})" if self.name is None else f"Scaled({shown}, name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Scaled) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.name, self.basis if isinstance(self.basis, Known) else array_key(self.basis)

    def check_covariance(self, dim: int, name: str) -> None:
        """Check the basis."""
        if isinstance(self.basis, Known):
            self.basis.check_covariance(dim, name)
        super().check_covariance(dim, name)

    def family(self, dim: int, name: str) -> Family:
        """One number times the basis."""
        if isinstance(self.basis, Known):
            table = self.basis.table(dim, name)
        else:
            basis: Array = self.basis
            if basis.shape[-2:] != (dim, dim):
                shapes = f"({dim}, {dim}) or (T, {dim}, {dim})"
                raise InputError(f"{name}: expected a Scaled basis of shape {shapes}, got {basis.shape}")
            table = checked_covariance(basis if basis.ndim == 3 else basis[None], dim, f"{name}: basis of Scaled")
        if not np.any(table):
            raise InputError(f"{name}: expected a Scaled basis with a variance above 0, got zeros")
        return family_of(np.zeros(table.shape), table[None], (self.name,))
