"""When a covariance recursion has converged: from there on it need not be run."""

from __future__ import annotations

import math

from kalman_em.arrays import Array
from kalman_em.compiled import kernel, part
from kalman_em.inference.steps import Size

# A change above this is known to enough digits to read a rate off it.
RATED = 1e-10
# Within this relative change per step a recursion is on its last digits ...
NEARLY = 1e-13
# ... and has converged when what is still to come, at the rate seen before, is below this: rounding.
SETTLED = 1e-15
# A slower rate is not worth waiting for.
SLOWEST = 0.9999
# Changes that rise and fall as they die away are compared over two spans of so many steps.
SPAN = 8
# The length of a pace.
PACE = 5 + 2 * SPAN


@kernel
def forget_pace(pace: Array) -> None:
    """Begin anew: the recursion has another input.

    A pace is the memory of `has_settled`: the last change, the last two rates, how many steps still to wait, and
    how many changes were seen well above rounding, with the last of them.
    """
    pace[0], pace[1], pace[2], pace[3], pace[4] = math.inf, 1.0, 1.0, -1.0, 0.0


@kernel
def has_settled(size: Size, old: Array, new: Array, pace: Array) -> bool:
    """Whether a recursion of PSD matrices with constant input, now at `new` after `old`, has converged.

    It converges linearly. Its rate is read off while changes are well above rounding; when they come close to it, the
    steps that the rest takes at that rate are counted down, for then the changes themselves tell nothing any more.
    Where states turn, changes rise now and then on their way to 0: there the rate is that of the largest of some steps.
    """
    change = largest_relative_change(size, old, new)
    if change == 0.0:
        return True
    if change > NEARLY:
        if change > RATED:
            pace[2] = pace[1]
            pace[1] = change / pace[0] if pace[0] < math.inf else 1.0
            pace[0] = change
            pace[5 + int(pace[4]) % (2 * SPAN)] = change
            pace[4] += 1.0
        pace[3] = -1.0
        return False
    if pace[3] < 0.0:
        rate = 1e-3
        for i in range(1, 3):
            rate = pace[i] if pace[i] > rate else rate
        if rate > 1.0 and pace[4] >= 2 * SPAN:
            rate = falling_rate(pace)
        if rate > SLOWEST:
            return False
        pace[3] = math.ceil(math.log(SETTLED * (1.0 - rate) / NEARLY) / math.log(rate))
    pace[3] -= 1.0
    is_over: bool = pace[3] <= 0.0
    return is_over


@part
def falling_rate(pace: Array) -> float:
    """Return the rate a step from the largest of some changes to the largest of as many after them."""
    seen, earlier, later = int(pace[4]), 0.0, 0.0
    for k in range(SPAN):
        after, before = pace[5 + (seen - 1 - k) % (2 * SPAN)], pace[5 + (seen - 1 - SPAN - k) % (2 * SPAN)]
        later, earlier = after if after > later else later, before if before > earlier else earlier
    rate: float = (later / earlier) ** (1.0 / SPAN)
    return rate if rate > 1e-3 else 1e-3


@part
def largest_relative_change(size: Size, old: Array, new: Array) -> float:
    """Return the largest change of an entry, in units of the standard deviations of its row and column.

    `max` would be a function of its own for numba to compile.
    """
    d = len(size)
    largest = 0.0
    for i in range(d):
        change = abs(new[i, i] - old[i, i])
        if change > 0.0:
            relative = change / new[i, i] if new[i, i] > 0.0 else math.inf
            largest = relative if relative > largest else largest
    if largest > NEARLY:
        return largest
    for i in range(d):
        for j in range(i):
            change = abs(new[i, j] - old[i, j])
            if change > 0.0:
                unit = math.sqrt(new[i, i] * new[j, j])
                relative = change / unit if unit > 0.0 else math.inf
                largest = relative if relative > largest else largest
    return largest
