"""The M-step's regressions of many series, compiled: one Cholesky factor gives coefficients and what is left over."""

from __future__ import annotations

import math

from kalman_em.arrays import Array, BoolArray, IntArray
from kalman_em.compiled import kernel

# A Gram matrix of unit diagonal whose Cholesky factor has no smaller entry on its own diagonal is far from singular;
# what is left over may be smaller, as long as it is no rounding.
SOUND, LEFT = 1e-4, 1e-6


@kernel
def regress_each(
    residual: Array,
    cross: Array,
    regressor: Array,
    order: IntArray,
    n_free: int,
    silent: BoolArray,
    root: Array,
    unit: Array,
    change: Array,
    scatter: Array,
    sound: BoolArray,
) -> None:
    """Fill for every series the `change` D of the coefficients, and the `scatter` E[(e - D z)(e - D z)'] after it.

    The moments are E[e e'], E[e z'] and E[z z'] of the residuals e and regressors z. The first `n_free` columns of z,
    in the given `order`, have free coefficients; rows of e that are `silent` keep theirs. With S = L L' for the second
    moment S of (z, e), scaled to a unit diagonal, D solves D L_zz = L_ez over the free columns, and the scatter is that
    of the rows of L_e behind them: squares alone, so that no variance cancels below 0. `change` comes with zeros. Where
    S is too near to singular `sound` is False, and nothing is filled.
    """
    n, q, r = cross.shape
    size = q + r
    for g in range(n):
        n_moved = 0
        for i in range(q):
            n_moved += not silent[g, i]
        sound[g] = True
        if n_free == 0 or n_moved == 0:
            for i in range(q):
                for j in range(q):
                    scatter[g, i, j] = residual[g, i, j]
            continue
        for i in range(r):
            for j in range(i + 1):
                root[i, j] = regressor[g, order[i], order[j]]
        for i in range(q):
            for j in range(r):
                root[r + i, j] = cross[g, i, order[j]]
            for j in range(i + 1):
                root[r + i, r + j] = residual[g, i, j]
        for i in range(size):
            unit[i] = math.sqrt(root[i, i]) if root[i, i] > 0.0 else 1.0
        for j in range(size):
            pivot = root[j, j] / (unit[j] * unit[j])
            for k in range(j):
                pivot -= root[j, k] * root[j, k]
            least = SOUND if j < n_free else LEFT
            if not pivot > least * least:
                sound[g] = False
                break
            root[j, j] = math.sqrt(pivot)
            for i in range(j + 1, size):
                entry = root[i, j] / (unit[i] * unit[j])
                for k in range(j):
                    entry -= root[i, k] * root[j, k]
                root[i, j] = entry / root[j, j]
        if not sound[g]:
            continue
        for i in range(q):
            row = r + i
            if not silent[g, i]:
                for j in range(n_free - 1, -1, -1):
                    total = root[row, j]
                    for k in range(j + 1, n_free):
                        total -= change[g, i, order[k]] * root[k, j]
                    change[g, i, order[j]] = total / root[j, j]
                for j in range(n_free):
                    change[g, i, order[j]] *= unit[row] / unit[j]
            for j in range(i + 1):
                total = 0.0
                for k in range(0 if silent[g, i] and silent[g, j] else n_free, r + j + 1):
                    total += root[row, k] * root[r + j, k]
                total *= unit[row] * unit[r + j]
                scatter[g, i, j], scatter[g, j, i] = total, total
