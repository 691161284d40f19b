"""Vector autoregression seen through noise and with values missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalman_em.arrays import as_count
from kalman_em.em.entries import entries_of
from kalman_em.em.forms import Diagonal, Fixed, Full, checked_covariance_form
from kalman_em.errors import InputError
from kalman_em.models.companion import free_rows, most_promising, regressed_on_lags, shifted
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.profile import scattered
from kalman_em.models.scale import data_scale
from kalman_em.models.slots import Slot
from kalman_em.models.specification import Specification
from kalman_em.models.subspace import bridged, column_means
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# Parts of the variance of the residuals that a start gives to the measurements.
SHARES = (0.01, 0.2, 0.5)


@checks_keywords
@dataclass(frozen=True)
class VectorAutoregression:
    """Values that remember the last `order` rows of all columns, seen through noise.

    .. math::

        x_{t+1} = A_1 x_t + \\dots + A_m x_{t+1-m} + w_t, \\; w_t \\sim N(0, Q), \\qquad
        y_t = d + x_t + v_t, \\; v_t \\sim N(0, R)

    Parameters
    ----------
    order : int
        m, at least 1.
    autoregression_cov : form, default Full()
        Q, shape (p, p).
    observation_cov : form, default Diagonal()
        R, shape (p, p); Fixed(0) for values that are seen without noise.

    Raises
    ------
    InputError
        If `order` is not a whole number of at least 1, or what stands for a form is none; at the fit, if a form does
        not fit the columns of the data, or there are inputs.

    Notes
    -----
    `autoregression` holds [A_1 ... A_m], shape (p, m p). x starts at 0 one step before the data, so that
    the first row deviates from the mean d by as much as one step of noise. Fitting data in other units or about
    another origin gives the same fit in those.

    References
    ----------
    Lütkepohl, New Introduction to Multiple Time Series Analysis, 2005, chapter 18.

    Examples
    --------
    >>> import kalman_em as kem
    >>> macro = kem.datasets.load("us_macro")[["tbilrate", "unemp"]]
    >>> fitted = kem.fit(kem.VectorAutoregression(1), macro, stopping=kem.Stopping(max_iterations=50))
    >>> fitted.params.autoregression.shape
    (2, 2)
    """

    order: int
    autoregression_cov: Any = field(default_factory=Full, kw_only=True)
    observation_cov: Any = field(default_factory=Diagonal, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", as_count(self.order, "order"))
        for name in ("autoregression_cov", "observation_cov"):
            checked_covariance_form(getattr(self, name), name)

    def specify(self, panel: Panel) -> Specification:
        """Return the specification for the columns of `panel`."""
        if panel.input_dim:
            raise InputError("inputs: expected none, because VectorAutoregression has no regression on them")
        p, m = panel.obs_dim, self.order
        entries = tuple((row, column) for row in range(p) for column in range(p * m))
        return Specification(
            state_dim=p * m,
            obs_dim=p,
            input_dim=0,
            forms={
                "transition_matrix": entries_of(shifted(p, m), free_rows(p, m)),
                "transition_offset": Fixed(0.0),
                "transition_cov": self.autoregression_cov,
                "observation_matrix": Fixed(np.eye(p, p * m)),
                "observation_offset": Full(),
                "observation_cov": self.observation_cov,
                "initial_mean": Fixed(0.0),
                "initial_cov": Fixed(0.0),
            },
            initial_step="before",
            slots={
                "autoregression": Slot("transition_matrix", entries=entries, shape=(p, p * m)),
                "autoregression_cov": Slot("transition_cov"),
                "observation_offset": Slot("observation_offset"),
                "observation_cov": Slot("observation_cov"),
            },
            state_names=tuple(name if lag == 0 else f"{name}_lag_{lag}" for lag in range(m) for name in panel.names),
            noise_selection=np.eye(p * m, p),
        )

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return the best of least squares on the data, gaps bridged, with more or less of it measurement noise."""
        return most_promising(specification, panel, self._candidates(specification, panel))

    def random_start(
        self, specification: Specification, panel: Panel, rng: np.random.Generator
    ) -> LinearGaussianSystem:
        """Return that start with its transition shaken and its variances scattered."""
        return scattered(specification, self.start(specification, panel), rng)

    def _candidates(self, specification: Specification, panel: Panel) -> Iterator[LinearGaussianSystem]:
        p, m = panel.obs_dim, self.order
        scale, means = data_scale(panel), column_means(panel)
        series = [bridged((one.values - means) / scale) for one in panel]
        coefficients, cov = regressed_on_lags(series, m)
        F = shifted(p, m)
        F[:p] = coefficients * np.tile(1.0 / scale, m)[None, :] * scale[:, None]
        unit = np.outer(scale, scale)
        for share in SHARES:
            yield specification.projected(
                {
                    "transition_matrix": F,
                    "transition_cov": (1.0 - share) * cov * unit,
                    "observation_offset": means,
                    "observation_cov": share * np.diag(np.diagonal(cov)) * unit,
                }
            )
