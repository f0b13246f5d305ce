"""Show the library of reference models and each of them; let administrators build, measure and remove them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from ecluse.apps.fraud.jobs import reference_evaluation as evaluation
from ecluse.apps.fraud.jobs import references as building
from ecluse.apps.fraud.metrics import tiles
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.rows import references
from ecluse.apps.fraud.rows.tables import ReferenceModel
from ecluse.errors import EcluseError, InvalidInput
from ecluse.jobs import Job
from ecluse.runtime import Runtime
from ecluse.sentences import N_
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import poll_seconds
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of
from ecluse.work import cancel_job

router = Declarations()
#: Jobs queued within so long of the first that is not done are shown as one piece of work.
TOGETHER: Final = timedelta(minutes=2)
MOST_JOBS: Final = 1_000
#: Columns that a card names; the page of the reference has them all.
COLUMNS_NAMED: Final = 6
#: Columns that the page of a reference shows at first.
COLUMNS_SHOWN: Final = 100
BUDGETS: Final = (5, 8, 30, 60)
#: What the domains of the demonstration library are called; another domain is called what its builder called it.
DOMAINS: Final = {
    "cards": N_("Card payments"),
    "mobile_money": N_("Mobile money"),
    "signups": N_("Sign-ups"),
    "insurance_claims": N_("Insurance claims"),
    "loans": N_("Loan applications"),
    "telecom": N_("Telecom contracts"),
    "marketplaces": N_("Marketplaces"),
    "payroll": N_("Payroll"),
}


@dataclass(frozen=True)
class Work:
    """Work on the library under way. `share` is in [0, 1] of all its jobs, `poll` the seconds until it asks again."""

    building: bool
    total: int
    done: int
    running: tuple[Job, ...]
    waiting: int
    failed: tuple[Job, ...]
    share: float
    poll: int


@dataclass(frozen=True)
class Card:
    """A reference as the library shows it; figures are None where they were never measured."""

    row: ReferenceModel
    domain: str
    precision: float | None
    interval: list[float] | None
    columns: tuple[str, ...]
    more_columns: int
    transfer: float | None
    transfer_tables: int
    readable: bool


@router.get("/fraud/references")
def list_references(
    request: Request, runtime: RuntimeDep, user: CurrentUser, domain: str = "", page: PageNumber = 1
) -> Response:
    """List the library as cards, by domain, a page at a time."""
    return _library_page(request, runtime, user.user.id, domain=domain, page=page)


@router.get("/fraud/references/progress")
def show_work(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Show the part of the library's page that shows work under way; its end loads the page again."""
    work = work_of(runtime, user.user.id)
    headers = {} if work else {"HX-Refresh": "true"}
    return render(request, "fraud/_references_work.html", {"work": work}, headers=headers)


@router.post("/fraud/references/demo")
def build_demo(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    domain: Annotated[str, Form()] = "",
    budget: Annotated[float, Form()] = building.DEMO_BUDGET,
) -> Response:
    """Queue the demonstration library, or one domain of it. For administrators."""
    library.expect_administrator(user.user)
    try:
        building.start_demo(runtime, user.user, domains=(domain,) if domain else (), budget_s=budget)
    except InvalidInput as error:
        return _library_page(request, runtime, user.user.id, error=error)
    return RedirectResponse("/fraud/references", 303)


@router.post("/fraud/references/measure")
def measure(
    request: Request, runtime: RuntimeDep, user: CurrentUser, name: Annotated[str, Form()] = ""
) -> Response:
    """Queue the measurement of how well one reference, or each, scores the tables of the others."""
    library.expect_administrator(user.user)
    try:
        evaluation.start_evaluation(runtime, user.user, (name,) if name else ())
    except InvalidInput as error:
        return _library_page(request, runtime, user.user.id, error=error)
    return RedirectResponse(f"/fraud/references/{name}" if name else "/fraud/references", 303)


