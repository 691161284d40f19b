"""Tables in the summaries of models with hidden values: quantities down, components or regimes across."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.fitting.summary import WIDTH

# More rows or columns than these are counted, not shown.
ROWS, COLUMNS = 40, 8
# A probability nearer to 0 or 1 than this is said to be so.
SMALL = 5e-5


def share_text(share: float) -> str:
    """Return a probability to four places; one that is not quite 0 or 1 does not look as if it were.

    Examples
    --------
    >>> [share_text(share) for share in (0.0, 1e-9, 0.25, 1.0 - 1e-9, 1.0)]
    ['0', '<0.0001', '0.2500', '>0.9999', '1']
    """
    if share in (0.0, 1.0):
        return f"{share:.0f}"
    if share < SMALL:
        return "<0.0001"
    return ">0.9999" if share > 1.0 - SMALL else f"{share:.4f}"


def gaussian_table(names: Sequence[str], means: Array, covs: Array, **shares: Array) -> pd.DataFrame:
    """Return Gaussians as text: a row for each share, mean and standard deviation, a column for each Gaussian.

    Examples
    --------
    >>> gaussian_table(["y"], np.array([[1.0], [20.0]]), np.array([[[4.0]], [[9.0]]]), weight=np.array([0.5, 0.5]))
                 0       1
    weight  0.5000  0.5000
    mean y       1      20
    sd y         2       3
    """
    sds = np.sqrt(np.diagonal(covs, axis1=1, axis2=2))
    rows = {name: [share_text(float(share)) for share in value] for name, value in shares.items()}
    for what, numbers in (("mean", means), ("sd", sds)):
        rows |= {f"{what} {name}": [f"{number:.5g}" for number in numbers[:, j]] for j, name in enumerate(names)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[str(k) for k in range(len(means))])


def table_lines(cells: pd.DataFrame) -> list[str]:
    """Return a table of text as lines no wider than a summary; of a large one its corner, and its size."""
    n_rows, n_columns = cells.shape
    note = [f"... {n_rows} x {n_columns} in all"] if n_rows > ROWS or n_columns > COLUMNS else []
    text = cells.iloc[:ROWS, :COLUMNS].to_string(line_width=WIDTH - 4)
    return [*(line.rstrip() for line in text.splitlines() if line.strip()), *note]


def named_lines(name: str, value: Array) -> list[str]:
    """Return a parameter: a number beside its name, a small table below it, a larger one by its shape.

    Examples
    --------
    >>> print(*named_lines("rate", np.array(2.5)), sep="\\n")
    rate                                 2.5
    """
    if value.size == 1:
        return [f"{name:<24}{float(value.ravel()[0]):>16.6g}"]
    if value.ndim > 2:
        return [f"{name:<24}   shape {value.shape}"]
    cells = pd.DataFrame(value if value.ndim == 2 else value[:, None]).map(lambda number: f"{number:.5g}")
    cells.columns = pd.Index([str(j) for j in range(cells.shape[1])] if value.ndim == 2 else [""])
    return [name, *("    " + line for line in table_lines(cells))]
