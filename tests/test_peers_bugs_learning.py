"""Bugs and limits found in the EM of other packages, pinned so that they cannot come to live here.

What each of them did, and where, is in the names and docstrings; those of their filters and smoothers are in
`test_peers_bugs_inference.py`. Not pinned, because what they are about does not exist here: several filter back ends
with an EM each (pykalman 7), conjugate Gibbs sampling (dynamax 18), degenerate updates of partly fixed U and of scaled
covariances (MARSS 20a, e), quarterly aggregation (statsmodels 21), Laplace and sampled E-steps (ssm 23), N4SID starts
(darts 27). Pinned elsewhere: all M-steps (`models/test_m_step.py`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles import bruteforce as bf
from support.cases import random_case, scalar, series
from support.learning import blocks_of, log_likelihood, one_step, plain_em, problem_of
from support.systems import random_observations

import kalman_em as kem
from kalman_em import Fixed, Full

# --- pykalman ------------------------------------------------------------------------------------------------------


def test_pykalman_1_em_stays_monotone_and_symmetric_over_1000_iterations():
    """Asymmetry grew from step to step until the likelihood fell."""
    _, system, one = random_case(0, n_steps=30)
    free = kem.LinearGaussian(
        2, 2, transition_offset=Full(), observation_offset=Full(), initial_mean=Full(), initial_cov=Full()
    )
    problem, _ = problem_of(free, one)
    highest = -np.inf
    for params, value in plain_em(problem, system, 1000):
        assert highest == -np.inf or value > highest - 1e-9 * abs(highest)
        highest = max(highest, value)
        for cov in (params.transition_cov, params.observation_cov, params.initial_cov):
            assert np.array_equal(cov, cov.T)
    _, start = next(iter(plain_em(problem, system, 0)))
    assert highest > start + 5.0


def test_pykalman_2_offsets_are_learnt_together_with_what_they_belong_to():
    """The true b is 5 and EM starts at 0: Q must not swallow what b has not taken yet."""
    rng = np.random.default_rng(3)
    x = np.zeros(40)
    for t in range(39):
        x[t + 1] = 0.5 * x[t] + 5.0 + rng.normal()
    one = series(x + rng.normal(size=40))
    model = kem.LinearGaussian(
        1,
        1,
        transition_offset=Full(),
        observation_matrix=Fixed([[1.0]]),
        initial_mean=Fixed(0),
        initial_cov=Fixed([[1.0]]),
    )
    problem, led = problem_of(model, one)
    start = scalar(transition_matrix=[[0.5]], initial_cov=[[1.0]], transition_offset=[0.0])
    new = one_step(problem, start)
    expected, _ = bf.maximise([(start, led[0])], blocks_of(problem, start))
    for letter in "FbQR":
        np.testing.assert_allclose(getattr(new, bf.NAMES[letter]), expected[letter], rtol=1e-6)
    assert max(params.transition_cov.item() for params, _ in plain_em(problem, new, 20)) < 3.0


@pytest.mark.parametrize("which", ["Q", "R"])
def test_pykalman_3_known_noise_that_varies_weighs_the_regressions(which):
    """Its likelihood fell from -232 to -276 (Q) and from -1148 to -13472 (R)."""
    rng = np.random.default_rng(1)
    _, system, _ = random_case(1)
    sizes = np.where(np.arange(80) % 10 < 5, 0.01, 25.0)
    name = "transition_cov" if which == "Q" else "observation_cov"
    system = replace(system, **{name: np.array([size * np.eye(2) for size in sizes])})
    one = random_observations(rng, system, 80)
    held = ("HRP" if which == "Q" else "FQP") + which
    known = {bf.NAMES[letter]: Fixed(getattr(system, bf.NAMES[letter])) for letter in held}
    free = "transition_offset" if which == "Q" else "observation_offset"
    problem, _ = problem_of(kem.LinearGaussian(2, 2, **known, **{free: Full()}), one)
    start = replace(
        system,
        transition_matrix=0.1 * np.eye(2) if which == "Q" else system.transition_matrix,
        observation_matrix=np.eye(2) if which == "R" else system.observation_matrix,
    )
    values = np.array([value for _, value in plain_em(problem, start, 40)])
    assert np.all(np.diff(values) > -1e-10 * np.abs(values[1:]))
    assert values[-1] > values[0] + 1.0


def test_pykalman_6_far_from_the_origin_the_fit_is_the_same():
    """Data 1001...1008 drew the initial mean to (579, 126)."""
    rng = np.random.default_rng(6)
    ramp = np.arange(1.0, 21.0) + 0.3 * rng.normal(size=20)
    near, far = (kem.fit(kem.LocalLinearTrend(), ramp + shift) for shift in (0.0, 1e5))
    assert far.log_likelihood == pytest.approx(near.log_likelihood, abs=1e-4)
    np.testing.assert_allclose(far.smooth().smoothed_means[:, 0] - 1e5, near.smooth().smoothed_means[:, 0], atol=1e-2)


@pytest.mark.parametrize(
    "model", [kem.LocalLevel(), kem.LocalLinearTrend(), kem.LinearGaussian(1, 1)], ids=lambda m: type(m).__name__
)
def test_pykalman_6_mean_and_covariance_of_the_start_are_not_both_learnt_by_default(model):
    _, _, one = random_case(6, p=1, n_steps=20)
    specification = model.specify(kem.Panel([one]))
    assert not (specification.is_free("initial_mean") and specification.is_free("initial_cov"))


def test_pykalman_8_a_fit_says_why_it_stopped_and_keeps_its_path():
    nile = kem.datasets.load("nile")["flow"]
    fitted = kem.fit(kem.LocalLevel(), nile, stopping=kem.Stopping(max_iterations=7))
    assert fitted.em.stop_reason == kem.StopReason.max_iterations
    assert not fitted.em.stop_reason.is_converged
    assert len(fitted.em.log_likelihoods) == 8
    assert kem.fit(kem.LocalLevel(), nile).em.stop_reason.is_converged


# --- simdkalman, astsa ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean_is_free", [True, False])
def test_simdkalman_10_initial_covariance_goes_with_the_mean_that_is_returned(mean_is_free):
    """P = V where m is learnt, and V + (x - m)(x - m)' where it is known."""
    _, system, one = random_case(10)
    model = kem.LinearGaussian(
        2, 2, initial_cov=Full(), initial_mean=Full() if mean_is_free else Fixed(system.initial_mean)
    )
    problem, _ = problem_of(model, one)
    new = one_step(problem, system)
    smoothed = kem.rts_smoother(system, kem.kalman_filter(system, one))
    x, V = smoothed.smoothed_means[0], smoothed.smoothed_covs[0]
    deviation = x - system.initial_mean
    np.testing.assert_allclose(new.initial_mean, x if mean_is_free else system.initial_mean, rtol=1e-9)
    expected = V if mean_is_free else V + np.outer(deviation, deviation)
    np.testing.assert_allclose(new.initial_cov, expected, rtol=1e-8)


