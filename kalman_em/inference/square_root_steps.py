"""The atomic steps on factors of covariances, compiled: nothing here squares a standard deviation and subtracts.

A state is a mean, a factor L of its covariance in lower echelon form (the first entry of each column below that of
the column before it) and, while some direction of it is diffuse, the factor A: x ~ N(mean, L L' + κ A A'). Columns of
zeros stand at the end, so a singular covariance simply has fewer columns, and an exact observation takes one away.

The last columns of an array that holds A are samples of its reach: what one rounding of every row, in sizes drawn once,
has come to, carried along with the rows themselves. An entry may shrink a little with each observation; what is left of
it when it cancels, as small as the rounding of what it came from, is no direction. (Bounds of that rounding in absolute
values grow by the number of states with every observation, and after a dozen take directions for rounding.)
"""

from __future__ import annotations

import math

from kalman_em.arrays import Array
from kalman_em.compiled import kernel
from kalman_em.inference.steps import LOG_2PI

# What is left of a row after its projection on the rows above, in parts of the row, when that is rounding alone.
RANK = 1e-14
# A sum that cancels to this part of its terms is rounding: factors lose digits once, not twice as covariances do.
NOTHING = 1e-12
# How many samples of its reach stand behind A: three do not all cancel by chance.
REACHES = 3


@kernel
def triangularise(matrix: Array, n_rows: int, n_top: int, n_columns: int, n_judged: int) -> int:
    """Turn the first `n_top` rows into lower echelon form by reflections of the columns; return its number of columns.

    A reflection of the columns leaves `matrix` times its transpose as it is. The largest entry of the row comes first,
    so that columns of very different size keep their own digits (Cox and Higham 1998, Stability of Householder QR
    factorization for weighted least squares problems). Of the first `n_judged` rows what is left is set to 0 where it
    is rounding.
    """
    column = 0
    for i in range(n_top):
        largest, at = 0.0, column
        for j in range(column, n_columns):
            if abs(matrix[i, j]) > largest:
                largest, at = abs(matrix[i, j]), j
        if largest == 0.0:
            continue
        square, n_others = 0.0, -1
        for j in range(column, n_columns):
            if matrix[i, j] != 0.0:
                square += (matrix[i, j] / largest) ** 2
                n_others += 1
        norm = largest * math.sqrt(square)
        if i < n_judged:
            before = 0.0
            for j in range(column):
                before = max(before, abs(matrix[i, j]))
            if norm <= RANK * before:
                for j in range(column, n_columns):
                    matrix[i, j] = 0.0
                continue
        if at != column:
            for r in range(i, n_rows):
                matrix[r, column], matrix[r, at] = matrix[r, at], matrix[r, column]
        # Not where the norm is larger: an entry too small for that still counts.
        if n_others > 0:
            first = matrix[i, column]
            # I - v v' / (norm (norm + |first|)) with v = row - alpha e takes the row to alpha e.
            alpha = -norm if first > 0.0 else norm
            shifted = (first - alpha) / norm
            for r in range(i + 1, n_rows):
                total = matrix[r, column] * shifted
                for j in range(column + 1, n_columns):
                    total += matrix[r, j] * (matrix[i, j] / norm)
                if total != 0.0:
                    total /= abs(shifted)
                    matrix[r, column] -= total * shifted
                    for j in range(column + 1, n_columns):
                        matrix[r, j] -= total * (matrix[i, j] / norm)
            matrix[i, column] = alpha
            for j in range(column + 1, n_columns):
                matrix[i, j] = 0.0
        column += 1
        if column == n_columns:
            break
    return column


@kernel
def project(h: Array, factor: Array, n_columns: int, projected: Array) -> float:
    """Fill `projected` with L'h and return its norm."""
    square = 0.0
    for j in range(n_columns):
        total = 0.0
        for i in range(h.shape[0]):
            total += h[i] * factor[i, j]
        projected[j] = total
        square += total * total
    return math.sqrt(square)


@kernel
def size_of(h: Array, scale: Array) -> float:
    """Return the sum of |h| times `scale`: what h'x would be without cancellation."""
    total = 0.0
    for i in range(h.shape[0]):
        total += abs(h[i]) * scale[i]
    return total


