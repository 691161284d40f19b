"""The dynamic factor model: many columns that a few factors move together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_count
from kalman_em.em.entries import entries_of
from kalman_em.em.forms import BlockDiagonal, Diagonal, Fixed, Full, checked_covariance_form
from kalman_em.errors import InputError
from kalman_em.linalg import block_diagonal
from kalman_em.models.companion import free_rows, most_promising, regressed_on_lags, shifted
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.profile import scattered
from kalman_em.models.scale import data_scale
from kalman_em.models.slots import Slot
from kalman_em.models.specification import Specification
from kalman_em.models.subspace import bridged, column_means
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# Parts of what the factors leave that a start gives to the deviations with a memory, and how much they remember.
SHARES = (0.3, 0.8)
MEMORY = 0.5


@checks_keywords
@dataclass(frozen=True)
class DynamicFactor:
    """Columns that a few common factors with a memory move, each with a deviation of its own.

    .. math::

        f_{t+1} = A_1 f_t + \\dots + A_m f_{t+1-m} + w_t, \\; w_t \\sim N(0, Q), \\qquad
        y_t = d + \\Lambda f_t + e_t + v_t, \\; v_t \\sim N(0, R)

    Any value of any row may be missing, as at the ragged edge of data that are published late: the factors at the last
    rows come from what is there, and ``impute`` and ``forecast`` give the rest (a nowcast).

    Parameters
    ----------
    n_factors : int
        r, at least 1, fewer than the columns.
    order : int
        m, the lags of the factors, at least 1.
    idiosyncratic : bool
        Whether every column has a deviation e of its own that remembers its last value, beside the noise v.
    observation_cov : form, default Diagonal()
        R, shape (p, p).

    Raises
    ------
    InputError
        If a number is not whole or too small, or what stands for a form is none; at the fit, if there are not more
        columns than factors, a form does not fit, or there are inputs.

    Notes
    -----
    The loadings are identified by their first r rows, which are the identity: factor i is in the units of column i,
    which must have a part in it. Q is then free, and the fit does not depend on the units or the origin of the data;
    nothing needs to be standardised (starting values are taken from standardised data). Factors and deviations start
    at 0 one step before the data. Every M-step is an exact regression.

    References
    ----------
    Bańbura and Modugno, Maximum likelihood estimation of factor models on datasets with arbitrary pattern of missing
    data, Journal of Applied Econometrics 29 (2014); the identification: Bai and Wang, Identification and Bayesian
    estimation of dynamic factor models, Journal of Business & Economic Statistics 33 (2015).

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> macro = kem.datasets.load("us_macro")[["realgdp", "realcons", "realinv", "realdpi"]]
    >>> growth = 400.0 * np.log(macro).diff().iloc[1:]
    >>> growth.iloc[-1, [0, 2]] = np.nan        # not published yet
    >>> fitted = kem.fit(kem.DynamicFactor(1), growth, stopping=kem.Stopping(max_iterations=100))
    >>> fitted.params.loadings.shape, bool(fitted.impute()["realgdp"].notna().all())
    ((4, 1), True)
    """

    n_factors: int
    order: int = 1
    idiosyncratic: bool = field(default=False, kw_only=True)
    observation_cov: Any = field(default_factory=Diagonal, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("n_factors", "order"):
            object.__setattr__(self, name, as_count(getattr(self, name), name))
        if not isinstance(self.idiosyncratic, bool):
            raise InputError(f"idiosyncratic: expected True or False, got {self.idiosyncratic!r}")
        checked_covariance_form(self.observation_cov, "observation_cov")

    def specify(self, panel: Panel) -> Specification:
        """Return the specification for the columns of `panel`."""
        p, r, m = panel.obs_dim, self.n_factors, self.order
        if panel.input_dim:
            raise InputError("inputs: expected none, because DynamicFactor has no regression on them")
        if p <= r:
            raise InputError(f"n_factors: expected fewer than the {p} columns of the data, got {r}")
        q = p if self.idiosyncratic else 0
        n = r * m
        memory = [(n + i, n + i, n * r + i, 1.0) for i in range(q)]
        fixed = block_diagonal(shifted(r, m), np.zeros((q, q)))
        loadings = [(i, j, (i - r) * r + j, 1.0) for i in range(r, p) for j in range(r)]
        slots = {
            "loadings": Slot(
                "observation_matrix", entries=tuple((i, j) for i in range(p) for j in range(r)), shape=(p, r)
            ),
            "factor_transition": Slot(
                "transition_matrix", entries=tuple((i, j) for i in range(r) for j in range(n)), shape=(r, n)
            ),
            "factor_cov": Slot("transition_cov", slice(0, r)),
        }
        if q:
            slots["idiosyncratic_memory"] = Slot(
                "transition_matrix", entries=tuple((n + i, n + i) for i in range(q)), shape=(q,)
            )
            slots["idiosyncratic_cov"] = Slot("transition_cov", slice(r, r + q))
        slots |= {name: Slot(name) for name in ("observation_offset", "observation_cov")}
        factors = [f"factor_{i + 1}" for i in range(r)]
        deviations = [f"deviation.{column}" for column in panel.names] if q else []
        return Specification(
            state_dim=n + q,
            obs_dim=p,
            input_dim=0,
            forms={
                "transition_matrix": entries_of(fixed, free_rows(r, m) + memory),
                "transition_offset": Fixed(0.0),
                "transition_cov": BlockDiagonal([(Full(), r)] + ([(Diagonal(), q)] if q else [])),
                "observation_matrix": entries_of(self._known_loadings(p), loadings),
                "observation_offset": Full(),
                "observation_cov": self.observation_cov,
                "initial_mean": Fixed(0.0),
                "initial_cov": Fixed(0.0),
            },
            initial_step="before",
            slots=slots,
            state_names=(
                *(name if lag == 0 else f"{name}_lag_{lag}" for lag in range(m) for name in factors),
                *deviations,
            ),
            noise_selection=block_diagonal(np.eye(n, r), np.eye(q)),
            components={name: slice(i, i + 1) for i, name in enumerate(factors)}
            | ({"deviation": slice(n, n + q)} if q else {}),
        )

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return the best start from principal components of the standardised data, gaps bridged."""
        return most_promising(specification, panel, self._candidates(specification, panel))

    def random_start(
        self, specification: Specification, panel: Panel, rng: np.random.Generator
    ) -> LinearGaussianSystem:
        """Return that start with its transition shaken and its variances scattered."""
        start = self.start(specification, panel)
        scale = data_scale(panel)
        ratio = scale[:, None] / scale[None, : self.n_factors]
        H = np.array(start.observation_matrix)
        H[:, : self.n_factors] += 0.3 * ratio * rng.standard_normal(ratio.shape)
        moved = scattered(specification, start, rng)
        return moved.replaced(observation_matrix=specification.constraint("observation_matrix").project(H))

    def _known_loadings(self, p: int) -> Array:
        r, n = self.n_factors, self.n_factors * self.order
        known = np.zeros((p, n + (p if self.idiosyncratic else 0)))
        known[:r, :r] = np.eye(r)
        if self.idiosyncratic:
            known[:, n:] = np.eye(p)
        return known

    def _candidates(self, specification: Specification, panel: Panel) -> Iterator[LinearGaussianSystem]:
        p, r, m = panel.obs_dim, self.n_factors, self.order
        scale, means = data_scale(panel), column_means(panel)
        series = [bridged((one.values - means) / scale) for one in panel]
        rows = np.vstack(series)
        _, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
        loadings = vectors[:, ::-1][:, :r]
        # In the basis in which the first r rows of the loadings are the identity, and in the units of the data.
        top = loadings[:r]
        loadings = loadings @ np.linalg.pinv(top)
        factors = [values @ vectors[:, ::-1][:, :r] @ top.T for values in series]
        coefficients, cov = regressed_on_lags(factors, m)
        left = np.mean((rows - np.vstack(factors) @ loadings.T) ** 2, axis=0)
        left = np.maximum(left, 0.05 * np.mean(rows**2, axis=0)) * scale**2
        H = self._known_loadings(p)
        H[:, :r] = loadings * scale[:, None] / scale[None, :r]
        first = coefficients * np.tile(1.0 / scale[:r], m)[None, :] * scale[:r, None]
        Q = cov * np.outer(scale[:r], scale[:r])
        for share in SHARES if self.idiosyncratic else (0.0,):
            F = block_diagonal(np.vstack([first, shifted(r, m)[r:]]), *([MEMORY * np.eye(p)] if share else []))
            deviations = [np.diag(share * left * (1.0 - MEMORY**2))] if share else []
            yield specification.projected(
                {
                    "transition_matrix": F,
                    "transition_cov": block_diagonal(Q, *deviations),
                    "observation_matrix": H,
                    "observation_offset": means,
                    "observation_cov": np.diag((1.0 - share) * left),
                }
            )
