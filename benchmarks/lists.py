"""Read pages of lists that are long: 100,000 shared models, runs and jobs, 10,000 tables of a person, 10,000 people.

    python -m benchmarks.lists [--database postgresql|sqlite] [--requests 100] [--scale 1.0] [--plans] [--only TEXT]

The server is `ecluse web` in a process of its own, over PostgreSQL, which is started for it, or SQLite. Of each list
the first pages are asked for, as people and programs do, and one far behind; the pages of people in English. Printed
are milliseconds until the whole answer is there, half of the requests and 99 of 100 within, as one client after the
other measures them, and the bytes of an answer. `--plans`: what the database does for each statement of a page.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import event, insert

from ecluse.apps.fraud.rows.tables import Dataset, FraudTraining, Inspection, Prediction
from ecluse.catalog.tables import (
    AuditEntry,
    File,
    JobRow,
    ModelVersion,
    Run,
    Share,
    User,
    UserTable,
    Work,
)
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import running
from tests.servers import postgresql

PEOPLE, OWNERS, MODELS_OF_OWNER = 10_000, 1_000, 100
RUNS, JOBS, TABLES, ENTRIES = 100_000, 100_000, 10_000, 100_000
MODELS, VERSIONS = 1_000, 5
BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
#: What is asked for, by who asks: `{page}` is the number of a page, `{after}` where the page before it ended.
MINE: Final = (
    "/api/models?per_page=50&page={page}",
    "/api/shared/models?page={page}",
    "/api/runs?page={page}",
    "/api/jobs",
    "/api/tables?page={page}",
    "/api/datasets?page={page}",
    "/api/predictions?page={page}",
    "/api/inspections",
    "/api/history?page={page}",
    "/api/storage",
    "/models?page={page}",
    "/runs?page={page}",
    "/jobs?page={page}",
    "/tables?page={page}",
    "/storage",
    "/fraud",
)
OF_EVERYONE: Final = (
    "/api/users?after={after}",
    "/api/administration/jobs?after={after}",
    "/api/administration/log?after={after}",
    "/users",
    "/administration/jobs",
    "/administration/log",
)
#: A page that few turn to.
FAR: Final = 150


@dataclass(frozen=True)
class Sizes:
    """How many rows there are of each, as a share of what the lists are meant for."""

    scale: float

    def __call__(self, rows: int) -> int:
        return max(1, round(rows * self.scale))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--plans", action="store_true")
    parser.add_argument("--only", default="", help="lists whose address holds this text")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, database(arguments.database) as environ:
        home, sizes = Path(folder) / "home", Sizes(arguments.scale)
        with (
            running(home, environ, role="web") as application,
            application.client("reader@example.org", admin=True) as client,
        ):
            reader = client.get("/api/me").raise_for_status().json()["id"]
            began = time.perf_counter()
            with Runtime.open(Settings.from_environment(application.environ, home=home)) as runtime:
                fill(runtime, reader, sizes)
                print(f"{arguments.database}, filled in {time.perf_counter() - began:.0f} s", flush=True)
                if arguments.plans:
                    show_plans(runtime, reader)
            measure(client, arguments.requests, arguments.only)


@contextmanager
def database(kind: str) -> Iterator[dict[str, str]]:
    """Yield what points a server at a database."""
    if kind == "sqlite":
        yield {}
        return
    with postgresql() as address:
        yield {"DATABASE_URL": address}


def measure(client: httpx.Client, requests: int, only: str) -> None:
    """Ask for each list, and print how long it takes."""
    client.headers["accept-language"] = "en"
    print(f"{'list':44} {'p50':>7} {'p99':>7} {'far':>7}   bytes   (ms)")
    for address in filter(lambda each: only in each, (*MINE, *OF_EVERYONE)):
        places = _places(client, address)
        times, size = [], 0
        for number in range(requests + 3):
            began = time.perf_counter()
            answer = client.get(places[number % len(places)])
            passed = 1000 * (time.perf_counter() - began)
            assert answer.status_code == 200, f"{address}: {answer.status_code} {answer.text[:300]}"
            if number >= 3:  # the first ones also load what is imported when it is used
                times.append(passed)
            size = len(answer.content)
        far = "-"
        if "{page}" in address:
            began = time.perf_counter()
            client.get(address.format(page=FAR)).raise_for_status()
            far = f"{1000 * (time.perf_counter() - began):.1f}"
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"{address:44} {statistics.median(times):7.1f} {p99:7.1f} {far:>7} {size:7}", flush=True)


def _places(client: httpx.Client, address: str) -> list[str]:
    if "{page}" in address:
        return [address.format(page=page) for page in range(1, 11)]
    if "{after}" not in address:
        return [address]
    places = [address.format(after="")]
    while len(places) < 10 and (after := client.get(places[-1]).raise_for_status().json()["next"]):
        places.append(address.format(after=after))
    return places


def fill(runtime: Runtime, reader: str, sizes: Sizes) -> None:
    """Write the rows, and let the database know how many there are."""
    people = [f"owner{number:06d}" for number in range(sizes(PEOPLE))]
    _insert(runtime, User, ({"id": each, "email": f"{each}@example.org", "handle": each} for each in people))
    owners = people[: sizes(OWNERS)]
    shared = [(owner, f"model-{number:03d}") for owner in owners for number in range(MODELS_OF_OWNER)]
    mine = [
        (reader, f"own-{number:04d}", f"v{version}")
        for number in range(sizes(MODELS))
        for version in range(1, VERSIONS + 1)
    ]
    versions = [(owner, name, "v1") for owner, name in shared] + mine
    _insert(
        runtime,
        ModelVersion,
        (
            {"id": f"v{at}", "user_id": owner, "name": name, "version": version, "created_at": _at(at)}
            for at, (owner, name, version) in enumerate(versions)
        ),
    )
    _insert_files(
        runtime, ModelVersion, ((f"v{at}", each[0]) for at, each in enumerate(versions)), "application"
    )
    _insert(
        runtime,
        Share,
        (
            {"id": f"s{at}", "owner_id": owner, "kind": "models", "name": name, "reader_id": reader}
            for at, (owner, name) in enumerate(shared)
        ),
    )
    fill_work(runtime, reader, sizes)
    _insert(
        runtime,
        AuditEntry,
        (
            {
                "id": f"{at:012d}",
                "user_id": people[at % len(people)],
                "action": "token.created",
                "subject": f"token {at}",
                "created_at": _at(at),
            }
            for at in range(sizes(ENTRIES))
        ),
    )
    with runtime.catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def fill_work(runtime: Runtime, reader: str, sizes: Sizes) -> None:
    """Write what a person asked for: runs, jobs, tables, predictions, inspections."""

    def done(prefix: str, rows: int) -> Iterator[dict[str, Any]]:
        for at in range(rows):
            yield {"id": f"{prefix}{at}", "user_id": reader, "status": "done", "job_id": f"j{prefix}{at}"}

    figures = {"average_precision": 0.5, "loss": 0.25, "brier": 0.125}
    rows, tables = sizes(RUNS), sizes(TABLES)
    for prefix, number in (("r", rows), ("d", tables), ("p", tables), ("i", tables)):
        _insert(runtime, Work, done(prefix, number))
    _insert(
        runtime,
        Run,
        (
            {
                "id": f"r{at}",
                "user_id": reader,
                "application": "fraud",
                "kind": "search",
                "name": f"own-{at % 1000:04d}",
                "parameters": {"budget": 30, "seed": at},
                "metrics": figures,
                "created_at": _at(at),
            }
            for at in range(rows)
        ),
    )
    trainings = ({"run_id": f"r{at}", "target_column": "is_fraud", "plan": {}} for at in range(rows))
    _insert(runtime, FraudTraining, trainings)
    _insert(
        runtime,
        JobRow,
        (
            {
                "id": f"j{at}",
                "user_id": reader,
                "kind": "fraud.train",
                "queue": "work",
                "title": f"Training {at}",
                "subject": {},
                "status": "failed" if at % 50 == 0 else "done",
                "error": None,
                "fraction": 1.0,
                "created_at": _at(at),
            }
            for at in range(sizes(JOBS))
        ),
    )
    columns = [{"name": f"c{number}", "type": "Float64"} for number in range(30)]
    profile = {"columns": columns}

    def listed(prefix: str, **values: Any) -> Iterator[dict[str, Any]]:
        for at in range(tables):
            yield {"id": f"{prefix}{at}", "user_id": reader, "created_at": _at(at), **values}

    _insert(runtime, UserTable, listed("t", name="table", rows=10, columns=columns))
    _insert(runtime, Dataset, listed("d", filename="table.csv", rows=10, profile=profile))
    _insert(runtime, Prediction, listed("p", model_name="own-0001", version="v1", rows=10))
    _insert(runtime, Inspection, listed("i", kind="questions", model_name="own-0001", version="v1"))
    for kind, prefix in ((UserTable, "t"), (Dataset, "d"), (Prediction, "p")):
        _insert_files(
            runtime, kind, ((f"{prefix}{at}", reader) for at in range(tables)), kind.FILE.application
        )


def _insert(runtime: Runtime, table: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows in transactions of ten thousand."""
    left = iter(rows)
    while block := list(islice(left, 10_000)):
        with runtime.catalog.write() as transaction:
            transaction.execute(insert(table.__table__), block)


