"""Count what one process answers with its models."""

from __future__ import annotations

from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 8192)


Result = Literal["answered", "refused", "failed", "overloaded"]


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


class KindMetrics:
    """What is counted of the models of one kind."""

    def __init__(self, metrics: InferenceMetrics, kind: str) -> None:
        self._requests = {result: metrics.requests.labels(kind, result) for result in get_args(Result)}
        self._rows = metrics.rows.labels(kind)
        self._seconds = metrics.seconds.labels(kind)
        self._batch_rows = metrics.batch_rows.labels(kind)

    def count_batch(self, rows: int) -> None:
        self._batch_rows.observe(rows)

    def count_refusal(self) -> None:
        """Count a request for which there was no room."""
        self._requests["overloaded"].inc()

    def count_request(self, result: Result, rows: int, seconds: float) -> None:
        """Count a request that had its place in the queue for so long."""
        self._requests[result].inc()
        self._rows.inc(rows)
        self._seconds.observe(seconds)
