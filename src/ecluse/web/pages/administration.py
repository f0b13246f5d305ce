"""Let administrators see the jobs of everyone, the audit log, plans, and the settings in force."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from ecluse.catalog import audit, plans
from ecluse.catalog.jobs_of_everyone import failures, jobs_of_everyone
from ecluse.catalog.plan_tables import LIMITS
from ecluse.catalog.tables import AuditEntry
from ecluse.errors import EcluseError, InvalidInput
from ecluse.formulas import harmless_text
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.settings import in_force
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, Pager
from ecluse.web.security import Administrator, RuntimeDep, is_from_here
from ecluse.web.templating import render

router = APIRouter(prefix="/administration")
Search = Annotated[str, Query(max_length=200)]
#: Entries of the log that an export reads at a time.
BATCH: Final = 1_000
#: Forms of a limit that stand for none.
NONE: Final = ("", "none", "–")
COLUMNS: Final = ("created_at", "action", "subject", "by", "detail")


@router.get("/jobs")
def show_jobs(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    state: Annotated[str, Query(max_length=16)] = "",
    page: PageNumber = 1,
) -> Response:
    """Show the jobs of everyone, the newest first, and why those of the last month failed."""
    with runtime.catalog.read() as transaction:
        rows = jobs_of_everyone(transaction, state, limit=PAGE_ROWS + 1, offset=(page - 1) * PAGE_ROWS)
        reasons = failures(transaction)
    context = {
        "jobs": rows[:PAGE_ROWS],
        "failures": reasons,
        "state": state,
        "states": ("queued", "running", "done", "failed", "cancelled"),
        "pager": Pager(page, min(len(rows), PAGE_ROWS), None, len(rows) > PAGE_ROWS),
    }
    return render(request, "administration_jobs.html", context)


@router.get("/log")
def show_log(
    request: Request, runtime: RuntimeDep, user: Administrator, search: Search = "", page: PageNumber = 1
) -> Response:
    """Show what was written down of who did what, the newest first."""
    with runtime.catalog.read() as transaction:
        entries = audit.entries(
            transaction, search=search.strip(), limit=PAGE_ROWS + 1, offset=(page - 1) * PAGE_ROWS
        )
    context = {
        "entries": entries[:PAGE_ROWS],
        "search": search,
        "pager": Pager(page, min(len(entries), PAGE_ROWS), None, len(entries) > PAGE_ROWS),
    }
    return render(request, "administration_log.html", context)


@router.get("/log.csv")
def export_log(runtime: RuntimeDep, user: Administrator, search: Search = "") -> Response:
    """Send the log as CSV, in batches; no text of it is run as a formula by a spreadsheet."""
    headers = {"content-disposition": 'attachment; filename="log.csv"'}
    return StreamingResponse(
        _csv(runtime, search.strip()), media_type="text/csv; charset=utf-8", headers=headers
    )


@router.get("/settings")
def show_settings(request: Request, runtime: RuntimeDep, user: Administrator) -> Response:
    """Show the settings in force and where each comes from; of secrets nothing."""
    return render(request, "administration_settings.html", {"settings": in_force(runtime.settings)})


@router.get("/plans")
def show_plans(request: Request, runtime: RuntimeDep, user: Administrator) -> Response:
    """Show what plans allow, how many people have each, and a form to change one."""
    return _plans_page(request, runtime)


@router.post("/plans")
def set_plan(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    name: Annotated[str, Form(max_length=32)],
    days: Annotated[str, Form(max_length=20)] = "",
    models: Annotated[str, Form(max_length=20)] = "",
    upload_bytes: Annotated[str, Form(max_length=20)] = "",
    storage_bytes: Annotated[str, Form(max_length=20)] = "",
    jobs: Annotated[str, Form(max_length=20)] = "",
    images: Annotated[str, Form(max_length=20)] = "",
    current: Annotated[str, Form()] = "",
) -> Response:
    """Change what a plan allows; an empty field takes the limit away."""
    sent = dict(zip(LIMITS, (days, models, upload_bytes, storage_bytes, jobs, images), strict=True))
    try:
        runtime.accounts.prove(user, current, here=is_from_here(request))
        limits = {limit: _number(limit, text) for limit, text in sent.items()}
        with runtime.catalog.write() as transaction:
            plans.set_plan(transaction, name, limits, by=user.user.id)
    except EcluseError as error:
        if error.status >= 500:
            raise
        return _plans_page(request, runtime, error=error)
    return RedirectResponse("/administration/plans", 303)


def _plans_page(request: Request, runtime: Runtime, error: EcluseError | None = None) -> Response:
    with runtime.catalog.read() as transaction:
        context: dict[str, Any] = {
            "plans": plans.list_plans(transaction),
            "people": plans.count_by_plan(transaction),
            "error": str(error) if error else None,
        }
    status = 200 if error is None else error.status if error.status in (403, 404, 429) else 422
    return render(request, "administration_plans.html", context, status=status)


def _number(limit: str, text: str) -> int | None:
    """Return a limit of the form; of bytes it is written in megabytes."""
    if text.strip().lower() in NONE:
        return None
    try:
        number = float(text.replace("\N{NO-BREAK SPACE}", "").replace(" ", "").replace(",", "."))
        return round(number * 1_000_000) if limit.endswith("_bytes") else int(number)
    except (ValueError, OverflowError):
        raise InvalidInput(
            _("%(value)s is no number. Write one, or leave the field empty for no limit.", value=repr(text))
        ) from None


def _csv(runtime: Runtime, search: str) -> Iterator[str]:
    yield _line(COLUMNS)
    offset = 0
    while True:
        with runtime.catalog.read() as transaction:
            entries = audit.entries(transaction, search=search, limit=BATCH, offset=offset)
        yield "".join(_line(_cells(entry, by)) for entry, by in entries)
        if len(entries) < BATCH:
            return
        offset += BATCH


def _cells(entry: AuditEntry, by: str | None) -> tuple[str, ...]:
    detail: Mapping[str, Any] = entry.detail
    written = json.dumps(detail, ensure_ascii=False, default=str)
    return entry.created_at.isoformat(), entry.action, entry.subject, by or "", written


def _line(cells: tuple[str, ...]) -> str:
    file = io.StringIO()
    csv.writer(file).writerow([harmless_text(cell) for cell in cells])
    return file.getvalue()
