"""The one door to the leaves: modules above `fitting` that are loaded when they are asked for.

Plotting, the statsmodels check and the like are slow to import and rarely all needed; a `Fit` opens them here, by
name, so that no import hides in a function body and `import kalman_em` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

LEAVES = ("cli", "crosscheck", "datasets", "persistence", "plotting")


def leaf(name: str) -> ModuleType:
    """Return the leaf module called `name`, loading it on first use.

    Examples
    --------
    >>> leaf("datasets").names()[0]
    'co2'
    """
    if name not in LEAVES:
        raise ModuleNotFoundError(f"kalman_em has no leaf {name!r}; expected one of: {', '.join(LEAVES)}")
    return import_module(f"kalman_em.{name}")
