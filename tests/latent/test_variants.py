"""Variants of EM on mixtures: what each promises, and whom it equals."""

import itertools
import warnings

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.em.stochastic import OnlineState
from kalman_em.em.variants import _InParts

TIGHT = kem.Stopping(relative_tolerance=1e-13, parameter_tolerance=1e-9, max_iterations=20_000)


def blobs(n=150, seed=0, apart=4.0):
    rng = np.random.default_rng(seed)
    middles = apart * np.array([[0.0, 0.0], [1.0, 0.0], [0.4, 1.0]])
    return np.concatenate([rng.normal(size=(n, 2)) * [0.8, 1.2] + m for m in middles])


def problem_of(model, data):
    return model.problem(kem.Panel([kem.Observations(data)]))


def k_means_model(n):
    return kem.GaussianMixture(n, covariance=kem.Shared(kem.Isotropic()), weights=kem.Fixed(np.full(n, 1.0 / n)))


def test_hard_em_with_equal_spheres_is_k_means():
    cluster = pytest.importorskip("sklearn.cluster")
    data = blobs(apart=2.0)
    centres = data[[0, 10, 300]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = cluster.KMeans(3, init=centres, n_init=1, max_iter=300, tol=0.0, algorithm="lloyd").fit(data)
    start = {"means": centres, "covs": [np.eye(2)] * 3, "weights": np.full(3, 1.0 / 3.0)}
    ours = kem.fit(k_means_model(3), data, method="hard", start=start)
    assert ours.em.stop_reason.is_converged
    np.testing.assert_allclose(ours.params.means, theirs.cluster_centers_, rtol=1e-10)
    np.testing.assert_array_equal(ours.assign(), theirs.labels_)
    assert ours.params.covs[0, 0, 0] == pytest.approx(theirs.inertia_ / data.size, rel=1e-10)


def test_the_hard_objective_is_that_of_the_best_assignment_of_all():
    data = blobs(n=2, seed=4)
    model = kem.GaussianMixture(2, covariance=kem.Isotropic())
    params = kem.fit(model, blobs(), stopping=kem.Stopping(max_iterations=2)).em.params
    problem = problem_of(model, data)
    shares = np.array([problem.tempered(1.0).probabilities(params)[0]])[0]
    heights = problem.probabilities(params)[1]
    best = max(
        sum(heights[i] + np.log(shares[i, k]) for i, k in enumerate(labels))
        for labels in itertools.product(range(2), repeat=len(data))
    )
    assert problem.tempered(0.0).e_step(params)[1] == pytest.approx(best, rel=1e-12)


def test_the_tempered_objective_sums_all_assignments_at_its_temperature():
    data, T = blobs(n=2, seed=4), 2.5
    model = kem.GaussianMixture(2, covariance=kem.Isotropic())
    params = kem.fit(model, blobs(), stopping=kem.Stopping(max_iterations=2)).em.params
    problem = problem_of(model, data)
    shares, heights = problem.probabilities(params)
    total = sum(
        np.exp(sum(heights[i] + np.log(shares[i, k]) for i, k in enumerate(labels)) / T)
        for labels in itertools.product(range(2), repeat=len(data))
    )
    assert problem.tempered(T).e_step(params)[1] == pytest.approx(T * np.log(total), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.0, 0.6, 3.0])
def test_tempered_em_never_falls_and_its_slope_is_that_of_its_bound(temperature):
    model = kem.GaussianMixture(3)
    problem = problem_of(model, blobs(apart=2.0)).tempered(temperature)
    result = kem.run_em(problem, problem.start(), record_bound=True, stopping=kem.Stopping(max_iterations=300))
    assert result.stop_reason.is_converged
    assert np.diff(result.log_likelihoods).min() > -1e-9
    assert result.kl_gaps.min() > -1e-9


def test_hard_em_makes_variances_too_small_and_says_so_in_its_likelihood():
    data = blobs(apart=2.0)
    soft, hard = (kem.fit(kem.GaussianMixture(3, covariance=kem.Isotropic()), data, method=m) for m in ("em", "hard"))
    assert hard.log_likelihood < soft.log_likelihood
    assert hard.params.covs[:, 0, 0].mean() < 0.9 * soft.params.covs[:, 0, 0].mean()