@kernel
def rotate(factor: Array, n_rows: int, n_columns: int, projected: Array, deviation: float, gain: Array) -> float:
    """Condition the factor, in place, on h'x + v of standard deviation `deviation`; fill the gain; return the spread.

    Rotations from the last column to the first take [deviation, h'L; 0, L] to [s, 0; K s, L+] (Carlson 1973, Fast
    triangular formulation of the square root filter; Bierman 1977, section V.3). The first entry of every column is
    only ever multiplied, so it keeps its relative accuracy however much is learnt; an exact observation
    (deviation 0) ends with one column less.
    """
    for i in range(n_rows):
        gain[i] = 0.0
    s = deviation
    for j in range(n_columns - 1, -1, -1):
        a = projected[j]
        if a == 0.0:
            continue
        larger = math.sqrt(s * s + a * a)
        cosine, sine = s / larger, a / larger
        for i in range(n_rows):
            entry = factor[i, j]
            factor[i, j] = cosine * entry - sine * gain[i]
            gain[i] = cosine * gain[i] + sine * entry
        s = larger
    for i in range(n_rows):
        gain[i] /= s
    return s


@kernel
def compact(factor: Array, n_rows: int, n_columns: int) -> int:
    """Move columns of zeros to the end; return how many others there are."""
    kept = 0
    for j in range(n_columns):
        is_null = True
        for i in range(n_rows):
            if factor[i, j] != 0.0:
                is_null = False
                break
        if is_null:
            continue
        if kept < j:
            for i in range(n_rows):
                factor[i, kept] = factor[i, j]
                factor[i, j] = 0.0
        kept += 1
    return kept


@kernel
def begin_diffuse(initial: Array, diffuse: Array) -> None:
    """Fill `diffuse` with the factor A at the start and the reach of its rows."""
    d = initial.shape[0]
    for i in range(d):
        largest = 0.0
        for j in range(d):
            diffuse[i, j] = initial[i, j]
            largest = max(largest, abs(initial[i, j]))
        for k in range(REACHES):
            diffuse[i, d + k] = largest * rounding(i, k)


@kernel
def rounding(i: int, k: int) -> float:
    """Return the rounding of row i in sample k: of either sign, from half of the usual size to one and a half."""
    drawn = ((3 * i + k + 1) * 2654435761) % 4294967296
    size = 0.5 + (drawn % 65536) / 65536.0
    return size if (drawn >> 20) & 1 == 1 else -size


@kernel
def at_least(reach: float, i: int, k: int, size: float) -> float:
    """Return the reach of row i in sample k, or that of a fresh rounding of a number of this size if it is larger."""
    fresh = size * rounding(i, k)
    if abs(reach) >= abs(fresh):
        return reach
    return -abs(fresh) if reach < 0.0 else (abs(fresh) if reach > 0.0 else fresh)


@kernel
def row_reach(diffuse: Array, i: int) -> float:
    """Return the reach of row i, over all samples."""
    square, first = 0.0, diffuse.shape[1] - REACHES
    for k in range(REACHES):
        square += diffuse[i, first + k] ** 2
    return math.sqrt(square / REACHES)


@kernel
def project_diffuse(h: Array, diffuse: Array, n_diffuse: int, weights: Array) -> float:
    """Fill `weights` with A'h, 0 where it is rounding, and return the norm."""
    square, reach = 0.0, reach_of(h, diffuse)
    for j in range(n_diffuse):
        total = 0.0
        for i in range(h.shape[0]):
            total += diffuse[i, j] * h[i]
        weights[j] = total if abs(total) > NOTHING * reach else 0.0
        square += weights[j] * weights[j]
    return math.sqrt(square)


@kernel
def reach_of(h: Array, diffuse: Array) -> float:
    """Return the reach of A'h, over all samples."""
    square, first = 0.0, diffuse.shape[1] - REACHES
    for k in range(REACHES):
        total = 0.0
        for i in range(h.shape[0]):
            total += h[i] * diffuse[i, first + k]
        square += total * total
    return math.sqrt(square / REACHES)


@kernel
def resolve(
    h: Array,
    factor: Array,
    n_rows: int,
    n_columns: int,
    width: int,
    diffuse: Array,
    n_diffuse: int,
    projected: Array,
    weights: Array,
    norm: float,
    deviation: float,
    gain: Array,
) -> tuple[int, int]:
    """Condition on an observation that sees a diffuse direction; return how many columns of L it sees next, and of A.

    K = A w / w'w; L+ = [L - K h'L, K deviation], and A loses the direction w (Durbin and Koopman 2012, section 5.2).
    Errors δ of A become (I - K h') δ, turned as A is: to first order in the angle by which w is off.
    """
    for i in range(n_rows):
        total = 0.0
        for j in range(n_diffuse):
            total += diffuse[i, j] * (weights[j] / norm)
        gain[i] = total / norm
        for j in range(n_columns):
            factor[i, j] -= gain[i] * projected[j]
        factor[i, width] = gain[i] * deviation
    carry_reach(h, gain, n_rows, diffuse, n_diffuse)
    n_columns = triangularise(factor, n_rows, h.shape[0], width + 1, h.shape[0])
    # A Householder reflection takes w to the first axis; the other columns stay.
    weights[0] += norm if weights[0] >= 0.0 else -norm
    square = 0.0
    for j in range(n_diffuse):
        square += weights[j] * weights[j]
    for i in range(n_rows):
        total = 0.0
        for j in range(n_diffuse):
            total += diffuse[i, j] * weights[j]
        total *= 2.0 / square
        smallest = NOTHING * row_reach(diffuse, i)
        for j in range(1, n_diffuse):
            entry = diffuse[i, j] - total * weights[j]
            diffuse[i, j - 1] = entry if abs(entry) > smallest else 0.0
        diffuse[i, n_diffuse - 1] = 0.0
    return n_columns, compact(diffuse, n_rows, n_diffuse - 1)


