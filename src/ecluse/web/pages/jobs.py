"""Show work in the background: what runs, what ended, one job with its progress; stop it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import urlsplit

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from ecluse.catalog import Transaction, runs
from ecluse.jobs import Group, Job, Link
from ecluse.runtime import Runtime
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, Pager, page_of
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of
from ecluse.work import cancel_job, finish_job, kind_of, kinds

router = Declarations()
#: Jobs shown as queued or running at most; more than anyone waits for.
ACTIVE_SHOWN: Final = 1000
#: An address, and what to call the way there.
Way = tuple[str, str]
#: Whether a training can be ended with the best so far, or was asked to.
Finish = Literal["possible", "asked"] | None


@dataclass(frozen=True)
class Progress:
    """What `_job.html` draws. `poll` is the seconds until it asks again, None once the job ended."""

    job: Job
    steps: list[tuple[str, str]]
    elapsed: float | None
    poll: int | None
    result: Way | None
    detail: bool
    ways: tuple[Way, ...] = ()
    finish: Finish = None


@dataclass(frozen=True)
class GroupLeft:
    """Jobs that are shown together, and how many of them wait or run."""

    group: Group
    count: int


@dataclass(frozen=True)
class Running:
    """The jobs that run or wait: each with its progress, but those of a group together."""

    jobs: list[Progress]
    groups: list[GroupLeft]


@dataclass(frozen=True)
class Ended:
    """A row of the history. `together`: all the jobs of a group that it stands for; none where it is one job."""

    job: Job
    seconds: float | None
    result: Way | None
    together: tuple[Ended, ...] = ()


@router.get("/jobs")
def list_jobs(request: Request, runtime: RuntimeDep, user: CurrentUser, page: PageNumber = 1) -> Response:
    """Show running jobs with their progress, then the ended ones, a page at a time."""
    say = words_of(request)
    running = running_jobs(runtime, user.user.id, say)
    jobs, pager = ended_page(runtime, user.user.id, page)
    with runtime.catalog.read() as transaction:
        results = [_result_within(transaction, job, say) for job in jobs]
    ended = grouped([Ended(job, seconds_of(job), result) for job, result in zip(jobs, results, strict=True)])
    context = {"running": running.jobs, "groups": running.groups, "ended": ended, "pager": pager}
    return render(request, "jobs.html", context)


@router.get("/jobs/{job_id}")
def show_job(request: Request, job_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """One job; by the name of a group, the part of a page that says how many of its jobs are left."""
    if (group := _group_named(job_id)) is not None:
        return _show_group(request, runtime, user.user.id, group)
    job = runtime.jobs.get(user.user.id, job_id)
    log = runtime.jobs.lines(user.user.id, job_id)
    progress = progress_of(runtime, job, words_of(request), detail=True)
    return render(request, "job.html", {"progress": progress, "log": log, "job": job})


@router.get("/jobs/{job_id}/log")
def show_log(request: Request, job_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Draw the part of a page that lists what there is to say of a job, for the page to put in place of what it has."""
    job = runtime.jobs.get(user.user.id, job_id)
    log = runtime.jobs.lines(user.user.id, job_id)
    return render(request, "_job_log.html", {"log": log, "job": job})


@router.get("/jobs/{job_id}/progress")
def show_progress(
    request: Request, job_id: str, runtime: RuntimeDep, user: CurrentUser, detail: bool = False
) -> Response:
    """Draw the part of a page that shows a job, for the page to put in place of the one it has.

    Where the job is not the page's subject, its end changes the rest of the page, which is loaded again.
    """
    job = runtime.jobs.get(user.user.id, job_id)
    progress = progress_of(runtime, job, words_of(request), detail=detail)
    headers = {} if job.active or detail else {"HX-Refresh": "true"}
    return render(request, "_job.html", {"progress": progress}, headers=headers)


