"""What the level and trend models share: the specification around a fixed transition, and starts by profiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.forms import BlockDiagonal, Diffuse, Fixed, Full, covariance_form
from kalman_em.errors import InputError, NumericalError
from kalman_em.inference.filtering import kalman_filter
from kalman_em.models.specification import Slot, Specification
from kalman_em.observations import Observations, Panel
from kalman_em.systems import LinearGaussianSystem

# The part of a series that the profile of the start looks at: enough to see the signal-to-noise ratio.
PROFILED_ROWS = 2000


def structural_specification(
    panel: Panel,
    *,
    component_names: Sequence[str],
    transition: Array,
    noise_forms: Mapping[str, Any],
    observation_cov: Any,
    initial_mean: Any,
    initial_cov: Any,
) -> Specification:
    """Return the specification whose state stacks one component after another, p elements each.

    `transition` (c, c) moves the components of one column; every column of the data has its own set.
    """
    p = panel.obs_dim
    _refuse_wide(panel)
    if panel.input_dim:
        raise InputError("inputs: expected none, because this model has no input matrix; LinearGaussian has")
    c = len(component_names)
    for name, form in noise_forms.items():
        covariance_form(form, name, p)
    blocks = BlockDiagonal([(form, p) for form in noise_forms.values()])
    forms: dict[str, Any] = {
        "transition_matrix": Fixed(np.kron(transition, np.eye(p))),
        "transition_offset": Fixed(0.0),
        "transition_cov": blocks,
        "observation_matrix": Fixed(np.kron(np.eye(c)[:1], np.eye(p))),
        "observation_offset": Fixed(0.0),
        "observation_cov": observation_cov,
        "initial_mean": _initial_mean_form(initial_mean, initial_cov),
        "initial_cov": initial_cov,
    }
    slots = {name: Slot("transition_cov", slice(i * p, (i + 1) * p)) for i, name in enumerate(noise_forms)}
    slots["observation_cov"] = Slot("observation_cov")
    if not isinstance(initial_cov, Diffuse):
        slots |= {name: Slot(name) for name in ("initial_mean", "initial_cov")}
    return Specification(
        state_dim=c * p,
        obs_dim=p,
        input_dim=0,
        forms=forms,
        slots=slots,
        state_names=tuple(_state_name(component, column, p) for component in component_names for column in panel.names),
    )


def profiled_start(
    specification: Specification, panel: Panel, transition: Array, ratios: Sequence[Sequence[float]]
) -> LinearGaussianSystem:
    """Return the start whose noise ratios have the highest likelihood on a coarse grid, column by column.

    For each combination of noise-to-observation variance ratios the common scale has a closed form, so the
    grid is free of the units of the data; the diffuse start makes it free of their origin.
    """
    p, c = panel.obs_dim, len(transition)
    R, Q = np.zeros(p), np.zeros((c, p))
    for column in range(p):
        R[column], Q[:, column] = _profiled_column(panel, column, transition, ratios)
    first = np.array([_first_value(panel, column) for column in range(p)])
    values = {
        "observation_cov": np.diag(R),
        "transition_cov": np.diag(Q.ravel()),
        "initial_mean": np.concatenate([first, np.zeros((c - 1) * p)]),
        "initial_cov": np.diag(np.concatenate([R + Q[0], *(Q[i] + Q[0] for i in range(1, c))])),
    }
    return specification.projected(values)


def scattered(
    specification: Specification, system: LinearGaussianSystem, rng: np.random.Generator
) -> LinearGaussianSystem:
    """Return `system` with every variance multiplied by a log-normal factor (a factor of e is one sigma)."""
    values = {
        name: _rescaled(getattr(system, name), rng) for name in ("transition_cov", "observation_cov", "initial_cov")
    }
    return specification.projected({**values, "initial_mean": system.initial_mean})


def data_scale(panel: Panel) -> Array:
    """Return the standard deviation of each column (p,); of a constant column its size, or 1 where that is 0."""
    stacked = np.concatenate([one.values for one in panel])
    scale = np.nanstd(stacked, axis=0)
    size = np.nanmax(np.abs(stacked), axis=0)
    # A column whose spread is rounding of its size is constant.
    scale = np.where(scale > 1e-14 * size, scale, size)
    result: Array = np.where(scale > 0.0, scale, 1.0)
    return result


def _profiled_column(
    panel: Panel, column: int, transition: Array, ratios: Sequence[Sequence[float]]
) -> tuple[float, Array]:
    c = len(transition)
    scale = float(data_scale(panel)[column])
    best, chosen = -np.inf, (scale**2, np.full(c, scale**2))
    for ratio in product(*ratios):
        system = LinearGaussianSystem(
            transition_matrix=transition,
            transition_cov=np.diag(ratio),
            observation_matrix=np.eye(c)[:1],
            observation_cov=np.eye(1),
            initial_mean=np.zeros(c),
            initial_cov=np.zeros((c, c)),
            initial_diffuse=np.ones(c, dtype=bool),
        )
        squares, logs, count = 0.0, 0.0, 0
        for one in panel:
            values = _window(one.values[:, column]) / scale
            if np.count_nonzero(~np.isnan(values)) <= c:
                continue
            try:
                filtered = kalman_filter(system, Observations(values[:, None]))
            except NumericalError:
                continue
            variances = filtered.innovation_covs[:, 0, 0]
            seen = ~np.isnan(filtered.innovations[:, 0])
            squares += float(np.sum(filtered.innovations[seen, 0] ** 2 / variances[seen]))
            logs += float(np.sum(np.log(variances[seen])))
            count += int(np.count_nonzero(seen))
        if count == 0 or squares <= 1e-24 * count:
            continue
        profile = -0.5 * (count * np.log(squares / count) + logs)
        if profile > best:
            unit = scale**2 * squares / count
            best, chosen = profile, (unit, unit * np.array(ratio))
    return chosen


def _window(values: Array) -> Array:
    """Return the rows from the first observed one on, at most `PROFILED_ROWS`."""
    observed = np.flatnonzero(~np.isnan(values))
    if len(observed) == 0:
        return values[:0]
    return values[observed[0] : observed[0] + PROFILED_ROWS]


def _first_value(panel: Panel, column: int) -> float:
    """Return the mean over the series of the first observed value of a column."""
    firsts = [
        v[np.flatnonzero(~np.isnan(v))[0]] for v in (one.values[:, column] for one in panel) if not np.isnan(v).all()
    ]
    return float(np.mean(firsts))


def _rescaled(cov: Array, rng: np.random.Generator) -> Array:
    factor = np.exp(0.5 * rng.standard_normal(len(cov)))
    result: Array = cov * np.outer(factor, factor)
    return result


def _state_name(component: str, column: str, obs_dim: int) -> str:
    return component if obs_dim == 1 else f"{component}.{column}"


def _initial_mean_form(initial_mean: Any, initial_cov: Any) -> Any:
    if initial_mean is not None:
        return initial_mean
    return Fixed(0.0) if isinstance(initial_cov, Diffuse) else Full()


def _refuse_wide(panel: Panel) -> None:
    rows = sum(one.n_steps for one in panel)
    if rows < panel.obs_dim:
        raise InputError(
            f"data: {rows} rows of {panel.obs_dim} columns look transposed; expected shape (T, p), rows in time order"
        )
