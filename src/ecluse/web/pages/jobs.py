"""Show work in the background: what runs, what ended, one job with its progress; stop it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ecluse.apps.city.jobs import DAY
from ecluse.apps.fraud.rows import inspections, predictions, training
from ecluse.apps.mlflow.jobs import KIND as EXPORT
from ecluse.apps.plants.actions import IMPORT
from ecluse.apps.plants.audit import AUDIT
from ecluse.apps.plants.sample import KIND as DRAWING
from ecluse.apps.plants.training import KIND as TEACHING
from ecluse.catalog import journal, runs
from ecluse.catalog.tables import Inspection
from ecluse.jobs import Job
from ecluse.runtime import Runtime
from ecluse.web.i18n import Words
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, Pager, page_of
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of
from ecluse.work import KINDS, cancel_job, finish_job

router = APIRouter()
#: Jobs shown as queued or running at most; more than anyone waits for.
ACTIVE_SHOWN: Final = 1000
#: Jobs that look at a model at work: their pages are those of the model.
WATCHING: Final = ("monitor", "compare", "retrain")
#: Jobs that are at work on a set of images.
IMAGES: Final = (IMPORT, AUDIT, DRAWING)
#: Jobs of trainings that can end with the best so far.
FINISHED_EARLY: Final = ("train", "retrain", TEACHING)
Link = tuple[str, str]
#: Whether a training can be ended with the best so far, or was asked to.
Finish = Literal["possible", "asked"] | None


@dataclass(frozen=True)
class Progress:
    """What `_job.html` draws. `poll` is the seconds until it asks again, None once the job ended."""

    job: Job
    steps: list[tuple[str, str]]
    elapsed: float | None
    poll: int | None
    result: Link | None
    detail: bool
    ways: tuple[Link, ...] = ()
    finish: Finish = None


@dataclass(frozen=True)
class Running:
    """The jobs that run or wait, and how many days of the city do: they come by the dozen and are told together."""

    jobs: list[Progress]
    days: int


@dataclass(frozen=True)
class Ended:
    """A row of the history."""

    job: Job
    seconds: float | None
    result: Link | None


@router.get("/jobs")
def list_jobs(request: Request, runtime: RuntimeDep, user: CurrentUser, page: PageNumber = 1) -> Response:
    """Running jobs with their progress, then the ended ones, a page at a time."""
    say = words_of(request)
    running = running_jobs(runtime, user.user.id, say)
    jobs, pager = ended_page(runtime, user.user.id, page, len(running.jobs) + running.days)
    ended = [Ended(job, seconds_of(job), result_of(runtime, job, say)) for job in jobs]
    context = {"running": running.jobs, "days_left": running.days, "ended": ended, "pager": pager}
    return render(request, "jobs.html", context)


@router.get("/jobs/days")
def show_days(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """The part of a page that tells how many days of the city are left; their end changes the rest of the page."""
    left = len(_city_days(runtime, user.user.id))
    headers = {} if left else {"HX-Refresh": "true"}
    return render(request, "city/_days_left.html", {"days_left": left}, headers=headers)


@router.post("/jobs/days/cancel")
def cancel_days(runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Stop the days of the city that run or wait."""
    for job in _city_days(runtime, user.user.id):
        cancel_job(runtime, user.user.id, job.id)
    return RedirectResponse("/jobs", 303)


