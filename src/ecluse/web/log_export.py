"""Send the log of who did what as CSV, in batches cut by key, with no text that a spreadsheet runs as a formula."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from starlette.responses import Response, StreamingResponse

from ecluse.catalog import audit
from ecluse.catalog.tables import AuditEntry
from ecluse.formulas import harmless_text
from ecluse.runtime import Runtime

#: Entries of the log that are read at a time.
BATCH: Final = 1_000
COLUMNS: Final = ("created_at", "action", "subject", "by", "detail")


def log_as_csv(runtime: Runtime, search: str) -> Response:
    """Answer with the log, or what of it holds a text."""
    headers = {"content-disposition": 'attachment; filename="log.csv"'}
    return StreamingResponse(_csv(runtime, search), media_type="text/csv; charset=utf-8", headers=headers)


def _csv(runtime: Runtime, search: str) -> Iterator[str]:
    yield _line(COLUMNS)
    after: str | None = None
    while True:
        with runtime.catalog.read() as transaction:
            entries = audit.entries(transaction, search=search, limit=BATCH, after=after)
        yield "".join(_line(_cells(entry, by)) for entry, by in entries)
        if len(entries) < BATCH:
            return
        after = entries[-1][0].id


def _cells(entry: AuditEntry, by: str | None) -> tuple[str, ...]:
    detail: Mapping[str, Any] = entry.detail
    written = json.dumps(detail, ensure_ascii=False, default=str)
    return entry.created_at.isoformat(), entry.action, entry.subject, by or "", written


def _line(cells: tuple[str, ...]) -> str:
    file = io.StringIO()
    csv.writer(file).writerow([harmless_text(cell) for cell in cells])
    return file.getvalue()
