"""The Nile: the numbers of the books and of other packages, at their parameters and at our optimum."""

from __future__ import annotations

import numpy as np
import pytest
from support.learning import plain_em, problem_of
from support.oracles import array, assert_close, kfas_system, led, marss_system, nile, nile_cases

import kalman_em as kem
from kalman_em import Diffuse, Fixed, Full

ROWS, CASES = nile_cases()
TIGHT = kem.Stopping(max_iterations=5000, relative_tolerance=1e-13, parameter_tolerance=1e-9)
KFAS = [name for name in CASES if name.startswith("kfas")]
MARSS = [name for name in CASES if name.startswith("marss")]


def walk(**parameters):
    """Return the local level model in its general form."""
    return kem.LinearGaussian(
        1,
        1,
        transition_matrix=Fixed([[1.0]]),
        observation_matrix=Fixed([[1.0]]),
        **parameters,
    )


def test_first_state_known_roughly():
    """x[0] ~ N(y[0], 1e6), default stopping."""
    mle = CASES["nile_first_state_known_roughly"]["mle"]
    fitted = kem.fit(walk(initial_mean=Fixed([1120.0]), initial_cov=Fixed([[1e6]])), nile())
    assert fitted.em.stop_reason.is_converged
    assert fitted.params.observation_cov[0, 0] == pytest.approx(mle["observation_cov"], rel=1e-3)
    assert fitted.params.transition_cov[0, 0] == pytest.approx(mle["level_cov"], rel=1e-3)
    assert fitted.log_likelihood == pytest.approx(mle["log_likelihood"], abs=1e-3)


@pytest.mark.parametrize("model", [kem.LocalLevel(), walk(initial_cov=Diffuse())], ids=["LocalLevel", "LinearGaussian"])
def test_diffuse_start(model):
    """Durbin and Koopman 2012, table 2.1: 15099 and 1469.1; their constant in the likelihood."""
    mle = CASES["kfas_nile_ll_fixed"]["mle"]
    fitted = kem.fit(model, kem.datasets.load("nile")["flow"])
    level_cov = fitted.params["level_cov" if "level_cov" in fitted.params else "transition_cov"]
    assert fitted.params.observation_cov[0, 0] == pytest.approx(mle["observation_cov"], rel=1e-3)
    assert level_cov[0, 0] == pytest.approx(mle["level_cov"], rel=1e-3)
    assert fitted.log_likelihood == pytest.approx(mle["log_likelihood"], abs=1e-6)
    assert fitted.n_parameters == 2


def test_diffuse_start_with_gaps():
    mle = CASES["kfas_nile_ll_missing_fixed"]["mle"]
    fitted = kem.fit(kem.LocalLevel(), nile(CASES["kfas_nile_ll_missing_fixed"]["missing_rows"]), stopping=TIGHT)
    assert fitted.log_likelihood == pytest.approx(mle["log_likelihood"], abs=1e-8)
    assert np.log(fitted.params.observation_cov[0, 0]) == pytest.approx(np.log(mle["observation_cov"]), abs=1e-4)
    assert np.log(fitted.params.level_cov[0, 0]) == pytest.approx(np.log(mle["level_cov"]), abs=1e-4)


@pytest.mark.parametrize("name", KFAS)
def test_exact_diffuse_moments(name):
    case = CASES[name]
    system, series = kfas_system(case["model"]), nile(case["missing_rows"])
    filtered = kem.kalman_filter(system, series)
    smoothed = kem.rts_smoother(system, filtered)
    assert filtered.log_likelihood == pytest.approx(case["log_likelihood"], abs=1e-8)
    without = case["log_likelihood_without_diffuse_constants"]
    n_diffuse = system.initial_diffuse.sum()
    assert filtered.log_likelihood + 0.5 * n_diffuse * np.log(2.0 * np.pi) == pytest.approx(without, abs=1e-8)
    assert_close(smoothed.smoothed_means[ROWS], case["smoothed_means"], 1e-8)
    assert_close(smoothed.smoothed_covs[ROWS], case["smoothed_covs"], 1e-8)
    ahead = kem.predict_rows(system, filtered, 1)
    assert_close(ahead.state_means[0], case["next_mean"], 1e-8)
    assert_close(ahead.state_covs[0], case["next_cov"], 1e-8)


