"""Tables to hand back: labelled rows, named columns, and Gaussian intervals at levels in per cent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy

from kalman_em.arrays import Array, check_shape
from kalman_em.errors import InputError


def checked_levels(levels: Any, name: str = "levels") -> tuple[float, ...]:
    """Return interval levels, in per cent, as a tuple of distinct floats between 0 and 100; messages call them `name`.

    Raises
    ------
    InputError
        If a level is no number, not above 0 and below 100, repeated, or a share such as 0.95 (write 95).

    Examples
    --------
    >>> from kalman_em.frames import checked_levels
    >>> checked_levels((80, 95))
    (80.0, 95.0)
    """
    several = levels.tolist() if isinstance(levels, np.ndarray | pd.Index | pd.Series) else levels
    several = several if isinstance(several, list | tuple | range) else [several]
    result = []
    for level in several:
        is_number = isinstance(level, int | float | np.integer | np.floating) and not isinstance(level, bool)
        if not is_number or not 0.0 < float(level) < 100.0:
            raise InputError(f"{name}: expected per cent above 0 and below 100, got {level!r}")
        if float(level) < 1.0:
            raise InputError(f"{name}: expected per cent, got {level!r}; write {100.0 * float(level):g}")
        result.append(float(level))
    if len(set(result)) < len(result):
        raise InputError(f"{name}: expected distinct levels, got {list(several)}")
    return tuple(result)


def level_text(level: float) -> str:
    """Return a level as it stands in column names: ``80``, ``99.5``."""
    return repr(float(level)).removesuffix(".0")


def interval_columns(levels: Any) -> tuple[str, ...]:
    """Return the names of the interval columns.

    Examples
    --------
    >>> from kalman_em.frames import interval_columns
    >>> interval_columns((80, 99.5))
    ('lower_80', 'upper_80', 'lower_99.5', 'upper_99.5')
    """
    texts = [level_text(level) for level in checked_levels(levels)]
    return tuple(f"{side}_{text}" for text in texts for side in ("lower", "upper"))


def intervals(means: Array, sds: Array, levels: Any) -> dict[str, Array]:
    """Return the central Gaussian intervals mean ± z sd, keyed by the names of `interval_columns`.

    z is the standard normal quantile of (1 + level/100) / 2.

    Examples
    --------
    >>> import numpy as np
    >>> from kalman_em.frames import intervals
    >>> {name: bound.round(2).tolist() for name, bound in intervals(np.zeros(1), np.ones(1), 95).items()}
    {'lower_95': [-1.96], 'upper_95': [1.96]}
    """
    bounds = {}
    for level in checked_levels(levels):
        half_width = float(scipy.special.ndtri(0.5 + level / 200.0)) * sds
        bounds[f"lower_{level_text(level)}"] = means - half_width
        bounds[f"upper_{level_text(level)}"] = means + half_width
    return bounds


def standard_deviations(covs: Array) -> Array:
    """Return the square roots of the diagonals, shape (T, k) for covariances of shape (T, k, k)."""
    variances = np.diagonal(covs, axis1=-2, axis2=-1)
    result: Array = np.sqrt(np.maximum(variances, 0.0))  # a variance of zero may have rounded below it
    return result


def frame_of(array: Any, index: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return a DataFrame of its own copy of `array`, shape (T, k), with rows `index` and columns `columns`.

    Raises
    ------
    InputError
        If two columns have one name.
    """
    _check_distinct(columns)
    return pd.DataFrame(np.array(array), index=index, columns=pd.Index(list(columns)))


def moments_frame(
    means: Array, spread: Array, names: Sequence[str], index: Any, *, levels: Any = (), mean_suffix: str = ""
) -> pd.DataFrame:
    """Return means, standard deviations and intervals of k named quantities, one row a label.

    Parameters
    ----------
    means : ndarray, shape (T, k)
    spread : ndarray, shape (T, k) or (T, k, k)
        Standard deviations, or covariances.
    names : sequence of str of length k
    index : pandas Index of length T
    levels : sequence of float
        Levels of the intervals, per cent.
    mean_suffix : str
        Put after the name to call the column of the mean.

    Returns
    -------
    DataFrame
        Columns ``<name>``, ``<name>_sd``, ``<name>_lower_95``, ``<name>_upper_95``, ... name by name.

    Raises
    ------
    InputError
        If shapes or levels do not fit, or two columns would have one name.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from kalman_em.frames import moments_frame
    >>> moments_frame(np.array([[1.0]]), np.array([[[4.0]]]), ["level"], pd.Index([1871])).columns.tolist()
    ['level', 'level_sd']
    """
    sds = standard_deviations(spread) if spread.ndim == 3 else spread
    check_shape(means, (len(index), len(names)), "means")
    check_shape(sds, means.shape, "spread")
    columns: dict[str, Array] = {}
    for position, name in enumerate(names):
        mean, sd = means[:, position], sds[:, position]
        parts = {f"{name}{mean_suffix}": mean, f"{name}_sd": sd}
        parts |= {f"{name}_{bound}": values for bound, values in intervals(mean, sd, levels).items()}
        _check_distinct([*columns, *parts])
        columns |= parts
    return pd.DataFrame({name: values.copy() for name, values in columns.items()}, index=index)


def _check_distinct(columns: Sequence[str]) -> None:
    repeated = [name for position, name in enumerate(columns) if name in columns[:position]]
    if repeated:
        raise InputError(f"names: expected distinct columns in the table, got {repeated[0]!r} twice")
