"""Noise that is known row by row: held against the readings, and given anew for rows beyond those of the fit."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array, frozen
from kalman_em.em.forms import Fixed, Known, Scaled
from kalman_em.errors import InputError
from kalman_em.models.specification import Specification
from kalman_em.models.structural import Structural
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

R = "observation_cov"


def check_n_steps(specification: Specification, panel: Panel) -> None:
    """Raise `InputError` unless the parameters that vary in time serve every series of `panel`."""
    of_all_rows = bool(specification.row_starts)
    for name, n in specification.varying().items():
        for key, one in zip(panel.keys or (), panel, strict=True):
            T = one.n_steps
            allowed = (T - 1, T) if name.startswith("transition") else (T,)
            if n not in allowed and not (of_all_rows and n == specification.row_starts[-1]):
                where = "" if panel.n_series == 1 else f" of series {key!r}"
                raise InputError(
                    f"{name}: expected {' or '.join(map(str, allowed))} entries over time for the {T} rows{where}, "
                    f"got {n}"
                )


def check_reports(specification: Specification, panel: Panel) -> None:
    """Raise `InputError` if a reading is there whose `Known` variance is not."""
    known = _known(specification.forms[R])
    if known is None:
        return
    missing = known.unreported
    for key, one in zip(panel.keys or (), panel, strict=True):
        bare = missing & ~np.isnan(one.values)
        if bare.any():
            row, column = np.argwhere(bare)[0]
            where = "" if panel.n_series == 1 else f" of series {key!r}"
            label = row if one.index is None else one.index[row]
            raise InputError(
                f"{R}: Known is NaN beside a reading: {(one.names or ())[column]!r} in the row {label!r}{where}; give "
                "its variance, or take the reading out"
            )


def check_known_elsewhere(specification: Specification, system: LinearGaussianSystem, what: str, given: Any) -> None:
    """Raise `InputError` if a parameter varies in time but for R, `given` for `what`; or if R is given needlessly."""
    varies = system.observation_cov.ndim == 3 and R not in specification.by_series
    if not varies and given is not None:
        raise InputError(
            f"{R}: expected None, because that of the fit does not vary in time, got {type(given).__name__}"
        )
    if varies and given is None:
        raise InputError(
            f"{R}: varies in time, and is known for the rows of the fit only, not for {what}; pass that of {what} as "
            f"{R}=, or fit a series that includes those rows, NaN where nothing was observed"
        )
    specification.check_known_elsewhere(what, but=(R,) if varies else ())


def noise_of_rows(specification: Specification, system: LinearGaussianSystem, given: Any, n: int) -> Array:
    """Return R (n, p, p) of `n` rows ahead: what is `given` for them, times the factor that was learnt, if any.

    Raises
    ------
    InputError
        If it has another shape, a covariance is none or NaN, or R is learnt with more numbers than a factor.
    """
    known = as_known(given)
    if known.unreported.any():
        raise InputError(f"{R}: expected finite numbers for the rows ahead, got NaN")
    return _factor(specification, system) * _ahead(known, system.obs_dim, n)


def _ahead(known: Known, p: int, n: int) -> Array:
    table = known.table(p, R)
    if len(table) != n:
        raise InputError(f"{R}: expected {n} entries, one a row, got {len(table)}")
    return table


def _factor(specification: Specification, system: LinearGaussianSystem) -> float:
    step = specification.noise(R)
    if step.n_free == 0:
        return 1.0
    if step.n_free > 1 or not isinstance(specification.forms[R], Scaled):
        raise InputError(f"{R}: is learnt in parts beside what is known, and cannot be given for other rows")
    return float(step.free(system.observation_cov)[0])


def as_known(given: Any) -> Known:
    """Return what was passed for other rows as a form."""
    try:
        return given if isinstance(given, Known) else Known(given)
    except InputError as error:
        raise InputError(f"{R}: {error}") from error


def lengthened(
    model: Any, specification: Specification, system: LinearGaussianSystem, given: Any, n: int
) -> tuple[Any, Specification, LinearGaussianSystem]:
    """Return the model, its specification and its system with R for `n` rows more.

    Raises
    ------
    InputError
        If it has another shape, a covariance is none, or R is learnt with more numbers than a factor.
    """
    known, factor = as_known(given), _factor(specification, system)
    if len(known.values) != n:
        raise InputError(f"{R}: expected {n} entries, one a row, got {len(known.values)}")
    form = _longer(specification.forms[R], known, system.obs_dim)
    # The lot of them says what stands for a variance that was not reported.
    whole = _known(form)
    table = known.table(system.obs_dim, R) if whole is None else whole.table(system.obs_dim, R)[-n:]
    covs = np.concatenate([system.observation_cov, factor * table])
    return (
        _with_form(model, form),
        replace(specification, forms={**specification.forms, R: form}),
        system.replaced(observation_cov=frozen(covs)),
    )


def _known(form: Any) -> Known | None:
    inner = form.basis if isinstance(form, Scaled) else form
    return inner if isinstance(inner, Known) else None


def _longer(form: Any, more: Known, p: int) -> Any:
    known = _known(form)
    if known is not None:
        old, new = known.values, more.values
        if old.ndim != new.ndim:
            old, new = (value if value.ndim == 3 else value[:, :, None] * np.eye(p) for value in (old, new))
        joined = Known(np.concatenate([old, new]))
        return replace(form, basis=joined) if isinstance(form, Scaled) else joined
    if isinstance(form, Scaled):
        return replace(form, basis=np.concatenate([form.basis, more.table(p, R)]))
    return Fixed(np.concatenate([form.value, more.table(p, R)]))


def _with_form(model: Any, form: Any) -> Any:
    """Return the model with R of this form where it stated one that varies."""
    if isinstance(model, Structural):
        return Structural(tuple(_with_form(part, form) for part in model.components))
    if is_dataclass(model) and not isinstance(model, type) and any(one.name == R for one in fields(model)):
        stated: Any = getattr(model, R)
        varies = isinstance(stated, Known | Scaled) or (isinstance(stated, Fixed) and stated.value.ndim == 3)
        return replace(model, **{R: form}) if varies else model
    return model