def _insert_files(runtime: Runtime, kind: Any, rows: Iterable[tuple[str, str]], application: str) -> None:
    file = kind.FILE
    _insert(
        runtime,
        File,
        (
            {
                "table_name": file.table,
                "row_id": row,
                "user_id": owner,
                "application": application,
                "kind": file.kind,
                "form": file.form,
                "area": file.area,
                "url": f"memory:///{file.table}/{row}",
                "size_bytes": 1_000,
                "counted": file.counted,
                "owned": file.owned,
            }
            for row, owner in rows
        ),
    )


def _at(number: int) -> datetime:
    return BEGAN + timedelta(minutes=number)


def show_plans(runtime: Runtime, reader: str) -> None:
    """Print what the database does for each statement of pages of the catalog."""
    from ecluse.apps.fraud.rows import datasets, predictions
    from ecluse.catalog import jobs, runs
    from ecluse.catalog.shared_models import list_shared_models

    pages = {
        "shared models": lambda t: list_shared_models(t, reader, limit=50),
        "runs": lambda t: runs.list_runs(t, reader, limit=50),
        "jobs": lambda t: jobs.ended_of_user(t, reader, limit=50),
        "datasets": lambda t: datasets.list_datasets(t, reader, limit=50),
        "predictions": lambda t: predictions.list_predictions(t, reader, limit=50),
    }
    engine = runtime.catalog.engine
    prefix = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN (ANALYZE, BUFFERS)"
    for name, page in pages.items():
        asked: list[tuple[str, Any]] = []

        def note(
            connection: Any, cursor: Any, statement: str, values: Any, *rest: Any, into: Any = asked
        ) -> None:
            into.append((statement, values))

        event.listen(engine, "before_cursor_execute", note)
        with runtime.catalog.read() as transaction:
            page(transaction)
        event.remove(engine, "before_cursor_execute", note)
        for statement, values in asked:
            if not statement.startswith("SELECT") and not statement.startswith("WITH"):
                continue
            print(f"\n{name}: {statement[:160]} …")
            with engine.connect() as connection:
                for row in connection.exec_driver_sql(f"{prefix} {statement}", values):
                    print("   ", row[-1])


if __name__ == "__main__":
    os.environ.setdefault("TZ", "UTC")
    main()
