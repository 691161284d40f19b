"""What every latent model keeps: one line a model in CASES, and the laws of EM are held against it.

Parameters are dataclasses of arrays whose admissible values form a convex set, so that on the way from one to another
all values are admissible: that gives directions in which to differentiate, whatever the model.

State spaces are held to the same laws in tests/models, switching systems (whose E-step is approximate) in
test_switching.py and test_switching_slopes.py.
"""

from dataclasses import fields, replace

import numpy as np
import pytest

import kalman_em as kem


def clusters(n=50, seed=0, missing=0.15):
    rng = np.random.default_rng(seed)
    first = rng.multivariate_normal([0.0, 0.0, 1.0], [[1.0, 0.6, 0.0], [0.6, 1.0, 0.2], [0.0, 0.2, 2.0]], n)
    second = rng.multivariate_normal([3.0, 2.0, 0.0], [[0.5, -0.2, 0.1], [-0.2, 0.8, 0.0], [0.1, 0.0, 0.7]], n // 2)
    points = np.concatenate([first, second])
    points[rng.random(points.shape) < missing] = np.nan
    return points


def columns_of_factors(n=70, p=5, seed=0, missing=0.15):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 1)) * rng.normal(1.0, 0.5, p) + rng.normal(size=(n, p)) * rng.uniform(0.5, 1.5, p)
    points[rng.random(points.shape) < missing] = np.nan
    return points


