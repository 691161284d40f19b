"""What varies in time of the observations of a panel: the same for every series, or entries of all rows in turn."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from kalman_em.models.specification import Specification
from kalman_em.observations import Panel


def laid_over_rows(specification: Specification, panel: Panel) -> Specification:
    """Return the specification with `row_starts` where what varies has an entry for each row of the whole panel.

    So it is where every series has readings, and variances of them, of its own; entries for the rows of one series are
    those of every series.
    """
    starts = tuple(accumulate((one.n_steps for one in panel), initial=0))
    counts = [n for name, n in specification.varying().items() if name.startswith("observation")]
    if panel.n_series == 1 or specification.row_starts or specification.initial_step == "before" or not counts:
        return specification
    return replace(specification, row_starts=starts) if set(counts) == {starts[-1]} else specification
