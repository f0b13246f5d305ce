"""Classify texts by their words: naive Bayes with counts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Example = Mapping[str, str]
Counts = dict[str, dict[str, int]]


def count_words(examples: Iterable[Example]) -> Counts:
    """Count, for each label, the words of its texts; "" counts the texts."""
    counts: dict[str, Counter[str]] = {}
    for example in examples:
        counts.setdefault(example["label"], Counter()).update(["", *_words(example["text"])])
    return {label: dict(words) for label, words in counts.items()}


def add_counts(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> Counts:
    """Add the counts of several parts of the texts."""
    total: dict[str, Counter[str]] = {}
    for part in parts:
        for label, words in part.items():
            total.setdefault(label, Counter()).update(words)
    return {label: dict(words) for label, words in total.items()}


def classify(model: Mapping[str, Mapping[str, int]], text: str) -> dict[str, float]:
    """Return the probability of each label, the most probable first."""
    vocabulary = {word for words in model.values() for word in words if word}
    texts = sum(words[""] for words in model.values())
    logs: dict[str, Any] = {}
    for label, words in model.items():
        total = sum(words.values()) - words[""] + len(vocabulary)
        seen = [word for word in _words(text) if word in vocabulary]
        logs[label] = math.log(words[""] / texts) + sum(math.log((words.get(w, 0) + 1) / total) for w in seen)
    most = max(logs.values())
    weights = {label: math.exp(value - most) for label, value in logs.items()}
    ranked = sorted(weights.items(), key=lambda pair: -pair[1])
    return {label: weight / sum(weights.values()) for label, weight in ranked}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
