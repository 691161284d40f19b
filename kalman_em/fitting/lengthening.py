"""A fitted model for a series that goes on: what varies in time of its observations gets entries for the new rows."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields, is_dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from kalman_em.arrays import Array, frozen
from kalman_em.em.forms import Fixed, Known, Scaled
from kalman_em.errors import InputError
from kalman_em.fitting.reported import H, R, as_known, factor_of, known_in
from kalman_em.models.by_series import laid_by_series
from kalman_em.models.regressors import moves_with_inputs
from kalman_em.models.specification import Specification
from kalman_em.models.structural import Additive, Structural
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem


def lengthened(
    model: Any,
    specification: Specification,
    system: LinearGaussianSystem,
    panel: Panel,
    longer: Panel,
    key: Hashable,
    given: Any,
) -> tuple[Any, Specification, LinearGaussianSystem]:
    """Return the model, its specification and its system for the series of `longer`: one of `panel` goes on.

    R is `given` for the new rows where it varies in time, and H follows from their inputs where it holds inputs. Series
    of different lengths that shared what varies in time then have entries of their own, one after another.

    Raises
    ------
    InputError
        If R has another shape, a covariance is none, or R is learnt with more numbers than a factor.
    """
    moves = moves_with_inputs(model)
    if given is None and not moves:
        return model, specification, system
    position, starts = panel.position(key), _starts(longer) if longer.n_series > 1 else ()
    after = sum(one.n_steps for one in panel.series[: position + 1])
    forms: dict[str, Any] = {}
    values: dict[str, Array] = {}
    if given is not None:
        copies = 1 if specification.row_starts else panel.n_series
        form = _repeated(specification.forms[R], copies)
        form, table = _with_rows(form, specification, system, given, after, longer[key].n_steps - panel[key].n_steps)
        old = np.concatenate([system.observation_cov] * copies)
        forms[R], values[R] = form, _inserted(old, table, after)
        model = _with_form(model, form)
    if moves and isinstance(model, Additive):
        ahead = model.observation_ahead(
            longer, system.observation_matrix[-1], _inputs(longer)[_new(panel, longer, key)]
        )
        values[H] = _inserted(system.observation_matrix, ahead, after)
        forms[H] = laid_by_series(model.specify(longer), longer).forms[H]
    return (
        model,
        replace(specification, forms={**specification.forms, **forms}, row_starts=starts),
        system.replaced(**{name: frozen(value) for name, value in values.items()}, row_starts=starts),
    )


def _starts(panel: Panel) -> tuple[int, ...]:
    return tuple(accumulate((one.n_steps for one in panel), initial=0))


def _inputs(panel: Panel) -> Array:
    return np.concatenate([one.inputs for one in panel if one.inputs is not None])


def _new(panel: Panel, longer: Panel, key: Hashable) -> slice:
    """Return where the new rows stand among all of `longer`."""
    after = sum(one.n_steps for one in panel.series[: panel.position(key) + 1])
    return slice(after, after + longer[key].n_steps - panel[key].n_steps)


def _inserted(table: Array, new: Array, after: int) -> Array:
    return np.concatenate([table[:after], new, table[after:]])


def _with_rows(
    form: Any, specification: Specification, system: LinearGaussianSystem, given: Any, after: int, n: int
) -> tuple[Any, Array]:
    """Return the form of R with `n` rows more after the first `after`, and R in these rows."""
    known, factor = as_known(given), factor_of(specification, system)
    if len(known.values) != n:
        raise InputError(f"{R}: expected {n} entries, one a row, got {len(known.values)}")
    form = _longer(form, known, system.obs_dim, after)
    # The lot of them says what stands for a variance that was not reported.
    whole = known_in(form)
    table = known.table(system.obs_dim, R) if whole is None else whole.table(system.obs_dim, R)[after : after + n]
    return form, factor * table


def _repeated(form: Any, n: int) -> Any:
    """Return the form of R with its entries `n` times, one after another."""
    known = known_in(form)
    if n == 1:
        return form
    if known is not None:
        repeated = Known(np.concatenate([known.values] * n))
        return replace(form, basis=repeated) if isinstance(form, Scaled) else repeated
    if isinstance(form, Scaled):
        return replace(form, basis=np.concatenate([form.basis] * n))
    return Fixed(np.concatenate([form.value] * n))


def _longer(form: Any, more: Known, p: int, after: int) -> Any:
    known = known_in(form)
    if known is not None:
        old, new = known.values, more.values
        if old.ndim != new.ndim:
            old, new = (value if value.ndim == 3 else value[:, :, None] * np.eye(p) for value in (old, new))
        joined = Known(_inserted(old, new, after))
        return replace(form, basis=joined) if isinstance(form, Scaled) else joined
    if isinstance(form, Scaled):
        return replace(form, basis=_inserted(form.basis, more.table(p, R), after))
    return Fixed(_inserted(form.value, more.table(p, R), after))


def _with_form(model: Any, form: Any) -> Any:
    """Return the model with R of this form where it stated one that varies."""
    if isinstance(model, Structural):
        return Structural(tuple(_with_form(part, form) for part in model.components))
    if is_dataclass(model) and not isinstance(model, type) and any(one.name == R for one in fields(model)):
        stated: Any = getattr(model, R)
        varies = isinstance(stated, Known | Scaled) or (isinstance(stated, Fixed) and stated.value.ndim == 3)
        return replace(model, **{R: form}) if varies else model
    return model
