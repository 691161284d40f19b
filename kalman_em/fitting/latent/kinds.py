"""Which kind of result belongs to which model; a new model is added by one line."""

from __future__ import annotations

from typing import Any

from kalman_em.fitting.latent.factor_fit import FactorFit
from kalman_em.fitting.latent.hmm_fit import HMMFit
from kalman_em.fitting.latent.latent_fit import LatentFit
from kalman_em.fitting.latent.markov_autoregression_fit import MarkovAutoregressionFit
from kalman_em.fitting.latent.mixture_fit import MixtureFit
from kalman_em.fitting.latent.switching_fit import SwitchingFit
from kalman_em.fitting.latent.topic_fit import TopicFit
from kalman_em.fitting.latent.variational_fit import VariationalMixtureFit
from kalman_em.fitting.latent.variational_system_fit import VariationalLinearGaussianFit
from kalman_em.latent.factor_analysis import FactorAnalysis
from kalman_em.latent.factor_mixture import MixtureOfFactorAnalysers
from kalman_em.latent.gaussian_hmm import GaussianHMM
from kalman_em.latent.markov_autoregression import MarkovAutoregression
from kalman_em.latent.mixture import GaussianMixture
from kalman_em.latent.switching_linear_gaussian import SwitchingLinearGaussian
from kalman_em.latent.topic_model import TopicModel
from kalman_em.latent.variational_linear_gaussian import VariationalLinearGaussian
from kalman_em.latent.variational_mixture import VariationalMixture

KINDS: dict[type[Any], type[LatentFit]] = {
    FactorAnalysis: FactorFit,
    MixtureOfFactorAnalysers: MixtureFit,
    TopicModel: TopicFit,
    GaussianHMM: HMMFit,
    GaussianMixture: MixtureFit,
    VariationalMixture: VariationalMixtureFit,
    VariationalLinearGaussian: VariationalLinearGaussianFit,
    MarkovAutoregression: MarkovAutoregressionFit,
    SwitchingLinearGaussian: SwitchingFit,
}


def kind_of(model: object) -> type[LatentFit]:
    """Return the class of fits of `model`: that of its class or nearest base, `LatentFit` for a model of one's own.

    Examples
    --------
    >>> kind_of(GaussianMixture(2)).__name__
    'MixtureFit'
    """
    return next((KINDS[cls] for cls in type(model).__mro__ if cls in KINDS), LatentFit)
