"""Topic models: sums over all assignments, scikit-learn's bound, known topics, a corpus of real text, bad counts."""

import inspect
import itertools
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from scipy.special import gammaln
from sklearn.decomposition import LatentDirichletAllocation

import kalman_em as kem
from kalman_em.latent.topic_problem import TopicParams, shares, weights

TIGHT = kem.Stopping(relative_tolerance=1e-12, parameter_tolerance=1e-7, max_iterations=5000)
MODELS = {
    "lda": kem.TopicModel(3),
    "lda, given priors": kem.TopicModel(3, document_prior=0.3, word_prior=0.05),
    "lda, words without prior": kem.TopicModel(3, word_prior=None),
    "plsa": kem.TopicModel(3, document_prior=None, word_prior=None),
}


def known_topics(n_documents=60, n_words=30, seed=0):
    """Return counts from three topics that share few words, their probabilities, and the shares of the documents."""
    rng = np.random.default_rng(seed)
    topics = np.full((3, n_words), 0.1)
    for k in range(3):
        topics[k, 10 * k : 10 * k + 10] = rng.uniform(1.0, 5.0, 10)
    topics = shares(topics)
    documents = rng.dirichlet(np.full(3, 0.4), n_documents)
    counts = np.array([rng.multinomial(rng.integers(60, 140), theta @ topics) for theta in documents])
    return counts[:, counts.sum(axis=0) > 0], topics[:, counts.sum(axis=0) > 0], documents


@pytest.mark.parametrize("name", MODELS)
def test_the_objective_never_falls_and_bounds_touch(name):
    counts, _, _ = known_topics()
    fitted = kem.fit(MODELS[name], counts, stopping=kem.Stopping(max_iterations=300), seed=0)
    heights = fitted.em.log_likelihoods
    assert np.diff(heights).min() > -1e-9 * np.abs(heights).max()
    assert (fitted.em.bound_history - heights[:-1]).min() > -1e-9 * np.abs(heights).max()
    assert fitted.em.kl_gaps.min() > -1e-9 * np.abs(heights).max()
    problem, params = fitted.problem, fitted.problem.start()
    expectations, _ = problem.e_step(params)
    assert problem.expected_gain(params, params, expectations) == pytest.approx(0.0, abs=1e-9)


