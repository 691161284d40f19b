"""Plots of topic models: the words that each topic prefers."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kalman_em.arrays import as_count
from kalman_em.errors import InputError
from kalman_em.fitting.latent.topic_fit import TopicFit
from kalman_em.plotting.axes import SIGNAL

# Topics side by side.
ACROSS = 4


def plot_topics(fitted: TopicFit, *, n_words: int = 8, ax: Any = None) -> Any:
    """Draw the most probable words of each topic with their probabilities, an axes a topic.

    Parameters
    ----------
    fitted : TopicFit
        What `kem.fit` returned; ``fitted.plot()`` is the same.
    n_words : int
        How many words of each topic.
    ax : matplotlib Axes, one a topic, optional
        Where to draw.

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    InputError
        If `fitted` is no fit of a topic model, `n_words` no whole number of at least 1, or there are more or fewer axes
        than topics.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.TopicModel(2), [[9, 8, 0, 0], [7, 9, 1, 0], [0, 1, 9, 8], [0, 0, 8, 9]])
    >>> [label.get_text() for label in fitted.plot(n_words=2)[0].get_yticklabels()]
    ['word1', 'word0']
    """
    if not isinstance(fitted, TopicFit):
        raise InputError(f"fitted: expected the fit of a topic model, got {type(fitted).__name__}")
    n_words = min(as_count(n_words, "n_words"), fitted.panel.obs_dim)
    topics = fitted.topics
    axes = _axes(ax, len(topics), n_words)
    parts = fitted.documents.mean().to_numpy()
    for one, part, (topic, words) in zip(axes, parts, topics.iterrows(), strict=True):
        best = words.sort_values(ascending=False, kind="stable")[:n_words]
        one.barh(np.arange(n_words), best.to_numpy(), color=SIGNAL)
        one.set_yticks(np.arange(n_words), [str(word) for word in best.index])
        one.invert_yaxis()
        one.set_title(f"{topic}: {part:.0%} of a document", fontsize="medium")
        one.set_xlabel("probability")
    return np.array(axes, dtype=object)


def _axes(ax: Any, n: int, n_words: int) -> list[Axes]:
    if ax is None:
        across = min(n, ACROSS)
        down = -(-n // across)
        figure = Figure(figsize=(3.2 * across, down * (1.2 + 0.22 * n_words)), layout="constrained")
        return [figure.add_subplot(down, across, k + 1) for k in range(n)]
    axes = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(axes) != n or not all(isinstance(one, Axes) for one in axes):
        raise InputError(f"ax: expected {n} axes, one a topic, got {len(axes)}")
    return axes
