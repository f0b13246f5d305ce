"""Answer requests with versions of models: loaded once, verified, asked in small batches."""

from __future__ import annotations

from ecluse.inference.batching import Batcher
from ecluse.inference.loaded import Answered, Loaded
from ecluse.inference.metrics import InferenceMetrics
from ecluse.inference.opening import card_of, open_version
from ecluse.inference.rows import Read, from_columns, from_csv, from_json
from ecluse.inference.served import MOST_LOADED, Served, ServedModels

__all__ = [
    "MOST_LOADED",
    "Answered",
    "Batcher",
    "InferenceMetrics",
    "Loaded",
    "Read",
    "Served",
    "ServedModels",
    "card_of",
    "from_columns",
    "from_csv",
    "from_json",
    "open_version",
]
