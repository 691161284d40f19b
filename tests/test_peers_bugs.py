"""Bugs and limits found in other packages, pinned so that they cannot come to live here.

What each of them did, and where, is in the names and docstrings. Not pinned, because what they are about does not
exist here: several filter back ends with an EM each (pykalman 7), conjugate Gibbs sampling (dynamax 18), degenerate
updates of partly fixed U and of scaled covariances (MARSS 20a, e), quarterly aggregation (statsmodels 21), Laplace and
sampled E-steps (ssm 23), N4SID starts (darts 27). Pinned elsewhere: the constant of a diffuse likelihood
(`test_nile.py`), the lag-one covariance of long series (`inference/`), all M-steps (`models/test_m_step.py`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles import bruteforce as bf
from oracles.dense import DenseGaussian
from scipy.stats import multivariate_normal
from support.learning import blocks_of, log_likelihood, one_step, plain_em, problem_of
from support.systems import random_cov, random_observations, random_system

import kalman_em as kem
from kalman_em import Diagonal, Fixed, Full


def random_case(seed, d=2, p=2, n_steps=12, **options):
    rng = np.random.default_rng(seed)
    missing = options.pop("missing", 0.0)
    system = random_system(rng, d, p, n_steps, **options)
    return rng, system, random_observations(rng, system, n_steps, missing=missing)


def scalar(**changes):
    """Return a level seen through noise, with anything changed."""
    return kem.LinearGaussianSystem(
        **{
            "transition_matrix": [[1.0]],
            "transition_cov": [[1.0]],
            "observation_matrix": [[1.0]],
            "observation_cov": [[2.0]],
            "initial_mean": [0.0],
            "initial_cov": [[4.0]],
        }
        | changes
    )


def series(values):
    return kem.Observations(np.reshape(np.array(values, dtype=float), (len(values), -1)))


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


def test_pykalman_4_noise_that_varies_by_name_only_is_constant_noise():
    _, system, one = random_case(4)
    varying = replace(
        system,
        transition_cov=np.array([system.transition_cov] * 12),
        observation_cov=np.array([system.observation_cov] * 12),
    )
    assert log_likelihood(varying, one) == pytest.approx(log_likelihood(system, one), rel=1e-13)


@pytest.mark.parametrize("name", ["observation_cov", "transition_cov"])
def test_pykalman_4_simulated_noise_follows_the_noise_of_its_step(name):
    """Entries after the first were ignored by its sampler."""
    sizes = np.repeat([0.01, 100.0], 2000)
    quiet = {"transition_cov": [[0.0]], "observation_cov": [[0.0]], "initial_cov": [[0.0]]}
    system = scalar(**quiet | {name: sizes[:, None, None], "transition_matrix": [[0.0]]})
    drawn = kem.simulate(system, 4000, np.random.default_rng(0)).values[:, 0]
    halves = drawn[1:2000].std(), drawn[2001:].std()
    assert halves[0] == pytest.approx(0.1, rel=0.1)
    assert halves[1] == pytest.approx(10.0, rel=0.1)


def test_pykalman_5_nan_is_a_missing_value_and_no_other_row_is_lost():
    """NaN made 27 of 30 rows NaN, and the likelihood finite and wrong."""
    _, system, one = random_case(5)
    values = np.array(one.values)
    values[4] = np.nan
    filtered = kem.kalman_filter(system, kem.Observations(values))
    assert np.isfinite(filtered.filtered_means).all()
    assert filtered.log_likelihood == pytest.approx(
        DenseGaussian(system, kem.Observations(values)).smoothed().log_likelihood, rel=1e-10
    )
    masked = np.ma.masked_invalid(values)
    assert log_likelihood(system, kem.Observations(masked.filled(np.nan))) == filtered.log_likelihood


def test_pykalman_5_a_partly_missing_row_counts_with_what_it_has():
    """One masked element dropped the row."""
    system = random_case(6, n_steps=1)[1]
    y = np.array([0.7, np.nan])
    mean = system.observation_matrix @ system.initial_mean + system.observation_offset
    cov = system.observation_matrix @ system.initial_cov @ system.observation_matrix.T + system.observation_cov
    expected = multivariate_normal(mean[:1], cov[:1, :1]).logpdf(y[:1])
    assert log_likelihood(system, kem.Observations(y[None])) == pytest.approx(expected, rel=1e-12)


def test_pykalman_5_one_row_of_many_columns_is_not_transposed():
    _, system, one = random_case(7, p=3, n_steps=1)
    filtered = kem.kalman_filter(system, kem.Observations(one.values))
    assert one.values.shape == (1, 3)
    assert filtered.innovations.shape == (1, 3)
    assert filtered.filtered_means.shape == (1, 2)


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


def test_simdkalman_9_lag_one_covariances_from_the_first_to_the_last():
    """Off by one, and 0 in the last place."""
    _, system, one = random_case(9, n_steps=5, missing=0.2)
    smoothed = kem.rts_smoother(system, kem.kalman_filter(system, one))
    expected = DenseGaussian(system, one).smoothed().lag_one_covs
    np.testing.assert_allclose(smoothed.lag_one_covs, expected, rtol=1e-9, atol=1e-11)
    asymmetry = np.abs(expected - np.swapaxes(expected, 1, 2)).max(axis=(1, 2))
    assert asymmetry.min() > 1e-4  # so that a transposed answer (kalmanbox) would be seen


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


def test_simdkalman_11_astsa_19_the_likelihood_has_every_2_pi():
    _, system, one = random_case(11, n_steps=1)
    mean = system.observation_matrix @ system.initial_mean + system.observation_offset
    cov = system.observation_matrix @ system.initial_cov @ system.observation_matrix.T + system.observation_cov
    assert log_likelihood(system, one) == pytest.approx(multivariate_normal(mean, cov).logpdf(one.values[0]), rel=1e-12)


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
    """1200 iterations ended in a RecursionError."""
    _, _, one = random_case(13, p=1, d=1, n_steps=15)
    stopping = kem.Stopping(max_iterations=1200, relative_tolerance=0.0, parameter_tolerance=0.0)
    fitted = kem.fit(kem.LocalLevel(), one, stopping=stopping, method="plain")
    assert fitted.em.n_iterations > 20
    assert fitted.em.stop_reason in (kem.StopReason.max_iterations, kem.StopReason.converged)


def test_simdkalman_13_a_transition_matrix_for_every_step():
    _, system, one = random_case(13, varying="F")
    expected = DenseGaussian(system, one).smoothed().log_likelihood
    assert log_likelihood(system, one) == pytest.approx(expected, rel=1e-10)


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


def test_dynamax_16_an_impulse_arrives_one_step_later_everywhere():
    """u[t] acts on y[t] through D, and on x[t+1] through B: in filter, simulation and forecast alike."""
    system = scalar(
        transition_matrix=[[0.5]],
        transition_cov=[[0.0]],
        observation_cov=[[1e-6]],
        initial_cov=[[0.0]],
        transition_input=[[3.0]],
        observation_input=[[0.1]],
    )
    impulse = np.zeros((6, 1))
    impulse[2] = 1.0
    expected = np.array([0.0, 0.0, 0.1, 3.0, 1.5, 0.75])[:, None]
    drawn = kem.simulate(system, 6, np.random.default_rng(0), inputs=impulse)
    np.testing.assert_allclose(drawn.values, expected, atol=0.01)
    filtered = kem.kalman_filter(system, kem.Observations(expected, inputs=impulse))
    np.testing.assert_allclose(filtered.innovations, 0.0, atol=1e-12)
    early = kem.kalman_filter(system, kem.Observations(expected[:3], inputs=impulse[:3]))
    ahead = kem.predict_rows(system, early, 3, inputs=impulse[3:], last_input=impulse[2])
    np.testing.assert_allclose(ahead.observation_means, expected[3:], atol=1e-12)


def test_dynamax_16_the_first_forecast_is_one_step_beyond_the_end():
    """It was the last filtered state itself, and left D u out."""
    rng, system, one = random_case(16, input_dim=2)
    filtered = kem.kalman_filter(system, one)
    future = rng.normal(size=(2, 2))
    ahead = kem.predict_rows(system, filtered, 2, inputs=future, last_input=one.inputs[-1])
    first = (
        system.transition_matrix @ filtered.filtered_means[-1]
        + system.transition_offset
        + system.transition_input @ one.inputs[-1]
    )
    np.testing.assert_allclose(ahead.state_means[0], first, rtol=1e-12)
    seen = system.observation_matrix @ first + system.observation_offset + system.observation_input @ future[0]
    np.testing.assert_allclose(ahead.observation_means[0], seen, rtol=1e-12)


def test_dynamax_17_a_missing_value_does_not_spoil_the_likelihood_or_the_fit():
    _, _, one = random_case(17, n_steps=30, missing=0.3)
    fitted = kem.fit(kem.LinearGaussian(2, 2), one, stopping=kem.Stopping(max_iterations=10))
    assert np.isfinite(fitted.em.log_likelihoods).all()


def test_dynamax_18_the_filter_step_by_step_has_the_likelihood_of_the_batch():
    """Serial and parallel filters differed for an initial mean far from 0."""
    _, system, one = random_case(18, missing=0.2)
    system = replace(system, initial_mean=[1e6, -1e6])
    mean, cov, total = system.initial_mean, system.initial_cov, 0.0
    for t, y in enumerate(one.values):
        if t:
            mean, cov = kem.predict(
                mean, cov, system.transition_matrix, system.transition_cov, system.transition_offset
            )
        mean, cov, gained = kem.update(
            mean, cov, y, system.observation_matrix, system.observation_cov, system.observation_offset
        )
        total += gained
    assert log_likelihood(system, one) == pytest.approx(total, rel=1e-12)
    assert total == pytest.approx(DenseGaussian(system, one).smoothed().log_likelihood, rel=1e-8)


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


def test_marss_20d_an_explosive_transition_is_no_error():
    """A fixed B outside the unit circle was refused."""
    system = scalar(transition_matrix=[[1.2]])
    assert np.isfinite(log_likelihood(system, series(1.2 ** np.arange(20))))


def test_marss_20e_one_observation_and_then_nothing():
    """Missing rows after the last observation lowered the likelihood."""
    one = series([1.5])
    followed = series([1.5] + [np.nan] * 10)
    assert log_likelihood(scalar(), followed) == log_likelihood(scalar(), one)
    expected = multivariate_normal([0.0], [[6.0]]).logpdf([1.5])
    assert log_likelihood(scalar(), followed) == pytest.approx(expected, rel=1e-14)


def test_marss_20f_the_likelihood_is_smooth_down_to_a_tiny_observation_noise():
    """A tolerance in the filter made steps in it."""
    _, system, one = random_case(20, n_steps=10)
    sizes = np.geomspace(1e-16, 1e-9, 200)
    systems = [replace(system, observation_cov=size * np.eye(2)) for size in sizes]
    values = np.array([log_likelihood(noisy, one) for noisy in systems])
    assert np.abs(np.diff(values, n=2)).max() < 1e-6
    assert values[0] == pytest.approx(log_likelihood(replace(system, observation_cov=np.zeros((2, 2))), one), abs=1e-6)
    assert values[-1] == pytest.approx(DenseGaussian(systems[-1], one).smoothed().log_likelihood, rel=1e-9)


def test_kfas_65_small_loadings_are_loadings_in_the_diffuse_phase():
    """A tolerance took them for zeros: states in other units must only move the likelihood by the logarithm."""
    one = series(np.cumsum(np.random.default_rng(0).normal(size=30)))
    diffuse = {"initial_cov": [[0.0]], "initial_diffuse": [True]}
    plain = log_likelihood(scalar(**diffuse), one)
    for unit in (1e-9, 1e-4, 1e5, 1e10):
        other = scalar(observation_matrix=[[unit]], transition_cov=[[1.0 / unit**2]], **diffuse)
        # The flat prior is on the state in its own units.
        assert log_likelihood(other, one) + np.log(unit) == pytest.approx(plain, abs=1e-8)


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


def test_pymc_24_no_value_is_a_marker():
    """-9999 stood for missing, and a true -9999 was lost."""
    values = [1.0, -9999.0, 2.0]
    with_value, without = log_likelihood(scalar(), series(values)), log_likelihood(scalar(), series([1.0, np.nan, 2.0]))
    assert with_value < without - 1e6


def test_tfp_25_a_mask_is_for_entries_not_for_rows():
    rng = np.random.default_rng(25)
    system = kem.LinearGaussianSystem(
        transition_matrix=np.eye(2),
        transition_cov=np.eye(2),
        observation_matrix=np.eye(2),
        observation_cov=np.eye(2),
        initial_mean=np.zeros(2),
        initial_cov=random_cov(rng, 2) * np.eye(2),
    )
    values = rng.normal(size=(6, 2))
    values[1, 0] = values[3, 1] = np.nan
    # Two independent columns: the joint likelihood is the sum of theirs.
    alone = [
        log_likelihood(scalar(observation_cov=[[1.0]], initial_cov=[[system.initial_cov[i, i]]]), series(values[:, i]))
        for i in range(2)
    ]
    assert log_likelihood(system, kem.Observations(values)) == pytest.approx(sum(alone), rel=1e-12)


def test_tfp_25_the_prior_is_on_the_state_at_the_first_observation():
    """And one step before it where the model says so: the first prediction is then F m, F P F' + Q."""
    one = series([1.0, 2.0, 0.5])
    forms = {
        "transition_matrix": Fixed([[0.5]]),
        "transition_cov": Fixed([[1.0]]),
        "observation_matrix": Fixed([[1.0]]),
        "observation_cov": Diagonal(),
        "initial_mean": Fixed([2.0]),
        "initial_cov": Fixed([[4.0]]),
    }
    firsts = {}
    for step in ("first", "before"):
        fitted = kem.fit(kem.LinearGaussian(1, 1, initial_step=step, **forms), one)
        filtered = fitted.filter()
        firsts[step] = filtered.predicted_means[0].item(), filtered.predicted_covs[0].item()
    assert firsts == {"first": (2.0, 4.0), "before": (1.0, pytest.approx(2.0))}
