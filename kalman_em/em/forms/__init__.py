"""Forms: how a parameter may vary, stated once where the model is built.

For a matrix, an offset or an input matrix a form is a linear constraint; for a covariance it is the closed-form
maximiser of the expected log-likelihood. A new form brings both, and the loop and the M-steps stay as they are.
"""

from kalman_em.em.forms.blocks import BlockDiagonal
from kalman_em.em.forms.diagonal import is_of_independent_noise
from kalman_em.em.forms.fixed import Fixed
from kalman_em.em.forms.free import Diagonal, EqualVarCov, Full, Isotropic
from kalman_em.em.forms.initial import Diffuse, MeanOfBlocks, Stationary
from kalman_em.em.forms.left_to_right import LeftToRight
from kalman_em.em.forms.low_rank import LowRank
from kalman_em.em.forms.partly import Partly
from kalman_em.em.forms.pattern import Pattern
from kalman_em.em.forms.per_series import PerSeries, has_series, shared_form
from kalman_em.em.forms.protocols import (
    CoefficientForm,
    CovarianceForm,
    LinearForm,
    check_initial_forms,
    checked_covariance_form,
    checked_noise_form,
    coefficient_form,
    covariance_form,
    is_direct,
)
from kalman_em.em.forms.scaled import Known, Scaled
from kalman_em.em.forms.shared import Shared

__all__ = [
    "BlockDiagonal",
    "CoefficientForm",
    "CovarianceForm",
    "Diagonal",
    "Diffuse",
    "EqualVarCov",
    "Fixed",
    "Full",
    "Isotropic",
    "Known",
    "LeftToRight",
    "LinearForm",
    "LowRank",
    "MeanOfBlocks",
    "Partly",
    "Pattern",
    "PerSeries",
    "Scaled",
    "Shared",
    "Stationary",
    "check_initial_forms",
    "checked_covariance_form",
    "checked_noise_form",
    "coefficient_form",
    "covariance_form",
    "has_series",
    "is_direct",
    "is_of_independent_noise",
    "shared_form",
]
