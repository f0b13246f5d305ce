"""Read, when Prometheus asks, what stands in the catalog and on the disks of this machine.

Each is asked for in a thread of its own, at most once in some seconds however often Prometheus asks, and waited for
no longer than a scrape may take: a database that is away costs a scrape two seconds, and the page says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ecluse.catalog import figures
from ecluse.disks import Disk, look_at
from ecluse.runtime import Runtime
from ecluse.vitals.asking import Question

#: Seconds for which what was read is good: other scrapes within them read nothing.
EVERY: Final = 10.0
#: Seconds that a scrape waits for the catalog, and a statement of it may take.
WITHIN: Final = 2.0


class Figures(Collector):
    """What is the same whoever is asked: jobs and workers; and of this process: connections, cache, disks."""

    #: The labels of what there may be none of now.
    LABELS: Final = {
        "ecluse_jobs": ("queue", "kind", "state"),
        "ecluse_jobs_oldest_waiting_seconds": ("queue", "kind"),
        "ecluse_backup_age_seconds": (),
        "ecluse_backup_overdue_seconds": (),
        "ecluse_cache_used_bytes": (),
    }

    def __init__(self, runtime: Runtime, *, every: float = EVERY, within: float = WITHIN) -> None:
        self._runtime = runtime
        self._within = within
        self._now = Question("figures of the catalog", self._count, every=every)
        self._disks = Question("disks", self._look_at_disks, every=every)

    def describe(self) -> Iterator[Metric]:
        """Name nothing: what is there depends on what is read."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment, or of some seconds ago."""
        yield from self._of_catalog()
        yield from self._of_connections()
        yield from self._of_cache()
        yield from self._of_disks()

    def _count(self) -> figures.Now:
        with self._runtime.catalog.read() as transaction:
            figures.limit_statements(transaction, self._within)
            return figures.count_now(transaction)

    def _look_at_disks(self) -> list[Disk]:
        return look_at(self._runtime.settings.local_places())

    def _of_catalog(self) -> Iterator[Metric]:
        answer = self._now.answer(self._within)
        now = answer.value
        yield _single(
            "ecluse_catalog_up", "1: the catalog answered within 2 s; 0: it did not", now is not None
        )
        yield _single(
            "ecluse_catalog_look_seconds", "Seconds that counting in the catalog took", answer.seconds
        )
        if now is None:
            return
        jobs = GaugeMetricFamily(
            "ecluse_jobs", "Jobs that wait, are put off or run", labels=self.LABELS["ecluse_jobs"]
        )
        oldest = GaugeMetricFamily(
            "ecluse_jobs_oldest_waiting_seconds",
            "Seconds since the oldest job that waits for a worker was queued",
            labels=self.LABELS["ecluse_jobs_oldest_waiting_seconds"],
        )
        for each in now.jobs:
            jobs.add_metric((each.queue, each.kind, each.state), each.count)
            if each.state == "queued":
                oldest.add_metric((each.queue, each.kind), each.oldest)
        workers = GaugeMetricFamily(
            "ecluse_workers",
            "Workers that run jobs, wait for some, or are silent for longer than their lease",
            labels=("state",),
        )
        for state, count in now.workers.items():
            workers.add_metric((state,), count)
        yield from (jobs, oldest, workers)
        if now.backups.newest is not None:
            text = "Seconds since a backup was finished, by the clock of the database"
            yield _single("ecluse_backup_age_seconds", text, now.backups.newest)
        if now.backups.overdue is not None:
            text = "Seconds for which a backup of the schedule is overdue, 0 while it is in time"
            yield _single("ecluse_backup_overdue_seconds", text, now.backups.overdue)

    def _of_connections(self) -> Iterator[Metric]:
        pool = self._runtime.catalog.connections()
        connections = GaugeMetricFamily(
            "ecluse_catalog_connections", "Connections of this process to the catalog", labels=("state",)
        )
        connections.add_metric(("in_use",), pool.in_use)
        connections.add_metric(("idle",), pool.idle)
        yield connections
        yield _single("ecluse_catalog_connections_limit", "The most that this process opens", pool.most)

    def _of_cache(self) -> Iterator[Metric]:
        cache = self._runtime.cache
        used = cache.noted_bytes()
        if used is not None:
            yield _single("ecluse_cache_used_bytes", "Bytes in the cache of this machine", used)
        yield _single(
            "ecluse_cache_limit_bytes", "Bytes that the cache of this machine may hold", cache.max_bytes
        )

    def _of_disks(self) -> Iterator[Metric]:
        disks = self._disks.answer(self._within).value
        free = GaugeMetricFamily(
            "ecluse_disk_free_bytes",
            "Bytes free on the disk of a place that is written to",
            labels=("place",),
        )
        usable = GaugeMetricFamily(
            "ecluse_disk_usable",
            "1: the disk of a place has room and can be written; 0: not",
            labels=("place",),
        )
        for disk in disks or ():
            for place in disk.uses:
                free.add_metric((place,), disk.free)
                usable.add_metric((place,), disk.trouble is None)
        yield from (free, usable)


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))
