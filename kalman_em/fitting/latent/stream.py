"""A mixture that goes on learning from a stream: online EM, batch by batch, keeping no rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.problem import EMProblem
from kalman_em.frames import points_like
from kalman_em.models.parameters import Parameters


class Streamed(Protocol):
    """What a stream asks of a problem: parts of other rows, and expectations that add up."""

    def part_of(self, values: Array) -> EMProblem[Any, Any]: ...
    def pooled(self, parts: Sequence[tuple[float, Any]]) -> Any: ...
    def m_step(self, params: Any, expectations: Any) -> Any: ...
    def named(self, params: Any) -> Mapping[str, Array]: ...


@dataclass(frozen=True, eq=False, kw_only=True)
class MixtureStream:
    """Where online EM stands after some batches; `MixtureFit.stream` begins one.

    After a batch the expectations per row s and the parameters are

        s = (1 - γ) s + γ E[s given the batch],        γ = (m / n)^exponent

    for a batch of m rows, n rows having been seen with it and the first fit's; then the M-step at s (Cappé & Moulines,
    On-line expectation-maximization algorithm for latent data models, JRSS B 71 (2009), equation 4, in which n / m
    counts the batches). So a few rows move little what many have taught, and with exponent 1 all rows count alike. What
    is kept has the size of the parameters, however long the stream.

    Attributes
    ----------
    n_rows, n_batches : int
        What has been seen, the rows of the first fit included.

    Raises
    ------
    InputError
        From `partial_fit`, if a batch cannot be read or has other columns.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> draw = lambda n: np.where(rng.random(n) < 0.7, rng.normal(0.0, 1.0, n), rng.normal(6.0, 1.0, n))
    >>> stream = kem.fit(kem.GaussianMixture(2), draw(200)).stream()
    >>> for _ in range(30):
    ...     stream = stream.partial_fit(draw(500))
    >>> stream.n_rows, stream.params.weights.round(1).tolist()
    (15200, [0.7, 0.3])
    """

    names: tuple[str, ...]
    problem: Streamed = field(repr=False)
    latest: Any = field(repr=False)
    expectations: Any = field(repr=False)
    exponent: float
    n_rows: int
    n_batches: int = 0

    @property
    def params(self) -> Parameters:
        """The parameters by name, read-only."""
        return Parameters(dict(self.problem.named(self.latest)))

    def partial_fit(self, data: Any) -> MixtureStream:
        """Return the stream after a batch of rows; this one stays as it is.

        Parameters
        ----------
        data : Series, DataFrame, array_like of shape (n,) or (n, p)
            Rows of the same columns, of a DataFrame chosen by their names; NaN is missing.

        Raises
        ------
        InputError
            If `data` cannot be read or has other columns.
        NumericalError
            If a component has collapsed or lost its rows.

        Examples
        --------
        >>> import kalman_em as kem
        >>> flows = kem.datasets.load("nile")["flow"]
        >>> stream = kem.fit(kem.GaussianMixture(2), flows[:60]).stream().partial_fit(flows[60:])
        >>> stream.n_rows, stream.n_batches
        (100, 1)
        """
        panel = points_like(data, self.names)
        values = np.concatenate([one.values for one in panel])
        # A row in which nothing was observed says nothing.
        values = values[~np.isnan(values).all(axis=1)]
        if len(values) == 0:
            return self
        fresh, _ = self.problem.part_of(values).e_step(self.latest)
        n_rows = self.n_rows + len(values)
        step = (len(values) / n_rows) ** self.exponent
        mixed = self.problem.pooled([(1.0 - step, self.expectations), (step / len(values), fresh)])
        # As if all rows so far had these expectations: a prior keeps its weight against them.
        latest = self.problem.m_step(self.latest, self.problem.pooled([(float(n_rows), mixed)]))
        return MixtureStream(
            names=self.names,
            problem=self.problem,
            latest=latest,
            expectations=mixed,
            exponent=self.exponent,
            n_rows=n_rows,
            n_batches=self.n_batches + 1,
        )
