"""Models and forms as JSON and back, by the name of their class and the fields of their dataclass.

A new model or form is added by one line in `KNOWN`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from kalman_em.dynamics import Dynamics, Noise
from kalman_em.em.common_noise import CommonNoise
from kalman_em.em.entries import Entries
from kalman_em.em.forms import (
    BlockDiagonal,
    Diagonal,
    Diffuse,
    EqualVarCov,
    Fixed,
    Full,
    Isotropic,
    Known,
    LeftToRight,
    LowRank,
    MeanOfBlocks,
    Partly,
    Pattern,
    PerSeries,
    Scaled,
    Shared,
    Stationary,
)
from kalman_em.em.repeated import Repeated
from kalman_em.encoding.numbers import as_nested
from kalman_em.errors import InputError
from kalman_em.latent.factor_analysis import FactorAnalysis, PrincipalComponents
from kalman_em.latent.factor_mixture import MixtureOfFactorAnalysers
from kalman_em.latent.factor_mixture_params import FactorMixtureParams
from kalman_em.latent.factor_params import FactorParams
from kalman_em.latent.gaussian_hmm import GaussianHMM
from kalman_em.latent.hmm_params import HMMParams
from kalman_em.latent.markov_autoregression import MarkovAutoregression
from kalman_em.latent.mixture import GaussianMixture
from kalman_em.latent.mixture_params import MixtureParams
from kalman_em.latent.mixture_prior import MixturePrior
from kalman_em.latent.regime_autoregression import MarkovAutoregressionParams
from kalman_em.latent.switching_linear_gaussian import SwitchingLinearGaussian
from kalman_em.latent.switching_params import SwitchingParams
from kalman_em.latent.topic_model import TopicModel
from kalman_em.latent.topic_problem import TopicParams
from kalman_em.latent.variational_linear_gaussian import VariationalLinearGaussian
from kalman_em.latent.variational_mixture import VariationalMixture
from kalman_em.latent.variational_params import VariationalParams
from kalman_em.latent.variational_system_params import VariationalSystem
from kalman_em.models.autoregression import Autoregression
from kalman_em.models.continuous_time import ContinuousTime
from kalman_em.models.cycle import Cycle
from kalman_em.models.damped_trend import DampedTrend
from kalman_em.models.dynamic_factor import DynamicFactor
from kalman_em.models.intervention import Intervention
from kalman_em.models.irregular import Irregular
from kalman_em.models.kinematic import ConstantAcceleration, ConstantVelocity, RandomWalk
from kalman_em.models.linear_gaussian import LinearGaussian
from kalman_em.models.local_level import LocalLevel
from kalman_em.models.local_linear_trend import LocalLinearTrend
from kalman_em.models.maneuvers import CoordinatedTurn, CorrelatedRandomWalk, Singer
from kalman_em.models.regression import Regression, TimeVaryingRegression
from kalman_em.models.seasonal import Seasonal
from kalman_em.models.smooth_trend import SmoothTrend
from kalman_em.models.structural import Structural
from kalman_em.models.vector_autoregression import VectorAutoregression

KNOWN: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        LocalLevel,
        LocalLinearTrend,
        SmoothTrend,
        DampedTrend,
        Cycle,
        Autoregression,
        Seasonal,
        Regression,
        TimeVaryingRegression,
        Intervention,
        Structural,
        VectorAutoregression,
        DynamicFactor,
        LinearGaussian,
        Full,
        Diagonal,
        Isotropic,
        EqualVarCov,
        Fixed,
        CommonNoise,
        Known,
        LowRank,
        MeanOfBlocks,
        Scaled,
        Partly,
        Pattern,
        PerSeries,
        BlockDiagonal,
        Diffuse,
        Stationary,
        MeanOfBlocks,
        ConstantAcceleration,
        ConstantVelocity,
        ContinuousTime,
        CoordinatedTurn,
        CorrelatedRandomWalk,
        Singer,
        Dynamics,
        Noise,
        RandomWalk,
        Irregular,
        Entries,
        Repeated,
        Shared,
        LeftToRight,
        GaussianMixture,
        MixtureParams,
        MixturePrior,
        VariationalMixture,
        VariationalParams,
        VariationalLinearGaussian,
        VariationalSystem,
        GaussianHMM,
        HMMParams,
        MarkovAutoregression,
        MarkovAutoregressionParams,
        SwitchingLinearGaussian,
        SwitchingParams,
        FactorAnalysis,
        FactorParams,
        PrincipalComponents,
        MixtureOfFactorAnalysers,
        FactorMixtureParams,
        TopicModel,
        TopicParams,
    )
}


def encoded(value: Any, where: str) -> Any:
    """Return a model, a form or what stands in their fields as JSON.

    Raises
    ------
    InputError
        If it is of a class that is not in `KNOWN`.

    Examples
    --------
    >>> from kalman_em import Fixed
    >>> encoded(Fixed([[2.0]]), "level_cov")
    {'class': 'Fixed', 'value': [[2.0]]}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.generic | np.ndarray):
        return as_nested(np.asarray(value))
    if isinstance(value, list | tuple):
        return [encoded(item, where) for item in value]
    name = type(value).__name__
    if KNOWN.get(name) is not type(value):
        raise InputError(
            f"{where}: {type(value).__module__}.{name} cannot be saved; of models and forms only those "
            "that kalman_em brings can"
        )
    node = {"class": name}
    return node | {f.name: encoded(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value) if f.init}


def decoded(node: Any, where: str) -> Any:
    """Return what `encoded` was given; lists and arrays come back as tuples, which the classes turn into their own.

    Raises
    ------
    InputError
        If a class or a field of it is not known here.
    """
    if isinstance(node, list):
        return tuple(decoded(item, where) for item in node)
    if not isinstance(node, dict):
        return node
    name = node.get("class")
    if name not in KNOWN:
        raise InputError(f"{where}: class {name!r} is not known to this version; expected one of: {', '.join(KNOWN)}")
    parts = {key: decoded(part, f"{where}.{key}") for key, part in node.items() if key != "class"}
    try:
        return KNOWN[name](**parts)
    except TypeError as error:
        raise InputError(f"{where}: the fields of {name} do not fit this version ({error})") from error