@router.get("/jobs/{job_id}")
def show_job(request: Request, job_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """One job."""
    job = runtime.jobs.get(user.user.id, job_id)
    return render(request, "job.html", vars(progress_of(runtime, job, words_of(request), detail=True)))


@router.get("/jobs/{job_id}/progress")
def show_progress(
    request: Request, job_id: str, runtime: RuntimeDep, user: CurrentUser, detail: bool = False
) -> Response:
    """The part of a page that shows a job, for the page to put in place of the one it has.

    Where the job is not the page's subject, its end changes the rest of the page, which is loaded again.
    """
    job = runtime.jobs.get(user.user.id, job_id)
    progress = progress_of(runtime, job, words_of(request), detail=detail)
    headers = {} if job.active or detail else {"HX-Refresh": "true"}
    return render(request, "_job.html", vars(progress), headers=headers)


@router.post("/jobs/{job_id}/cancel")
def cancel(job_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Stop a job, then show it."""
    cancel_job(runtime, user.user.id, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


@router.post("/jobs/{job_id}/finish")
def finish(job_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """End a training with the best so far, then show it."""
    finish_job(runtime, user.user.id, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


def running_jobs(runtime: Runtime, user_id: str, say: Words) -> Running:
    """The user's queued and running jobs."""
    jobs = runtime.jobs.list(user_id, active=True, limit=ACTIVE_SHOWN)
    shown = [progress_of(runtime, job, say) for job in jobs if job.kind != DAY]
    return Running(shown, len(jobs) - len(shown))


def _city_days(runtime: Runtime, user_id: str) -> list[Job]:
    return [job for job in runtime.jobs.list(user_id, active=True, limit=ACTIVE_SHOWN) if job.kind == DAY]


def ended_page(runtime: Runtime, user_id: str, page: int, running: int) -> tuple[list[Job], Pager]:
    """One page of the user's ended jobs, newest first; the last where there are fewer.

    The engine counts no jobs and skips none, so all up to the page are read, and one more.
    """
    wanted = page * PAGE_ROWS + running + 1
    ended = [job for job in runtime.jobs.list(user_id, limit=wanted) if not job.active]
    pager = page_of(len(ended), page)
    return ended[pager.offset : pager.offset + pager.rows], replace(
        pager, total=None if pager.more else len(ended)
    )


def progress_of(runtime: Runtime, job: Job, say: Words, *, detail: bool = False) -> Progress:
    """What to draw of a job, and when to ask again."""
    result = result_of(runtime, job, say) if job.status == "done" else None
    return Progress(
        job=job,
        steps=stages_of(job, say),
        elapsed=seconds_of(job),
        poll=poll_seconds(job) if job.active else None,
        result=result,
        detail=detail,
        ways=ways_on(runtime, job, say) if job.status in ("failed", "cancelled") else (),
        finish=_finish_of(runtime, job),
    )


def _finish_of(runtime: Runtime, job: Job) -> Finish:
    # A repeat has nothing to keep but all of what it repeats.
    if job.kind not in FINISHED_EARLY or job.status != "running" or job.subject.get("repeats"):
        return None
    with runtime.catalog.read() as transaction:
        run = runs.run_by_job(transaction, job.id)
    if run is None or run.version is not None:
        return None
    return "asked" if run.finish_early_at else "possible"


def stages_of(job: Job, say: Words) -> list[tuple[str, str]]:
    """Each stage of this kind of job with its state."""
    kind = KINDS.get(job.kind)
    stages = kind.stages if kind else ()
    texts = {
        "read": say._("Read"),
        "profile": say._("Look at columns"),
        "features": say._("Features"),
        "search": say._("Search"),
        "calibrate": say._("Calibrate"),
        "test": say._("Test"),
        "score": say._("Score"),
        "match": say._("Match"),
        "anomaly": say._("Learn what is usual"),
        "save": say._("Save"),
        "compare": say._("Compare"),
        "ask": say._("Choose rows"),
        "learn": say._("Learn from labels"),
        "curate": say._("Curate"),
        "queue": say._("Queue the days"),
        "fetch": say._("Fetch"),
        "compute": say._("Compute"),
        "wait": say._("Wait"),
        "forecast": say._("Forecast"),
        "write": say._("Write"),
        "copy": say._("Copy"),
        "switch": say._("Switch the rows"),
        "verify": say._("Read again"),
        "remove": say._("Remove"),
        "import": say._("Import"),
        "draw": say._("Draw and import"),
        "judge": say._("Judge the labels"),
    }
    if job.kind == TEACHING:
        texts["learn"] = say._("Learn")
    if job.status in ("done", "queued"):
        return [(texts.get(stage, stage), job.status) for stage in stages]
    reached = stages.index(job.stage) if job.stage in stages else 0
    return [
        (texts.get(stage, stage), "done" if i < reached else job.status if i == reached else "queued")
        for i, stage in enumerate(stages)
    ]


def seconds_of(job: Job) -> float | None:
    """How long a job has run, or ran; None while it waits."""
    if job.started_at is None:
        return None
    return max(0.0, ((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds())


def poll_seconds(job: Job) -> int:
    """Every second at first, then every 3 s after half a minute and every 10 s after five minutes."""
    age = (datetime.now(UTC) - job.created_at).total_seconds()
    return 1 if age < 30 else 3 if age < 300 else 10


def result_of(runtime: Runtime, job: Job, say: Words) -> Link | None:
    """Where a job's result is, and what to call the way there; None when there is none."""
    if job.kind == DAY:
        return f"/city/{job.subject['day']}", say._("Open the day")
    if job.kind in ("city_prepare", "city_demo"):
        return "/city", say._("Open the city")
    if job.kind == "profile":
        return f"/fraud/d/{job.subject['dataset_id']}", say._("Open the table")
    if job.kind == "verify_model":
        return _model(job, say)
    if job.kind in IMAGES:
        return _images(job.subject["set_id"], say)
    if job.kind == EXPORT:
        return f"/runs/{job.subject['run_id']}", say._("Open the run")
    if job.kind in ("build_reference", "evaluate_reference"):
        return _reference(job, say)
    with runtime.catalog.read() as transaction:
        if job.kind in ("train", "ensemble"):
            run = training.run_by_job(transaction, job.id)
            if run and run.version and run.status == "done":
                return f"/models/{run.model_name}/{run.version}", say._("Open the model")
        if job.kind == TEACHING and (taught := runs.run_by_job(transaction, job.id)) and taught.version:
            return f"/models/{taught.name}/{taught.version}", say._("Open the model")
        if job.kind == "predict" and (scored := predictions.prediction_by_job(transaction, job.id)):
            return f"/fraud/p/{scored.id}", say._("Open the scores")
        if job.kind in WATCHING and (look := inspections.inspection_by_job(transaction, job.id)):
            return _look(look, say)
        if job.kind == "plan_migration" and (made := journal.migration_by_job(transaction, job.id)):
            return _migration(made.id, say)
        if job.kind in ("questions", "learn"):
            asked = inspections.inspection_by_job(transaction, job.id)
            return _labelling(asked, say) if asked else None
    return _migration(job.subject["migration_id"], say) if "migration_id" in job.subject else None


def ways_on(runtime: Runtime, job: Job, say: Words) -> tuple[Link, ...]:
    """Where to go from a job that came to nothing: to what it was about, as far as that is still there."""
    with runtime.catalog.read() as transaction:
        if job.kind == "train" and (run := training.run_by_job(transaction, job.id)) and run.dataset_id:
            table = f"/fraud/d/{run.dataset_id}"
            return (f"{table}#train", say._("Train again")), (table, say._("Open the table"))
        if job.kind == "ensemble" and (run := training.run_by_job(transaction, job.id)) and run.dataset_id:
            return (f"/fraud/m/{run.dataset_id}", say._("Match again")), _table(run.dataset_id, say)
        if job.kind == "predict" and (scored := predictions.prediction_by_job(transaction, job.id)):
            model = f"/models/{scored.model_name}/{scored.version}", say._("Open the model")
            return (_table(scored.dataset_id, say), model) if scored.dataset_id else (model,)
        if job.kind in WATCHING and (look := inspections.inspection_by_job(transaction, job.id)):
            return ((f"/models/{look.model_name}/{look.version}/monitor", say._("Monitor the model")),)
        if job.kind in ("questions", "learn"):
            asked = inspections.inspection_by_job(transaction, job.id)
            return (_labelling(asked, say),) if asked and asked.dataset_id else ()
        if job.kind == TEACHING and (taught := runs.run_by_job(transaction, job.id)):
            return (_images(taught.subject["set_id"], say), (f"/runs/{taught.id}", say._("Open the run")))
    if job.kind in IMAGES:
        return (_images(job.subject["set_id"], say),)
    if job.kind == EXPORT:
        return ((f"/runs/{job.subject['run_id']}", say._("Open the run")),)
    if job.kind == "verify_model":
        return (_model(job, say),)
    return (_migration(job.subject["migration_id"], say),) if "migration_id" in job.subject else ()


def _model(job: Job, say: Words) -> Link:
    return f"/models/{job.subject['name']}/{job.subject['version']}", say._("Open the model")


def _images(set_id: str, say: Words) -> Link:
    return f"/plants/{set_id}", say._("Open the images")


def _look(look: Inspection, say: Words) -> Link:
    if look.kind == "monitor":
        return f"/models/{look.model_name}/{look.version}/monitor?look={look.id}", say._(
            "Open what was found"
        )
    return f"/models/{look.model_name}/compare/{look.id}", say._("Open the comparison")


def _reference(job: Job, say: Words) -> Link:
    return f"/fraud/references/{job.title}", say._("Open the reference")


def _labelling(asked: Inspection, say: Words) -> Link:
    """Where rows are labelled, or the version that was learned from them."""
    if asked.kind == "learning" and asked.other_version:
        return f"/models/{asked.model_name}/{asked.other_version}", say._("Open the model")
    model = f"{asked.model_name}@{asked.version}"
    return f"/datasets/{asked.dataset_id}/label?model={model}", say._("Label rows")


def _migration(migration_id: str, say: Words) -> Link:
    return f"/migrations/{migration_id}", say._("Open the migration")


def _table(dataset_id: str, say: Words) -> Link:
    return f"/fraud/d/{dataset_id}", say._("Open the table")
