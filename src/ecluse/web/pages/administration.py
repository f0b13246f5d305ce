"""Let administrators see organisations, the jobs of everyone, the audit log, plans, and the settings in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Form, Query, Request
from starlette.responses import RedirectResponse, Response

from ecluse.backups.schedule import standing
from ecluse.catalog import audit, holdings, organisations, plans
from ecluse.catalog.jobs_of_everyone import failures, jobs_of_everyone
from ecluse.catalog.plan_tables import LIMITS
from ecluse.errors import EcluseError, InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.settings import in_force
from ecluse.web.declarations import Declarations
from ecluse.web.log_export import log_as_csv
from ecluse.web.log_words import said_of
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, Pager
from ecluse.web.security import Administrator, RuntimeDep, is_from_here
from ecluse.web.templating import render, words_of

router = Declarations(prefix="/administration")
Search = Annotated[str, Query(max_length=200)]
#: Forms of a limit that stand for none.
NONE: Final = ("", "none", "–")


@router.get("/organisations")
def show_organisations(
    request: Request, runtime: RuntimeDep, user: Administrator, search: Search = "", page: PageNumber = 1
) -> Response:
    """Show every organisation by its handle, with its owners, its plan and what it stores."""
    return _organisations_page(request, runtime, search=search.strip(), page=page)


@router.post("/organisations")
def give_plan(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    handle: Annotated[str, Form(max_length=64)] = "",
    plan: Annotated[str, Form(max_length=32)] = "",
    current: Annotated[str, Form()] = "",
) -> Response:
    """Give an organisation a plan from now on; an empty one takes its limits away."""
    try:
        runtime.accounts.prove(user, current, here=is_from_here(request))
        organisation = runtime.accounts.owner_called(f"@{handle.removeprefix('@')}")
        with runtime.catalog.write() as transaction:
            plans.give(transaction, organisation, plan or None, by=user.user.id)
    except EcluseError as error:
        if error.status >= 500:
            raise
        return _organisations_page(request, runtime, typed={"handle": handle, "plan": plan}, error=error)
    return _organisations_page(request, runtime, changed=organisation.email)


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
        "said": said_of((entry for entry, _by in entries), words_of(request)),
        "search": search,
        "pager": Pager(page, min(len(entries), PAGE_ROWS), None, len(entries) > PAGE_ROWS),
    }
    return render(request, "administration_log.html", context)


@router.get("/log.csv")
def export_log(runtime: RuntimeDep, user: Administrator, search: Search = "") -> Response:
    """Send the log as CSV, in batches; no text of it is run as a formula by a spreadsheet."""
    return log_as_csv(runtime, search.strip())


@router.get("/settings")
def show_settings(request: Request, runtime: RuntimeDep, user: Administrator) -> Response:
    """Show how it stands with backups, and the settings in force with where each comes from; of secrets nothing."""
    with runtime.catalog.read() as transaction:
        stands = standing(transaction)
    context = {"settings": in_force(runtime.settings), "backups": stands}
    return render(request, "administration_settings.html", context)


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


def _organisations_page(
    request: Request,
    runtime: Runtime,
    *,
    search: str = "",
    page: int = 1,
    typed: Mapping[str, str] | None = None,
    changed: str | None = None,
    error: EcluseError | None = None,
) -> Response:
    with runtime.catalog.read() as transaction:
        rows = organisations.list_all(transaction, search, limit=PAGE_ROWS + 1, offset=(page - 1) * PAGE_ROWS)
        ids = [row.organisation.id for row in rows]
        context: dict[str, Any] = {
            "organisations": rows[:PAGE_ROWS],
            "given": plans.plans_of(transaction, ids),
            "stored": holdings.stored_by(transaction, ids),
            "plans": plans.list_plans(transaction),
        }
    context |= {
        "search": search,
        "typed": typed or {},
        "changed": changed and words_of(request)._("%(email)s: done.", email=changed),
        "pager": Pager(page, min(len(rows), PAGE_ROWS), None, len(rows) > PAGE_ROWS),
        "error": str(error) if error else None,
    }
    return render(request, "administration_organisations.html", context, status=_status(error))


def _status(error: EcluseError | None) -> int:
    if error is None:
        return 200
    return error.status if error.status in (403, 404, 429) else 422


def _plans_page(request: Request, runtime: Runtime, error: EcluseError | None = None) -> Response:
    with runtime.catalog.read() as transaction:
        context: dict[str, Any] = {
            "plans": plans.list_plans(transaction),
            "holders": plans.count_by_plan(transaction),
            "error": str(error) if error else None,
        }
    return render(request, "administration_plans.html", context, status=_status(error))


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
