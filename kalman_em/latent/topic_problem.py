"""The EM problem of topic models: which topic each word of a document is from is hidden.

Word i of document d comes from topic k with probability θ_dk, and is word w with β_kw. Where a prior is given, of
Dirichlet distributions θ_d ~ Dir(α), β_k ~ Dir(η), the parameters of EM are those of q(θ_d) = Dir(γ_d),
q(β_k) = Dir(λ_k), and its objective is the lower bound on log p(words) (mean field); without, they are the
probabilities themselves. With q(z_dw = k) = r_dwk, both cases are one:

    r_dwk ~ exp(A_dk + B_kw),        A = E[log θ],  B = E[log β],
    objective = Σ n_dw log Σ_k exp(A_dk + B_kw) - KL(q(θ), p(θ)) - KL(q(β), p(β)),

the divergences 0 where there is no prior. The M-step sets γ_dk = α + Σ_w n_dw r_dwk, λ_kw = η + Σ_d n_dw r_dwk, each
the maximum given r; r is the maximum given both: coordinate ascent, in which the bound never falls.

References
----------
Blei, Ng and Jordan, Latent Dirichlet allocation, JMLR 3 (2003), section 5 and appendix A. Hofmann, Unsupervised
learning by probabilistic latent semantic analysis, Machine Learning 42 (2001).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from kalman_em.arrays import Array, as_floats
from kalman_em.errors import InputError
from kalman_em.latent.corpus import Corpus
from kalman_em.latent.named import named_values, with_values

# So many products of documents and topics are held at once.
BLOCK = 1 << 20
# Fewer words than this are none: what is left of a probability on its way to 0.
NONE = 1e-150


@dataclass(frozen=True, eq=False)
class TopicParams:
    """Words of topics (K, V) and topics of documents (D, K): probabilities, or parameters of Dirichlet distributions.

    Raises
    ------
    InputError
        If the shapes do not fit, or a number is below 0.
    """

    topics: Array
    documents: Array

    def __post_init__(self) -> None:
        for name in ("topics", "documents"):
            value = as_floats(getattr(self, name), name)
            if value.ndim != 2 or value.min() < 0.0:
                raise InputError(f"{name}: expected a table of numbers of at least 0, got shape {value.shape}")
            object.__setattr__(self, name, value)
        if len(self.topics) != self.documents.shape[1]:
            raise InputError(f"documents: expected {len(self.topics)} columns, got {self.documents.shape[1]}")


@dataclass(frozen=True, eq=False)
class TopicCounts:
    """Expected number of words by document and topic (D, K), and by topic and word (K, V)."""

    by_document: Array
    by_word: Array


@dataclass(frozen=True, eq=False)
class TopicProblem:
    """EM for `n_topics` topics of `corpus`; a prior is the parameter of a Dirichlet distribution, None for none."""

    corpus: Corpus
    n_topics: int
    document_prior: float | None
    word_prior: float | None

    @property
    def why_no_errors(self) -> str:
        """Why there are no standard errors."""
        if self.document_prior is None and self.word_prior is None:
            return "topics and shares mostly lie at the edge of what they may be, where curvature says nothing"
        return "parameters of Dirichlet distributions are no estimates: their own spread says how sure they are"

    @property
    def n_parameters(self) -> int:
        """Probabilities that are learnt; those with a prior are integrated out."""
        K, V, D = self.n_topics, self.corpus.obs_dim, self.corpus.n_documents
        return (K * (V - 1) if self.word_prior is None else 0) + (D * (K - 1) if self.document_prior is None else 0)

    def e_step(self, params: TopicParams) -> tuple[TopicCounts, float]:
        """Return the expected counts, and the objective: log-likelihood or lower bound."""
        of_documents, documents_cost = weights(params.documents, self.document_prior)
        of_words, words_cost = weights(params.topics, self.word_prior)
        counts = self.corpus.counts
        ratios = counts.copy()
        height = 0.0
        for begin, end, rows in _blocks(counts, self.n_topics):
            found = np.einsum("nk,kn->n", of_documents[rows], of_words[:, counts.indices[begin:end]])
            # A word that no topic of the document can have: log 0, and the run ends there.
            with np.errstate(divide="ignore"):
                height += float(counts.data[begin:end] @ np.log(found))
                ratios.data[begin:end] = counts.data[begin:end] / found
        by_document = of_documents * (ratios @ of_words.T)
        by_word = of_words * (ratios.T @ of_documents).T
        return TopicCounts(by_document, by_word), height - documents_cost - words_cost

    def m_step(self, params: TopicParams, expectations: TopicCounts) -> TopicParams:
        """Return the most likely probabilities, or the best q(θ) and q(β), given the expected counts."""
        return TopicParams(
            _updated(expectations.by_word, self.word_prior), _updated(expectations.by_document, self.document_prior)
        )

    def expected_gain(self, old: TopicParams, new: TopicParams, expectations: TopicCounts) -> float:
        """Return how much `new` raises the bound while r stays as at `old`."""
        gain = 0.0
        for counts, before, after, prior in (
            (expectations.by_word, old.topics, new.topics, self.word_prior),
            (expectations.by_document, old.documents, new.documents, self.document_prior),
        ):
            (first, first_cost), (second, second_cost) = weights(before, prior), weights(after, prior)
            live = counts > NONE
            ratio = second[live] / first[live]
            gain += float(scipy.special.xlogy(counts[live], ratio).sum()) - second_cost + first_cost
        return gain

    def parameter_change(self, old: TopicParams, new: TopicParams) -> float:
        """Return the largest probability that moved, from a word to others or from a topic to others."""
        moves = [np.abs(shares(b) - shares(a)) for a, b in ((old.topics, new.topics), (old.documents, new.documents))]
        return max(0.5 * float(move.sum(axis=1).max()) for move in moves)

    def start(self) -> TopicParams:
        """Return topics like the documents that are farthest from each other (Hellinger), each half like the corpus."""
        counts = self.corpus.counts
        roots = (scipy.sparse.diags(1.0 / self._lengths) @ counts).tocsr().sqrt()
        everywhere = np.asarray(counts.sum(axis=0)).ravel() / self.corpus.n_words
        nearest = 1.0 - np.asarray(roots @ np.sqrt(everywhere)).ravel()
        topics = []
        for _ in range(self.n_topics):
            farthest = int(nearest.argmax())
            own = roots[farthest].toarray().ravel()
            topics.append(0.5 * own**2 + 0.5 * everywhere)
            nearest = np.minimum(nearest, 1.0 - np.asarray(roots @ own).ravel())
        return self._placed(np.array(topics))

    def random_start(self, rng: np.random.Generator) -> TopicParams:
        """Return topics like the whole corpus, each word's share times a draw about 1."""
        everywhere = np.asarray(self.corpus.counts.sum(axis=0)).ravel() / self.corpus.n_words
        return self._placed(shares(everywhere * rng.gamma(2.0, 0.5, (self.n_topics, self.corpus.obs_dim))))

    def even_documents(self) -> Array:
        """Return the parameters of documents that have equal parts of all topics, shape (D, K)."""
        parts = np.tile(self._lengths[:, None] / self.n_topics, (1, self.n_topics))
        return _updated(parts, self.document_prior)

    def document_height(self, params: TopicParams) -> float:
        """Return the objective without what the topics cost by their own divergence from the prior."""
        return self.e_step(params)[1] + weights(params.topics, self.word_prior)[1]

    def started(self, base: TopicParams, given: Mapping[str, Any]) -> TopicParams:
        """Return `base` with the values in `given`; `InputError` for one that does not fit the model."""
        params = with_values(base, given)
        for name, prior in (("topics", self.word_prior), ("documents", self.document_prior)):
            value = getattr(params, name)
            if prior is None and not np.allclose(value.sum(axis=1), 1.0, rtol=0.0, atol=1e-9):
                raise InputError(f"start[{name!r}]: expected rows of probabilities with sum 1")
            if prior is not None and value.min() <= 0.0:
                raise InputError(f"start[{name!r}]: expected Dirichlet parameters above 0, got {value.min()}")
        return params

    def named(self, params: TopicParams) -> Mapping[str, Array]:
        """Return topics and documents."""
        return named_values(params)

    def _placed(self, topics: Array) -> TopicParams:
        words = topics * self.corpus.n_words / self.n_topics
        return TopicParams(_updated(words, self.word_prior), self.even_documents())

    @property
    def _lengths(self) -> Array:
        return np.asarray(self.corpus.counts.sum(axis=1)).ravel()