def test_incremental_em_reaches_the_same_maximum_in_fewer_passes_and_never_falls():
    data = blobs(apart=2.5)
    data[::7, 0] = np.nan
    model = kem.GaussianMixture(3, covariance=kem.Shared(kem.Full()))
    whole = kem.fit(model, data, stopping=TIGHT)
    parts = kem.fit(model, data, stopping=TIGHT, method=kem.Incremental(15), seed=0)
    assert parts.log_likelihood == pytest.approx(whole.log_likelihood, abs=1e-7)
    assert np.diff(parts.em.log_likelihoods).min() > -1e-9
    assert parts.em.n_iterations < 0.5 * whole.em.n_iterations


def test_the_parts_of_a_problem_add_up_to_it():
    data = blobs()
    data[::5, 1] = np.nan
    data[3] = np.nan
    problem = problem_of(kem.GaussianMixture(3), data)
    params = problem.start()
    whole, height = problem.e_step(params)
    parts = problem.divided(7, np.random.default_rng(0))
    assert sum(part.rows.n_rows for part in parts) == len(data)
    found = [part.e_step(params) for part in parts]
    pooled = problem.pooled([(1.0, moments) for moments, _ in found])
    assert sum(h for _, h in found) == pytest.approx(height, rel=1e-12)
    for name in ("counts", "means", "scatters"):
        np.testing.assert_allclose(getattr(pooled, name), getattr(whole, name), rtol=1e-9, atol=1e-9)


def test_a_pass_over_one_part_is_a_step_of_em():
    problem = problem_of(kem.GaussianMixture(3), blobs())
    params = problem.start()
    in_parts = _InParts(problem, (problem,))
    expectations, height = in_parts.e_step(params)
    moments, expected = problem.e_step(params)
    assert height == expected
    np.testing.assert_allclose(
        in_parts.m_step(params, expectations).means, problem.m_step(params, moments).means, rtol=1e-12
    )


def series_of_regimes(n_series=40, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_series):
        path = np.repeat(rng.integers(2, size=6), 5)
        values = 2.5 * path[:, None] + rng.normal(size=(len(path), 2))
        values[rng.random(values.shape) < 0.1] = np.nan
        found.append(kem.Observations(values[: rng.integers(12, 31)]))
    return kem.Panel(found)


def columns_of(panel):
    return kem.Panel([kem.Observations(np.where(np.isnan(one.values), 0.0, one.values)[:, :1]) for one in panel])


def with_gaps(panel):
    found = [one.values.copy() for one in columns_of(panel)]
    for values in found[::2]:
        values[[4, 8, -1]] = np.nan
    return kem.Panel([kem.Observations(values) for values in found])


REGIMES = {
    "hidden Markov": (kem.GaussianHMM(2), series_of_regimes()),
    "Markov autoregression": (kem.MarkovAutoregression(2, order=1), columns_of(series_of_regimes())),
    "Markov autoregression, gaps": (kem.MarkovAutoregression(2, order=1), with_gaps(series_of_regimes())),
}


@pytest.mark.parametrize("name", REGIMES)
def test_series_with_regimes_fall_into_parts_that_add_up(name):
    model, panel = REGIMES[name]
    problem = model.problem(panel)
    params = problem.start()
    parts = problem.divided(3, np.random.default_rng(0))
    found = [part.e_step(params) for part in parts]
    expectations, height = problem.e_step(params)
    assert sum(height for _, height in found) == pytest.approx(height, rel=1e-12)
    pooled = problem.pooled([(1.0, one) for one, _ in found])
    one, other = (problem.named(problem.m_step(params, some)) for some in (expectations, pooled))
    for key, value in one.items():
        np.testing.assert_allclose(other[key], value, rtol=1e-9, atol=1e-9)
    # Each counted twice is twice the data, whose M-step is the same.
    twice = problem.named(problem.m_step(params, problem.pooled([(2.0, expectations)])))
    np.testing.assert_allclose(twice["means"], one["means"], rtol=1e-9)


@pytest.mark.parametrize("name", list(REGIMES)[:2])
def test_incremental_and_stochastic_em_of_series_with_regimes_reach_the_maximum(name):
    model, panel = REGIMES[name]
    whole = kem.fit(model, panel)
    parts = kem.fit(model, panel, method=kem.Incremental(4), seed=0)
    assert parts.log_likelihood == pytest.approx(whole.log_likelihood, abs=1e-4)
    assert np.all(np.diff(parts.em.log_likelihoods) >= -1e-9)
    assert parts.em.n_iterations < whole.em.n_iterations
    online = kem.fit(model, panel, method=kem.Stochastic(batch_size=8), seed=0)
    assert whole.log_likelihood - online.log_likelihood < 0.02 * panel.n_series
    with pytest.raises(kem.InputError, match="at least two independent parts"):
        kem.fit(model, panel.series[0], method="stochastic")


