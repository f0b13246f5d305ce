"""Keep lists of documents short enough for every database, whatever the texts in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def first_that_fit(items: Iterable[dict[str, Any]], most: int, size: int) -> list[dict[str, Any]]:
    """Return the first of `items`: at most `most`, and no more than fit into `size` bytes of JSON."""
    fitting: list[dict[str, Any]] = []
    left = size
    for item in items:
        left -= len(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()) + 1
        if len(fitting) == most or left < 0:
            break
        fitting.append(item)
    return fitting
