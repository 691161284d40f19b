"""What a model is called in texts and plots."""

from __future__ import annotations

from kalman_em.models.irregular import Irregular
from kalman_em.models.structural import Structural


def model_title(model: object) -> str:
    """Return the name of a model: of a sum those of its parts, of a model on irregular times that of what moves.

    Examples
    --------
    >>> import kalman_em as kem
    >>> model_title(kem.LocalLevel() + kem.Seasonal(4))
    'LocalLevel + Seasonal'
    >>> model_title(kem.Irregular(kem.LocalLevel()))
    'Irregular(LocalLevel)'
    """
    if isinstance(model, Irregular):
        return f"Irregular({model_title(model.model)})"
    parts = model.components if isinstance(model, Structural) else (model,)
    return " + ".join(type(part).__name__ for part in parts)
