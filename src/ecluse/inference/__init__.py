"""Answer requests with versions of models: loaded once, verified, asked in small batches."""

from __future__ import annotations

from ecluse.inference.batching import Batcher
from ecluse.inference.loaded import Answered, Loaded
from ecluse.inference.metrics import InferenceMetrics, KindMetrics
from ecluse.inference.opening import card_of, fetch_files, open_version
from ecluse.inference.ordinary import Values
from ecluse.inference.rows import Read, from_columns, from_csv, from_json, from_texts
from ecluse.inference.served import MOST_LOADED, Served, ServedModels
from ecluse.inference.tensors import Asked, inputs_of, outputs_of, read_request, write_answer

__all__ = [
    "MOST_LOADED",
    "Answered",
    "Asked",
    "Batcher",
    "InferenceMetrics",
    "KindMetrics",
    "Loaded",
    "Read",
    "Served",
    "ServedModels",
    "Values",
    "card_of",
    "fetch_files",
    "from_columns",
    "from_csv",
    "from_json",
    "from_texts",
    "inputs_of",
    "open_version",
    "outputs_of",
    "read_request",
    "write_answer",
]