def test_plsa_has_the_likelihood_of_all_assignments():
    counts = np.array([[2, 1, 0], [0, 1, 2]])
    problem = kem.TopicModel(2, document_prior=None, word_prior=None).read(counts)
    problem = kem.TopicModel(2, document_prior=None, word_prior=None).problem(problem)
    params = TopicParams(topics=[[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], documents=[[0.6, 0.4], [0.3, 0.7]])
    total = 0.0
    for d, words in enumerate(([0, 0, 1], [1, 2, 2])):
        joint = 0.0
        for labels in itertools.product(range(2), repeat=3):
            joint += np.prod([params.documents[d, k] * params.topics[k, w] for w, k in zip(words, labels, strict=True)])
        total += np.log(joint)
    assert problem.e_step(params)[1] == pytest.approx(total, abs=1e-12)


def test_the_bound_lies_below_the_exact_likelihood_of_a_tiny_corpus():
    """With all assignments summed and θ, β integrated in closed form: products of Dirichlet normalisers."""
    counts, alpha, eta = np.array([[2, 1], [1, 2]]), 0.7, 0.4

    def log_normaliser(prior, n):
        return gammaln(prior * len(n)) - gammaln(prior * len(n) + n.sum()) + (gammaln(prior + n) - gammaln(prior)).sum()

    words = [(d, w) for d in range(2) for w in range(2) for _ in range(counts[d, w])]
    total = []
    for labels in itertools.product(range(2), repeat=len(words)):
        by_document, by_word = np.zeros((2, 2)), np.zeros((2, 2))
        for (d, w), k in zip(words, labels, strict=True):
            by_document[d, k] += 1.0
            by_word[k, w] += 1.0
        total.append(sum(log_normaliser(alpha, n) for n in by_document) + sum(log_normaliser(eta, n) for n in by_word))
    exact = np.logaddexp.reduce(total)
    fitted = kem.fit(kem.TopicModel(2, document_prior=alpha, word_prior=eta), counts, stopping=TIGHT)
    assert fitted.log_likelihood < exact
    assert fitted.log_likelihood > exact - 2.5
    # A single topic hides nothing but the words' probabilities: then the bound is the likelihood.
    alone = kem.fit(kem.TopicModel(1, document_prior=alpha, word_prior=eta), counts)
    assert alone.log_likelihood == pytest.approx(log_normaliser(eta, counts.sum(axis=0)), abs=1e-9)


def test_the_bound_is_scikit_learns_at_its_parameters_and_ours_is_not_worse():
    counts = known_topics()[0].astype(float)
    outside = LatentDirichletAllocation(
        3, doc_topic_prior=0.3, topic_word_prior=0.05, random_state=0, max_iter=60, max_doc_update_iter=500,
        mean_change_tol=1e-8,
    ).fit(counts)  # fmt: skip
    model = kem.TopicModel(3, document_prior=0.3, word_prior=0.05)
    problem = model.problem(model.read(counts))
    params = TopicParams(outside.components_, outside._unnormalized_transform(counts))
    assert problem.e_step(params)[1] == pytest.approx(outside.score(counts), rel=1e-6)
    fitted = kem.fit(model, counts, n_starts=3, seed=0)
    assert fitted.perplexity() == pytest.approx(outside.perplexity(counts), rel=0.01)
    assert fitted.log_likelihood > outside.score(counts) - 1.0
    # New documents: the same topics lead to the same shares.
    start = {"topics": params.topics, "documents": params.documents}
    ours = kem.fit(model, counts, start=start, stopping=kem.Stopping(max_iterations=1))
    other, _, _ = known_topics(8, seed=5)
    other = np.pad(other, ((0, 0), (0, counts.shape[1] - other.shape[1])))
    theirs = outside.transform(other.astype(float))
    np.testing.assert_allclose(ours.document_topics(other), theirs, atol=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_known_topics_are_found(name):
    counts, topics, documents = known_topics()
    fitted = kem.fit(MODELS[name], counts, n_starts=2, seed=1, stopping=kem.Stopping(max_iterations=200))
    found = fitted.topics.to_numpy()
    order = [int(np.abs(found - topic).sum(axis=1).argmin()) for topic in topics]
    assert sorted(order) == [0, 1, 2]
    assert np.abs(found[order] - topics).sum(axis=1).max() < 0.25
    assert np.abs(fitted.documents.to_numpy()[:, order] - documents).mean() < 0.06


def test_sparse_dense_and_tables_say_the_same():
    counts, _, _ = known_topics(12)
    names = [f"w{j}" for j in range(counts.shape[1])]
    table = pd.DataFrame(counts, columns=names, index=pd.Index([f"d{i}" for i in range(12)], name="document"))
    stopping = kem.Stopping(max_iterations=20)
    fits = [
        kem.fit(kem.TopicModel(2), data, stopping=stopping) for data in (counts, scipy.sparse.coo_matrix(counts), table)
    ]
    assert fits[0].log_likelihood == fits[1].log_likelihood == fits[2].log_likelihood
    assert fits[2].documents.index.equals(table.index)
    assert fits[2].topics.columns.tolist() == names
    assert fits[2].top_words(3).shape == (2, 3)
    assert "perplexity" in str(fits[2].summary())
    assert fits[2].n_rows == 12
    lda, plsa = fits[0], kem.fit(kem.TopicModel(2, document_prior=None, word_prior=None), counts, stopping=stopping)
    assert (lda.n_parameters, plsa.n_parameters) == (0, 2 * (len(names) - 1) + 12)


def test_topics_of_real_text():
    """The documentation of numpy's functions, by module: words of random numbers and of linear algebra part."""
    parts = {"random": np.random.Generator, "linalg": np.linalg, "strings": str}
    texts, kinds = [], []
    for kind, module in parts.items():
        for name, member in inspect.getmembers(module):
            text = inspect.getdoc(member) or ""
            if not name.startswith("_") and callable(member) and len(text) > 120:
                texts.append(re.findall(r"[a-z]{4,}", text.lower()))
                kinds.append(kind)
    tables = pd.DataFrame([pd.Series(words).value_counts() for words in texts]).fillna(0.0)
    tables = tables.loc[:, (tables > 0).sum() >= 3]
    kept = tables.sum(axis=1).to_numpy() > 5
    tables, kinds = tables[kept], np.array(kinds)[kept]
    fitted = kem.fit(kem.TopicModel(3), tables, n_starts=2, seed=0, stopping=kem.Stopping(max_iterations=150))
    alone = kem.fit(kem.TopicModel(1), tables)
    assert fitted.perplexity() < 0.9 * alone.perplexity()
    best = pd.Series(fitted.documents.to_numpy().argmax(axis=1)).groupby(kinds).agg(lambda x: x.value_counts().index[0])
    assert best["random"] != best["linalg"]


def test_a_prior_costs_nothing_where_nothing_was_learnt():
    values, cost = weights(np.full((2, 3), 0.7), 0.7)
    assert cost == pytest.approx(0.0, abs=1e-12)
    assert values.shape == (2, 3)
    assert weights(np.array([[3.0, 1.0]]), 0.5)[1] > 0.0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([[1, -1], [2, 1]], "got -1.0 in document 0, word 1"),
        ([[1.5, 1], [2, 1]], "whole counts"),
        ([[np.nan, 1], [2, 1]], "got nan"),
        ([[0, 0], [2, 1]], "document 0 has no words"),
        ([1, 2], "shape"),
        (pd.DataFrame({"a": ["x"]}), "counts of words"),
        (np.zeros((0, 3)), "at least one document"),
    ],
)
def test_bad_counts_are_named(data, said):
    with pytest.raises(kem.InputError, match=said):
        kem.fit(kem.TopicModel(2), data)


def test_arguments_are_checked():
    counts, _, _ = known_topics(12)
    with pytest.raises(kem.InputError, match="document_prior: expected a number above 0"):
        kem.TopicModel(2, document_prior=-1.0)
    with pytest.raises(kem.InputError, match="n_topics"):
        kem.TopicModel(0)
    with pytest.raises(kem.InputError, match="'word2' stands in no document"):
        kem.fit(kem.TopicModel(2, word_prior=None), [[1, 2, 0], [2, 1, 0]])
    with pytest.raises(kem.InputError, match="series"):
        kem.fit(kem.TopicModel(2), counts, series="a")
    fitted = kem.fit(kem.TopicModel(2), counts, stopping=kem.Stopping(max_iterations=3))
    with pytest.raises(kem.InputError, match="words, as in the fit"):
        fitted.perplexity(counts[:, :-1])
    with pytest.raises(kem.InputError, match="above 0"):
        kem.fit(kem.TopicModel(2), counts, start={"topics": 0.0 * fitted.params.topics})
