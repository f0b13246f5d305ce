"""Count what one process answers with its models."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 8192)


class InferenceMetrics:
    """Requests, rows, times and batches by kind of model; no name of a person's model stands in a label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "ecluse_inference_requests",
            "Requests that models answered, refused or failed",
            ("kind", "result"),
            registry=registry,
        )
        self.rows = Counter("ecluse_inference_rows", "Rows answered", ("kind",), registry=registry)
        self.seconds = Histogram(
            "ecluse_inference_request_seconds",
            "Time of a request from its place in the queue to its answer",
            ("kind",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_rows = Histogram(
            "ecluse_inference_batch_rows",
            "Rows that a model was asked about at once",
            ("kind",),
            buckets=_ROWS,
            registry=registry,
        )
        self.loaded = Gauge("ecluse_inference_models_loaded", "Versions in memory", registry=registry)
        self.loads = Counter(
            "ecluse_inference_loads",
            "Versions that were loaded, or could not be",
            ("result",),
            registry=registry,
        )
