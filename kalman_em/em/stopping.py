"""When EM stops: how much is still to come (`Stopping`), and why a run ended (`StopReason`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from numbers import Integral, Real

from kalman_em.errors import InputError, NumericalError

# A relative step of the parameters below this is rounding, not movement; and objectives that differ by less
# than this times 1 + |objective| are equal.
STEP_ROUNDING = 1e-12
# A gain below this times 1 + |objective|, a few units in the last place, is none. No more is allowed here:
# |objective| depends on the units of the data, and where rounding is larger it shows itself by falls.
GAIN_ROUNDING = 1e-15
# In exact arithmetic EM never lowers its objective. Sums over long series and nearly singular covariances
# lose some digits; a fall below the highest value by more than this times 1 + |objective| is not rounding.
FALL_ROUNDING = 1e-9
# The rate of convergence is the largest of this many ratios of successive steps ...
RATE_WINDOW = 3
# ... and a criterion must hold at this many iterations in a row: while a fast direction dies out, the ratios
# are small for a moment although a slow direction is still far from its limit.
HOLD = 3


class StopReason(StrEnum):
    """Why a run of EM ended; each reason says what to try next.

    Examples
    --------
    >>> StopReason.max_iterations == "max_iterations"
    True
    >>> StopReason.max_iterations.is_converged
    False
    >>> print(StopReason.max_iterations.remedy)
    Continue from these parameters with a larger max_iterations, or loosen the tolerances.
    """

    converged = "converged"
    max_iterations = "max_iterations"
    objective_fell = "objective_fell"
    degenerate_covariance = "degenerate_covariance"
    unit_root = "unit_root"
    unobservable_start = "unobservable_start"
    empty_component = "empty_component"
    heywood_case = "heywood_case"
    non_finite = "non_finite"
    interrupted = "interrupted"

    @property
    def is_converged(self) -> bool:
        """True for `converged` alone: reaching the iteration limit is not convergence."""
        return self is StopReason.converged

    @property
    def remedy(self) -> str:
        """One sentence on what to try."""
        return _REMEDIES[self]


_REMEDIES = {
    StopReason.converged: "Nothing needs doing; for more digits lower the tolerances.",
    StopReason.max_iterations: (
        "Continue from these parameters with a larger max_iterations, or loosen the tolerances."
    ),
    StopReason.objective_fell: (
        "Check that the M-step maximises what the E-step returns, or, if the parameters are nearly singular, "
        "use fewer free parameters, data nearer to 0, or a better scaled start."
    ),
    StopReason.degenerate_covariance: ("Use a simpler model, or hold the variance that vanished fixed."),
    StopReason.unit_root: (
        "The states that start stationary are as good as non-stationary: use Diffuse() for their start, or hold "
        "transition_matrix fixed."
    ),
    StopReason.empty_component: (
        "A component has lost all of its observations: use fewer components, or another start."
    ),
    StopReason.heywood_case: (
        "The factors explain a column in full: use fewer factors or noise=Isotropic(), or leave the column out."
    ),
    StopReason.unobservable_start: (
        "With a diffuse start the likelihood grows without end while the data say less and less of the first states: "
        "hold transition_matrix or observation_matrix fixed, or let initial_cov be Stationary() or learnt."
    ),
    StopReason.non_finite: ("Look for extreme values in the data, start nearer to them, or use fewer free parameters."),
    StopReason.interrupted: "Continue from these parameters: pass them as the start.",
}


class EMStop(NumericalError):
    """Raised by a step of a problem that cannot go on, to end the run with a reason of its own.

    The run then returns the best parameters so far; the message is the detail.

    Parameters
    ----------
    reason : StopReason
    detail : str

    Examples
    --------
    >>> EMStop(StopReason.degenerate_covariance, "component 2 has collapsed onto one row").reason.name
    'degenerate_covariance'
    """

    def __init__(self, reason: StopReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def projected_remaining(steps: Sequence[float]) -> float:
    """Return how far a linearly converging sequence still has to go, from its latest step sizes.

    With steps s[k] that shrink at the rate r = s[k] / s[k-1], the steps to come add up to

        s[k] (r + r² + ...) = s[k] r / (1 - r),

    Aitken's acceleration (McLachlan & Krishnan 2008, *The EM Algorithm and Extensions*, section 4.9). Here r
    is the largest of the last three ratios.

    Parameters
    ----------
    steps : sequence of float
        Step sizes, none negative, the latest last.

    Returns
    -------
    float
        0 after a zero step; inf when the steps do not shrink or one step is all there is.

    Examples
    --------
    >>> projected_remaining([0.08, 0.04, 0.02, 0.01])           # halving: as far again as the last step
    0.01
    >>> projected_remaining([0.01, 0.01])
    inf
    """
    last = steps[-1]
    if last == 0.0:
        return 0.0
    recent = steps[-RATE_WINDOW - 1 :]
    # An infinite step (from zero to a number) tells nothing of the rate; a step after none is no decline.
    ratios = [
        after / before if before > 0.0 else math.inf for before, after in pairwise(recent) if math.isfinite(before)
    ]
    rate = max(ratios, default=math.inf)
    return last * rate / (1.0 - rate) if rate < 1.0 else math.inf


def has_settled(steps: Sequence[float], tolerance: float) -> bool:
    """Return whether the last step and what it projects were within `tolerance`, three times in a row.

    Examples
    --------
    >>> slow = [1e-3 * 0.99**k for k in range(5)]               # 0.099 still to go
    >>> has_settled(slow, tolerance=1e-2), has_settled(slow, tolerance=0.1)
    (False, True)
    """
    if len(steps) < HOLD:
        return False
    recent = steps[-HOLD - RATE_WINDOW :]
    ends = range(len(recent) - HOLD + 1, len(recent) + 1)
    return all(max(recent[end - 1], projected_remaining(recent[:end])) <= tolerance for end in ends)


@dataclass(frozen=True)
class Stopping:
    """When EM stops: both criteria must hold, each on what is still to come rather than on the last step.

    EM converges linearly, often at a rate of 0.99 or slower: a step of 1e-4 can leave 1e-2 to go. So each
    criterion is on the larger of the last step and the projected sum of all steps to come
    (`projected_remaining`), and must hold at three iterations in a row. A step lost in rounding meets its
    criterion whatever the rate: 1e-12, relative, of the parameters, and any gain below rounding, a fall included.

    Parameters
    ----------
    max_iterations : int
        Most M-steps to take.
    relative_tolerance : float
        For the likelihood L: the gain in log L still to come, which is L's relative gain, must be at most
        ``relative_tolerance * (1 + ascent)``, where the ascent is the gain in log L since the first M-step
        (the M-step before, which repays a poor start, is not counted). Only differences of log L enter.
        Dividing by |log L| would not do: in other units of the data log L shifts by a constant, and the same
        fit would stop elsewhere; differences stay the same.
    parameter_tolerance : float
        For the parameters: the relative change still to come must be at most this, in the parameter that
        changes most.

    Raises
    ------
    InputError
        If max_iterations is not a positive integer, or a tolerance is not a number of at least 0.

    Notes
    -----
    A tolerance of 0 runs until rounding; ``math.inf`` leaves that criterion out. Where convergence is slower
    than linear (an error that shrinks like 1/k, as at the edge of the parameter space) the projection falls
    short, by a factor of 2 for 1/k.

    Examples
    --------
    >>> Stopping(max_iterations=500)
    Stopping(max_iterations=500, relative_tolerance=1e-08, parameter_tolerance=0.0001)
    >>> Stopping(parameter_tolerance=-1.0)
    Traceback (most recent call last):
        ...
    kalman_em.errors.InputError: parameter_tolerance: expected a number of at least 0, got -1.0
    """

    max_iterations: int = 10_000
    relative_tolerance: float = 1e-8
    parameter_tolerance: float = 1e-4

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_iterations", _checked_count(self.max_iterations, "max_iterations"))
        for name in ("relative_tolerance", "parameter_tolerance"):
            object.__setattr__(self, name, _checked_tolerance(getattr(self, name), name))

    def is_met(self, log_likelihoods: Sequence[float], parameter_changes: Sequence[float]) -> bool:
        """Return whether both criteria hold.

        Parameters
        ----------
        log_likelihoods : sequence of float, length n + 1
            The objective at the start and after each of n M-steps.
        parameter_changes : sequence of float, length n
            The relative change of the parameters in each M-step.

        Examples
        --------
        >>> errors = [0.5**k for k in range(40)]
        >>> heights, steps = [-(e**2) for e in errors], errors[1:]
        >>> next(n for n in range(40) if Stopping().is_met(heights[: n + 1], steps[:n]))     # 2**-14 < 1e-4
        16
        """
        return self.parameters_settled(parameter_changes) and self.objective_settled(log_likelihoods)

    def parameters_settled(self, parameter_changes: Sequence[float]) -> bool:
        """Return whether the criterion on the parameters holds (see `is_met`)."""
        if not parameter_changes:
            return False
        return parameter_changes[-1] <= STEP_ROUNDING or has_settled(parameter_changes, self.parameter_tolerance)

    def objective_settled(self, log_likelihoods: Sequence[float]) -> bool:
        """Return whether the criterion on the objective holds (see `is_met`)."""
        if len(log_likelihoods) < 2:
            return False
        latest = log_likelihoods[-1]
        # EM cannot fall, so a fall says that the true gain is below the rounding of the objective.
        if latest - log_likelihoods[-2] <= GAIN_ROUNDING * (1.0 + abs(latest)):
            return True
        recent = log_likelihoods[-HOLD - RATE_WINDOW - 1 :]
        gains = [max(after - before, 0.0) for before, after in pairwise(recent)]
        ascent = max(latest - log_likelihoods[1], 0.0)
        return has_settled(gains, self.relative_tolerance * (1.0 + ascent))


def _checked_count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise InputError(f"{name}: expected a positive integer, got {value!r}")
    return int(value)


def _checked_tolerance(value: object, name: str) -> float:
    # `not >=` also turns NaN away.
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 0.0:
        raise InputError(f"{name}: expected a number of at least 0, got {value!r}")
    return float(value)


DEFAULT_STOPPING = Stopping()