def test_stochastic_em_comes_near_the_maximum_in_a_pass_or_two():
    data = blobs(n=8000, apart=2.5)
    model = kem.GaussianMixture(3, covariance=kem.Isotropic())
    whole = kem.fit(model, data)
    some = kem.fit(model, data, method=kem.Stochastic(batch_size=500), seed=1)
    assert some.em.stop_reason.is_converged
    assert some.em.n_iterations <= 5 < whole.em.n_iterations
    assert 0.0 < (whole.log_likelihood - some.log_likelihood) / len(data) < 1e-3
    again = kem.fit(model, data, method=kem.Stochastic(batch_size=500), seed=1)
    assert again.params == some.params


def test_a_batch_stands_for_all_rows():
    problem = problem_of(kem.GaussianMixture(3), blobs())
    params = problem.start()
    whole, _ = problem.e_step(params)
    batch = problem.divided(3, np.random.default_rng(0))[0]
    after = OnlineState(params, whole, 0).stepped(problem, batch, 3, 0.6)
    step = 2.0**-0.6
    fresh, _ = batch.e_step(params)
    np.testing.assert_allclose(after.expectations.counts, (1.0 - step) * whole.counts + step * 3.0 * fresh.counts)
    assert after.expectations.counts.sum() == pytest.approx(450.0)
    assert after.n_batches == 1


def test_accelerated_em_reaches_the_same_maximum_in_fewer_iterations_and_never_falls():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0.0, 1.0, (200, 2)), rng.normal(1.7, 1.0, (200, 2))])
    for model, data in (
        (kem.GaussianMixture(2, covariance=kem.Shared(kem.Full())), points),
        (kem.GaussianHMM(2), series_of_regimes(10)),
    ):
        plain, fast = (kem.fit(model, data, method=method) for method in ("em", "accelerated"))
        assert fast.em.n_iterations < 0.5 * plain.em.n_iterations
        assert fast.log_likelihood > plain.log_likelihood - 1e-5
        assert np.diff(fast.em.log_likelihoods).min() > -1e-9


def test_annealing_ends_at_a_maximum_of_the_likelihood():
    data = blobs(apart=2.5)
    fitted = kem.fit(kem.GaussianMixture(3), data, method="annealed")
    again = kem.fit(kem.GaussianMixture(3), data, start=fitted.params)
    assert again.log_likelihood == pytest.approx(fitted.log_likelihood, abs=1e-6)
    assert "annealed from temperature 3" in fitted.em.detail


def test_annealing_finds_the_best_maximum_from_starts_where_em_does_not():
    rng = np.random.default_rng(3)
    middles = 6.0 * rng.normal(size=(6, 2))
    data = np.concatenate([m + rng.normal(size=(50, 2)) for m in middles])
    model = kem.GaussianMixture(6, covariance=kem.Shared(kem.Isotropic()), starts="random")
    problem = problem_of(model, data)
    starts = [problem.named(problem.random_start(np.random.default_rng(seed))) for seed in range(4)]
    reached = {m: [kem.fit(model, data, start=s, method=m).log_likelihood for s in starts] for m in ("em", "annealed")}
    best = max(max(heights) for heights in reached.values()) - 1e-3
    found = {method: sum(height > best for height in heights) for method, heights in reached.items()}
    assert found["annealed"] > found["em"], found


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: kem.Annealed(temperatures=(2.0, 3.0)), "temperatures"),
        (lambda: kem.Annealed(temperatures=()), "temperatures"),
        (lambda: kem.Incremental(1), "n_parts"),
        (lambda: kem.Stochastic(batch_size=0), "batch_size"),
        (lambda: kem.Stochastic(exponent=0.5), "exponent"),
        (lambda: kem.Stochastic(tolerance=float("nan")), "tolerance"),
        (lambda: kem.fit(kem.GaussianMixture(2), blobs(), method="hardd"), "did you mean 'hard'"),
        (lambda: kem.fit(kem.LocalLevel(), [1.0, 2.0, 3.0], method="annealed"), "method"),
        (lambda: kem.fit(kem.LocalLevel(), [1.0, 2.0, 3.0], method=kem.Incremental(2)), "method"),
    ],
)
def test_what_makes_no_sense_is_refused(build, said):
    with pytest.raises(kem.InputError, match=said):
        build()
