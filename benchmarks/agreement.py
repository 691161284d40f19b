"""Whether two sides computed the same: before that, no time counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

LOG_LIKELIHOOD_TOLERANCE = 1e-8
# Moments and parameters, in units of their largest entry.
CHECK_TOLERANCE = 1e-6


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return what differs between the first answers of two sides, "" where nothing does."""
    a, b = first["log_likelihood"], second["log_likelihood"]
    relative = abs(a - b) / max(abs(b), 1e-300)
    if not relative <= LOG_LIKELIHOOD_TOLERANCE:
        return f"disagrees (log-likelihood, {relative:.0e})"
    checks = first.get("checks", {}), second.get("checks", {})
    for name in checks[0].keys() & checks[1].keys():
        mine, theirs = np.array(checks[0][name]), np.array(checks[1][name])
        if mine.shape != theirs.shape:
            return f"disagrees ({name}: {mine.size} and {theirs.size} numbers)"
        relative = float(np.max(np.abs(mine - theirs)) / max(float(np.max(np.abs(theirs))), 1e-300))
        if not relative <= CHECK_TOLERANCE:
            return f"disagrees ({name}, {relative:.0e})"
    return ""
