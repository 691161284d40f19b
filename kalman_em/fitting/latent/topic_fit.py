"""A fitted topic model: words of topics, topics of documents, perplexity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, as_count
from kalman_em.errors import InputError
from kalman_em.fitting.latent.latent_fit import LatentFit
from kalman_em.latent.corpus import Corpus, to_corpus
from kalman_em.latent.topic_problem import TopicParams, TopicProblem, shares
from kalman_em.leaves import leaf

# A new document's topics have settled when no share moves by more than this; or after so many steps.
SETTLED, STEPS = 1e-6, 1000


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class TopicFit(LatentFit):
    """A fitted `TopicModel`; `params` are `topics` (K, V) and `documents` (D, K).

    They are probabilities where there is no prior, else the parameters of Dirichlet distributions. With a prior
    `log_likelihood` is the lower bound, and there are no AIC and BIC, which are made for likelihoods.

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.TopicModel(2), [[9, 8, 0, 0], [7, 9, 1, 0], [0, 1, 9, 8], [0, 0, 8, 9]])
    >>> fitted.top_words(2).to_numpy().tolist()
    [['word1', 'word0'], ['word2', 'word3']]
    """

    data_kind: ClassVar[type[Any]] = Corpus

    @property
    def topics(self) -> pd.DataFrame:
        """The expected probability of each word in each topic, shape (K, V)."""
        return pd.DataFrame(shares(self._own.topics), index=self._labels, columns=list(self._corpus.names))

    @property
    def documents(self) -> pd.DataFrame:
        """The expected share of each topic in each document, shape (D, K)."""
        return pd.DataFrame(shares(self._own.documents), index=self._corpus.index, columns=self._labels)

    def top_words(self, n: int = 10) -> pd.DataFrame:
        """Return the `n` most probable words of each topic, a row a topic, the most probable first."""
        best = np.argsort(-self._own.topics, axis=1, kind="stable")[:, : as_count(n, "n")]
        return pd.DataFrame(np.array(self._corpus.names, dtype=object)[best], index=self._labels)

    def document_topics(self, data: Any) -> pd.DataFrame:
        """Return the expected share of each topic in other documents, the topics held as they were learnt.

        Raises
        ------
        InputError
            If `data` holds no counts, or has other words.
        """
        problem, params = self._seen(data)
        return pd.DataFrame(shares(params.documents), index=problem.corpus.index, columns=self._labels)

    def perplexity(self, data: Any = None) -> float:
        """Return exp(-objective / number of words), of the fit's documents or others; lower is better.

        With priors the objective is the lower bound. Of other documents it leaves out what the topics' own
        divergence from their prior costs, which is paid once, for the documents that they were learnt from.

        Raises
        ------
        InputError
            If `data` holds no counts, or has other words.
        """
        if data is None:
            return float(np.exp(-self.log_likelihood / self._corpus.n_words))
        problem, params = self._seen(data)
        return float(np.exp(-problem.document_height(params) / problem.corpus.n_words))

    def plot(self, *, n_words: int = 8, ax: Any = None) -> Any:
        """Draw the most probable words of each topic, an axes a topic; see `kalman_em.plotting.plot_topics`.

        Raises
        ------
        InputError
            If `n_words` is no whole number of at least 1, or there are more or fewer axes than topics.
        """
        return leaf("plotting").plot_topics(self, n_words=n_words, ax=ax)

    @property
    def n_rows(self) -> int:
        """Number of documents: the n of BIC."""
        return self._corpus.n_documents

    @property
    def _own(self) -> TopicParams:
        params: TopicParams = self.em.params
        return params

    @property
    def _corpus(self) -> Corpus:
        corpus: Any = self.panel
        own: Corpus = corpus
        return own

    @property
    def _labels(self) -> list[str]:
        return [f"topic{k + 1}" for k in range(len(self._own.topics))]

    def _seen(self, data: Any) -> tuple[TopicProblem, TopicParams]:
        """Return the problem of other documents, and their topics under the topics learnt."""
        corpus = to_corpus(data)
        if corpus.obs_dim != self._corpus.obs_dim:
            raise InputError(f"data: expected {self._corpus.obs_dim} words, as in the fit, got {corpus.obs_dim}")
        if isinstance(data, pd.DataFrame) and corpus.names != self._corpus.names:
            raise InputError("data: expected the words of the fit as columns, in their order")
        fitted: Any = self.problem
        problem: TopicProblem = replace(fitted, corpus=corpus)
        documents: Array = problem.even_documents()
        for _ in range(STEPS):
            params = TopicParams(self._own.topics, documents)
            documents = problem.m_step(params, problem.e_step(params)[0]).documents
            if np.abs(shares(documents) - shares(params.documents)).max() < SETTLED:
                break
        return problem, TopicParams(self._own.topics, documents)

    @property
    def aic(self) -> float:
        """Akaike's criterion of probabilistic latent semantic analysis; a model with priors has none."""
        self._check_criterion("AIC")
        return super().aic

    @property
    def aicc(self) -> float:
        """AIC corrected for the sample size; a model with priors has none."""
        self._check_criterion("AICc")
        return super().aicc

    @property
    def bic(self) -> float:
        """The Bayesian information criterion, n the number of documents; a model with priors has none."""
        self._check_criterion("BIC")
        return super().bic

    def _check_criterion(self, name: str) -> None:
        if self._is_bound:
            raise InputError(
                f"{name}: a topic model with priors has none, as its objective is a lower bound; compare `perplexity` "
                "of documents that it did not learn from"
            )

    @property
    def _is_bound(self) -> bool:
        """Whether the objective is the bound of a model with priors."""
        model: Any = self.model
        return not (model.document_prior is None and model.word_prior is None)

    @property
    def _objective(self) -> str:
        return "lower bound" if self._is_bound else "log-likelihood"

    def _facts(self) -> list[str]:
        left = [
            ("documents", f"{self._corpus.n_documents}"),
            ("words", f"{self._corpus.n_words:.0f}, {self._corpus.obs_dim} different"),
            ("topics", str(len(self._own.topics))),
            ("", ""),
        ]
        right = [(self._objective, f"{self.log_likelihood:.6g}"), ("perplexity", f"{self.perplexity():.6g}")]
        if not self._is_bound:
            right += [("free parameters", f"{self.n_parameters}"), ("BIC", f"{self.bic:.6g}")]
        lines = [f"{a:<16} {b:<26}{c:<16}{d:>19}" for (a, b), (c, d) in zip(left, right, strict=False)]
        rest = [f"{a:<16} {b}" for a, b in left[len(right) :]]
        return [line.rstrip() for line in [*lines, *rest] if line.strip()]

    def _n_all_rows(self) -> int:
        return self._corpus.n_documents

    def _parameter_lines(self) -> list[str]:
        part = shares(self._own.documents).mean(axis=0)
        words = self.top_words(min(8, self._corpus.obs_dim)).to_numpy()
        return [
            f"{label:<10}{share:>6.1%}  {' '.join(row)}"
            for label, share, row in zip(self._labels, part, words, strict=True)
        ]