@kernel
def carry_reach(h: Array, gain: Array, n_rows: int, diffuse: Array, n_diffuse: int) -> None:
    """Let the reach of A be that after an observation with this gain."""
    first = diffuse.shape[1] - REACHES
    for k in range(REACHES):
        seen = 0.0
        for i in range(h.shape[0]):
            seen += h[i] * diffuse[i, first + k]
        for i in range(n_rows):
            largest = 0.0
            for j in range(n_diffuse):
                largest = max(largest, abs(diffuse[i, j]))
            diffuse[i, first + k] = at_least(diffuse[i, first + k] - gain[i] * seen, i, k, largest)


@kernel
def observe(
    h: Array,
    error: float,
    deviation: float,
    smallest: float,
    factor: Array,
    n_rows: int,
    n_columns: int,
    width: int,
    diffuse: Array,
    n_diffuse: int,
    projected: Array,
    weights: Array,
    gain: Array,
    mean: Array,
) -> tuple[float, float, int, int]:
    """Condition mean, factor and diffuse factor on h'x + v, whose value differs from the mean by `error`, in place.

    h loads on the first rows, which are in echelon form and have the first `n_columns` of `width` columns; the other
    rows go along. Returns the log density, the spread (0 where it is no more than `smallest` and there was nothing to
    learn, -1 where it was infinite: `width` has then grown by one), `n_columns`, and the number of columns of A.
    """
    norm = 0.0
    if n_diffuse > 0:
        norm = project_diffuse(h, diffuse, n_diffuse, weights)
    spread = project(h, factor, n_columns, projected)
    if norm > 0.0:
        n_columns, n_diffuse = resolve(
            h, factor, n_rows, n_columns, width, diffuse, n_diffuse, projected, weights, norm, deviation, gain
        )
        log_density, spread = -0.5 * LOG_2PI - math.log(norm), -1.0
    elif deviation == 0.0 and spread <= smallest:
        return 0.0, 0.0, n_columns, n_diffuse
    else:
        spread = rotate(factor, n_rows, n_columns, projected, deviation, gain)
        log_density = -0.5 * (LOG_2PI + (error / spread) ** 2) - math.log(spread)
    for i in range(n_rows):
        mean[i] += gain[i] * error
    return log_density, spread, n_columns, n_diffuse


@kernel
def push(matrix: Array, factor: Array, n_columns: int, first: int, moved: Array) -> None:
    """Fill the columns of `moved` from `first` on with `matrix` times the factor."""
    d = matrix.shape[0]
    for i in range(d):
        for j in range(n_columns):
            total = 0.0
            for k in range(d):
                total += matrix[i, k] * factor[k, j]
            moved[i, first + j] = total


@kernel
def push_diffuse(matrix: Array, diffuse: Array, n_diffuse: int, moved: Array) -> None:
    """Fill the first rows of `moved` with `matrix` times A, 0 where that is rounding, and the reach of its rows."""
    d, first = matrix.shape[0], diffuse.shape[1] - REACHES
    for i in range(d):
        largest = 0.0
        for j in range(n_diffuse):
            total, scale = 0.0, 0.0
            for k in range(d):
                term = matrix[i, k] * diffuse[k, j]
                total += term
                scale += abs(term)
            moved[i, j] = total
            largest = max(largest, scale)
        for s in range(REACHES):
            total = 0.0
            for k in range(d):
                total += matrix[i, k] * diffuse[k, first + s]
            moved[i, first + s] = at_least(total, i, s, largest)
        smallest = NOTHING * row_reach(moved, i)
        for j in range(n_diffuse):
            if abs(moved[i, j]) <= smallest:
                moved[i, j] = 0.0
