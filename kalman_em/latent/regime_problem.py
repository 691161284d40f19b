"""What is known of regimes at every row, by whatever model."""

from __future__ import annotations

from typing import NamedTuple

from kalman_em.arrays import Array


class RegimePosterior(NamedTuple):
    """Probabilities of the K regimes at the rows of all series (n, K): given the rows so far, and given all."""

    filtered: Array
    smoothed: Array