@router.post("/fraud/references/stop")
def stop(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Stop the user's jobs on the library. What is built stays."""
    for job in _jobs(runtime, user.user.id, active=True):
        cancel_job(runtime, user.user.id, job.id)
    return RedirectResponse("/fraud/references", 303)


@router.get("/fraud/references/{name}")
def show_reference(
    request: Request, name: str, runtime: RuntimeDep, user: CurrentUser, columns: str = ""
) -> Response:
    """One reference: its columns as they are sketched, its figures, how it does on the tables of others."""
    row = library.find(runtime, name)
    say = words_of(request)
    card = card_of(row, say)
    sketches, performance = (row.sketches, row.performance) if card.readable else ([], {})
    shown = sketches if columns == "all" else sketches[:COLUMNS_SHOWN]
    context = {
        "reference": row,
        "card": card,
        "columns": [_Column.of(column, total_importance(row), say) for column in shown],
        "columns_total": len(sketches),
        "metrics": {key: value for key, value in performance.items() if isinstance(value, int | float)},
        "intervals": performance.get("intervals") or {},
        "tiles": tiles(),
        "tables": sorted(
            (row.transfer.get("tables") or {}).items(), key=lambda item: -item[1].get("roc_auc", 0.0)
        ),
        "kinds": column_kinds(say),
        "administers": user.user.role == "admin",
    }
    return render(request, "fraud/reference.html", context)


@router.post("/fraud/references/{name}/remove")
def remove(name: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Remove a reference. Ensembles made with it keep what they need of it. For administrators."""
    library.remove(runtime, user.user, name)
    return RedirectResponse("/fraud/references", 303)


def domain_name(domain: str, say: Words) -> str:
    """Return what to call a domain."""
    return say._(DOMAINS[domain]) if domain in DOMAINS else domain.replace("_", " ")


def card_of(row: ReferenceModel, say: Words) -> Card:
    """Return a reference as the library shows it."""
    readable = library.is_readable(row)
    performance = row.performance if readable else {}
    named = [str(column["name"]) for column in row.sketches] if readable else []
    named = named or [str(column) for column in row.columns]
    precision, transfer = performance.get("average_precision"), row.transfer.get("roc_auc")
    return Card(
        row=row,
        domain=domain_name(row.domain, say),
        precision=_number(precision),
        interval=(performance.get("intervals") or {}).get("average_precision"),
        columns=tuple(named[:COLUMNS_NAMED]),
        more_columns=max(0, len(named) - COLUMNS_NAMED),
        transfer=_number(transfer),
        transfer_tables=len(row.transfer.get("tables") or {}),
        readable=readable,
    )


def total_importance(row: ReferenceModel) -> float:
    """Return the importance of all columns of a reference together, on whatever scale it was measured; never 0."""
    return sum(float(sketch.get("importance", 0.0)) for sketch in row.sketches) or 1.0


def column_kinds(say: Words) -> dict[str, str]:
    """Return what to call the kinds of columns."""
    return {
        "number": say._("number"),
        "category": say._("category"),
        "text": say._("text"),
        "datetime": say._("date and time"),
        "identifier": say._("identifier"),
        "constant": say._("constant"),
    }


def work_of(runtime: Runtime, user_id: str) -> Work | None:
    """Return the user's jobs on the library that run or wait, with those that were queued with them; None
    when none do.
    """
    active = _jobs(runtime, user_id, active=True)
    if not active:
        return None
    since = min(job.created_at for job in active) - TOGETHER
    jobs = [job for job in _jobs(runtime, user_id) if job.created_at >= since]
    ended = [job for job in jobs if not job.active]
    running = tuple(job for job in active if job.status == "running")
    newest = max(active, key=lambda job: job.created_at)
    return Work(
        building=any(job.kind == building.KIND for job in active),
        total=len(jobs),
        done=sum(job.status == "done" for job in ended),
        running=running,
        waiting=len(active) - len(running),
        failed=tuple(job for job in ended if job.status == "failed"),
        share=(len(ended) + sum(job.fraction for job in running)) / len(jobs),
        poll=poll_seconds(newest),
    )


@dataclass(frozen=True)
class _Column:
    """A column of a reference as it is sketched. `low` and `high` hold nine tenths of its values, as text."""

    name: str
    kind: str
    importance: float
    missing: float
    low: str
    high: str
    top: tuple[tuple[str, float], ...]
    sketch: Mapping[str, Any]

    @classmethod
    def of(cls, sketch: Mapping[str, Any], total: float, say: Words) -> _Column:
        quantiles = [float(value) for value in sketch.get("quantiles") or ()]
        ends = [_bound(value, str(sketch["kind"]), say) for value in (quantiles[1:2] + quantiles[-2:-1])]
        return cls(
            name=str(sketch["name"]),
            kind=str(sketch["kind"]),
            importance=float(sketch.get("importance", 0.0)) / total,
            missing=float(sketch.get("missing", 0.0)),
            low=ends[0] if ends else "",
            high=ends[1] if ends else "",
            top=tuple((str(value), float(share)) for value, share in (sketch.get("top") or ())[:3]),
            sketch=sketch,
        )


def _bound(value: float, kind: str, say: Words) -> str:
    if kind == "datetime":
        return say.brief_day(datetime.fromtimestamp(value, UTC))
    return say.num(value, 0 if value == round(value) or abs(value) >= 1_000 else 2)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _jobs(runtime: Runtime, user_id: str, *, active: bool = False) -> Sequence[Job]:
    jobs = runtime.jobs.list(user_id, limit=MOST_JOBS, active=active)
    return [job for job in jobs if job.kind in (building.KIND, evaluation.KIND)]


def _library_page(
    request: Request,
    runtime: Runtime,
    user_id: str,
    *,
    domain: str = "",
    page: int = 1,
    error: EcluseError | None = None,
) -> Response:
    say, chosen = words_of(request), domain or None
    with runtime.catalog.read() as transaction:
        counts = references.domains(transaction)
        pager = page_of(references.count_references(transaction, domain=chosen), page)
        rows = references.list_references(transaction, domain=chosen, limit=PAGE_ROWS, offset=pager.offset)
    context = {
        "cards": [card_of(row, say) for row in rows],
        "pager": pager,
        "path_here": "/fraud/references" + (f"?{urlencode({'domain': domain})}" if domain else ""),
        "domain": domain,
        "domains": [(name, domain_name(name, say), count) for name, count in counts.items()],
        "total": sum(counts.values()),
        "work": work_of(runtime, user_id),
        "demo_domains": [(name, say._(text)) for name, text in DOMAINS.items()],
        "budgets": BUDGETS,
        "budget": int(building.DEMO_BUDGET),
        "error": str(error) if error else None,
    }
    return render(request, "fraud/references.html", context, status=error.status if error else 200)