@router.post("/jobs/{job_id}/cancel")
def cancel(job_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Stop a job, then show it; by the name of a group, all of its jobs that run or wait."""
    if (group := _group_named(job_id)) is not None:
        for job in _jobs_of(runtime, user.user.id, group):
            cancel_job(runtime, user.user.id, job.id)
        return RedirectResponse("/jobs", 303)
    cancel_job(runtime, user.user.id, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


@router.post("/jobs/{job_id}/finish")
def finish(job_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """End a training with the best so far, then show it."""
    finish_job(runtime, user.user.id, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


def running_jobs(runtime: Runtime, user_id: str, say: Words) -> Running:
    """List the user's queued and running jobs."""
    jobs = runtime.jobs.list(user_id, active=True, limit=ACTIVE_SHOWN)
    groups = Counter(group for job in jobs if (group := kind_of(job.kind).group) is not None)
    return Running(
        [progress_of(runtime, job, say) for job in jobs if kind_of(job.kind).group is None],
        [GroupLeft(group, count) for group, count in groups.items()],
    )


def grouped(ended: Sequence[Ended]) -> list[Ended]:
    """Put jobs of one group that were done in a row, such as the days of a city, on one line of the history.

    What failed or was stopped keeps a line of its own.
    """
    lines: list[Ended] = []
    for line in ended:
        before = lines[-1] if lines else None
        group = kind_of(line.job.kind).group if line.job.status == "done" else None
        if group and before and before.job.status == "done" and kind_of(before.job.kind).group == group:
            lines[-1] = replace(before, together=(*(before.together or (before,)), line))
        else:
            lines.append(line)
    return lines


def _group_named(name: str) -> Group | None:
    return next((kind.group for kind in kinds().values() if kind.group and kind.group.name == name), None)


def _jobs_of(runtime: Runtime, user_id: str, group: Group) -> list[Job]:
    jobs = runtime.jobs.list(user_id, active=True, limit=ACTIVE_SHOWN)
    return [job for job in jobs if kind_of(job.kind).group == group]


def _show_group(request: Request, runtime: Runtime, user_id: str, group: Group) -> Response:
    """Draw the part of a page that says how many jobs of a group are left; their end changes the rest of the page."""
    count = len(_jobs_of(runtime, user_id, group))
    headers = {} if count else {"HX-Refresh": "true"}
    shown_on = urlsplit(request.headers.get("hx-current-url", "")).path or request.url.path
    context = {"left": GroupLeft(group, count), "path": shown_on}
    return render(request, "_job_group.html", context, headers=headers)


def ended_page(runtime: Runtime, user_id: str, page: int) -> tuple[list[Job], Pager]:
    """One page of the user's ended jobs, newest first; the last where there are fewer. Only then are they counted."""
    jobs = runtime.jobs.ended(user_id, limit=PAGE_ROWS + 1, offset=(page - 1) * PAGE_ROWS)
    if not jobs and page > 1:
        return ended_page(runtime, user_id, page_of(runtime.jobs.count_ended(user_id), page).page)
    shown = list(jobs[:PAGE_ROWS])
    more = len(jobs) > len(shown)
    total = None if more else (page - 1) * PAGE_ROWS + len(shown)
    return shown, Pager(page, len(shown), total, more)


def progress_of(runtime: Runtime, job: Job, say: Words, *, detail: bool = False) -> Progress:
    """Return what to draw of a job, and when to ask again."""
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
    if kind_of(job.kind).finish is None or job.status != "running" or job.subject.get("repeats"):
        return None
    with runtime.catalog.read() as transaction:
        run = runs.run_by_job(transaction, job.id)
    if run is None or run.version is not None:
        return None
    return "asked" if run.finish_early_at else "possible"


def stages_of(job: Job, say: Words) -> list[tuple[str, str]]:
    """List the stages of this kind of job with their states."""
    stages = {stage: say._(words) for stage, words in kind_of(job.kind).stages.items()}
    if job.status in ("done", "queued"):
        return [(words, job.status) for words in stages.values()]
    reached = list(stages).index(job.stage) if job.stage in stages else 0
    return [
        (words, "done" if i < reached else job.status if i == reached else "queued")
        for i, words in enumerate(stages.values())
    ]


def seconds_of(job: Job) -> float | None:
    """Return how long a job has run, or ran; None while it waits."""
    if job.started_at is None:
        return None
    return max(0.0, ((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds())


def poll_seconds(job: Job) -> int:
    """Return when to ask again: in 1 s, in 3 s after half a minute, in 10 s after five minutes."""
    age = (datetime.now(UTC) - job.created_at).total_seconds()
    return 1 if age < 30 else 3 if age < 300 else 10


def result_of(runtime: Runtime, job: Job, say: Words) -> Way | None:
    """Return where a job's result is, and what to call the way there; None when there is none."""
    with runtime.catalog.read() as transaction:
        return _result_within(transaction, job, say)


def _result_within(transaction: Transaction, job: Job, say: Words) -> Way | None:
    link = kind_of(job.kind).result(transaction, job)
    return None if link is None else _way(link, say)


def ways_on(runtime: Runtime, job: Job, say: Words) -> tuple[Way, ...]:
    """List where to go from a job that came to nothing: to what it was about, as far as that is still there."""
    with runtime.catalog.read() as transaction:
        links = kind_of(job.kind).ways(transaction, job)
    return tuple(_way(link, say) for link in links)


def _way(link: Link, say: Words) -> Way:
    return link.href, say._(link.words)
