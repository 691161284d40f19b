"""What a fit in continuous time does otherwise: states and forecasts at any times, and rows that come at any time."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, as_count, as_floats, frozen
from kalman_em.errors import InputError
from kalman_em.fitting.extending import check_is_one_table
from kalman_em.fitting.states import LabelledSmoothedStates
from kalman_em.forecasting import Forecast
from kalman_em.frames import ahead_of, among, continued_times, to_panel, with_rows_at
from kalman_em.inference.arguments import check_generator
from kalman_em.inference.kalman import kalman_filter, rts_smoother
from kalman_em.inference.prediction import predict_rows
from kalman_em.inference.rows import noise_covs
from kalman_em.inference.simulation import simulate
from kalman_em.linalg import solve_symmetric, square_root
from kalman_em.models.motion import Discretized
from kalman_em.observations import Observations, Panel
from kalman_em.posteriors import FilteredStates, SmoothedStates
from kalman_em.systems import LinearGaussianSystem


def smoothed_at(
    system: LinearGaussianSystem, state_names: tuple[str, ...], one: Observations, labels: Any, unit: str
) -> LabelledSmoothedStates:
    """Return the states of the series at the times `labels`: a missing row more at each, which changes no other."""
    index, times = among(one, labels, unit)
    whole, places = with_rows_at(one, times)
    smoothed = rts_smoother(system, kalman_filter(system, whole))
    # Between two of these times there may be rows: the covariance across them is a product of smoother gains.
    return LabelledSmoothedStates(
        smoothed_means=frozen(smoothed.smoothed_means[places]),
        smoothed_covs=frozen(smoothed.smoothed_covs[places]),
        lag_one_covs=frozen(_across(smoothed, places)),
        index=index,
        state_names=state_names,
    )


def forecasted_in_time(
    system: LinearGaussianSystem,
    state_names: tuple[str, ...],
    filtered: FilteredStates,
    one: Observations,
    steps: Any,
    labels: Any,
    unit: str,
) -> Forecast:
    """Return the forecast at the times `labels`, or of `steps` steps where they are None."""
    if labels is None:
        if steps is None:
            raise InputError("steps: expected a number of steps, or the times to forecast with times=, got neither")
        index, times = continued_times(one, as_count(steps, "steps"), unit)
    else:
        index, times = ahead_of(one, labels, unit)
        if steps is not None and as_count(steps, "steps") != len(index):
            raise InputError(f"steps: expected {len(index)}, as many as times, or none, got {steps}")
    ahead = predict_rows(system, filtered, len(index), times=times)
    return Forecast(
        means=ahead.observation_means,
        covs=ahead.observation_covs,
        names=one.names or (),
        index=index,
        state_means=ahead.state_means,
        state_covs=ahead.state_covs,
        state_names=state_names,
    )


def drawn_in_time(
    system: LinearGaussianSystem, one: Observations, smoothed: SmoothedStates | None, n_steps: Any, rng: Any
) -> pd.DataFrame:
    """Return a series drawn at the times of `one`, or `n_steps` rows a median gap apart."""
    assert one.times is not None  # the panel was timed
    n = one.n_steps if n_steps is None else as_count(n_steps, "n_steps")
    rng = np.random.default_rng() if rng is None else rng
    check_generator(rng)
    index: pd.Index[Any] = one.index
    times: Array = one.times
    if n != one.n_steps:
        gap = float(np.median(np.diff(one.times))) if one.n_steps > 1 else 1.0
        times = np.asarray(gap * np.arange(n))
        index = pd.Index(times)
    first = None
    if smoothed is not None:
        root = square_root(smoothed.smoothed_covs[0])
        first = smoothed.smoothed_means[0] + root @ rng.standard_normal(system.state_dim)
    new = simulate(system, n, rng, initial_state=first, times=times)
    return pd.DataFrame(new.values.copy(), index=index, columns=list(one.names or ()))


def extended_in_time(panel: Panel, key: Hashable, data: Any, unit: str) -> Panel:
    """Return `panel` with the rows of `data`, whose labels are times, after those of the series called `key`.

    Raises
    ------
    InputError
        If the columns differ, or the labels are not times after the last one.
    """
    old = panel[key]
    check_is_one_table(data, old)
    new = to_panel(data, obs_dim=old.obs_dim, allow_unobserved=True).series[0]
    if new.times is None and not isinstance(data, pd.DataFrame | pd.Series | Observations | Panel):
        raise InputError(
            f"data: expected a Series or DataFrame labelled with times after {old.index[-1]}, got "
            f"{type(data).__name__} without any"
        )
    try:
        index, times = ahead_of(old, new.index, unit)
    except InputError as error:
        raise InputError(str(error).replace("times:", "data:", 1)) from error
    rows = Observations(
        np.vstack([old.values, new.values]),
        times=np.concatenate([np.asarray(old.times), times]),
        index=old.index.append(index),
        names=old.names,
    )
    series = tuple(rows if name == key else one for name, one in zip(panel.keys or (), panel, strict=True))
    return replace(panel, series=series)


def discretized_fit(system: LinearGaussianSystem, dt: Any) -> Discretized:
    """Return F and Q of the fitted system over the time `dt`."""
    gap = as_floats(dt, "dt")
    if gap.ndim or gap <= 0.0:
        raise InputError(f"dt: expected a positive number, got {dt!r}")
    moved = system.at_gaps(gap[None])
    return Discretized(moved.transition_matrix[0], frozen(noise_covs(moved)[0]))


def _across(smoothed: SmoothedStates, places: Any) -> Any:
    """Return Cov[x[b], x[a]] for neighbours a < b among `places`, chained over the rows between them.

    Given the data the states are a Markov chain: Cov[x[t+2], x[t]] = C[t+1] V[t+1]^+ C[t] for lag-one C.
    """
    d = smoothed.smoothed_means.shape[1]
    result = np.zeros((max(len(places) - 1, 0), d, d))
    for k, (first, last) in enumerate(pairwise(places)):
        cov = smoothed.lag_one_covs[first]
        for t in range(first + 1, last):
            cov = smoothed.lag_one_covs[t] @ solve_symmetric(smoothed.smoothed_covs[t], cov)
        result[k] = cov
    return result
