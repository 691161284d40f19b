"""A start for statsmodels that owes nothing to our estimates: plain guesses from the data's own variances."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.models.scale import data_scale
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem


def own_start(specification: Specification, panel: Panel) -> LinearGaussianSystem:
    """Return the start that `described` describes, brought to the forms of `specification`."""
    d, r, p = specification.state_dim, specification.shape("transition_cov")[0], specification.obs_dim
    scale, mean = data_scale(panel), _column_means(panel)
    offset = mean if specification.is_free("observation_offset") else np.zeros(p)
    if specification.is_free("observation_matrix"):
        loads = np.equal.outer(np.arange(p) % d, np.arange(d)) | np.equal.outer(np.arange(p), np.arange(d) % p)
        H = scale[:, None] * loads * np.sqrt(0.5 / loads.sum(axis=1, keepdims=True))
        unit, noise, R, first = 1.0, 0.75, 0.5 * scale**2, np.zeros(d)
    else:
        H = specification.constraint("observation_matrix").fixed
        H = H if H.ndim == 2 else H.mean(axis=0)
        size = np.sqrt(np.mean((H / scale[:, None]) ** 2))
        unit = 1.0 / size if size > 0.0 else 1.0
        changes = change_variances(panel)
        noise, R = 0.25 * float(np.mean(changes / scale**2)), 0.25 * changes
        first = np.linalg.pinv(H) @ (mean - offset)
    return specification.start_from(
        {
            # Not equal: equal states that load on the same columns would never part.
            "transition_matrix": np.diag(0.5 + 0.2 * np.linspace(-1.0, 1.0, d) if d > 1 else [0.5]),
            "transition_offset": np.zeros(d),
            "transition_input": np.zeros((d, specification.input_dim)),
            "transition_cov": unit**2 * noise * np.eye(r),
            "observation_matrix": H,
            "observation_offset": offset,
            "observation_input": np.zeros((p, specification.input_dim)),
            "observation_cov": np.diag(R),
            "initial_mean": first,
            "initial_cov": unit**2 * np.eye(d),
        }
    )


def described(specification: Specification) -> str:
    """Return what `own_start` starts from, in words; of what is learnt alone."""
    free = specification.is_free
    known_loadings = not free("observation_matrix")
    share = "a quarter of the variance of the data's first differences"
    parts = [
        (free("transition_cov") and known_loadings, f"state noise {share}"),
        (free("observation_cov") and known_loadings, f"observation noise {share}"),
        (free("transition_cov") and not known_loadings, "state noise 0.75 I"),
        (free("observation_cov") and not known_loadings, "observation noise half the data's variance"),
        (free("transition_matrix"), "transition matrix 0.5 I" if specification.state_dim == 1 else _DIAGONAL),
        (not known_loadings, "observation matrix of scaled zeros and ones"),
        (free("observation_offset"), "observation offset at the column means"),
        (free("initial_mean"), "initial mean at the data's" if known_loadings else "initial mean 0"),
        (free("initial_cov"), "initial covariance that of the data" if known_loadings else "initial covariance I"),
        (free("transition_offset") or free("transition_input") or free("observation_input"), "the others 0"),
    ]
    words = [text for is_used, text in parts if is_used]
    if len(words) > 1 and words[0].endswith(share) and words[1].endswith(share):
        words[:2] = [f"state and observation noise each {share}"]
    return ", ".join(words)


_DIAGONAL = "transition matrix diagonal, 0.3 to 0.7"


def change_variances(panel: Panel) -> Array:
    """Return the variance of the first differences of each column; its own variance where there are none."""
    steps = np.concatenate([np.diff(one.values, axis=0) for one in panel])
    seen = ~np.isnan(steps)
    squares = np.where(seen, steps, 0.0) ** 2
    variances = squares.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    result: Array = np.where(variances > 0.0, variances, data_scale(panel) ** 2)
    return result


def _column_means(panel: Panel) -> Array:
    rows = np.concatenate([one.values for one in panel])
    seen = ~np.isnan(rows)
    result: Array = np.where(seen, rows, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return result
