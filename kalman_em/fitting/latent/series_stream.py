"""Learning that goes on with a stream of series, of a hidden Markov model or a state space: online EM, keeping none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from kalman_em.arrays import Array
from kalman_em.models.parameters import Parameters
from kalman_em.observations import Panel


class SeriesStreamed(Protocol):
    """What a stream asks of a problem: that of other series, and expectations that add up."""

    def seeing(self, panel: Panel) -> Any: ...
    def pooled(self, parts: Sequence[tuple[float, Any]]) -> Any: ...
    def m_step(self, params: Any, expectations: Any) -> Any: ...
    def named(self, params: Any) -> Mapping[str, Array]: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class SeriesStream:
    """Where online EM stands after some batches of series; `HMMFit.stream` and `Fit.stream` begin one.

    After a batch the expectations per series s and the parameters are

        s = (1 - γ) s + γ E[s given the batch],        γ = (m / n)^exponent

    for a batch of m series, n having been seen with it and the first fit's, and the M-step at s (Cappé & Moulines,
    On-line expectation-maximization algorithm for latent data models, JRSS B 71 (2009), equation 4), as `MixtureStream`
    does with rows. What is kept has the size of the parameters.

    Attributes
    ----------
    n_series, n_batches : int
        What has been seen, the series of the first fit included.

    Raises
    ------
    InputError
        From `partial_fit`, if a batch cannot be read, has other columns or skips steps.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> draw = lambda: np.repeat(rng.integers(2, size=8), 5) * 4.0 + 1.0 + rng.normal(size=40)
    >>> stream = kem.fit(kem.GaussianHMM(2), draw()).stream()
    >>> for _ in range(40):
    ...     stream = stream.partial_fit(draw())
    >>> stream.n_series, sorted(stream.params.means.ravel().round().tolist())
    (41, [1.0, 5.0])
    """

    problem: SeriesStreamed = field(repr=False)
    latest: Any = field(repr=False)
    expectations: Any = field(repr=False)
    read: Callable[[Any], Panel] = field(repr=False)
    exponent: float
    n_series: int
    n_batches: int = 0

    @property
    def params(self) -> Parameters:
        """The parameters by name, read-only."""
        return Parameters(dict(self.problem.named(self.latest)))

    def partial_fit(self, data: Any) -> SeriesStream:
        """Return the stream after a series, or the series of a panel; this one stays as it is.

        Parameters
        ----------
        data : Series, DataFrame, array_like of shape (n,) or (n, p), Observations or Panel
            Series of the same columns; NaN is missing.

        Raises
        ------
        InputError
            If `data` cannot be read, has other columns or skips steps.
        NumericalError
            If a regime or a noise has collapsed, or a regime lost its rows.
        """
        panel = self.read(data)
        fresh, _ = self.problem.seeing(panel).e_step(self.latest)
        n_series = self.n_series + panel.n_series
        step = (panel.n_series / n_series) ** self.exponent
        mixed = self.problem.pooled([(1.0 - step, self.expectations), (step / panel.n_series, fresh)])
        latest = self.problem.m_step(self.latest, self.problem.pooled([(float(n_series), mixed)]))
        return replace(self, latest=latest, expectations=mixed, n_series=n_series, n_batches=self.n_batches + 1)
