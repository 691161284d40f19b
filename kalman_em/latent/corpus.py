"""Counts of words in documents, from sparse or dense matrices and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from kalman_em.errors import InputError


@dataclass(frozen=True, eq=False)
class Corpus:
    """How often each word stands in each document.

    Attributes
    ----------
    counts : scipy.sparse.csr_matrix, shape (D, V)
        Whole numbers, none below 0, as floats; only what is above 0 is stored.
    names : tuple of str
        The words.
    index : pandas Index of length D
        The labels of the documents.
    """

    counts: Any
    names: tuple[str, ...]
    index: pd.Index[Any]

    n_series = 1

    @property
    def obs_dim(self) -> int:
        """Number of words in the vocabulary, V."""
        return int(self.counts.shape[1])

    @property
    def n_documents(self) -> int:
        """Number of documents, D."""
        return int(self.counts.shape[0])

    @property
    def n_words(self) -> float:
        """Number of words in all documents together."""
        return float(self.counts.sum())

    @property
    def n_observed(self) -> int:
        """Number of entries of the matrix: all of them are known."""
        return self.n_documents * self.obs_dim


def to_corpus(data: Any) -> Corpus:
    """Return the counts in `data`: a scipy sparse matrix, an array, a DataFrame with a column a word, or a `Corpus`.

    Raises
    ------
    InputError
        If a count is missing, below 0 or no whole number, or a document has no words.

    Examples
    --------
    >>> to_corpus([[2, 0, 1], [0, 1, 0]]).n_words
    4.0
    """
    if isinstance(data, Corpus):
        return data
    names: tuple[str, ...] | None = None
    index: pd.Index[Any] | None = None
    if isinstance(data, pd.DataFrame):
        names, index = tuple(str(name) for name in data.columns), data.index
        data = data.to_numpy()
    if not scipy.sparse.issparse(data):
        data = np.asarray(data)
        if data.ndim != 2:
            raise InputError(
                f"data: expected a table with a row a document and a column a word, got shape {data.shape}"
            )
    if data.dtype.kind not in "biuf":
        raise InputError(f"data: expected counts of words, got {data.dtype}")
    counts = scipy.sparse.csr_matrix(data, dtype=np.float64, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    if min(counts.shape) < 1:
        raise InputError(f"data: expected at least one document and one word, got shape {counts.shape}")
    _check_counts(counts)
    return Corpus(
        counts,
        tuple(f"word{w}" for w in range(counts.shape[1])) if names is None else names,
        pd.RangeIndex(counts.shape[0]) if index is None else index,
    )


def _check_counts(counts: Any) -> None:
    wrong = ~(np.isfinite(counts.data) & (counts.data >= 0.0) & (counts.data == np.floor(counts.data)))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        row = int(np.searchsorted(counts.indptr, at, side="right")) - 1
        raise InputError(
            f"data: expected whole counts of at least 0, got {counts.data[at]} in document {row}, "
            f"word {counts.indices[at]}"
        )
    empty = np.flatnonzero(np.diff(counts.indptr) == 0)
    if len(empty):
        raise InputError(f"data: document {int(empty[0])} has no words; leave it out")
