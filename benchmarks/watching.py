"""Say what watching costs: a scrape, counting a request, a job, a call of a store: `python -m benchmarks.watching`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry
from sqlalchemy import insert

from ecluse import telemetry, tracing
from ecluse.catalog import figures
from ecluse.catalog.tables import JobRow
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.vitals import Figures, Page, expect
from ecluse.vitals.instruments import Instruments
from ecluse.web.health import Metrics
from ecluse.work import kinds

JOBS = 100_000


def timed(work: Callable[[], object], times: int) -> float:
    """Return the median time of a call (s), of seven rounds of so many."""
    rounds = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - began) / times)
    return statistics.median(rounds)


def main() -> None:
    """Print the figures."""
    names = sorted(kinds())
    with tempfile.TemporaryDirectory() as folder:
        with Runtime.open(Settings.from_environment({}, home=Path(folder) / "home")) as runtime:
            figures_page = Figures(runtime)
            expect(names)
            page = Page(more=[figures_page])
            size = len(page.write())
            print(f"a page of {len(names)} kinds: {size:,} bytes, {1e3 * timed(page.write, 20):.2f} ms")

            def count() -> None:
                with runtime.catalog.read() as transaction:
                    figures.count_now(transaction)

            print(f"counting in a catalog without jobs: {1e3 * timed(count, 20):.2f} ms")
            row = {"queue": "train", "user_id": "u", "title": "t", "subject": {}, "status": "queued"}
            now = datetime.now(UTC)
            with runtime.catalog.write() as transaction:
                for start in range(0, JOBS, 5_000):
                    rows = [
                        {**row, "id": f"j{number}", "kind": names[number % len(names)], "created_at": now}
                        for number in range(start, start + 5_000)
                    ]
                    transaction.execute(insert(JobRow), rows)
            print(f"counting {JOBS:,} jobs that wait: {1e3 * timed(count, 1):.0f} ms, at most once in 10 s")
            counts, nobody = Instruments(CollectorRegistry()), telemetry._Nobody()
            stored = runtime.data.put("a", b"a").key
            for title, listener in (("nobody counts", nobody), ("counted", counts)):
                telemetry.listen(listener)
                print(
                    f"head of a file, {title}: {1e6 * timed(lambda: runtime.data.head(stored), 2000):.1f} us"
                )
            bare = runtime.data._backend.backend  # type: ignore[attr-defined]
            print(f"head of a file, unmeasured: {1e6 * timed(lambda: bare.head(stored), 2000):.1f} us")
            print(f"a job that ended: {1e6 * timed(lambda: counts.job_ended('a', 'done', ''), 5000):.1f} us")
        requests = Metrics()

        def request() -> None:
            requests.requests.labels("GET", "api.models.list_models", "200").inc()
            requests.seconds.labels("GET", "api.models.list_models").observe(0.01)

        print(f"a request: {1e6 * timed(request, 5000):.1f} us")
        print(f"a part that is not followed: {1e6 * timed(lambda: tracing.begin_part('sql'), 20000):.2f} us")


if __name__ == "__main__":
    main()
