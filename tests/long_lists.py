"""Fill a catalog with what one person asked for: long lists of runs, jobs, tables, predictions and inspections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from sqlalchemy import insert

from ecluse.apps.fraud.rows.tables import Dataset, FraudTraining, Inspection, Prediction
from ecluse.catalog import Catalog
from ecluse.catalog.tables import File, JobRow, Run, UserTable, Work

BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS: Final = [{"name": f"c{number}", "type": "Float64"} for number in range(30)]


def fill_work(catalog: Catalog, user: str, *, runs: int, tables: int) -> None:
    """Write `runs` runs and as many jobs, and `tables` tables, datasets, predictions and inspections of a user.

    Ids are `r`, `j`, `t`, `d`, `p`, `i` and a number; a later number is a later row.
    """
    for prefix, count in (("r", runs), ("d", tables), ("p", tables), ("i", tables)):
        done = _rows(prefix, count, user, status="done")
        _insert(catalog, Work, ({**row, "job_id": f"j{row['id']}"} for row in done))
    _insert(catalog, Run, _runs(user, runs))
    _insert(
        catalog,
        FraudTraining,
        ({"run_id": f"r{at}", "target_column": "is_fraud", "plan": {}} for at in range(runs)),
    )
    _insert(catalog, JobRow, _jobs(user, runs))
    own = {"model_name": "own-0001", "version": "v1"}
    lists: list[tuple[Any, str, dict[str, Any]]] = [
        (UserTable, "t", {"name": "table", "rows": 10, "columns": COLUMNS}),
        (Dataset, "d", {"filename": "table.csv", "rows": 10, "profile": {"columns": COLUMNS}}),
        (Prediction, "p", {"rows": 10, **own}),
        (Inspection, "i", {"kind": "questions", **own}),
    ]
    for table, prefix, values in lists:
        _insert(catalog, table, _dated(_rows(prefix, tables, user, **values)))
        if table is not Inspection:
            _insert(catalog, File, _files(table, prefix, tables, user))


def _rows(prefix: str, count: int, user: str, **values: Any) -> Iterator[dict[str, Any]]:
    for at in range(count):
        yield {"id": f"{prefix}{at}", "user_id": user, **values}


def _dated(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for at, row in enumerate(rows):
        yield {**row, "created_at": BEGAN + timedelta(minutes=at)}


def _runs(user: str, count: int) -> Iterator[dict[str, Any]]:
    figures = {"average_precision": 0.5, "loss": 0.25, "brier": 0.125}
    rows = _dated(_rows("r", count, user, application="fraud", kind="search", metrics=figures))
    for at, row in enumerate(rows):
        yield {**row, "name": f"own-{at % 1000:04d}", "parameters": {"budget": 30, "seed": at}}


def _jobs(user: str, count: int) -> Iterator[dict[str, Any]]:
    values: dict[str, Any] = {"kind": "fraud.train", "queue": "work", "subject": {}, "error": None}
    for at, row in enumerate(_dated(_rows("j", count, user, fraction=1.0, **values))):
        yield {**row, "title": f"Training {at}", "status": "done" if at % 50 else "failed"}


def _files(table: Any, prefix: str, count: int, user: str) -> Iterator[dict[str, Any]]:
    file = table.FILE
    for at in range(count):
        yield {
            "table_name": file.table,
            "row_id": f"{prefix}{at}",
            "user_id": user,
            "application": file.application,
            "kind": file.kind,
            "form": file.form,
            "area": file.area,
            "url": f"memory:///{file.table}/{prefix}{at}",
            "size_bytes": 1_000,
            "counted": file.counted,
            "owned": file.owned,
        }


def _insert(catalog: Catalog, table: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows in transactions of ten thousand."""
    left = iter(rows)
    while block := list(islice(left, 10_000)):
        with catalog.write() as transaction:
            transaction.execute(insert(table.__table__), block)
