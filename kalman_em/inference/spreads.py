"""What the covariances of the states add to the sums of EM over the transitions, compiled."""

from __future__ import annotations

from kalman_em.arrays import Array
from kalman_em.compiled import part
from kalman_em.inference.kernel_arrays import Spreads
from kalman_em.inference.steps import Size


@part
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
    for i in range(d):
        for j in range(i + 1):
            spreads.regressor[q, i, j] += n * spreads.cov[i, j]


@part
def settle_spread(size: Size, F: Array, q: int, spreads: Spreads) -> None:
    """Add Cov[e], Cov[e, x[t]] and Cov[x[t]] over rows with one F and Q, from the sums of V[t+1], V[t] and lag-one.

    Cov[e, x[t]] = Cov[x[t+1], x[t]] - F V[t] and Cov[e] = V[t+1] - F Cov[x[t+1], x[t]]' - Cov[e, x[t]] F'. Where the
    gain is plain these differences are no smaller, to speak of, than their terms.
    """
    d = len(size)
    lag, covs, pushed = spreads.lag_one_covs, spreads.covs, spreads.pushed
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