def rows_of_regimes(n=150, k=2, seed=0, missing=0.15):
    rng = np.random.default_rng(seed)
    points = 2.5 * np.repeat(rng.integers(k, size=n // 5), 5)[:, None] + rng.normal(size=(n, 2)) @ [
        [1.0, 0.4],
        [0.0, 1.0],
    ]
    points[rng.random(points.shape) < missing] = np.nan
    return points


def values_of_regimes(n=150, seed=0, missing=()):
    """Return one column, an autoregression about a mean that jumps."""
    rng = np.random.default_rng(seed)
    off = np.zeros(n)
    for t in range(1, n):
        off[t] = 0.4 * off[t - 1] + rng.normal()
    values = 4.0 * np.repeat(rng.integers(2, size=n // 10), 10) + off
    values[list(missing)] = np.nan
    return values[:, None]


def words_of_topics(seed=0, n=40):
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(6, 0.5), 2)
    return np.array([rng.multinomial(n, rng.dirichlet([1.0, 1.0]) @ topics) for _ in range(8)])


def rows_of_states(n=40, p=3, seed=0, missing=0.1):
    """Return rows that one state moves."""
    rng = np.random.default_rng(seed)
    state = np.zeros(n)
    for t in range(1, n):
        state[t] = 0.8 * state[t - 1] + rng.normal()
    rows = np.outer(state, rng.normal(1.0, 0.5, p)) + 0.7 * rng.normal(size=(n, p))
    rows[rng.random(rows.shape) < missing] = np.nan
    return rows


HALVES, THIRDS = kem.Fixed([0.5, 0.5]), kem.Fixed(np.full(3, 1.0 / 3.0))
ROUND = kem.Pattern([["a", "b", 0.0], [0.0, "c", "d"], ["e", 0.0, "f"]])

# A model, and data for it: one line each.
CASES = {
    "mixture, full": (kem.GaussianMixture(2), clusters()),
    "mixture, diagonal": (kem.GaussianMixture(3, covariance=kem.Diagonal()), clusters(seed=1)),
    "mixture, isotropic": (kem.GaussianMixture(2, covariance=kem.Isotropic()), clusters(seed=2)),
    "mixture, equal correlations": (kem.GaussianMixture(2, covariance=kem.EqualVarCov()), clusters(seed=3)),
    "mixture, shared full": (kem.GaussianMixture(2, covariance=kem.Shared(kem.Full())), clusters(seed=4)),
    "mixture, shared diagonal": (kem.GaussianMixture(2, covariance=kem.Shared(kem.Diagonal())), clusters(seed=5)),
    "mixture, shared isotropic": (kem.GaussianMixture(2, covariance=kem.Shared(kem.Isotropic())), clusters(seed=6)),
    "mixture, known covariance": (kem.GaussianMixture(2, covariance=kem.Fixed(np.eye(3))), clusters(seed=7)),
    "mixture, blocks": (
        kem.GaussianMixture(2, covariance=kem.BlockDiagonal([(kem.Full(), 2), (kem.Isotropic(), 1)])),
        clusters(seed=8),
    ),
    "mixture, prior": (
        kem.GaussianMixture(2, prior=kem.MixturePrior(concentration=3.0, mean_precision=2.0)),
        clusters(seed=11),
    ),
    "mixture, shared, prior": (
        kem.GaussianMixture(2, covariance=kem.Shared(kem.Diagonal()), prior=kem.MixturePrior(mean_precision=0.0)),
        clusters(seed=12),
    ),
    "mixture, Bayesian": (kem.VariationalMixture(3), clusters(seed=10)),
    "mixture, Bayesian, sticks, diagonal": (
        kem.VariationalMixture(3, covariance=kem.Diagonal(), weights="stick-breaking"),
        clusters(n=25, seed=13),
    ),
    "mixture, Bayesian, shared isotropic": (
        kem.VariationalMixture(2, covariance=kem.Shared(kem.Isotropic())),
        clusters(n=25, seed=14),
    ),
    "mixture, known weights": (kem.GaussianMixture(2, weights=kem.Fixed([0.5, 0.5])), clusters(seed=9, missing=0.0)),
    "hidden Markov, full": (kem.GaussianHMM(2, initial_probabilities=HALVES), rows_of_regimes()),
    "hidden Markov, shared diagonal": (
        kem.GaussianHMM(2, covariance=kem.Shared(kem.Diagonal()), initial_probabilities=HALVES),
        rows_of_regimes(seed=1),
    ),
    "hidden Markov, one way round": (
        kem.GaussianHMM(3, covariance=kem.Isotropic(), transition_matrix=ROUND, initial_probabilities=THIRDS),
        rows_of_regimes(k=3, seed=2),
    ),
    "hidden Markov, left to right": (
        kem.GaussianHMM(
            2, covariance=kem.Diagonal(), transition_matrix=kem.LeftToRight(), initial_probabilities=HALVES
        ),
        rows_of_regimes(seed=3),
    ),
    "hidden Markov, shared full": (
        kem.GaussianHMM(2, covariance=kem.Shared(kem.Full()), initial_probabilities=HALVES),
        rows_of_regimes(seed=4),
    ),
    "Markov autoregression": (
        kem.MarkovAutoregression(2, order=1, initial_probabilities=HALVES),
        values_of_regimes(),
    ),
    "Markov autoregression, all switches": (
        kem.MarkovAutoregression(
            2, order=1, switching_coefficients=True, switching_variance=True, initial_probabilities=HALVES
        ),
        values_of_regimes(seed=1),
    ),
    "Markov autoregression, gaps": (
        kem.MarkovAutoregression(2, order=2, switching_variance=True, initial_probabilities=HALVES),
        values_of_regimes(seed=2, missing=(20, 21, 70)),
    ),
    "hidden Markov, equal correlations": (
        kem.GaussianHMM(2, covariance=kem.EqualVarCov(), initial_probabilities=HALVES),
        rows_of_regimes(seed=5),
    ),
    "hidden Markov, shared isotropic": (
        kem.GaussianHMM(2, covariance=kem.Shared(kem.Isotropic()), initial_probabilities=HALVES),
        rows_of_regimes(seed=6),
    ),
    "hidden Markov, known covariance": (
        kem.GaussianHMM(2, covariance=kem.Fixed(np.eye(2)), initial_probabilities=HALVES),
        rows_of_regimes(seed=7),
    ),
    "topics without priors": (kem.TopicModel(2, document_prior=None, word_prior=None), words_of_topics(seed=2, n=300)),
    "topics": (kem.TopicModel(2, document_prior=0.5, word_prior=0.5), words_of_topics()),
    "factor analysis": (kem.FactorAnalysis(1), columns_of_factors()),
    "factor analysis, complete": (kem.FactorAnalysis(1), columns_of_factors(seed=1, missing=0.0)),
    "mixture of factor analysers": (
        kem.MixtureOfFactorAnalysers(2, 1),
        np.concatenate([columns_of_factors(seed=3), columns_of_factors(seed=4) + 4.0]),
    ),
    "mixture of factor analysers, isotropic": (
        kem.MixtureOfFactorAnalysers(2, 1, noise=kem.Isotropic()),
        clusters(seed=10),
    ),
    "Bayesian state space": (kem.VariationalLinearGaussian(1), rows_of_states()),
    # A looser prior, as one that switches states off leaves no room for differences about where they stand.
    "Bayesian state space, two states": (
        kem.VariationalLinearGaussian(2, relevance=(1.0, 1.0)),
        rows_of_states(n=25, seed=1),
    ),
    "principal components": (kem.PrincipalComponents(2), columns_of_factors(seed=2)),
}
# Generalised EM: the M-step raises the bound, and reaches its top only when it is taken again and again.
GENERALISED = (kem.FactorAnalysis, kem.MixtureOfFactorAnalysers, kem.VariationalLinearGaussian)
# Loadings stand for all their rotations, so that they have more directions than free numbers.
ROTATED = (kem.FactorAnalysis, kem.MixtureOfFactorAnalysers)
# Parameters are those of a posterior, and the objective is a bound.
BAYESIAN = (kem.VariationalMixture, kem.TopicModel, kem.VariationalLinearGaussian)
# But for this one, whose parameters are probabilities.
PLSA = kem.TopicModel(2, document_prior=None, word_prior=None)
DIRECTIONS = 12
TIGHT = kem.Stopping(relative_tolerance=1e-13, parameter_tolerance=1e-9, max_iterations=20_000)


@pytest.fixture(params=CASES, scope="module")
def case(request):
    model, data = CASES[request.param]
    fitted = kem.fit(model, data, stopping=TIGHT)
    assert fitted.em.stop_reason.is_converged, fitted.em.message
    return fitted


def on_the_way(old, new, share):
    """Return the parameters at `share` of the way from `old` to `new`."""
    parts = {}
    # What is derived follows.
    for field in (field for field in fields(old) if field.init):
        a, b = getattr(old, field.name), getattr(new, field.name)
        parts[field.name] = a + share * (b - a)
    return replace(old, **parts)


def others(problem, n, seed=0):
    """Return `n` admissible parameters: random starts, then steps of EM from somewhere between those before."""
    rng = np.random.default_rng(seed)
    found = [problem.random_start(rng) for _ in range(4)]
    while len(found) < n + 4:
        one, other = rng.choice(len(found), 2, replace=False)
        between = on_the_way(found[one], found[other], rng.uniform(0.2, 0.8))
        found.append(problem.m_step(between, problem.e_step(between)[0]))
    # Anew, so that they do not remember a turn that led to them.
    return [replace(one) for one in found[4:]]


def slope(function, at, towards, step=1e-4):
    """Return the derivative of `function` from `at` towards other parameters, by central differences of order 4."""
    values = [function(on_the_way(at, towards, times * step)) for times in (-2, -1, 1, 2)]
    return (values[0] - 8.0 * values[1] + 8.0 * values[2] - values[3]) / (12.0 * step)


def in_basis_of(params, expectations):
    """Return expectations in the basis of hidden states that an M-step has led to, where it may turn them."""
    return expectations.turned(params.turned) if hasattr(params, "turned") else expectations


def test_the_ascent_is_monotone_and_the_bound_lies_between(case):
    heights = case.em.log_likelihoods
    rounding = 1e-10 * (1.0 + np.abs(heights).max())
    assert np.diff(heights).min() > -rounding
    assert (case.em.bound_history - heights[:-1]).min() > -rounding
    assert case.em.kl_gaps.min() > -rounding


def test_the_gradient_vanishes_at_the_end(case):
    problem, end = case.problem, case.em.params
    height = problem.e_step(end)[1]
    for other in others(problem, DIRECTIONS):
        drop = height - problem.e_step(other)[1]
        assert abs(slope(lambda p: problem.e_step(p)[1], end, other)) < 1e-5 * (1.0 + abs(drop))


def test_the_m_step_is_where_the_expected_gain_is_flat_and_highest(case):
    problem = case.problem
    old = others(problem, 2, seed=1)[1]
    expectations, _ = problem.e_step(old)
    new = problem.m_step(old, expectations)
    highest = problem.expected_gain(old, new, expectations)
    there = in_basis_of(new, expectations)
    for _ in range(400 if isinstance(case.model, GENERALISED) else 0):
        following = problem.m_step(new, there)
        more = problem.expected_gain(new, following, there)
        assert more >= -1e-9 * abs(highest)
        new, there, highest = following, in_basis_of(following, there), highest + more
    assert highest > 0.0
    for other in others(problem, DIRECTIONS, seed=2):
        gain = problem.expected_gain(old, other, expectations)
        assert gain <= highest + 1e-9 * abs(highest)
        flat = slope(lambda p: problem.expected_gain(new, p, there), new, other)
        assert abs(flat) < 1e-6 * (1.0 + highest - gain)


def test_the_bound_lies_below_the_log_likelihood_and_touches_it(case):
    problem = case.problem
    old, *rest = others(problem, DIRECTIONS, seed=3)
    expectations, height = problem.e_step(old)
    assert problem.expected_gain(old, old, expectations) == pytest.approx(0.0, abs=1e-9)
    for other in rest:
        bound = height + problem.expected_gain(old, other, expectations)
        assert bound <= problem.e_step(other)[1] + 1e-9 * (1.0 + abs(height))
        # Fisher's identity: where they touch they have one slope.
        expected = slope(lambda p: problem.expected_gain(old, p, expectations), old, other)
        assert slope(lambda p: problem.e_step(p)[1], old, other) == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_the_number_of_parameters_is_that_of_free_directions(case):
    problem = case.problem
    if isinstance(case.model, kem.TopicModel) and case.model != PLSA:
        pytest.skip("what has a prior is integrated out, and counts nothing")
    if isinstance(case.model, kem.VariationalLinearGaussian):
        means = (case.em.params.transition_means, case.em.params.observation_means, case.em.params.noise_precisions)
        assert problem.n_parameters == sum(value.size for value in means)
        return
    if isinstance(case.model, ROTATED):
        pytest.skip("counted by the directions of the covariance, in test_factor_analysis.py")
    points = others(problem, 3 * problem.n_parameters, seed=4)
    flat = np.array([np.concatenate([v.ravel() for v in problem.named(p).values()]) for p in points])
    singular = np.linalg.svd((flat - flat[0]) / (np.abs(flat).max(axis=0) + 1e-300), compute_uv=False)
    assert np.count_nonzero(singular > 1e-10 * singular[0]) == problem.n_parameters


def test_free_numbers_are_as_many_and_lead_back(case):
    problem, end = case.problem, case.em.params
    if isinstance(case.model, BAYESIAN):
        pytest.skip("its parameters are those of a posterior, or topics, which have no free numbers")
    numbers = problem.free_numbers(end)
    assert len(numbers) == problem.n_parameters
    back = problem.named(problem.with_numbers(end, numbers))
    for name, value in problem.named(end).items():
        np.testing.assert_allclose(back[name], value, rtol=1e-9, atol=1e-12)
    # Any of them is admissible a little further, and says something else.
    moved = problem.named(problem.with_numbers(end, numbers * (1.0 + 1e-4)))
    assert any(not np.array_equal(moved[name], back[name]) for name in back)


def test_a_row_of_nan_says_nothing(case):
    if isinstance(case.model, kem.TopicModel):
        pytest.skip("counts are all known")
    values = case.panel[0].values
    padded = np.concatenate([values, np.full((1, values.shape[1]), np.nan)])
    problem = case.model.problem(kem.Panel([kem.Observations(padded)]))
    assert problem.e_step(case.em.params)[1] == pytest.approx(case.em.log_likelihood, rel=1e-12)


def test_starts_are_repeatable(case):
    problem = case.problem
    for start in (problem.start, lambda: problem.random_start(np.random.default_rng(5))):
        one, other = problem.named(start()), problem.named(start())
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


def test_a_fit_goes_on_from_its_own_parameters(case):
    again = kem.fit(case.model, case.panel, start=case.params, stopping=TIGHT)
    assert again.em.log_likelihood == pytest.approx(case.em.log_likelihood, rel=1e-10)
    assert again.em.n_iterations <= 10
    said = "lower bound" if isinstance(case.model, BAYESIAN) and case.model != PLSA else "log-likelihood"
    assert said in str(case.summary())
    assert type(case).__name__ in repr(case)


def test_what_is_given_as_a_start_is_checked(case):
    name, value = next(iter(case.params.items()))
    for given, said in (
        ({"no such": 1.0}, "no such"),
        ({name: np.zeros((9, 9, 9))}, "shape"),
        ([1.0], "mapping"),
        ({name: value * np.nan}, name),
    ):
        with pytest.raises(kem.InputError, match=said):
            kem.fit(case.model, case.panel, start=given)
