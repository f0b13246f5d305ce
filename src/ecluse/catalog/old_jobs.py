"""Bring the jobs of an older Écluse, which kept them in tables of the DBOS library, into the catalog; once.

Only plain columns and what is marked as JSON are read. What was to be unpickled is refused: whoever can write such a
row could run code here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    TableClause,
    Text,
    and_,
    column,
    create_engine,
    func,
    inspect,
    select,
    table,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError

from ecluse.catalog.database import MIGRATION_LOCK, Catalog
from ecluse.catalog.tables import JobRow, now
from ecluse.disks import why_sqlite_fails
from ecluse.errors import JobsUnavailable
from ecluse.sentences import _

SCHEMA: Final = "dbos"
#: Is there once the jobs have been brought.
_MARK: Final = "ecluse_brought"
_JSON: Final = "portable_json"
_ACTIVE: Final = ("ENQUEUED", "DELAYED", "PENDING")
_STATUSES: Final = {
    **dict.fromkeys(_ACTIVE, "queued"),
    "SUCCESS": "done",
    "ERROR": "failed",
    "CANCELLED": "cancelled",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
}
_BATCH: Final = 500
logger = logging.getLogger(__name__)


def bring(catalog: Catalog, url: str) -> int:
    """Take the jobs at `url` over, and cancel there what an older worker might still be at; how many were taken.

    Raises:
        JobsUnavailable: the old database is there and cannot be read.
    """
    address = make_url(url)
    is_file = address.get_backend_name() == "sqlite"
    if is_file and not (address.database and Path(address.database).is_file()):
        return 0
    with _reported(url), _engine(catalog, url) as engine:
        with engine.connect() as connection:
            if not _is_to_do(connection):
                return 0
        with catalog.write(closed=True) as transaction:
            if not is_file and catalog.engine.dialect.name == "postgresql":
                transaction.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            with engine.connect() as connection:
                if not _is_to_do(connection):
                    return 0
                rows = [_as_row(row) for row in _old_rows(connection)]
            dialect = postgresql if catalog.engine.dialect.name == "postgresql" else sqlite
            for start in range(0, len(rows), _BATCH):
                statement = dialect.insert(JobRow).on_conflict_do_nothing(index_elements=["id"])
                transaction.execute(statement, rows[start : start + _BATCH])
        with engine.begin() as connection:
            jobs = _table(connection, "workflow_status", "status")
            stop = update(jobs).where(jobs.c.status.in_(_ACTIVE)).values(status="CANCELLED")
            connection.execute(stop)
            Table(_MARK, MetaData(), Column("at", Text), schema=_schema(connection)).create(
                connection, checkfirst=True
            )
    logger.warning("%d jobs of an older Écluse were taken over.", len(rows))
    return len(rows)


@contextmanager
def _engine(catalog: Catalog, url: str) -> Iterator[Engine]:
    if make_url(url) == catalog.engine.url:
        yield catalog.engine
        return
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _reported(url: str) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        file = make_url(url).database or ""
        reason = why_sqlite_fails(error.orig, Path(file)) or str(error.orig).strip().splitlines()[0]
        raise JobsUnavailable(
            _("The jobs of an older Écluse cannot be read. %(reason)s", reason=reason)
        ) from error


def _is_to_do(connection: Connection) -> bool:
    schema = _schema(connection)
    tables = inspect(connection)
    return tables.has_table("workflow_status", schema=schema) and not tables.has_table(_MARK, schema=schema)


def _schema(connection: Connection) -> str | None:
    return SCHEMA if connection.dialect.name == "postgresql" else None


def _table(connection: Connection, name: str, *columns: str) -> TableClause:
    return table(name, *(column(each) for each in columns), schema=_schema(connection))


def _old_rows(connection: Connection) -> Iterator[Mapping[str, Any]]:
    """Return the old jobs in the order in which they were queued, each with what it said last and why it failed."""
    jobs = _table(
        connection, "workflow_status", "workflow_uuid", "status", "name", "authenticated_user", "queue_name",
        "created_at", "started_at_epoch_ms", "completed_at", "serialization", "attributes",
    )  # fmt: skip
    ends = _table(connection, "workflow_output", "workflow_uuid", "error")
    said = _table(connection, "workflow_events", "workflow_uuid", "key", "value", "serialization")
    is_progress = and_(said.c.workflow_uuid == jobs.c.workflow_uuid, said.c.key == "progress")
    query = (
        select(
            *jobs.c,
            ends.c.error,
            said.c.value.label("progress"),
            said.c.serialization.label("progress_serialization"),
        )
        .select_from(
            jobs.outerjoin(ends, ends.c.workflow_uuid == jobs.c.workflow_uuid).outerjoin(said, is_progress)
        )
        .where(jobs.c.attributes.is_not(None), jobs.c.name != "doctor")
        .order_by(jobs.c.created_at, jobs.c.workflow_uuid)
    )
    for row in connection.execute(query).mappings():
        yield dict(row)


def _as_row(old: Mapping[str, Any]) -> dict[str, Any]:
    attributes = _attributes(old["attributes"])
    status = _STATUSES.get(old["status"], "failed")
    error = _error_of(old) if status == "failed" else None
    if status == "queued" and old["serialization"] not in (None, _JSON):
        status, error = "failed", _("The job was queued in a form that is not read. Ask for it again.")
    progress = _read(old["progress"], old["progress_serialization"], dict)
    ended = None if status == "queued" else _moment(old["completed_at"]) or now()
    return {
        "id": str(old["workflow_uuid"])[:100],
        "kind": str(old["name"])[:64],
        "queue": str(old["queue_name"] or "")[:32],
        "user_id": str(old["authenticated_user"] or "")[:64],
        "title": str(attributes.get("title", old["name"])),
        "subject": dict(attributes.get("subject") or {}),
        "status": status,
        "stage": progress.get("stage"),
        "fraction": float(progress.get("fraction") or 0.0),
        "message": str(progress.get("message") or ""),
        "error": error,
        "created_at": _moment(old["created_at"]) or now(),
        "started_at": _moment(old["started_at_epoch_ms"]),
        "finished_at": ended,
        "fence": 0,
        "alone": False,
        "losses": 0,
        "lost_at": 0.0,
        "put_off": 0,
    }


def _attributes(value: Any) -> dict[str, Any]:
    return dict(json.loads(value) if isinstance(value, str) else value)


def _error_of(old: Mapping[str, Any]) -> str:
    if old["status"] == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        return _("Its worker ended again and again, and it was given up. Ask for it again.")
    error = _read(old["error"], old["serialization"], dict)
    return str(error.get("message") or _("It was stopped."))


def _read(value: str | None, serialization: str | None, kind: Callable[[Any], Any]) -> Any:
    return kind(json.loads(value)) if value is not None and serialization == _JSON else kind(())


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
