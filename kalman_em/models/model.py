"""What `fit` asks of a model."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem


@runtime_checkable
class Model(Protocol):
    """A linear-Gaussian model: lays itself out for data, and finds starting values in them."""

    def specify(self, panel: Panel) -> Specification:
        """Return the specification for data with these columns and inputs."""
        ...

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return starting values taken from the data: free of their units and, where the model is, of their origin."""
        ...

    def random_start(
        self, specification: Specification, panel: Panel, rng: np.random.Generator
    ) -> LinearGaussianSystem:
        """Return starting values scattered around those of `start`."""
        ...
