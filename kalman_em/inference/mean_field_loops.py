"""The posterior of a chain of states given as a block-tridiagonal precision, compiled.

    log q(x) = Σ_t [ -x[t]' D[t] x[t] / 2 + x[t]' r[t] ] + Σ_t x[t+1]' C[t] x[t] + constant.

Any average over regimes of what linear-Gaussian systems say of x has this form.
"""

from __future__ import annotations

import math

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import kernel
from kalman_em.inference.small import congruence, factor, solve_rows, times_transposed


@kernel
def solve_chain(
    starts: IntArray,
    precisions: Array,
    links: Array,
    pulls: Array,
    means: Array,
    covs: Array,
    lag_one_covs: Array,
    log_dets: Array,
    square: Array,
) -> int:
    """Fill means (N, d), covs and lag-one covariances (N, d, d), and the log determinant of the precision of each row.

    `precisions` D and `pulls` r are overwritten. Row t of `links` C and of `lag_one_covs`, Cov[x(t+1), x(t)], is for
    the step from t on; unused at the end of a series. By block Cholesky, forwards, then back. `square` (3, d, d) is
    scratch space. Returns the row at which the precision is not positive definite, where the run ends, or -1.
    """
    d = means.shape[1]
    lower, gain, spare = square[0], square[1], square[2]
    for s in range(starts.shape[0] - 1):
        begin, end = starts[s], starts[s + 1]
        for t in range(begin, end):
            if t > begin:
                # What x[t-1] says of x[t] once it is integrated out: G = C Λ^-1, D -= G C', r += G r.
                for a in range(d):
                    for b in range(d):
                        gain[a, b] = links[t - 1, a, b]
                if not factor(precisions[t - 1], lower):
                    return t - 1
                solve_rows(lower, gain)
                times_transposed(gain, links[t - 1], spare)
                for a in range(d):
                    for b in range(d):
                        precisions[t, a, b] -= 0.5 * (spare[a, b] + spare[b, a])
                        pulls[t, a] += gain[a, b] * pulls[t - 1, b]
            if not factor(precisions[t], lower):
                return t
            log_dets[t] = 0.0
            for a in range(d):
                log_dets[t] += 2.0 * math.log(lower[a, a])
        for t in range(end - 1, begin - 1, -1):
            if not factor(precisions[t], lower):
                return t
            for a in range(d):
                for b in range(d):
                    covs[t, a, b] = 1.0 if a == b else 0.0
                means[t, a] = pulls[t, a]
            solve_rows(lower, covs[t])
            if t < end - 1:
                # x[t] given x[t+1] is N(Λ^-1 (r + C' x[t+1]), Λ^-1); J = Λ^-1 C'.
                for a in range(d):
                    for b in range(d):
                        means[t, a] += links[t, b, a] * means[t + 1, b]
                times_transposed(covs[t], links[t], gain)
                times_transposed(covs[t + 1], gain, lag_one_covs[t])
                congruence(gain, covs[t + 1], lower, spare)
                for a in range(d):
                    spare[0, a] = means[t, a]
                for a in range(d):
                    means[t, a] = 0.0
                    for b in range(d):
                        means[t, a] += covs[t, a, b] * spare[0, b]
                for a in range(d):
                    for b in range(d):
                        covs[t, a, b] += lower[a, b]
            else:
                solve_rows(lower, means[t : t + 1])
    return -1