@pytest.mark.parametrize("name", MARSS)
def test_moments_at_known_parameters(name):
    case = CASES[name]
    matrices, step = case["matrices"], case["initial_step"]
    if len(matrices["R"]) == 2:
        matrices = matrices | {"R": [matrices["R"][0]] * 50 + [matrices["R"][1]] * 50}
    system = marss_system(matrices, step)
    filtered = kem.kalman_filter(system, led(nile(case["missing_rows"]), step))
    smoothed = kem.rts_smoother(system, filtered)
    is_wide = "1e7" in case["title"]
    lead = int(step == "before")
    assert filtered.log_likelihood == pytest.approx(case["log_likelihood"], abs=1e-6 if is_wide else 1e-8)
    lag_one = np.concatenate([np.full((1 - lead, 1, 1), np.nan), smoothed.lag_one_covs])
    for ours, key in [
        (smoothed.smoothed_means[lead:], "smoothed_means"),
        (smoothed.smoothed_covs[lead:], "smoothed_covs"),
        (filtered.predicted_means[lead:], "predicted_means"),
        (filtered.predicted_covs[lead:], "predicted_covs"),
        (filtered.filtered_means[lead:], "filtered_means"),
        (filtered.filtered_covs[lead:], "filtered_covs"),
        (lag_one, "lag_one_covs_with_row_before"),
    ]:
        assert_close(ours[ROWS], case[key], 1e-6 if is_wide else 1e-8, key)


FITS = {
    "marss_nile_ll_prior1e7_t1": walk(initial_mean=Fixed(0), initial_cov=Fixed([[1e7]])),
    "marss_nile_ll_missing_prior1000_t1": walk(initial_mean=Fixed(0), initial_cov=Fixed([[1000.0]])),
    "marss_nile_ll_x0est_t0": walk(initial_mean=Full(), initial_cov=Fixed(0), initial_step="before"),
    "marss_nile_ll_drift": walk(
        transition_offset=Full(), initial_mean=Full(), initial_cov=Fixed(0), initial_step="before"
    ),
}
LETTERS = {"R": "observation_cov", "Q": "transition_cov", "U": "transition_offset", "x0": "initial_mean"}


@pytest.mark.parametrize("name", FITS)
def test_maximum_likelihood(name):
    case = CASES[name]
    mle = case["mle"]
    fitted = kem.fit(FITS[name], nile(case["missing_rows"]), stopping=TIGHT)
    assert fitted.log_likelihood == pytest.approx(mle["log_likelihood"], abs=1e-6)
    assert fitted.n_parameters == len(mle["values"])
    for label, value, error in zip(mle["names"], mle["values"], mle["standard_errors"], strict=True):
        ours = fitted.params[LETTERS[label.split(".")[0]]]
        assert ours.item() == pytest.approx(value, abs=1e-4 * max(abs(value), error)), label


@pytest.mark.parametrize("name", [name for name in MARSS if "em_trace" in CASES[name]])
def test_em_step_by_step(name):
    """The path of plain EM, from far away: only Q and R are free, so every correct EM takes the same one."""
    case = CASES[name]
    trace = case["em_trace"]
    problem, _ = problem_of(FITS[name], nile(case["missing_rows"]))
    start = kem.LinearGaussianSystem(
        transition_matrix=[[1.0]],
        transition_cov=[[trace["values"][0][1]]],
        observation_matrix=[[1.0]],
        observation_cov=[[trace["values"][0][0]]],
        initial_mean=[0.0],
        initial_cov=case["matrices"]["V0"],
    )
    path = list(plain_em(problem, start, len(trace["values"]) - 1))
    ours = [[params.observation_cov.item(), params.transition_cov.item()] for params, _ in path]
    np.testing.assert_allclose(ours, array(trace["values"]), rtol=1e-8)
    np.testing.assert_allclose([value for _, value in path], trace["log_likelihoods"], rtol=1e-9)