@pytest.mark.parametrize("H", [[[0.0, 1.0]], [[-1.0, 0.0]]], ids=str)
def test_simdkalman_12_the_default_initial_covariance_is_one(H):
    """trace(H) * 25 was 0 for [0, 1] and negative for [-1, 0]."""
    _, _, one = random_case(12, p=1, n_steps=40)
    model = kem.LinearGaussian(2, 1, observation_matrix=Fixed(H))
    fitted = kem.fit(model, one, stopping=kem.Stopping(max_iterations=5))
    assert np.linalg.eigvalsh(fitted.system.initial_cov).min() >= 0.0
    assert (fitted.filter().innovation_covs > 0.0).all()
    assert not np.array_equal(fitted.filter().filtered_means[0], fitted.filter().predicted_means[0])


def test_simdkalman_13_many_iterations_are_a_loop():
    """1200 iterations ended in a RecursionError, at Python's limit of 1000 calls."""
    stopping = kem.Stopping(max_iterations=1500, relative_tolerance=0.0, parameter_tolerance=0.0)
    fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"][:20], stopping=stopping, method="plain")
    assert fitted.em.n_iterations == len(fitted.em.log_likelihoods) - 1 == 1500
    assert fitted.em.stop_reason is kem.StopReason.max_iterations


def test_astsa_19_zeros_are_data():
    """Exact zeros counted as missing in one place, and NaN as zeros in another."""
    _, system, one = random_case(19, n_steps=10)
    values = np.array(one.values)
    values[[2, 5], [0, 1]] = 0.0
    nearly = np.where(values == 0.0, 1e-12, values)
    missing = np.where(values == 0.0, np.nan, values)
    zeros, tiny, gone = (log_likelihood(system, kem.Observations(v)) for v in (values, nearly, missing))
    assert zeros == pytest.approx(tiny, rel=1e-10)
    assert abs(zeros - gone) > 0.1
    problem, _ = problem_of(kem.LinearGaussian(2, 2, initial_cov=Fixed(system.initial_cov)), kem.Observations(values))
    other, _ = problem_of(kem.LinearGaussian(2, 2, initial_cov=Fixed(system.initial_cov)), kem.Observations(nearly))
    np.testing.assert_allclose(
        one_step(problem, system).observation_cov, one_step(other, system).observation_cov, rtol=1e-9
    )


# --- dynamax -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_series", [1, 5])
def test_dynamax_14_initial_covariance_of_several_series(n_series):
    """(S - s s') / N with s the sum: negative definite for five series around 5."""
    rng, system, _ = random_case(14)
    system = replace(system, initial_mean=[5.0, 5.0])
    panel = [random_observations(rng, system, 6, missing=0.1) for _ in range(n_series)]
    problem, led = problem_of(kem.LinearGaussian(2, 2, initial_mean=Full(), initial_cov=Full()), *panel)
    new = one_step(problem, system)
    expected, _ = bf.maximise(
        [(system, one) for one in led], {"m": bf.free(system.initial_mean), "P": bf.full_cov(system.initial_cov)}
    )
    np.testing.assert_allclose(new.initial_mean, expected["m"], rtol=1e-6)
    np.testing.assert_allclose(new.initial_cov, expected["P"], rtol=1e-6)
    assert np.linalg.eigvalsh(new.initial_cov).min() > 0.0


