"""Take a column's name apart into words."""

from __future__ import annotations

import re


def name_words(name: str) -> tuple[str, ...]:
    """Return the lower-case words of a column name: "nameOrig", "cc_num" and "Policy Number" have two each."""
    split = re.sub(r"([a-z\d])([A-Z])", r"\1 \2", name)
    split = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", split)
    return tuple(word.lower() for word in re.findall(r"[^\W\d_]+", split))
