"""What the covariances of the states add to the sums of EM over the transitions, compiled."""

from __future__ import annotations

from kalman_em.arrays import Array, IntArray
from kalman_em.compiled import inlined, kernel
from kalman_em.inference.kernel_arrays import Spreads
from kalman_em.inference.steps import Size


@kernel
def add_cov(size: Size, n: float, cov: Array, total: Array) -> None:
    """Add n times a covariance to the lower triangle of `total`."""
    for i in range(len(size)):
        for j in range(i + 1):
            total[i, j] += n * cov[i, j]


@inlined
def spread_of_step(
    size: Size, n: float, transition: Array, gain: Array, conditional: Array, q: int, spreads: Spreads
) -> None:
    """Add n times Cov[e] (lower triangle), Cov[e, x[t]] and Cov[x[t]] to group q, for e = x[t+1] - F x[t] - c.

    Given x[t+1], x[t] is G x[t+1] + const + noise with covariance C (`conditional`), so that
    e = (I - F G) x[t+1] - F noise + const: Cov[e] = (I-FG) V (I-FG)' + F C F', a sum without subtraction,
    and Cov[e, x[t]] = (I-FG) V G' - F C.
    """
    d = len(size)
    left, spread, pushed = spreads.left, spreads.spread, spreads.pushed
    residual, cross = spreads.residual[q], spreads.cross[q]
    for i in range(d):
        for j in range(d):
            product, through = 0.0, 0.0
            for k in range(d):
                product += transition[i, k] * gain[k, j]
                through += transition[i, k] * conditional[k, j]
            left[i, j] = (1.0 if i == j else 0.0) - product
            pushed[i, j] = through
    for i in range(d):
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += left[i, k] * spreads.next_cov[k, j]
            spread[i, j] = total
    for i in range(d):
        for j in range(i + 1):
            total = 0.0
            for k in range(d):
                total += spread[i, k] * left[j, k] + pushed[i, k] * transition[j, k]
            residual[i, j] += n * total
        for j in range(d):
            total = -pushed[i, j]
            for k in range(d):
                total += spread[i, k] * gain[j, k]
            cross[i, j] += n * total
    add_cov(size, n, spreads.cov, spreads.regressor[q])


@inlined
def add_spread(size: Size, n: float, lag_one: Array, spreads: Spreads) -> None:
    """Keep n times what a plain gain leaves for `settle_spread`: Cov[x[t+1]], Cov[x[t+1], x[t]] and Cov[x[t]]."""
    d = len(size)
    for i in range(d):
        for j in range(i + 1):
            spreads.next_covs[i, j] += n * spreads.next_cov[i, j]
            spreads.covs[i, j] += n * spreads.cov[i, j]
        for j in range(d):
            spreads.lag_one_covs[i, j] += n * lag_one[i, j]


@kernel
def settle_spread(size: Size, transition: Array, place: IntArray, spreads: Spreads) -> None:
    """Add Cov[e], Cov[e, x[t]] and Cov[x[t]] over the rows that were kept, which share F and Q, and forget them.

    Cov[e, x[t]] = Cov[x[t+1], x[t]] - F V[t] and Cov[e] = V[t+1] - F Cov[x[t+1], x[t]]' - Cov[e, x[t]] F'. Where the
    gain is plain these differences are no smaller, to speak of, than their terms.
    """
    d = len(size)
    f, q = place[-2], place[-1]
    if f < 0:
        return
    F, lag, covs, pushed = transition[f], spreads.lag_one_covs, spreads.covs, spreads.pushed
    for i in range(d):
        for j in range(i):
            covs[j, i] = covs[i, j]
    for i in range(d):
        for j in range(d):
            total = lag[i, j]
            for k in range(d):
                total -= F[i, k] * covs[k, j]
            pushed[i, j] = total
            spreads.cross[q, i, j] += total
    for i in range(d):
        for j in range(i + 1):
            total = spreads.next_covs[i, j]
            for k in range(d):
                total -= F[i, k] * lag[j, k] + pushed[i, k] * F[j, k]
            spreads.residual[q, i, j] += total
            spreads.regressor[q, i, j] += covs[i, j]
    for i in range(d):
        for j in range(d):
            spreads.next_covs[i, j], lag[i, j], covs[i, j] = 0.0, 0.0, 0.0
    place[-2], place[-1] = -1, -1
