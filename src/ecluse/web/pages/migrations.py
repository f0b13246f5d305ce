"""Plan migrations, run and follow them, verify what arrived and roll them back. For administrators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse import migration, upkeep
from ecluse.catalog import homes, journal, users
from ecluse.catalog.journal import Amount
from ecluse.catalog.tables import Migration
from ecluse.errors import EcluseError, InvalidInput, InvalidKey, JobNotFound, MigrationHeld, NotFound
from ecluse.jobs import Job
from ecluse.migration import Summary
from ecluse.runtime import Runtime
from ecluse.sentences import N_
from ecluse.settings import AREAS
from ecluse.settings.schemes import address_forms
from ecluse.storage.prices import Cost, monthly_costs, offer_of
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import poll_seconds, progress_of, seconds_of, stages_of
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.security import Administrator, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
#: What a row of the plan is called, in the order of the table; a state without objects has no row.
STATES: Final = {
    "planned": N_("To copy"),
    "copying": N_("On the way"),
    "verified": N_("Copied and verified"),
    "same": N_("There already, the same"),
    "conflict": N_("In conflict: another content is there"),
    "damaged": N_("Damaged at the source"),
    "gone": N_("Gone from the source"),
    "removed": N_("Removed again"),
}
#: Seconds after which a page asks again about work that no job of ours does, such as that of a command.
ELSEWHERE_POLL: Final = 3
_KINDS: Final = {"migrate": "running", "rollback": "rolling_back", "verify_migration": "verifying"}


@dataclass(frozen=True)
class Live:
    """What `_migration.html` draws of work under way. `job` is None where a command does it.

    `rate` is in bytes a second and `left` in seconds; None where they are not known.
    """

    summary: Summary
    job: Job | None
    at_work: bool
    steps: list[tuple[str, str]]
    elapsed: float | None
    fraction: float
    rate: float | None
    left: float | None
    poll: int | None
    table: list[tuple[str, str, Amount]]


@dataclass(frozen=True)
class Costs:
    """What a month costs at the source and at the destination; None where there is no list price."""

    before: Cost | None
    after: Cost | None


@router.get("/migrations")
def list_migrations(
    request: Request, runtime: RuntimeDep, user: Administrator, page: PageNumber = 1
) -> Response:
    """List the migrations, newest first, a page at a time, and the plans being made."""
    say = words_of(request)
    with runtime.catalog.read() as transaction:
        pager = page_of(journal.count_migrations(transaction), page)
        rows = journal.list_migrations(transaction, limit=PAGE_ROWS, offset=pager.offset)
        moves, closed = homes.list_moves(transaction), homes.why_closed(transaction)
    active = runtime.jobs.list(user.user.id, limit=1000, active=True)
    planning = [progress_of(runtime, job, say) for job in active if job.kind == "plan_migration"]
    context = {
        "rows": rows,
        "pager": pager,
        "planning": planning,
        "states": state_names(say),
        "moves": moves,
        "move_states": move_state_names(say),
        "closed": closed,
    }
    return render(request, "migrations.html", context)


def _form_page(
    request: Request, runtime: Runtime, form: Mapping[str, Any], error: EcluseError | None = None
) -> Response:
    context = {
        "form": form,
        "places": places_of(runtime),
        "address_forms": address_forms(),
        "error": None if error is None else str(error),
    }
    return render(request, "migration_new.html", context, status=200 if error is None else error.status)


@router.get("/migrations/new")
def show_form(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    source: str = "",
    destination: str = "",
    prefix: str = "",
    rows: bool = True,
) -> Response:
    """Ask what to migrate, and where to."""
    form = {"source": source, "destination": destination, "prefix": prefix, "switch_rows": rows}
    return _form_page(request, runtime, form)


@router.post("/migrations")
def plan(
    request: Request,
    runtime: RuntimeDep,
    user: Administrator,
    source: Annotated[str, Form()] = "",
    destination: Annotated[str, Form()] = "",
    prefix: Annotated[str, Form()] = "",
    switch_rows: Annotated[bool, Form()] = False,
) -> Response:
    """Queue the comparison of both places, and show how far it is."""
    source, destination, prefix = source.strip(), destination.strip(), prefix.strip()
    try:
        job_id = upkeep.start_plan(runtime, user.user.id, source, destination, prefix, switch_rows)
    except (InvalidInput, InvalidKey) as error:
        form = {"source": source, "destination": destination, "prefix": prefix, "switch_rows": switch_rows}
        return _form_page(request, runtime, form, error)
    return RedirectResponse(f"/migrations/plans/{job_id}", 303)


@router.get("/migrations/plans/{job_id}")
def show_planning(request: Request, job_id: str, runtime: RuntimeDep, user: Administrator) -> Response:
    """Show how far a plan is; once it is made, the plan itself."""
    job = runtime.jobs.get(user.user.id, job_id)
    with runtime.catalog.read() as transaction:
        made = journal.migration_by_job(transaction, job_id)
    if job.status == "done" and made is not None:
        return RedirectResponse(f"/migrations/{made.id}", 303)
    context = {"progress": progress_of(runtime, job, words_of(request)), "asked": job.subject}
    return render(request, "migration_planning.html", context)


@router.get("/migrations/{migration_id}")
def show_migration(request: Request, migration_id: str, runtime: RuntimeDep, user: Administrator) -> Response:
    """One migration: its plan, how far it is, and what can be done with it."""
    return _page(request, runtime, migration_id)


@router.get("/migrations/{migration_id}/progress")
def show_progress(request: Request, migration_id: str, runtime: RuntimeDep, user: Administrator) -> Response:
    """Draw the part of the page that changes; once the work ended, the whole page is loaded again."""
    live = live_of(runtime, migration.summary(runtime.catalog, migration_id), words_of(request))
    headers = {} if live.at_work else {"HX-Refresh": "true"}
    return render(request, "_migration.html", vars(live), headers=headers)


@router.post("/migrations/{migration_id}/run")
def run(request: Request, migration_id: str, runtime: RuntimeDep, user: Administrator) -> Response:
    """Queue the run of a planned migration, or let a stopped one go on."""
    return _started(request, runtime, migration_id, upkeep.start_migration, user.user.id)


@router.post("/migrations/{migration_id}/verify")
def verify(request: Request, migration_id: str, runtime: RuntimeDep, user: Administrator) -> Response:
    """Queue reading everything again at the destination."""
    return _started(request, runtime, migration_id, upkeep.start_verification, user.user.id)


@router.post("/migrations/{migration_id}/rollback")
def roll_back(request: Request, migration_id: str, runtime: RuntimeDep, user: Administrator) -> Response:
    """Queue the rollback: rows first, then what this migration wrote."""
    return _started(request, runtime, migration_id, upkeep.start_rollback, user.user.id)


@router.post("/migrations/{migration_id}/stop")
def stop(migration_id: str, runtime: RuntimeDep, user: Administrator) -> Response:
    """Stop the job that works on a migration, whoever started it; what is done is kept."""
    row = migration.find(runtime.catalog, migration_id)
    job = job_of(runtime, row)
    if job is not None and job.active:
        runtime.jobs.cancel(job.user_id, job.id)
    return RedirectResponse(f"/migrations/{row.id}", 303)


def live_of(runtime: Runtime, summary: Summary, say: Words) -> Live:
    """Say how far the work on a migration is, by its job where it has one, else by its journal."""
    job = job_of(runtime, summary.migration)
    at_work = summary.active or (job is not None and job.active)
    if job is None or not job.active:
        job = None
    done = summary.settled.size / summary.everything.size if summary.everything.size else 0.0
    elapsed = seconds_of(job) if job else _since(summary.migration.started_at) if at_work else None
    rate = copy_rate(summary, job, elapsed)
    rest = sum(summary.amounts.get(state, Amount()).size for state in ("planned", "copying"))
    return Live(
        summary=summary,
        job=job,
        at_work=at_work,
        steps=stages_of(job, say) if job else [],
        elapsed=elapsed,
        fraction=job.fraction if job else done,
        rate=rate,
        left=rest / rate if rate else None,
        poll=(poll_seconds(job) if job else ELSEWHERE_POLL) if at_work else None,
        table=[
            (name, say._(text), summary.amounts[name])
            for name, text in STATES.items()
            if name in summary.amounts
        ],
    )


def copy_rate(summary: Summary, job: Job | None, elapsed: float | None) -> float | None:
    """Bytes a second since the copying began; None where it began in an earlier run, or nothing has arrived yet.

    What was copied before a run that goes on is in the journal too, and would make it look quicker than it is.
    """
    copied = summary.amounts.get("verified", Amount()).size
    begun = summary.migration.started_at
    if summary.migration.state != "running" or not copied or not elapsed or begun is None:
        return None
    if job is not None and job.started_at is not None and begun < job.started_at:
        return None
    return copied / elapsed


def job_of(runtime: Runtime, row: Migration) -> Job | None:
    """Find the last job that worked on a migration; None where there was none, or its record is gone."""
    if row.job_id is None or row.user_id is None:
        return None
    try:
        return runtime.jobs.get(row.user_id, row.job_id)
    except JobNotFound:
        return None


def places_of(runtime: Runtime) -> list[tuple[str, str]]:
    """List what one may type for a place: each area, and where it is."""
    areas = runtime.stores.areas()
    return [(area, areas[area].url) for area in AREAS if area in areas]


def state_names(say: Words) -> dict[str, tuple[str, str]]:
    """State → how its badge looks and what it says."""
    return {
        "planned": ("queued", say._("Planned")),
        "running": ("running", say._("Running")),
        "verifying": ("running", say._("Being verified")),
        "stopped": ("failed", say._("Stopped")),
        "done": ("done", say._("Complete")),
        "rolling_back": ("running", say._("Rolling back")),
        "rolled_back": ("cancelled", say._("Rolled back")),
    }


def move_state_names(say: Words) -> dict[str, tuple[str, str]]:
    """State of a move of the whole home → how its badge looks and what it says."""
    return {
        "moving": ("running", say._("Under way")),
        "arriving": ("running", say._("Under way")),
        "moved": ("done", say._("Moved from here")),
        "done": ("done", say._("Moved to here")),
        "checking": ("running", say._("Rolling back")),
        "removing": ("running", say._("Rolling back")),
        "undone": ("cancelled", say._("Rolled back")),
        "released": ("cancelled", say._("Open again beside its copy")),
    }


def costs_of(runtime: Runtime, summary: Summary) -> Costs:
    """Estimate what a month of all objects costs where they are and where they go, each read and written once."""
    amount, access = summary.everything, runtime.settings.access
    costs = {
        cost.offer.id: cost
        for cost in monthly_costs(
            amount.size, objects=amount.objects, gets=amount.objects, egress_bytes=amount.size
        )
    }
    offers = [offer_of(url, access) for url in (summary.migration.source, summary.migration.destination)]
    before, after = (costs.get(offer.id) if offer else None for offer in offers)
    return Costs(before, after)


def _started(request: Request, runtime: Runtime, migration_id: str, start: Any, user_id: str) -> Response:
    try:
        start(runtime, user_id, migration_id)
    except MigrationHeld as error:
        return _page(request, runtime, migration_id, error=error)
    return RedirectResponse(f"/migrations/{migration_id}", 303)


def _page(
    request: Request, runtime: Runtime, migration_id: str, *, error: MigrationHeld | None = None
) -> Response:
    say = words_of(request)
    summary = migration.summary(runtime.catalog, migration_id)
    row, last = summary.migration, job_of(runtime, summary.migration)
    live = live_of(runtime, summary, say)
    state = _KINDS.get(live.job.kind, row.state) if live.job else row.state
    if row.state == "rolling_back" and not live.at_work:
        state = "stopped"
    context = vars(live) | {
        "row": row,
        "state": state,
        "badge": state_names(say)[state],
        "wrote": any(state in summary.amounts for state in ("verified", "copying")),
        "rest": migration.estimate_rest(runtime.catalog, summary),
        "costs": costs_of(runtime, summary),
        "by": _email_of(runtime, row.user_id),
        "verified": last is not None and last.kind == "verify_migration" and last.status == "done" and last,
        "findings": last.error
        if last and last.kind == "verify_migration" and last.status == "failed"
        else None,
        "error": str(error) if error else None,
    }
    return render(request, "migration.html", context, status=error.status if error else 200)


def _email_of(runtime: Runtime, user_id: str | None) -> str | None:
    """Who planned or last worked on a migration; None once the account is gone."""
    if user_id is None:
        return None
    with runtime.catalog.read() as transaction:
        try:
            return users.user_by_id(transaction, user_id).email
        except NotFound:
            return None


def _since(moment: datetime | None) -> float | None:
    return None if moment is None else max(0.0, (datetime.now(UTC) - moment).total_seconds())
