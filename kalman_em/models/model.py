"""What `fit` asks of a model."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from kalman_em.inference.stacks import SystemStack
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


@runtime_checkable
class StartsEach(Model, Protocol):
    """A model that can find the starts of many series at once, each as if it were alone."""

    def lays_alike(self, panel: Panel) -> bool:
        """Return whether `specify` would give every series of `panel`, by itself, the specification of the first."""
        ...

    def starts(self, specification: Specification, panel: Panel) -> SystemStack | None:
        """Return the start of every series of `panel`, or None where they cannot be found together."""
        ...
