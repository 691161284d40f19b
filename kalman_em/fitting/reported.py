"""Noise that is known row by row: held against the readings, and given anew for rows beyond those of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.forms import Known, Scaled
from kalman_em.errors import InputError
from kalman_em.models.regressors import moves_with_inputs
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

R, H = "observation_cov", "observation_matrix"


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
    known = known_in(specification.forms[R])
    if known is None:
        return
    starts = specification.row_starts
    for s, (key, one) in enumerate(zip(panel.keys or (), panel, strict=True)):
        missing = known.unreported[starts[s] : starts[s + 1]] if starts else known.unreported
        bare = missing & ~np.isnan(one.values)
        if bare.any():
            row, column = np.argwhere(bare)[0]
            where = "" if panel.n_series == 1 else f" of series {key!r}"
            label = row if one.index is None else one.index[row]
            raise InputError(
                f"{R}: Known is NaN beside a reading: {(one.names or ())[column]!r} in the row {label!r}{where}; give "
                "its variance, or take the reading out"
            )


def check_known_elsewhere(
    model: object, specification: Specification, system: LinearGaussianSystem, what: str, given: Any
) -> None:
    """Raise `InputError` if a parameter varies in time but for what is known of `what`, or if R is given needlessly.

    Known are R, where it is `given`, and an H that holds inputs.
    """
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
    by_inputs = (H,) if moves_with_inputs(model) else ()
    specification.check_known_elsewhere(what, but=(*by_inputs, *((R,) if varies else ())))


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
    return factor_of(specification, system) * _ahead(known, system.obs_dim, n)


def _ahead(known: Known, p: int, n: int) -> Array:
    table = known.table(p, R)
    if len(table) != n:
        raise InputError(f"{R}: expected {n} entries, one a row, got {len(table)}")
    return table


def factor_of(specification: Specification, system: LinearGaussianSystem) -> float:
    """Return what was learnt of R beside what is known row by row."""
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


def known_in(form: Any) -> Known | None:
    """Return what a form of R holds that is known row by row, times a factor or by itself."""
    inner = form.basis if isinstance(form, Scaled) else form
    return inner if isinstance(inner, Known) else None
