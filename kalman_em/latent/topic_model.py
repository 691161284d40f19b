"""Topic models: each word of a document is from one of a few topics, and which one is hidden."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from kalman_em.arrays import as_count
from kalman_em.errors import InputError
from kalman_em.latent.corpus import Corpus, to_corpus
from kalman_em.latent.topic_problem import TopicProblem


@dataclass(frozen=True, kw_only=True)
class TopicModel:
    """Latent Dirichlet allocation by variational EM, and PLSA where no priors are given.

    Parameters
    ----------
    n_topics : int
        Number of topics, K.
    document_prior, word_prior : float above 0, None, or "even"
        Parameters α and η of the Dirichlet distributions of a document's topics and a topic's words; "even" is 1 / K.
        None: no prior, and probabilities that are learnt as they are. With both None the model is probabilistic latent
        semantic analysis, the maximum-likelihood special case; with ``word_prior=None`` it is the first model of Blei,
        Ng and Jordan.

    Raises
    ------
    InputError
        If an argument is of the wrong kind; in a fit, if counts are below 0, missing or not whole, a document has no
        words, or, without `word_prior`, a word stands in no document.

    Notes
    -----
    `fit` takes a scipy sparse matrix, an array or a DataFrame of counts, a row a document and a column a word. With
    priors, the log-likelihood of the fit is the lower bound that variational EM climbs: exact, and it never falls.

    References
    ----------
    Blei, Ng and Jordan, Latent Dirichlet allocation, JMLR 3 (2003). Hofmann, Unsupervised learning by probabilistic
    latent semantic analysis, Machine Learning 42 (2001).

    Examples
    --------
    >>> import kalman_em as kem
    >>> counts = [[9, 8, 0, 0], [7, 9, 1, 0], [0, 1, 9, 8], [0, 0, 8, 9]]
    >>> fitted = kem.fit(kem.TopicModel(2), counts)
    >>> fitted.documents.round(1).to_numpy().tolist()
    [[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0]]
    """

    n_topics: int = field(kw_only=False)
    document_prior: Any = "even"
    word_prior: Any = "even"

    is_ordered: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_topics", as_count(self.n_topics, "n_topics"))
        for name in ("document_prior", "word_prior"):
            value = getattr(self, name)
            is_number = isinstance(value, Real) and not isinstance(value, bool) and 0.0 < float(value) < np.inf
            if not (value is None or value == "even" or is_number):
                raise InputError(f"{name}: expected a number above 0, None or 'even', got {value!r}")

    def read(self, data: Any) -> Corpus:
        """Return the counts in the data of a user."""
        return to_corpus(data)

    def problem(self, panel: Any) -> TopicProblem:
        """Return the EM problem for the counts of `panel`, a `Corpus`."""
        priors = [1.0 / self.n_topics if p == "even" else p for p in (self.document_prior, self.word_prior)]
        unused = np.flatnonzero(np.bincount(panel.counts.indices, minlength=panel.obs_dim) == 0)
        if priors[1] is None and len(unused):
            raise InputError(
                f"data: word {panel.names[int(unused[0])]!r} stands in no document, so no topic can have it; leave it "
                "out, or give a word_prior"
            )
        return TopicProblem(panel, self.n_topics, *(None if p is None else float(p) for p in priors))
