"""Learn state-space models from time series by expectation-maximisation.

`fit` learns a model from data; `kalman_filter` and `rts_smoother` run one whose matrices are known; `run_em` runs
EM on any problem with an `e_step` and an `m_step`.

A name is loaded when it is first asked for, with what it needs: `import kalman_em` alone loads nothing.
"""

from typing import TYPE_CHECKING, Any

from kalman_em.leaves import module_of
from kalman_em.version import VERSION

if TYPE_CHECKING:
    from kalman_em import crosscheck, datasets, plotting
    from kalman_em.diagnostics import nees
    from kalman_em.em.accelerated import accelerated
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
        Partly,
        Pattern,
        PerSeries,
        Scaled,
        Shared,
        Stationary,
    )
    from kalman_em.em.information import observed_information
    from kalman_em.em.loop import run_em
    from kalman_em.em.problem import EMProblem
    from kalman_em.em.restarts import run_starts
    from kalman_em.em.result import EMIteration, EMResult
    from kalman_em.em.stochastic import Stochastic
    from kalman_em.em.stopping import Stopping, StopReason
    from kalman_em.em.variants import Annealed, Hard, Incremental
    from kalman_em.errors import InputError, NumericalError
    from kalman_em.fitting.fit import fit
    from kalman_em.fitting.fit_each import fit_each
    from kalman_em.fitting.latent.factor_fit import FactorFit
    from kalman_em.fitting.latent.hmm_fit import HMMFit
    from kalman_em.fitting.latent.latent_fit import LatentFit
    from kalman_em.fitting.latent.markov_autoregression_fit import MarkovAutoregressionFit
    from kalman_em.fitting.latent.mixture_fit import MixtureFit
    from kalman_em.fitting.latent.series_stream import SeriesStream
    from kalman_em.fitting.latent.stream import MixtureStream
    from kalman_em.fitting.latent.switching_fit import SwitchingFit
    from kalman_em.fitting.latent.topic_fit import TopicFit
    from kalman_em.fitting.latent.variational_fit import VariationalMixtureFit
    from kalman_em.fitting.latent.variational_system_fit import VariationalLinearGaussianFit
    from kalman_em.fitting.panel_fit import PanelFit
    from kalman_em.fitting.result import Fit
    from kalman_em.forecasting import Forecast
    from kalman_em.frames import sensor_columns
    from kalman_em.inference.kalman import kalman_filter, rts_smoother
    from kalman_em.inference.online import predict, update
    from kalman_em.inference.prediction import predict_rows
    from kalman_em.inference.simulation import sample_states, simulate
    from kalman_em.inference.stationary import stationary_moments
    from kalman_em.latent.factor_analysis import FactorAnalysis, PrincipalComponents
    from kalman_em.latent.factor_mixture import MixtureOfFactorAnalysers
    from kalman_em.latent.gaussian_hmm import GaussianHMM
    from kalman_em.latent.markov_autoregression import MarkovAutoregression
    from kalman_em.latent.mixture import GaussianMixture
    from kalman_em.latent.mixture_prior import MixturePrior
    from kalman_em.latent.switching_linear_gaussian import SwitchingLinearGaussian
    from kalman_em.latent.topic_model import TopicModel
    from kalman_em.latent.variational_linear_gaussian import VariationalLinearGaussian
    from kalman_em.latent.variational_mixture import VariationalMixture
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
    from kalman_em.observations import Observations, Panel
    from kalman_em.persistence import load
    from kalman_em.posteriors import FilteredStates, SmoothedStates
    from kalman_em.systems import LinearGaussianSystem

__version__ = VERSION

