"""What the library says, in the words of the command line: its options instead of Python's arguments."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from kalman_em.em.result import EMResult
from kalman_em.em.stopping import StopReason
from kalman_em.systems import LinearGaussianSystem

OPTIONS = (
    (r"\bvalues=", "--values"),
    (r"\bseries=", "--series"),
    (r"\btime=", "--index"),
    (r"\binputs=", "--inputs"),
    (r"^inputs: ", "--inputs: "),
    (r"^steps: ", "--steps: "),
    (r"^index: ", ""),
    (r"; say them with forecast\(steps, index=\.\.\.\)", "; Fit.forecast in Python takes labels as index"),
    (r"; (leave it out or )?choose (the )?columns( of a DataFrame)? with --values", r"; choose columns with --values"),
)


def in_options(message: str, source: str = "") -> str:
    """Return a message of the library in terms of the command line; what is wrong with `data` is so with `source`.

    Examples
    --------
    >>> in_options("data: column 'y' has no observed value; leave it out or choose columns with values=", "a.csv")
    "a.csv: column 'y' has no observed value; choose columns with --values"
    """
    for pattern, words in OPTIONS:
        message = re.sub(pattern, words, message)
    return re.sub("^data: ", f"{source}: ", message) if source else message


def unconverged(em: EMResult[LinearGaussianSystem]) -> str:
    """Return one line on a run of EM that did not converge: why, and what to try."""
    detail = f" ({em.detail})" if em.detail else ""
    remedy = em.stop_reason.remedy
    if em.stop_reason is StopReason.max_iterations:
        remedy = "Raise --max-iterations."
    if em.stop_reason is StopReason.interrupted:
        remedy = "The best parameters so far are kept."
    n = em.n_iterations
    return f"EM did not converge: {em.stop_reason} after {n} iteration{'s' if n != 1 else ''}{detail}. {remedy}"


def warn_in_one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as one line on stderr; it stands in for `warnings.showwarning`."""
    del category, filename, lineno, line
    text = " ".join(str(message).split())
    (sys.stderr if file is None else file).write(f"kalman-em: warning: {text}\n")


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Show warnings as one line each while this lasts."""
    with warnings.catch_warnings():
        warnings.showwarning = warn_in_one_line
        yield
