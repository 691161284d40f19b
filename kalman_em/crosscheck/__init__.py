"""A leaf: the same model in statsmodels, compared with a fit of ours (loaded when it is asked for)."""

from kalman_em.crosscheck.check import crosscheck
from kalman_em.crosscheck.report import CrossCheck

__all__ = ["CrossCheck", "crosscheck"]
