"""Fits of latent models as files: what is loaded is what was saved."""

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem


def frame():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) + 4.0])
    points[rng.random(points.shape) < 0.1] = np.nan
    return pd.DataFrame(points, columns=["a", "b", "c"], index=pd.RangeIndex(5, 75))


MODELS = {
    "mixture": kem.GaussianMixture(2, covariance=kem.Shared(kem.Diagonal()), weights=kem.Fixed([0.4, 0.6])),
    "prior": kem.GaussianMixture(2, prior=kem.MixturePrior(cov=np.eye(3), degrees=6.5)),
    "Bayesian": kem.VariationalMixture(3, concentration=0.1),
    "hidden Markov": kem.GaussianHMM(2),
    "left to right": kem.GaussianHMM(2, transition_matrix=kem.LeftToRight()),
    "switching": kem.SwitchingLinearGaussian(2, 1, 3, initial_cov=kem.Fixed([[4.0]])),
    "switching, variational": kem.SwitchingLinearGaussian(2, 1, 3, approximation="variational"),
    "factors": kem.FactorAnalysis(1),
    "components": kem.PrincipalComponents(1),
    "factor analysers": kem.MixtureOfFactorAnalysers(2, 1, noise=kem.Isotropic()),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_comes_back_equal(name, tmp_path):
    fitted = kem.fit(MODELS[name], frame(), stopping=kem.Stopping(max_iterations=8))
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert type(loaded) is type(fitted)
    assert loaded.params == fitted.params
    assert loaded.log_likelihood == fitted.log_likelihood
    np.testing.assert_array_equal(loaded.em.log_likelihoods, fitted.em.log_likelihoods)
    np.testing.assert_array_equal(loaded.em.bound_history, fitted.em.bound_history)
    assert loaded.panel[0].index.equals(fitted.panel[0].index)
    assert str(loaded.summary()) == str(fitted.summary())
    assert kem.fit(loaded.model, frame(), stopping=kem.Stopping(max_iterations=8)).params == fitted.params


def test_a_markov_autoregression_comes_back_equal(tmp_path):
    growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    fitted = kem.fit(kem.MarkovAutoregression(2, order=1), growth, stopping=kem.Stopping(max_iterations=8))
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.params == fitted.params
    assert loaded.log_likelihood == fitted.log_likelihood
    assert loaded.probabilities().equals(fitted.probabilities())


@pytest.mark.parametrize("priors", [{}, {"document_prior": None, "word_prior": None}], ids=["LDA", "PLSA"])
def test_topics_come_back_equal(priors, tmp_path):
    words = pd.DataFrame([[9, 8, 0], [7, 9, 1], [0, 1, 9]], columns=["a", "b", "c"], index=["x", "y", "z"])
    fitted = kem.fit(kem.TopicModel(2, **priors), words, stopping=kem.Stopping(max_iterations=8))
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.params == fitted.params
    assert loaded.log_likelihood == fitted.log_likelihood
    assert loaded.documents.equals(fitted.documents)
    assert loaded.top_words(2).equals(fitted.top_words(2))
    assert loaded.perplexity([[1, 2, 3]]) == fitted.perplexity([[1, 2, 3]])
    assert str(loaded.summary()) == str(fitted.summary())


def test_a_damaged_file_is_said_to_be_one(tmp_path):
    file = tmp_path / "fit.json"
    kem.fit(kem.GaussianMixture(2), frame(), stopping=kem.Stopping(max_iterations=3)).save(file)
    file.write_text(file.read_text().replace('"covs"', '"cows"'))
    with pytest.raises(kem.InputError, match="damaged"):
        kem.load(file)
