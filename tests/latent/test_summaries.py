"""What fits of models with hidden values print: whole tables that fit a terminal, and objectives by their names."""

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.fitting.summary import WIDTH

QUICK = kem.Stopping(max_iterations=5)
SIZES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


def lines_of(fitted):
    lines = str(fitted.summary()).splitlines()
    assert max(len(line) for line in lines) <= WIDTH
    return lines


def counts():
    rng = np.random.default_rng(0)
    topics = np.array([[0.4, 0.4, 0.1, 0.1], [0.1, 0.1, 0.4, 0.4]])
    return np.array([rng.multinomial(40, share @ topics) for share in rng.dirichlet([0.5, 0.5], 20)])


def test_a_mixture_shows_every_column_with_components_across():
    fitted = kem.fit(kem.GaussianMixture(3), kem.datasets.load("penguins"), values=SIZES)
    lines = lines_of(fitted)
    for name in SIZES:
        assert any(line.strip().startswith(f"mean {name}") for line in lines)
        assert any(line.strip().startswith(f"sd {name}") for line in lines)
    mass = next(line.split() for line in lines if "sd body_mass_g" in line)
    np.testing.assert_allclose([float(number) for number in mass[2:]], np.sqrt(fitted.params.covs[:, 3, 3]), rtol=1e-4)
    assert not any("in all" in line for line in lines)


def test_probabilities_of_regimes_are_shares_not_tiny_powers():
    growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    text = "\n".join(lines_of(kem.fit(kem.GaussianHMM(2), growth)))
    assert "e-1" not in text
    assert "<0.0001" in text
    held = kem.GaussianHMM(2, transition_matrix=kem.LeftToRight())
    moves = lines_of(kem.fit(held, growth, stopping=QUICK))
    assert next(line.split() for line in moves if line.split()[:2] == ["1", "inf"]) == ["1", "inf", "0", "1"]


def test_objectives_that_are_no_log_likelihoods_are_named():
    flows = kem.datasets.load("nile")["flow"]
    plain = kem.fit(kem.GaussianMixture(2), flows, stopping=QUICK)
    mode = kem.fit(kem.GaussianMixture(2, prior=kem.MixturePrior()), flows, stopping=QUICK)
    bayes = kem.fit(kem.VariationalMixture(2), flows, stopping=QUICK)
    assert "log prior" not in str(plain.summary())
    assert f"log-likelihood plus log prior {mode.em.log_likelihood:.8g}" in " ".join(lines_of(mode)).replace(
        "     ", " "
    )
    assert "log-likelihood" not in str(bayes.summary())
    assert f"lower bound {bayes.bound:.6g}" in repr(bayes)
    hard = kem.fit(kem.GaussianMixture(2), flows, method="hard", stopping=QUICK)
    assert "most probable hidden values" in hard.em.message


def test_topics_with_priors_have_a_bound_and_no_criteria():
    fitted = kem.fit(kem.TopicModel(2), counts(), stopping=QUICK)
    text = str(fitted.summary())
    assert "lower bound" in text
    assert "log-likelihood" not in text
    assert "BIC" not in text
    for name in ("aic", "aicc", "bic"):
        with pytest.raises(kem.InputError, match="a topic model with priors has none"):
            getattr(fitted, name)
    plain = kem.fit(kem.TopicModel(2, document_prior=None, word_prior=None), counts(), stopping=QUICK)
    assert f"{plain.bic:.6g}" in str(plain.summary())
    assert plain.bic == pytest.approx(-2 * plain.log_likelihood + plain.n_parameters * np.log(20))


def test_single_numbers_of_a_switching_system_stand_beside_their_names():
    model = kem.SwitchingLinearGaussian(
        2,
        1,
        1,
        transition_matrix=kem.Fixed([[1.0]]),
        observation_matrix=kem.Fixed([[1.0]]),
        approximation="variational",
    )
    level = np.cumsum(np.random.default_rng(0).normal(size=40) * np.repeat([0.1, 2.0], 20))
    fitted = kem.fit(model, level, stopping=QUICK)
    lines = lines_of(fitted)
    noise = next(line.split() for line in lines if line.startswith("transition_cov, regime 1"))
    assert float(noise[-1]) == pytest.approx(fitted.params.transition_cov[1, 0, 0], rel=1e-5)
    assert any("lower bound" in line for line in lines[:8])


@pytest.mark.parametrize("method", ["hard", "annealed", "incremental", "stochastic"])
def test_a_variant_that_a_model_lacks_is_refused_in_words(method):
    with pytest.raises(kem.InputError, match="for this model expected 'em'") as caught:
        kem.fit(kem.FactorAnalysis(1), np.random.default_rng(0).normal(size=(20, 4)), method=method)
    assert "Problem" not in str(caught.value)
    if method == "annealed":
        with pytest.raises(kem.InputError, match="expected 'em' or 'plain'"):
            kem.fit(kem.LocalLevel(), np.arange(9.0), method=method)


def test_a_collapse_speaks_of_regimes_where_there_are_regimes():
    growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    held = kem.GaussianHMM(2, transition_matrix=kem.Fixed([[0.0, 1.0], [0.0, 1.0]]))
    assert "regime 0 has collapsed" in kem.fit(held, growth, stopping=QUICK).em.message
    with pytest.raises(kem.InputError, match="20 rows, one a regime"):
        kem.fit(kem.GaussianHMM(20), growth[:10])
    with pytest.raises(kem.InputError, match="6 rows, one a component"):
        kem.fit(kem.GaussianMixture(6), growth[:5])


def test_tables_in_a_mapping_or_a_sparse_matrix_are_refused_with_a_way_out():
    with pytest.raises(kem.InputError, match=r"got dict; make one table of it: pd.DataFrame\(data\)"):
        kem.fit(kem.GaussianMixture(2), {"a": [1.0, 2.0]})
    with pytest.raises(kem.InputError, match="no state space; fit each series by itself"):
        kem.fit_each(kem.GaussianMixture(2), np.ones((5, 2)), wide=True)


def test_a_run_shows_itself_in_a_line():
    run = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"], stopping=QUICK).em
    assert repr(run) == f"EMResult(max_iterations after 5 iterations, log-likelihood {run.log_likelihood:.8g})"


def test_more_parameters_than_data_are_noted():
    flows = kem.datasets.load("nile")["flow"]
    assert "Note:" not in str(kem.fit(kem.LocalLevel(), flows, stopping=QUICK).summary())
    said = "Note: 8 free parameters from 8 observed values"
    assert said in str(kem.fit(kem.GaussianMixture(3), flows[:8], stopping=QUICK).summary())
    assert "Note: 2 free parameters from 2" in str(kem.fit(kem.LocalLevel(), [1.0, 3.0], stopping=QUICK).summary())


def test_forecasts_show_themselves_in_a_line():
    flows = kem.datasets.load("nile")["flow"]
    assert repr(kem.fit(kem.LocalLevel(), flows, stopping=QUICK).forecast(3)) == (
        "Forecast(flow: 3 rows, 1971 to 1973; see to_frame())"
    )
    assert repr(kem.fit(kem.GaussianHMM(2), flows, stopping=QUICK).forecast(3)) == (
        "RegimeForecast(flow: 3 rows, 1971 to 1973; see to_frame())"
    )
