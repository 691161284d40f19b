"""`fit_each`: independent fits of all series of a panel, at once and on several threads."""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.em.bar import progress_bar
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping
from kalman_em.fitting.gathering import series_of
from kalman_em.fitting.learning import Learnt, check_arguments, generator
from kalman_em.fitting.panel_fit import PanelFit
from kalman_em.fitting.together import Settings, chunks_of, learn_together
from kalman_em.inference.numerics import AUTO, check_numerics
from kalman_em.models.model import Model
from kalman_em.threads import checked_threads, shared_out


def fit_each(
    model: Model,
    panel: Any,
    *,
    start: Any = None,
    stopping: Stopping = DEFAULT_STOPPING,
    method: str = "em",
    numerics: str = AUTO,
    n_starts: int = 1,
    seed: int | np.random.Generator | None = None,
    inputs: Any = None,
    time: Hashable | None = None,
    series: Hashable | None = None,
    values: Any = None,
    wide: bool = False,
    n_threads: int | None = 1,
    progress: bool = False,
) -> PanelFit:
    """Fit `model` to every series of a panel by itself: parameters of its own for each.

    The result for a series is that of `fit` on that series alone. Where the model allows it (no inputs, simple forms,
    few columns) hundreds of series climb together: one pass of the compiled loops and one M-step for all. A series that
    fails stops none of the others.

    Parameters
    ----------
    model : LocalLevel, LocalLinearTrend, LinearGaussian, ...
        What may vary, and how; the same for all.
    panel : Panel, long DataFrame with `series`, wide DataFrame with ``wide=True``, dict or list of series
        Series of a dict or a list are what `fit` takes: a Series, DataFrame, array or Observations each.
    start, stopping, method, numerics, n_starts, seed
        As for `fit`, the same for every series; `numerics` of each fit says which arithmetic it used. A generator as
        `seed` is asked for one number, the seed of all.
    inputs, time, series, values : column names, optional
        Of a long DataFrame: the columns of inputs, of row labels, of the series of a row, and the observed ones.
    wide : bool
        Whether every column of a DataFrame is a series of its own. Rows before the first and after the last value of a
        column belong to the table, not to the series, and are left out. Without it the columns of a DataFrame are
        several values of one row, as for `fit`.
    n_threads : int or None
        Number of threads; None for as many as there are processors. The results do not depend on it, to the last bit.
        Let the linear algebra of numpy run on one thread then (``OPENBLAS_NUM_THREADS=1``), or the two compete.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    PanelFit
        A mapping from keys to fits, with `failures`, `params_frame`, `forecast`, `smooth` and `summary`.

    Raises
    ------
    InputError
        If an argument cannot be used, or no series can be read; what is wrong with one series alone, text or a time
        stamp twice, is among its `failures`.

    Examples
    --------
    >>> import kalman_em as kem
    >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction", "government"]]
    >>> fits = kem.fit_each(kem.LocalLinearTrend(), jobs, wide=True)
    >>> len(fits), fits["government"].em.stop_reason.is_converged
    (3, True)
    """
    check_arguments(model, stopping, method, n_starts)
    check_numerics(numerics)
    threads = checked_threads(n_threads)
    rng = generator(seed)
    settings = Settings(
        model=model,
        start=start,
        stopping=stopping,
        method=method,
        numerics=numerics,
        n_starts=n_starts,
        seed=int(rng.integers(2**32)) if isinstance(seed, np.random.Generator) else seed,
    )
    obs_dim = getattr(model, "obs_dim", None)
    columns: dict[str, Any] = {"inputs": inputs, "time": time, "series": series, "values": values}
    several, errors = series_of(panel, wide, columns, obs_dim)
    keys, found = list(several.keys or ()), several.series
    learnt: dict[Hashable, Learnt] = {}
    interpreter = Lock() if threads > 1 else None
    with progress_bar(len(found), "fit_each", "series", shown=progress) as bar:

        def told(n: int) -> None:
            if bar is not None:
                bar.update(n)

        def work(chunk: range) -> list[Learnt | str]:
            at = slice(chunk.start, chunk.stop)
            return learn_together(settings, keys[at], found[at], told, interpreter)

        chunks = chunks_of(len(found))
        for chunk, results in zip(chunks, shared_out(work, chunks, threads), strict=True):
            for position, result in zip(chunk, results, strict=True):
                if isinstance(result, str):
                    errors[keys[position]] = result
                else:
                    learnt[keys[position]] = result
    names = {found[0].index.name} if isinstance(found[0].index, pd.Index) else set()
    return PanelFit(
        model=model,
        learnt=learnt,
        errors=errors,
        series_name="series" if series is None else str(series),
        time_name=str(time if time is not None else next(iter(names - {None}), "time")),
    )
