"""EM in longer steps, for any problem: squared extrapolation (SQUAREM), taken only where it climbs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from kalman_em.em.extrapolation import stretched
from kalman_em.em.loop import run_em
from kalman_em.em.numbers import numbers_of
from kalman_em.em.problem import EMProblem, Expectations, Params
from kalman_em.em.result import Callback, EMResult
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping
from kalman_em.errors import InputError

# The longest leaps, in steps of EM, one after another until one climbs.
LONGEST = (np.inf, 16.0, 4.0)
# What a guess outside the parameters' range may raise: logarithms and roots of what is below 0, shapes refused.
OUTSIDE = (ArithmeticError, ValueError)


@dataclass(frozen=True, eq=False)
class Accelerated(Generic[Params, Expectations]):
    """A problem whose M-step is a leap along two steps of EM; all else is as in `problem`."""

    problem: EMProblem[Params, Expectations]

    def e_step(self, params: Params) -> tuple[Expectations, float]:
        """Return the E-step of the problem."""
        return self.problem.e_step(params)

    def m_step(self, params: Params, expectations: Expectations) -> Params:
        """Return the end of a leap along two steps of EM, and of one more step, or if none climbs of the two.

        A leap is a squared extrapolation (see `stretched`), its numbers those of `numbers_of`.
        """
        one = self.problem.m_step(params, expectations)
        between, height = self.problem.e_step(one)
        two = self.problem.m_step(one, between)
        for guess in self._leaps(params, one, two):
            with np.errstate(all="ignore"):
                try:
                    state = self.problem.e_step(guess)
                except OUTSIDE:
                    continue
            # Not lower than the first plain step: so no leap can lower the objective, and no NaN is taken.
            if state[1] >= height:
                # A step of EM from there brings back what the leap has thrown off in directions that are fast.
                return self.problem.m_step(guess, state[0])
        return two

    def _leaps(self, *path: Params) -> Iterator[Params]:
        vectors = []
        for params in path:
            vector, back = numbers_of(self.problem, params)
            vectors.append(vector)
        # What reaches an edge on the way (a variance at 0, say) is no longer free: there is no line to go along.
        if len({len(vector) for vector in vectors}) > 1:
            return
        size = np.maximum(np.abs(vectors[0]), np.abs(vectors[-1]))
        # Each number in units of its own size.
        unit = np.where(size > 0.0, size, 1.0)
        last = vectors[-1]
        for longest in LONGEST:
            with np.errstate(all="ignore"):
                moved = unit * stretched([vector / unit for vector in vectors], longest)
            if not np.isfinite(moved).all() or np.array_equal(moved, last):
                continue
            last = moved
            try:
                with np.errstate(all="ignore"):
                    guess = back(moved)
            except OUTSIDE:
                continue
            yield guess

    def __getattr__(self, name: str) -> Any:
        # What else the problem offers to the loop: a measure of change, examinations, the bound.
        if name.startswith("_") or name == "problem":
            raise AttributeError(name)
        return getattr(self.problem, name)


def accelerated(problem: EMProblem[Params, Expectations]) -> Accelerated[Params, Expectations]:
    """Return the same problem with longer steps: two of EM, a leap along them if that climbs, and one more.

    Parameters
    ----------
    problem : EMProblem
        Any problem whose parameters are numbers, arrays, dataclasses, mappings or sequences; or one with the methods
        ``free_numbers(params)`` and ``with_numbers(params, numbers)``, which is best where parameters are bounded.

    Returns
    -------
    EMProblem
        For `run_em` and `run_starts`.

    Raises
    ------
    InputError
        If it has no `e_step` and `m_step`.

    Notes
    -----
    The objective never falls: a leap is taken only if it is not below the first of the two steps, and is drawn back
    towards the second where it fails or cannot be evaluated; there is none while a number is on its way to an edge, at
    which it is free no more. The limits are those of EM. An iteration costs about
    three E-steps and M-steps, and does the work of the more of EM's the slower that converges.

    References
    ----------
    Varadhan and Roland, Simple and globally convergent methods for accelerating the convergence of any EM algorithm,
    Scandinavian Journal of Statistics 35 (2008).

    Examples
    --------
    Lifetimes of lamps, 49 of 50 of which still burn after 8 months: nearly all is hidden, and EM creeps.

    >>> import math
    >>> import kalman_em as kem
    >>> class Lamps:
    ...     def e_step(self, mean):
    ...         return 4.0 + 49 * (8.0 + mean), -math.log(mean) - 396.0 / mean
    ...     def m_step(self, mean, total_lifetime):
    ...         return total_lifetime / 50
    >>> plain, fast = kem.run_em(Lamps(), 1.0), kem.run_em(kem.accelerated(Lamps()), 1.0)
    >>> round(plain.params), round(fast.params), plain.n_iterations > 10 * fast.n_iterations
    (396, 396, True)
    """
    if isinstance(problem, type) or not isinstance(problem, EMProblem):
        raise InputError(f"problem: expected an object with methods e_step and m_step, got {problem!r}")
    return Accelerated(problem)


@dataclass(frozen=True)
class Leaping:
    """EM in longer steps (`accelerated`), as a variant for any problem.

    Guarantees: what EM guarantees; no bound is kept, as a leap is not the M-step of one.
    """

    def run(
        self,
        problem: Any,
        start: Any,
        *,
        rng: np.random.Generator,
        stopping: Stopping = DEFAULT_STOPPING,
        callback: Callback[Any] | None = None,
        record_bound: bool = False,
    ) -> EMResult[Any]:
        """Return the run of `run_em` on the accelerated problem."""
        del rng, record_bound
        return run_em(accelerated(problem), start, stopping=stopping, callback=callback)
