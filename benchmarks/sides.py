"""What every side of a comparison hands over: a log-likelihood, and where it can more numbers to compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from benchmarks.cases import Array, Case


def _no_checks() -> dict[str, Array]:
    return {}


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of one timed call; `checks` is called after the clock has stopped."""

    log_likelihood: float
    checks: Callable[[], Mapping[str, Array]] = _no_checks


class Side(Protocol):
    """A module that can do some kinds of work on a case."""

    def prepared(self, case: Case, kind: str, variant: str) -> Callable[[], Outcome]:
        """Return a callable that does the work once."""
        ...
