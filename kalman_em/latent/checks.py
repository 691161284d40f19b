"""Data that a mixture or regimes cannot be learnt from, said before EM begins."""

from __future__ import annotations

import numpy as np

from kalman_em.errors import InputError
from kalman_em.latent.covariances import ROUNDING, SINGULAR, ComponentStep
from kalman_em.latent.rows import PatternedRows
from kalman_em.linalg import smallest_scaled_eigenvalue
from kalman_em.observations import Panel

# Distinct rows are first looked for among so many.
GLANCE = 1000


def check_rows(panel: Panel, rows: PatternedRows, step: ComponentStep) -> None:
    """Raise `InputError` if the covariances of `step` have no maximum for any parameters.

    That is where a column does not vary, columns are linearly dependent under a form with correlations, or there are
    fewer distinct rows than components.
    """
    if panel.input_dim:
        raise InputError("inputs: expected none, as this model has no inputs")
    n, K = rows.n_rows, step.n_components
    if n < K:
        raise InputError(f"data: expected at least {K} rows, one a {step.noun}, got {n}")
    if step.n_free == 0:
        return
    check_varying(panel, rows)
    if rows.is_complete:
        columns = rows.patterns[0].columns
        scatter = columns @ columns.T / n
        cov = step.most_likely(np.ones(K), np.broadcast_to(scatter, (K, *scatter.shape)), np.array([scatter] * K))[0]
        if smallest_scaled_eigenvalue(cov) < SINGULAR * rows.dim:
            raise InputError(
                f"data: the columns {', '.join(panel.names[:10])} are linearly dependent over the {n} rows; leave some "
                "out, or use covariance=Diagonal()"
            )
    filled = np.nan_to_num(rows.completed()[:GLANCE], nan=0.0)
    if len(np.unique(filled, axis=0)) >= K:
        return
    n_distinct = len(np.unique(np.nan_to_num(rows.completed(), nan=0.0), axis=0))
    if n_distinct < K:
        raise InputError(f"data: expected at least {K} distinct rows, one a {step.noun}, got {n_distinct}")


def check_varying(panel: Panel, rows: PatternedRows) -> None:
    """Raise `InputError` naming a column that does not vary, if there is one."""
    constant = np.flatnonzero(rows.scale <= 4.0 * ROUNDING * np.abs(rows.centre))
    if len(constant):
        name = panel.names[int(constant[0])]
        raise InputError(
            f"data: column {name!r} has one value throughout, so there is no variance to learn; leave it out"
        )
