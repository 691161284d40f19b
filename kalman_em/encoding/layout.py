"""JSON laid out for people: one entry a line, one row of a matrix a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

INDENT = "  "


def laid_out(node: Any) -> str:
    """Return `node` as JSON text. Bare NaN and Infinity, which are not JSON, are refused with a ValueError.

    Examples
    --------
    >>> print(laid_out({"cov": [[2.0, 1.0], [1.0, 3.0]], "name": None}))
    {
      "cov": [
        [2.0, 1.0],
        [1.0, 3.0]
      ],
      "name": null
    }
    """
    return "".join(_pieces(node, ""))


def _pieces(node: Any, margin: str) -> Iterator[str]:
    inner = margin + INDENT
    if isinstance(node, dict) and (len(node) > 1 or any(isinstance(value, dict | list) for value in node.values())):
        before = "{\n"
        for key, value in node.items():
            yield f"{before}{inner}{_flat(key)}: "
            yield from _pieces(value, inner)
            before = ",\n"
        yield f"\n{margin}}}"
    elif isinstance(node, list) and any(isinstance(item, dict | list) for item in node):
        before = "[\n"
        for value in node:
            yield f"{before}{inner}"
            yield from _pieces(value, inner)
            before = ",\n"
        yield f"\n{margin}]"
    else:
        yield _flat(node)


def _flat(node: Any) -> str:
    return json.dumps(node, ensure_ascii=False, allow_nan=False)
