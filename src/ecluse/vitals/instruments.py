"""Count what happens in this process, and write the page that Prometheus reads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector

from ecluse import __version__, telemetry
from ecluse.telemetry import CacheResult, Ending

#: Seconds of jobs: some take less than one, and a training hours.
JOB_SECONDS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200)
#: Seconds of a store: a folder answers in less than a millisecond, a large upload takes minutes.
STORE_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600)


#: How any job may end, before one has.
_EXPECTED: Final[tuple[tuple[Ending, str], ...]] = (
    ("done", ""),
    ("cancelled", ""),
    ("failed", telemetry.FAULT),
    ("given_up", "given_up"),
)


class Instruments:
    """What one process counts of its jobs, its stores and its cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        kind = ("kind",)
        self._waited = Histogram(
            "ecluse_job_wait_seconds",
            "Seconds from queueing a job to the first time that a worker claimed it",
            kind,
            buckets=JOB_SECONDS,
            registry=registry,
        )
        self._ran = Histogram(
            "ecluse_job_run_seconds",
            "Seconds that a job ran in the worker that brought it to its end",
            kind,
            buckets=JOB_SECONDS,
            registry=registry,
        )
        self._ended = Counter(
            "ecluse_jobs_ended",
            "Jobs that ended; counted by the process that recorded it",
            ("kind", "outcome", "reason"),
            registry=registry,
        )
        self._taken_over = Counter(
            "ecluse_jobs_taken_over",
            "Jobs taken from a worker that died; counted by the one that took them",
            kind,
            registry=registry,
        )
        self._store_seconds = Histogram(
            "ecluse_store_request_duration_seconds",
            "Seconds until an object store did what was asked, tries included",
            ("scheme", "verb"),
            buckets=STORE_SECONDS,
            registry=registry,
        )
        self._store_errors = Counter(
            "ecluse_store_errors",
            "Requests that an object store did not carry out; what is not there is an answer",
            ("scheme", "verb", "reason"),
            registry=registry,
        )
        self._cache_requests = Counter(
            "ecluse_cache_requests",
            "Objects asked of the cache of this machine",
            ("result",),
            registry=registry,
        )
        self._cache_bytes = Counter(
            "ecluse_cache_object_bytes",
            "Bytes of these objects: served from the cache, or fetched",
            ("result",),
            registry=registry,
        )

    def expect(self, kinds: Iterable[str]) -> None:
        """Count kinds of job from nought: Prometheus sees no increase in what appears with its first failure."""
        for kind in kinds:
            for ending, reason in _EXPECTED:
                self._ended.labels(kind, ending, reason)
            self._taken_over.labels(kind)

    def job_waited(self, kind: str, seconds: float) -> None:
        """Count the wait of a job."""
        self._waited.labels(kind).observe(seconds)

    def job_ran(self, kind: str, seconds: float) -> None:
        """Count the time of a job at work."""
        self._ran.labels(kind).observe(seconds)

    def job_ended(self, kind: str, ending: Ending, reason: str) -> None:
        """Count a job that ended."""
        self._ended.labels(kind, ending, reason).inc()

    def job_taken_over(self, kind: str) -> None:
        """Count a job that another worker had."""
        self._taken_over.labels(kind).inc()

    def store_answered(self, scheme: str, verb: str, seconds: float, reason: str) -> None:
        """Count a request to a store."""
        self._store_seconds.labels(scheme, verb).observe(seconds)
        if reason:
            self._store_errors.labels(scheme, verb, reason).inc()

    def cache_answered(self, result: CacheResult, size: int) -> None:
        """Count an object asked of the cache."""
        self._cache_requests.labels(result).inc()
        self._cache_bytes.labels(result).inc(size)


def expect(kinds: Iterable[str]) -> None:
    """Count these kinds of job from nought in this process."""
    _begun()[1].expect(kinds)


def counted() -> CollectorRegistry:
    """Return what this process counts of itself; it begins to count when this is first called."""
    return _begun()[0]


@cache
def _begun() -> tuple[CollectorRegistry, Instruments]:
    registry = CollectorRegistry()
    Gauge("ecluse_build_info", "The release that runs", ("release",), registry=registry).labels(
        __version__
    ).set(1)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    instruments = Instruments(registry)
    telemetry.listen(instruments)
    return registry, instruments


class Page:
    """The page that Prometheus reads of a process: what it counts itself, and what `more` says at that moment."""

    content_type: Final = CONTENT_TYPE_LATEST

    def __init__(self, *registries: CollectorRegistry, more: Sequence[Collector] = ()) -> None:
        at_once = CollectorRegistry()
        for collector in more:
            at_once.register(collector)
        self._registries = (counted(), *registries, at_once)
        self._lock = threading.Lock()

    def write(self) -> bytes:
        """Return the page in the text format of Prometheus. Who asks at the same time waits."""
        with self._lock:
            return b"".join(generate_latest(registry) for registry in self._registries)
