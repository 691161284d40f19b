"""The one door to what is loaded late: leaves, the models beside the state space, and public names.

Plotting, the statsmodels check and the like are slow to import and rarely all needed; a `Fit` opens them here, by
name, so that no import hides in a function body. `kalman_em/__init__.py` opens every public name so, and
`import kalman_em` loads nothing but this.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

LEAVES = ("cli", "crosscheck", "datasets", "persistence", "plotting")
# What `fit` needs for some models alone.
BESIDE = ("fitting.latent.learning",)


def leaf(name: str) -> ModuleType:
    """Return the leaf module called `name`, loading it on first use.

    Examples
    --------
    >>> leaf("datasets").names()[0]
    'co2'
    """
    if name not in LEAVES + BESIDE:
        raise ModuleNotFoundError(f"kalman_em has no leaf {name!r}; expected one of: {', '.join(LEAVES + BESIDE)}")
    return module_of(name)


def module_of(name: str) -> ModuleType:
    """Return the module `kalman_em.name`: for `kalman_em/__init__.py` alone, which stands above all others.

    Examples
    --------
    >>> module_of("em.loop").run_em.__name__
    'run_em'
    """
    return import_module(f"kalman_em.{name}")
