"""A state space that goes on learning from a stream of series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kalman_em.arrays import Array
from kalman_em.errors import InputError
from kalman_em.fitting.estimates import Estimates
from kalman_em.fitting.latent.series_stream import SeriesStream
from kalman_em.fitting.rereading import read_like
from kalman_em.fitting.starting import named_value
from kalman_em.frames import check_regular
from kalman_em.inference.numerics import AUTO
from kalman_em.models.parts import PartedProblem, PartSums, parted
from kalman_em.models.scale import data_scale
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False)
class StreamedSystem:
    """The problem of a fit as a stream asks of it: `kalman_em.fitting.latent.series_stream.SeriesStreamed`."""

    problem: PartedProblem

    def seeing(self, panel: Panel) -> PartedProblem:
        """Return the problem for other series."""
        return self.problem.seeing(panel)

    def pooled(self, parts: Sequence[tuple[float, PartSums]]) -> PartSums:
        """Return the sums of all parts together."""
        return self.problem.pooled(parts)

    def m_step(self, params: LinearGaussianSystem, sums: PartSums) -> LinearGaussianSystem:
        """Return the parameters that these sums make likeliest."""
        return self.problem.m_step(params, sums)

    def named(self, params: LinearGaussianSystem) -> Mapping[str, Array]:
        """Return the parameters by the names that users know."""
        specification = self.problem.specification
        return {name: named_value(specification, slot, params) for name, slot in specification.slots.items()}


def streamed(fitted: Estimates, exponent: float) -> SeriesStream:
    """Return a stream that goes on from a fit.

    Raises
    ------
    InputError
        If the exponent is out of its range, or the sums of the series of the model do not add up.
    """
    if not 0.5 < exponent <= 1.0:
        raise InputError(f"exponent: expected a number above 0.5 and at most 1, got {exponent!r}")
    panel = fitted.panel
    problem = parted(fitted.specification, panel, data_scale(panel), AUTO, 1)
    sums, _ = problem.e_step(fitted.system)

    def read(data: Any) -> Panel:
        found = read_like(panel, data, inputs=None, time=None, series=None, values=None)
        for key, one in zip(found.keys or (), found, strict=True):
            check_regular(one.index, series=key if found.n_series > 1 else None)
        if found.input_dim != panel.input_dim:
            raise InputError(f"inputs: expected {panel.input_dim} columns, as in the fit, carried by a Panel, got none")
        return found

    return SeriesStream(
        problem=StreamedSystem(problem),
        latest=fitted.system,
        expectations=problem.pooled([(1.0 / panel.n_series, sums)]),
        read=read,
        exponent=float(exponent),
        n_series=panel.n_series,
    )
