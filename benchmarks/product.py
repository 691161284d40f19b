"""One matrix product over all rows, Y (T, p) times (p, d): the measure of what many sensors must cost."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from benchmarks.cases import Case
from benchmarks.sides import Outcome


def prepared(case: Case, kind: str, variant: str) -> Callable[[], Outcome]:
    """Return the product as a callable; it has no likelihood."""
    values, matrix = case.values[0], np.ascontiguousarray(case.start.H)

    def run() -> Outcome:
        _ = values @ matrix
        return Outcome(math.nan)

    return run