def weights(values: Array, prior: float | None) -> tuple[Array, float]:
    """Return exp E[log p] for rows of Dirichlet parameters, and their divergence from the prior; p and 0 without.

    Examples
    --------
    >>> weights(np.array([[2.0, 2.0]]), 2.0)[1], weights(np.array([[0.5, 0.5]]), None)[0].tolist()
    (0.0, [[0.5, 0.5]])
    """
    if prior is None:
        return values, 0.0
    log_gamma, total = scipy.special.gammaln, values.sum(axis=1)
    logs = scipy.special.digamma(values) - scipy.special.digamma(total)[:, None]
    n = values.shape[1]
    constant = len(values) * (n * log_gamma(prior) - log_gamma(n * prior))
    cost = log_gamma(total).sum() - log_gamma(values).sum() + ((values - prior) * logs).sum() + constant
    return np.exp(logs), float(cost)


def shares(values: Array) -> Array:
    """Return rows divided by their sums: the expected probabilities."""
    result: Array = values / values.sum(axis=1, keepdims=True)
    return result


def _updated(counts: Array, prior: float | None) -> Array:
    return shares(counts) if prior is None else counts + prior


def _blocks(counts: Any, n_topics: int) -> Iterator[tuple[int, int, Array]]:
    """Yield runs of stored entries, from and to, and the row of each."""
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    size = max(1, BLOCK // n_topics)
    for begin in range(0, len(rows), size):
        end = min(begin + size, len(rows))
        yield begin, end, rows[begin:end]
