"""Show the sets of images and the models made from them; take images in; draw the sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from ecluse import shares
from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.http.imports import TAKEN, import_form, open_import
from ecluse.apps.plants.sample import start_sample
from ecluse.apps.plants.tables import ImageSet
from ecluse.apps.plants.training import KIND as TEACHING
from ecluse.catalog import models, runs
from ecluse.errors import EcluseError, InvalidInput, NotSignedIn
from ecluse.jobs import Job
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import Progress, running_jobs
from ecluse.web.pages.models import figure_names, listed
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.receiving import receiving
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
Field = Annotated[str, Form()]
#: What jobs of this application are called by begins so.
JOBS: Final = "plants_"
MODELS_SHOWN: Final = 10
#: Set names that the import form offers to choose from.
NAMES_OFFERED: Final = 200


@dataclass(frozen=True)
class SetLine:
    """A set in the list: its numbers, and its labels with theirs, the most first."""

    row: ImageSet
    valid: int
    excluded: int
    rejected: int
    labels: list[tuple[str, int]]
    size: int


@dataclass(frozen=True)
class ImportForm:
    """The import form as it was sent, or empty."""

    set: str = ""
    label: str = ""
    urls: str = ""


@router.get("/plants")
def show_plants(
    request: Request, runtime: RuntimeDep, user: CurrentUser, page: PageNumber = 1, set: str = ""
) -> Response:
    """Show the user's sets and classifiers, and where images are taken in. `?set=` names the set to add to."""
    return _plants_page(request, runtime, user.user.id, page=page, typed=ImportForm(set[:100]))


@router.post("/plants/import")
async def import_files(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Keep the files of the form and queue their import; a script that asks for JSON is told where it is shown."""
    scripted = request.headers.get("accept") == "application/json"
    form = None
    try:
        async with receiving(request, runtime, user.user.id, images=True) as arrival:
            form = await open_import(arrival)
            queued = await import_form(runtime, user.user.id, form, "set")
            await arrival.give_to_job(queued.job)
    except EcluseError as error:
        if error.status >= 500 or isinstance(error, NotSignedIn):
            raise
        if scripted:
            message = words_of(request).phrase(str(error))
            return JSONResponse({"error": {"code": error.code, "message": message}}, error.status)
        typed = ImportForm(form.fields.get("set", ""), form.fields.get("label", "")) if form else ImportForm()
        return await run_in_threadpool(_plants_page, request, runtime, user.user.id, error=error, typed=typed)
    address = f"/plants/{queued.set_id}"
    return JSONResponse({"location": address}, 201) if scripted else RedirectResponse(address, 303)


@router.post("/plants/import-urls")
def import_addresses(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    set: Field = "",
    label: Field = "",
    urls: Field = "",
) -> Response:
    """Queue the import of a list of addresses, a line each."""
    typed = ImportForm(set, label, urls)
    try:
        if not urls.strip():
            raise InvalidInput(_("The list names no address."))
        row = workflows.make_set(runtime, user.user.id, set)
        staging = workflows.new_staging(runtime, user.user.id)
        try:
            workflows.stage_bytes(runtime, staging, "addresses.csv", urls.encode())
            source = workflows.Source(staging, "addresses.csv", staged=True)
            workflows.start_import(runtime, user.user.id, row.id, source, label=label or None)
        except Exception:
            workflows.remove_staged(runtime, staging)  # no row leads to it
            raise
    except EcluseError as error:
        if error.status >= 500:
            raise
        return _plants_page(request, runtime, user.user.id, error=error, typed=typed)
    return RedirectResponse(f"/plants/{row.id}", 303)


@router.post("/plants/demo")
def add_sample(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Draw the sample of leaves into a set of the user's, and show how far that is."""
    return RedirectResponse(f"/plants/{start_sample(runtime, user.user.id).id}", 303)


def plant_jobs(runtime: Runtime, user_id: str, say: Words, set_id: str | None = None) -> list[Progress]:
    """Return the user's jobs of this application that run or wait, or those of one set."""
    jobs = [line for line in running_jobs(runtime, user_id, say).jobs if line.job.kind.startswith(JOBS)]
    return [line for line in jobs if set_id in (None, _set_of(runtime, line.job))]


def _set_of(runtime: Runtime, job: Job) -> str | None:
    """Return the set that a job is at work on, or learns from."""
    if job.kind != TEACHING:
        return job.subject.get("set_id")
    with runtime.catalog.read() as transaction:
        run = runs.run_by_job(transaction, job.id)
    return run.subject.get("set_id") if run else None


def _plants_page(
    request: Request,
    runtime: Runtime,
    user_id: str,
    *,
    page: int = 1,
    typed: ImportForm = ImportForm(),
    error: EcluseError | None = None,
) -> Response:
    say = words_of(request)
    with runtime.catalog.read() as transaction:
        pager = page_of(images.count_sets(transaction, user_id), page)
        names = [row.name for row in images.list_sets(transaction, user_id, limit=NAMES_OFFERED)]
        latest = models.list_latest(transaction, user_id, application="plants", limit=MODELS_SHOWN)
    sets = workflows.list_sets(runtime, user_id, limit=PAGE_ROWS, offset=pager.offset)
    others, others_total = shares.of_others(runtime.catalog, user_id, images.SETS, limit=PAGE_ROWS)
    context = {
        "sets": [_line(summary) for summary in sets],
        "others": others,
        "others_total": others_total,
        "pager": pager,
        "models": listed(runtime, user_id, latest),
        "figure_names": figure_names(say),
        "running": plant_jobs(runtime, user_id, say),
        "max_bytes": runtime.settings.upload_max_bytes,
        "set_names": names,
        "taken": ",".join((".gz", *TAKEN)),  # of `.tar.gz`, some browsers see the last part alone
        "typed": typed,
        "error": str(error) if error else None,
    }
    return render(request, "plants/overview.html", context, status=error.status if error else 200)


def _line(summary: workflows.SetSummary) -> SetLine:
    valid, excluded, rejected = (
        sum(part.values())
        for part in (summary.counts.valid, summary.counts.excluded, summary.counts.rejected)
    )
    labels = sorted(summary.counts.valid.items(), key=lambda pair: (-pair[1], pair[0]))
    return SetLine(summary.row, valid, excluded, rejected, labels, summary.size)