def test_dynamax_15_what_is_fixed_stays_fixed_beside_what_is_free():
    _, system, one = random_case(15)
    model = kem.LinearGaussian(
        2, 2, transition_matrix=Fixed(system.transition_matrix), observation_cov=Fixed(system.observation_cov)
    )
    fitted = kem.fit(model, one, stopping=kem.Stopping(max_iterations=20))
    assert np.array_equal(fitted.params.transition_matrix, system.transition_matrix)
    assert np.array_equal(fitted.params.observation_cov, system.observation_cov)
    assert fitted.em.log_likelihoods[-1] > fitted.em.log_likelihoods[0]


def test_dynamax_17_a_missing_value_does_not_spoil_the_likelihood_or_the_fit():
    _, _, one = random_case(17, n_steps=30, missing=0.3)
    fitted = kem.fit(kem.LinearGaussian(2, 2), one, stopping=kem.Stopping(max_iterations=10))
    assert np.isfinite(fitted.em.log_likelihoods).all()


# --- MARSS, KFAS, statsmodels --------------------------------------------------------------------------------------


def test_marss_20b_the_default_stop_is_not_early():
    """ "Success" at Q = 1717.6 where the maximum is at 1468.5."""
    model = kem.LinearGaussian(
        1,
        1,
        transition_matrix=Fixed([[1.0]]),
        observation_matrix=Fixed([[1.0]]),
        initial_mean=Fixed([1120.0]),
        initial_cov=Fixed([[1e6]]),
    )
    for method in ("em", "plain"):
        fitted = kem.fit(model, kem.datasets.load("nile")["flow"], method=method)
        assert fitted.em.stop_reason.is_converged
        assert fitted.params.transition_cov.item() == pytest.approx(1468.5, rel=1e-3)
        assert fitted.params.observation_cov.item() == pytest.approx(15099, rel=1e-3)


@pytest.mark.parametrize("method", ["em", "plain"])
@pytest.mark.parametrize("n_iterations", [1, 3, 120])
def test_statsmodels_21_the_reported_likelihood_belongs_to_the_returned_parameters(method, n_iterations):
    """One more M-step was taken after the likelihood had been computed."""
    _, _, one = random_case(21, n_steps=40, missing=0.1)
    model = kem.LinearGaussian(2, 2)
    fitted = kem.fit(model, one, stopping=kem.Stopping(max_iterations=n_iterations), method=method)
    _, led = problem_of(model, one)
    assert fitted.em.log_likelihood == pytest.approx(log_likelihood(fitted.system, *led), rel=1e-12)
    assert fitted.log_likelihood == pytest.approx(fitted.em.log_likelihood, rel=1e-12)


def test_statsmodels_21_missing_data_with_a_full_observation_noise():
    """Its update of R holds for a diagonal R alone."""
    _, system, one = random_case(22, p=3, missing=0.4)
    problem, led = problem_of(
        kem.LinearGaussian(
            2,
            3,
            observation_matrix=Fixed(system.observation_matrix),
            observation_offset=Fixed(system.observation_offset),
            initial_cov=Fixed(system.initial_cov),
        ),
        one,
    )
    expected, _ = bf.maximise([(system, led[0])], {"R": bf.full_cov(system.observation_cov)})
    new = one_step(problem, system)
    np.testing.assert_allclose(new.observation_cov, expected["R"], rtol=1e-6, atol=1e-8)
    assert np.array_equal(new.observation_cov, new.observation_cov.T)


# --- hmmlearn, scikit-learn, and the rest --------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e5])
def test_sklearn_22_there_is_no_floor_under_a_variance(scale):
    """An absolute 1e-6 or 1e-3 gave variances 10 007 times too large."""
    nile = np.array(kem.datasets.load("nile")["flow"], dtype=float)
    plain, scaled = kem.fit(kem.LocalLevel(), nile), kem.fit(kem.LocalLevel(), scale * nile)
    for name in plain.params:
        np.testing.assert_allclose(scaled.params[name] / scale**2, plain.params[name], rtol=1e-4)


def test_ssm_23_missing_entries_are_not_regressed_on():
    """The placeholder of a masked entry went into the M-step."""
    _, system, one = random_case(23, missing=0.3)
    assert one.is_missing.any()
    problem, led = problem_of(
        kem.LinearGaussian(2, 2, observation_offset=Full(), initial_cov=Fixed(system.initial_cov)), one
    )
    expected, _ = bf.maximise([(system, led[0])], blocks_of(problem, system))
    new = one_step(problem, system)
    np.testing.assert_allclose(new.observation_matrix, expected["H"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(new.observation_offset, expected["d"], rtol=1e-6, atol=1e-8)
