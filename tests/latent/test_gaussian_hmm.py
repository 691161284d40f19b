"""Gaussian hidden Markov models against enumeration, the mixture, and numbers of other packages."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from oracles.paths import enumerate_chain
from scipy.stats import multivariate_normal
from support.oracles import array, shared_case, shared_table

import kalman_em as kem
from kalman_em.frames import to_panel
from kalman_em.inference.regimes import draw_path
from kalman_em.latent.hmm_params import HMMParams

LENGTHS = (5, 1, 4)
TIGHT = kem.Stopping(relative_tolerance=1e-13, parameter_tolerance=1e-9)
PARAMS = {
    "means": np.array([[0.0, 1.0], [2.0, -1.0], [-1.5, 0.5]]),
    "covs": np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.4, 0.0], [0.0, 2.0]], [[0.8, -0.2], [-0.2, 0.6]]]),
    "initial_probabilities": np.array([0.5, 0.2, 0.3]),
    "transition_matrix": np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.3, 0.0, 0.7]]),
}


def short_panel(*, missing=True):
    rng = np.random.default_rng(4)
    series = [rng.normal(size=(n, 2)) for n in LENGTHS]
    if missing:
        series[0][1, 0] = series[0][3, 1] = series[2][0, 1] = np.nan
        series[0][2] = np.nan
    return kem.Panel([kem.Observations(values) for values in series], keys=["a", "b", "c"])


def densities(values, params):
    """Return log densities of rows (n, K), each of the entries that were observed."""
    result = np.zeros((len(values), len(params["means"])))
    for t, row in enumerate(values):
        seen = ~np.isnan(row)
        for k, (mean, cov) in enumerate(zip(params["means"], params["covs"], strict=True)):
            if seen.any():
                result[t, k] = multivariate_normal.logpdf(row[seen], mean[seen], cov[np.ix_(seen, seen)])
    return result


def enumerated(panel, params):
    chain = params["initial_probabilities"], params["transition_matrix"]
    return [enumerate_chain(densities(one.values, params), *chain) for one in panel]


def regimes_of(n, *, n_regimes=2, seed=0, gap=3.0):
    """Return rows (n, 2) whose mean jumps between regimes, and the regimes."""
    rng = np.random.default_rng(seed)
    transition = np.full((n_regimes, n_regimes), 0.1 / max(n_regimes - 1, 1)) + (0.9 - 0.1 / max(n_regimes - 1, 1)) * (
        np.eye(n_regimes)
    )
    path = draw_path(n, np.full(n_regimes, 1.0 / n_regimes), transition / transition.sum(axis=1, keepdims=True), rng)
    return np.column_stack([gap * path, -path]) + rng.normal(size=(n, 2)), path


def test_the_e_step_is_the_sum_over_all_paths():
    panel = short_panel()
    problem = kem.GaussianHMM(3).problem(panel)
    expectations, log_likelihood = problem.e_step(HMMParams(**PARAMS))
    exact = enumerated(panel, PARAMS)
    assert log_likelihood == pytest.approx(sum(one.log_likelihood for one in exact), rel=1e-12)
    np.testing.assert_allclose(expectations.transition_counts, sum(one.transition_counts for one in exact), atol=1e-12)
    np.testing.assert_allclose(expectations.initial_counts, sum(one.probabilities[0] for one in exact), atol=1e-12)
    shares = np.concatenate([one.probabilities for one in exact])
    np.testing.assert_allclose(expectations.moments.counts, shares.sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(problem.posterior(HMMParams(**PARAMS)).smoothed, shares, atol=1e-12)
    path, log_joints = problem.path(HMMParams(**PARAMS))
    np.testing.assert_array_equal(path, np.concatenate([one.best for one in exact]))
    np.testing.assert_allclose(log_joints, [one.log_joints.max() for one in exact], rtol=1e-12)


@pytest.mark.parametrize("temperature", [3.0, 0.5])
def test_a_temperature_weighs_paths_by_a_power(temperature):
    panel = short_panel()
    problem = kem.GaussianHMM(3).problem(panel).tempered(temperature)
    expectations, objective = problem.e_step(HMMParams(**PARAMS))
    counts, height = np.zeros((3, 3)), 0.0
    for one in enumerated(panel, PARAMS):
        weights = one.log_joints / temperature
        height += temperature * np.logaddexp.reduce(weights)
        shares = np.exp(weights - np.logaddexp.reduce(weights))
        for before, after in pairwise(one.paths.T):
            np.add.at(counts, (before, after), shares)
    assert objective == pytest.approx(height, rel=1e-12)
    np.testing.assert_allclose(expectations.transition_counts, counts, atol=1e-12)


def test_hard_em_climbs_the_best_path():
    values, _ = regimes_of(200)
    problem = kem.GaussianHMM(2).problem(to_panel(values)).tempered(0.0)
    start = problem.start()
    result = kem.run_em(problem, start)
    assert np.all(np.diff(result.log_likelihoods) >= -1e-9)
    assert result.log_likelihoods[0] == pytest.approx(problem.path(start)[1].sum())
    # At its end the parameters are those of the rows of each regime along the best path.
    path, _ = problem.path(result.params)
    for k in range(2):
        np.testing.assert_allclose(result.params.means[k], values[path == k].mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(result.params.covs[k], np.cov(values[path == k].T, ddof=0), atol=1e-9)


def test_the_mixture_is_the_model_with_independent_steps():
    values, _ = regimes_of(120)
    values[5, 0] = values[8] = np.nan
    mixed = kem.fit(kem.GaussianMixture(2), values, stopping=TIGHT)
    weights = np.asarray(mixed.params.weights)
    model = kem.GaussianHMM(
        2, transition_matrix=kem.Fixed([weights, weights]), initial_probabilities=kem.Fixed(weights)
    )
    start = {"means": mixed.params.means, "covs": mixed.params.covs}
    fitted = kem.fit(model, values, start=start, stopping=TIGHT)
    assert fitted.log_likelihood == pytest.approx(mixed.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(fitted.params.means, mixed.params.means, atol=1e-6)
    np.testing.assert_allclose(fitted.params.covs, mixed.params.covs, atol=1e-6)
    np.testing.assert_allclose(fitted.probabilities(), mixed.probabilities(), atol=1e-6)
    np.testing.assert_allclose(fitted.filtered_probabilities(), fitted.probabilities(), atol=1e-12)


def test_a_panel_is_the_sum_of_its_series():
    panel = short_panel()
    model = kem.GaussianHMM(3, covariance=kem.Fixed(np.eye(2)))
    params = HMMParams(**PARAMS)
    together = model.problem(panel).e_step(params)
    apart = [
        kem.GaussianHMM(3, covariance=kem.Fixed(np.eye(2))).problem(two).e_step(params)
        for two in (kem.Panel([panel["a"]]), kem.Panel([panel["c"]]))
    ]
    alone = enumerated(kem.Panel([panel["b"]]), PARAMS)[0]
    assert together[1] == pytest.approx(sum(part[1] for part in apart) + alone.log_likelihood, rel=1e-12)
    moves = sum(part[0].transition_counts for part in apart)
    np.testing.assert_allclose(together[0].transition_counts, moves, atol=1e-12)


def test_rows_of_nan_after_the_end_change_nothing():
    values, _ = regimes_of(80)
    padded = np.vstack([values, np.full((7, 2), np.nan)])
    one, other = (kem.fit(kem.GaussianHMM(2), rows, stopping=TIGHT) for rows in (values, padded))
    assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-10)
    np.testing.assert_allclose(one.params.means, other.params.means, atol=1e-6)
    np.testing.assert_allclose(other.probabilities().iloc[-7:], one.forecast(7).regimes_frame(), atol=1e-6)


def test_units_and_origin_do_not_matter():
    values, _ = regimes_of(150)
    plain = kem.fit(kem.GaussianHMM(2), values)
    moved = kem.fit(kem.GaussianHMM(2), values * [1e-6, 1e5] + [30.0, -4e7])
    np.testing.assert_allclose(moved.params.transition_matrix, plain.params.transition_matrix, rtol=1e-6)
    assert moved.log_likelihood == pytest.approx(plain.log_likelihood - 150 * np.log(1e-1), rel=1e-6)
    assert moved.em.n_iterations == plain.em.n_iterations


def test_the_steps_are_those_of_hidden_markov():
    case = shared_case("hmm_fixed3_forwardback")
    values = shared_table(case["data"]["file"])["y"]
    given = case["params"]
    problem = kem.GaussianHMM(3).problem(to_panel(values))
    params = HMMParams(
        means=array(given["mean"])[:, None], covs=array(given["sd"])[:, None, None] ** 2,
        initial_probabilities=given["pi"], transition_matrix=given["transition"],
    )  # fmt: skip
    expectations, log_likelihood = problem.e_step(params)
    assert log_likelihood == pytest.approx(case["logLik"], abs=1e-10)
    np.testing.assert_allclose(problem.posterior(params).smoothed, case["posterior"], atol=1e-12)
    np.testing.assert_allclose(expectations.transition_counts, case["expected_transition_counts"], atol=1e-10)
    np.testing.assert_array_equal(problem.path(params)[0] + 1, case["viterbi_1based"])
    n_updates = 0
    for step in case["baum_welch"]:
        while n_updates < step["updates"]:
            expectations, log_likelihood = problem.e_step(params)
            params, n_updates = problem.m_step(params, expectations), n_updates + 1
        assert log_likelihood == pytest.approx(step["LL_reported"], abs=1e-8)
        np.testing.assert_allclose(params.transition_matrix, step["transition"], atol=1e-8)
        np.testing.assert_allclose(params.means[:, 0], step["mean"], atol=1e-8)
        np.testing.assert_allclose(np.sqrt(params.covs[:, 0, 0]), step["sd"], atol=1e-8)
        np.testing.assert_allclose(params.initial_probabilities, step["pi"], atol=1e-8)


@pytest.mark.parametrize("name", ["hmm_faithful_waiting_2", "hmm_speed_rt_2"])
def test_the_fit_is_that_of_depmix(name):
    case = shared_case(name)
    values = shared_table(case["data"]["file"])["y"]
    lengths = case["data"]["sequence_lengths"]
    frame = pd.DataFrame({"series": np.repeat(np.arange(len(lengths)), lengths), "y": values})
    frame["row"] = np.concatenate([np.arange(n) for n in lengths])
    fitted = kem.fit(kem.GaussianHMM(2), frame, series="series", time="row", values="y", stopping=TIGHT)
    assert fitted.log_likelihood == pytest.approx(case["logLik"], abs=1e-7)
    assert fitted.n_parameters == case["n_params"]
    assert fitted.aic == pytest.approx(case["AIC"], abs=1e-6)
    assert fitted.bic == pytest.approx(case["BIC"], abs=1e-6)
    order = np.argsort(fitted.params.means[:, 0])
    np.testing.assert_allclose(fitted.params.means[order, 0], case["emission"]["mean"], rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(fitted.params.covs[order, 0, 0]), case["emission"]["sd"], rtol=1e-5)
    np.testing.assert_allclose(fitted.params.transition_matrix[np.ix_(order, order)], case["transition"], rtol=1e-4)
    np.testing.assert_allclose(fitted.probabilities().to_numpy()[:, order], case["posterior_smoothed"], atol=1e-5)
    np.testing.assert_array_equal(np.argsort(order)[fitted.path()] + 1, case["viterbi_1based"])


@pytest.mark.parametrize("covariance", [kem.Full(), kem.Diagonal(), kem.Isotropic(), kem.Shared(kem.Full())], ids=repr)
def test_the_steps_are_those_of_hmmlearn(covariance):
    hmm = pytest.importorskip("hmmlearn.hmm")
    kind = {"Full": "full", "Diagonal": "diag", "Isotropic": "spherical", "Shared": "tied"}[type(covariance).__name__]
    values, _ = regimes_of(150, n_regimes=3, gap=2.0)
    lengths = [90, 60]
    peer = hmm.GaussianHMM(
        3, kind, n_iter=6, tol=-np.inf, init_params="", min_covar=0.0, covars_prior=0.0, covars_weight=0.0
    )
    panel = kem.Panel([kem.Observations(values[:90]), kem.Observations(values[90:])])
    problem = kem.GaussianHMM(3, covariance=covariance).problem(panel)
    params = problem.started(problem.start(), {"initial_probabilities": [0.5, 0.2, 0.3]})
    peer.startprob_, peer.transmat_, peer.means_ = (
        np.array(part) for part in (params.initial_probabilities, params.transition_matrix, params.means)
    )
    whole = np.array(params.covs)
    peer.covars_ = {"full": whole, "tied": whole[0], "spherical": whole[:, 0, 0]}.get(
        kind, np.diagonal(whole, axis1=1, axis2=2)
    )
    peer.fit(values, lengths)
    heights = []
    for _ in range(6):
        expectations, height = problem.e_step(params)
        heights.append(height)
        params = problem.m_step(params, expectations)
    np.testing.assert_allclose(heights, list(peer.monitor_.history)[-6:], rtol=1e-10)
    np.testing.assert_allclose(params.means, peer.means_, rtol=1e-8, atol=1e-10)
    if kind == "spherical":  # what the property makes of one variance a regime has another shape
        variances = peer._covars_.reshape(3, -1)[:, :1, None] * np.eye(2)
    else:
        variances = peer.covars_
    np.testing.assert_allclose(params.covs, variances, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(params.transition_matrix, peer.transmat_, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(problem.path(params)[0], peer.predict(values, lengths))


def test_zeros_of_the_chain_stay_zeros_to_the_end():
    values, _ = regimes_of(120, n_regimes=3)
    model = kem.GaussianHMM(
        3,
        transition_matrix=kem.Pattern([["a", "b", 0.0], [0.0, "c", "d"], ["e", 0.0, "f"]]),
        initial_probabilities=kem.Fixed([1.0, 0.0, 0.0]),
    )
    fitted = kem.fit(model, values)
    moves = fitted.params.transition_matrix
    assert moves[0, 2] == moves[1, 0] == moves[2, 1] == 0.0
    np.testing.assert_array_equal(fitted.params.initial_probabilities, [1.0, 0.0, 0.0])
    assert fitted.probabilities().notna().all(axis=None)
    assert not ((fitted.path().diff() == -1.0).any())


def test_left_to_right_finds_the_changes_of_a_series():
    rng = np.random.default_rng(3)
    levels = np.repeat([0.0, 5.0, -3.0], [40, 25, 35])
    fitted = kem.fit(kem.GaussianHMM(3, transition_matrix=kem.LeftToRight(reach=1)), levels + rng.normal(size=100))
    np.testing.assert_array_equal(np.flatnonzero(np.diff(fitted.path())) + 1, [40, 65])
    assert fitted.expected_durations[2] == np.inf
    assert fitted.em.stop_reason.is_converged


def test_the_regimes_that_made_the_data_come_back():
    values, path = regimes_of(400, n_regimes=3, gap=5.0)
    fitted = kem.fit(kem.GaussianHMM(3, covariance=kem.Diagonal()), values)
    order = np.argsort(fitted.params.means[:, 0])
    assert np.mean(np.argsort(order)[fitted.path()] == path) > 0.99


def test_starts_drawn_at_random_reach_what_the_data_hold():
    rng = np.random.default_rng(8)
    path = draw_path(500, np.array([0.5, 0.5]), np.array([[0.97, 0.03], [0.03, 0.97]]), rng)
    quiet = rng.normal(size=500) * np.where(path == 1, 3.0, 0.5)  # one mean: no cluster shows the regimes
    fitted = kem.fit(kem.GaussianHMM(2), quiet, n_starts=4, seed=0)
    sds = np.sort(np.sqrt(fitted.params.covs[:, 0, 0]))
    np.testing.assert_allclose(sds, [0.5, 3.0], rtol=0.15)
    assert len(fitted.em.start_log_likelihoods) == 4


def test_series_that_were_not_learnt_from_are_scored_and_filled():
    fitted = kem.fit(kem.GaussianHMM(2), regimes_of(200)[0])
    panel = short_panel()
    params = {name: fitted.params[name] for name in PARAMS}
    exact = enumerated(panel, params)
    assert fitted.score(panel) == pytest.approx(sum(one.log_likelihood for one in exact), rel=1e-12)
    shares = np.concatenate([one.probabilities for one in exact])
    np.testing.assert_allclose(fitted.probabilities(panel), shares, atol=1e-12)
    assert fitted.path(panel).tolist() == np.concatenate([one.best for one in exact]).tolist()
    filled = fitted.impute(panel)
    given = np.concatenate([one.values for one in panel])
    there = ~np.isnan(given)
    np.testing.assert_array_equal(filled.to_numpy()[there], given[there])
    # Row 1 lacks its first column: the mean of that given the second, by regime, weighed.
    means, covs = params["means"], params["covs"]
    by_regime = means[:, 0] + covs[:, 0, 1] / covs[:, 1, 1] * (given[1, 1] - means[:, 1])
    assert filled.iloc[1, 0] == pytest.approx(shares[1] @ by_regime, rel=1e-12)
    np.testing.assert_allclose(filled.iloc[2], shares[2] @ means, rtol=1e-12)
    assert fitted.score(fitted.panel) == pytest.approx(fitted.log_likelihood, rel=1e-14)
    with pytest.raises(kem.InputError, match="expected the columns of the fit"):
        fitted.score(pd.DataFrame({"a": [1.0], "b": [2.0]}))


def test_a_forecast_is_the_filtered_regime_moved_on():
    values, _ = regimes_of(100)
    fitted = kem.fit(kem.GaussianHMM(2), values)
    moves = fitted.params.transition_matrix
    forecast = fitted.forecast(3)
    last = fitted.filtered_probabilities().iloc[-1].to_numpy()
    for h in range(3):
        shares = last @ np.linalg.matrix_power(moves, h + 1)
        np.testing.assert_allclose(forecast.probabilities[h], shares, atol=1e-14)
        np.testing.assert_allclose(forecast.means[h], shares @ fitted.params.means, atol=1e-12)
    frame = forecast.to_frame(levels=(90,))
    assert list(frame.index) == [100, 101, 102]
    # The interval holds what is drawn from the mixture as often as it says.
    rng = np.random.default_rng(0)
    regimes = rng.choice(2, 40_000, p=forecast.probabilities[0])
    sds = np.sqrt(fitted.params.covs[:, 0, 0])
    drawn = rng.normal(fitted.params.means[regimes, 0], sds[regimes])
    inside = (drawn >= frame.iloc[0]["y1_lower_90"]) & (drawn <= frame.iloc[0]["y1_upper_90"])
    assert np.mean(inside) == pytest.approx(0.9, abs=0.01)
    assert frame.iloc[0]["y1_sd"] == pytest.approx(drawn.std(), rel=0.02)


def test_labels_are_those_of_the_data():
    growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    fitted = kem.fit(kem.GaussianHMM(2), growth)
    for table in (fitted.probabilities(), fitted.filtered_probabilities(), fitted.path()):
        assert table.index.equals(growth.index)
    assert str(fitted.forecast(2).index[0]) == "1985Q1"
    summary = str(fitted.summary())
    assert "regimes          2" in summary
    assert "moves between regimes" in summary


def test_a_panel_has_labels_by_series_and_needs_a_key_to_forecast():
    values, _ = regimes_of(60)
    frame = pd.DataFrame(values, columns=["x", "y"]).assign(who=["a"] * 35 + ["b"] * 25, t=[*range(35), *range(25)])
    fitted = kem.fit(kem.GaussianHMM(2), frame, series="who", time="t", values=["x", "y"])
    assert fitted.probabilities().loc["b"].shape == (25, 2)
    with pytest.raises(kem.InputError, match="series: expected the key of one of 2 series"):
        fitted.forecast(1)
    last = fitted.filtered_probabilities().loc["a"].iloc[-1].to_numpy()
    np.testing.assert_allclose(fitted.forecast(1, series="a").probabilities[0], last @ fitted.params.transition_matrix)


def test_what_is_sampled_has_the_moments_of_the_model():
    values, _ = regimes_of(300)
    fitted = kem.fit(kem.GaussianHMM(2), values)
    drawn = fitted.sample(20_000, rng=np.random.default_rng(1))
    for k, rows in drawn.groupby("regime"):
        np.testing.assert_allclose(rows[["y1", "y2"]].mean(), fitted.params.means[int(k)], atol=0.06)
    stays = (drawn.regime == drawn.regime.shift()).mean()
    shares = drawn.regime.value_counts(normalize=True).sort_index().to_numpy()
    assert stays == pytest.approx(float(shares @ np.diagonal(fitted.params.transition_matrix)), abs=0.01)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_states": 0}, "n_states: expected a whole number"),
        ({"n_states": 2, "covariance": "full"}, "covariance: expected a form"),
        ({"n_states": 2, "transition_matrix": kem.Fixed([[0.5, 0.4], [0.5, 0.5]])}, "row 0: .* add up to 1"),
        ({"n_states": 2, "transitions": kem.Full()}, "parameter 'transitions' is not known"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(kem.InputError, match=said):
        kem.GaussianHMM(**options)


def test_data_that_say_nothing_of_regimes_are_refused():
    with pytest.raises(kem.InputError, match="column 'y1' has one value throughout"):
        kem.fit(kem.GaussianHMM(2), np.ones(20))
    with pytest.raises(kem.InputError, match="at least 5 rows"):
        kem.fit(kem.GaussianHMM(5), np.arange(3.0))
    with pytest.raises(kem.InputError, match="inputs"):
        kem.fit(kem.GaussianHMM(2), np.arange(9.0), inputs=np.arange(9.0))
    with pytest.raises(kem.InputError, match="transition_matrix: expected probabilities"):
        kem.fit(kem.GaussianHMM(2), np.arange(9.0), start={"transition_matrix": np.ones((2, 2))})


def test_a_row_that_no_regime_allows_is_named():
    values = np.random.default_rng(0).normal(size=(30, 1))
    values[17] = 1e150
    start = {"means": [[0.0], [1.0]], "covs": [[[1e-20]], [[1e-20]]]}  # the density there is less than any number
    frame = pd.DataFrame({"y": values[:, 0], "who": ["a"] * 10 + ["b"] * 20})
    with pytest.raises(kem.NumericalError, match="row 7 of series 'b' is impossible in every regime"):
        kem.fit(kem.GaussianHMM(2), frame, series="who", values="y", start=start)


def test_a_regime_that_shrinks_to_a_point_is_named():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=60), [25.0]])
    start = {"means": [[0.0], [25.0]], "covs": [[[1.0]], [[0.01]]]}
    fitted = kem.fit(kem.GaussianHMM(2), values, start=start)
    assert fitted.em.stop_reason == "degenerate_covariance"
    assert fitted.probabilities().notna().all(axis=None)
