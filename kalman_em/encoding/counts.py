"""Counts of words as JSON and back: what is not 0, document by document."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy

from kalman_em.encoding.labels import decoded_index, encoded_index
from kalman_em.latent.corpus import Corpus


def encoded_counts(corpus: Corpus) -> dict[str, Any]:
    """Return a corpus as JSON: for every document the numbers of its words, and how often each stands there.

    Examples
    --------
    >>> from kalman_em.latent.corpus import to_corpus
    >>> encoded_counts(to_corpus([[2, 0, 1], [0, 3, 0]]))["documents"]
    [[[0, 2], [2, 1]], [[1], [3]]]
    """
    counts = corpus.counts
    bounds = zip(counts.indptr[:-1], counts.indptr[1:], strict=True)
    documents = [
        [counts.indices[begin:end].tolist(), counts.data[begin:end].astype(np.int64).tolist()] for begin, end in bounds
    ]
    return {"words": list(corpus.names), "index": encoded_index(corpus.index), "documents": documents}


def decoded_counts(node: dict[str, Any]) -> Corpus:
    """Return the corpus that `encoded_counts` was given.

    Examples
    --------
    >>> from kalman_em.latent.corpus import to_corpus
    >>> decoded_counts(encoded_counts(to_corpus([[2, 0, 1], [0, 3, 0]]))).counts.toarray().tolist()
    [[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]
    """
    words, documents = tuple(node["words"]), node["documents"]
    starts = np.concatenate([[0], np.cumsum([len(words_of) for words_of, _ in documents])])
    indices, data = ([entry for document in documents for entry in document[part]] for part in (0, 1))
    parts = np.array(data, dtype=np.float64), np.array(indices, dtype=np.int32), starts.astype(np.int32)
    counts = scipy.sparse.csr_matrix(parts, shape=(len(documents), len(words)))
    return Corpus(counts, words, decoded_index(node["index"]))