# The names of every module that has public ones; `tests/test_public_names.py` holds them against the imports above.
_NAMES_OF = {
    "diagnostics": "nees",
    "em.accelerated": "accelerated",
    "em.forms": "BlockDiagonal Diagonal Diffuse EqualVarCov Fixed Full Isotropic "
    "Known LeftToRight LowRank Partly Pattern PerSeries Scaled Shared Stationary",
    "em.information": "observed_information",
    "em.loop": "run_em",
    "em.problem": "EMProblem",
    "em.restarts": "run_starts",
    "em.result": "EMIteration EMResult",
    "em.stochastic": "Stochastic",
    "em.stopping": "Stopping StopReason",
    "em.variants": "Annealed Hard Incremental",
    "errors": "InputError NumericalError",
    "fitting.fit": "fit",
    "fitting.fit_each": "fit_each",
    "fitting.latent.factor_fit": "FactorFit",
    "fitting.latent.hmm_fit": "HMMFit",
    "fitting.latent.latent_fit": "LatentFit",
    "fitting.latent.markov_autoregression_fit": "MarkovAutoregressionFit",
    "fitting.latent.mixture_fit": "MixtureFit",
    "fitting.latent.series_stream": "SeriesStream",
    "fitting.latent.stream": "MixtureStream",
    "fitting.latent.switching_fit": "SwitchingFit",
    "fitting.latent.topic_fit": "TopicFit",
    "fitting.latent.variational_fit": "VariationalMixtureFit",
    "fitting.latent.variational_system_fit": "VariationalLinearGaussianFit",
    "fitting.panel_fit": "PanelFit",
    "fitting.result": "Fit",
    "forecasting": "Forecast",
    "frames": "sensor_columns",
    "inference.kalman": "kalman_filter rts_smoother",
    "inference.online": "predict update",
    "inference.prediction": "predict_rows",
    "inference.simulation": "sample_states simulate",
    "inference.stationary": "stationary_moments",
    "latent.factor_analysis": "FactorAnalysis PrincipalComponents",
    "latent.factor_mixture": "MixtureOfFactorAnalysers",
    "latent.gaussian_hmm": "GaussianHMM",
    "latent.markov_autoregression": "MarkovAutoregression",
    "latent.mixture": "GaussianMixture",
    "latent.mixture_prior": "MixturePrior",
    "latent.switching_linear_gaussian": "SwitchingLinearGaussian",
    "latent.topic_model": "TopicModel",
    "latent.variational_linear_gaussian": "VariationalLinearGaussian",
    "latent.variational_mixture": "VariationalMixture",
    "models.autoregression": "Autoregression",
    "models.continuous_time": "ContinuousTime",
    "models.cycle": "Cycle",
    "models.damped_trend": "DampedTrend",
    "models.dynamic_factor": "DynamicFactor",
    "models.intervention": "Intervention",
    "models.irregular": "Irregular",
    "models.kinematic": "ConstantAcceleration ConstantVelocity RandomWalk",
    "models.linear_gaussian": "LinearGaussian",
    "models.local_level": "LocalLevel",
    "models.local_linear_trend": "LocalLinearTrend",
    "models.maneuvers": "CoordinatedTurn CorrelatedRandomWalk Singer",
    "models.regression": "Regression TimeVaryingRegression",
    "models.seasonal": "Seasonal",
    "models.smooth_trend": "SmoothTrend",
    "models.structural": "Structural",
    "models.vector_autoregression": "VectorAutoregression",
    "observations": "Observations Panel",
    "persistence": "load",
    "posteriors": "FilteredStates SmoothedStates",
    "systems": "LinearGaussianSystem",
}
_HOME_OF = {name: module for module, names in _NAMES_OF.items() for name in names.split()}
_MODULES = {"crosscheck", "datasets", "plotting", *(module.split(".")[0] for module in _NAMES_OF)}

__all__ = [
    "Annealed",
    "Autoregression",
    "BlockDiagonal",
    "ConstantAcceleration",
    "ConstantVelocity",
    "ContinuousTime",
    "CoordinatedTurn",
    "CorrelatedRandomWalk",
    "Cycle",
    "DampedTrend",
    "Diagonal",
    "Diffuse",
    "DynamicFactor",
    "EMIteration",
    "EMProblem",
    "EMResult",
    "EqualVarCov",
    "FactorAnalysis",
    "FactorFit",
    "FilteredStates",
    "Fit",
    "Fixed",
    "Forecast",
    "Full",
    "GaussianHMM",
    "GaussianMixture",
    "HMMFit",
    "Hard",
    "Incremental",
    "InputError",
    "Intervention",
    "Irregular",
    "Isotropic",
    "Known",
    "LatentFit",
    "LeftToRight",
    "LinearGaussian",
    "LinearGaussianSystem",
    "LocalLevel",
    "LocalLinearTrend",
    "LowRank",
    "MarkovAutoregression",
    "MarkovAutoregressionFit",
    "MixtureFit",
    "MixtureOfFactorAnalysers",
    "MixturePrior",
    "MixtureStream",
    "NumericalError",
    "Observations",
    "Panel",
    "PanelFit",
    "Partly",
    "Pattern",
    "PerSeries",
    "PrincipalComponents",
    "RandomWalk",
    "Regression",
    "Scaled",
    "Seasonal",
    "SeriesStream",
    "Shared",
    "Singer",
    "SmoothTrend",
    "SmoothedStates",
    "Stationary",
    "Stochastic",
    "StopReason",
    "Stopping",
    "Structural",
    "SwitchingFit",
    "SwitchingLinearGaussian",
    "TimeVaryingRegression",
    "TopicFit",
    "TopicModel",
    "VariationalLinearGaussian",
    "VariationalLinearGaussianFit",
    "VariationalMixture",
    "VariationalMixtureFit",
    "VectorAutoregression",
    "accelerated",
    "crosscheck",
    "datasets",
    "fit",
    "fit_each",
    "kalman_filter",
    "load",
    "nees",
    "observed_information",
    "plotting",
    "predict",
    "predict_rows",
    "rts_smoother",
    "run_em",
    "run_starts",
    "sample_states",
    "sensor_columns",
    "simulate",
    "stationary_moments",
    "update",
]


if not TYPE_CHECKING:  # a checker would take any name for one of the package's

    def __getattr__(name: str) -> Any:
        if name in _HOME_OF:
            return getattr(module_of(_HOME_OF[name]), name)
        if name in _MODULES:
            return module_of(name)
        raise AttributeError(f"module 'kalman_em' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
