"""List, show, cancel and finish jobs."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ecluse.catalog.jobs_of_everyone import failures, jobs_of_everyone, owner_of
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, harmless, reports
from ecluse.cli.session import acting, home_option, opened, user_option
from ecluse.jobs import Line
from ecluse.sentences import without_cells
from ecluse.work import cancel_job, finish_job

if TYPE_CHECKING:
    from ecluse.catalog.tables import User
    from ecluse.runtime import Runtime

#: Seconds between two looks for what there is to say.
LOOK_SECONDS: Final = 1.0
STATUSES: Final = ("queued", "running", "done", "failed", "cancelled")


@click.group(cls=Group)
def jobs() -> None:
    """List, show, cancel and finish jobs."""


@jobs.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--active", is_flag=True, help="Only those that wait or run.")
@user_option
@home_option
@reports
def list_jobs(limit: int, active: bool, email: str | None, home: Path | None) -> Rows:
    """List the user's jobs, newest first."""
    with acting(home, email, reads=True) as (runtime, user):
        rows = [asdict(job) for job in runtime.jobs.list(user.id, limit=limit, active=active)]
        empty = "No jobs yet." if rows else _say_none(runtime, user, active=active)
    return Rows(rows, ("id", "kind", "status", "stage", "title", "created_at"), empty)


def _say_none(runtime: Runtime, user: User, *, active: bool) -> str:
    none = "No job of yours waits or runs." if active else "No jobs yet."
    if not _sees_everyone(user):
        return none
    with runtime.catalog.read() as transaction:
        of_others = jobs_of_everyone(transaction, limit=1)
    return (
        f"{none if active else 'No jobs of yours.'} Everyone's: ecluse jobs everyone" if of_others else none
    )


@jobs.command("everyone")
@click.option("--status", default="", type=click.Choice(["", *STATUSES]), help="Only those that stand so.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@home_option
@reports
def list_of_everyone(status: str, limit: int, home: Path | None) -> Rows:
    """List the jobs of everyone, newest first, with why they failed."""
    with opened(home, reads=True) as runtime, runtime.catalog.read() as transaction:
        rows = [
            {
                "id": job.id,
                "kind": job.kind,
                "status": job.status,
                "user": email,
                "title": job.title,
                "created_at": job.created_at,
                "error": job.error,
            }
            for job, email in jobs_of_everyone(transaction, status, limit=limit)
        ]
    empty = f"No job is {status}." if status else "No jobs yet."
    return Rows(rows, ("id", "kind", "status", "user", "title", "created_at", "error"), empty)


@jobs.command("failures")
@home_option
@reports
def list_failures(home: Path | None) -> Rows:
    """List why jobs of the last 30 days failed, the most frequent reason first."""
    with opened(home, reads=True) as runtime, runtime.catalog.read() as transaction:
        rows = [asdict(each) for each in failures(transaction)]
    return Rows(rows, ("count", "people", "kind", "example"), "None failed.")


@jobs.command("show")
@click.argument("job_id")
@user_option
@home_option
@reports
def show_job(job_id: str, email: str | None, home: Path | None) -> Record:
    """One job: how far it is, and why it failed. Administrators see anyone's, and whose it is."""
    with acting(home, email, reads=True) as (runtime, user):
        return _shown(runtime, user, job_id)


def _sees_everyone(user: User) -> bool:
    return user.role == "admin"


def _shown(runtime: Runtime, user: User, job_id: str) -> Record:
    """Show a job; of someone else's, who that is, and nothing out of their tables."""
    job = runtime.jobs.get(None if _sees_everyone(user) else user.id, job_id)
    if job.user_id == user.id:
        return Record(asdict(job))
    error = None if job.error is None else without_cells(job.error)
    shown = replace(job, subject={}, message=without_cells(job.message), error=error)
    with runtime.catalog.read() as transaction:
        owner = owner_of(transaction, job.user_id)
    return Record({"user": owner} | asdict(shown))


@jobs.command("logs")
@click.argument("job_id")
@click.option("--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--json", "as_json", is_flag=True, help="Print each line as JSON on standard output.")
@user_option
@home_option
def show_logs(job_id: str, follow: bool, as_json: bool, email: str | None, home: Path | None) -> None:
    """Print what there is to say of a job: stages, what is in its way, how it ended. Administrators see anyone's."""
    with acting(home, email, reads=True) as (runtime, user):
        owner = None if _sees_everyone(user) else user.id
        last = 0
        while True:
            log = runtime.jobs.lines(owner, job_id, after=last)
            for line in log.lines:
                last = line.number
                click.echo(_line_as_json(line) if as_json else harmless(_line_as_text(line)))
            if log.is_all or not follow:
                return
            time.sleep(LOOK_SECONDS)


def _line_as_text(line: Line) -> str:
    return f"{line.at:%Y-%m-%d %H:%M:%S} UTC  {line.level:<7}  {line.said}"


def _line_as_json(line: Line) -> str:
    return json.dumps(asdict(line) | {"at": line.at.isoformat()}, ensure_ascii=False)


@jobs.command("cancel")
@click.argument("job_id")
@user_option
@home_option
@reports
def cancel(job_id: str, email: str | None, home: Path | None) -> Record:
    """Stop a job. One that has ended stays as it is. Administrators stop anyone's."""
    with acting(home, email) as (runtime, user):
        cancel_job(runtime, user.id, job_id, is_of_anyone=_sees_everyone(user))
        return _shown(runtime, user, job_id)


@jobs.command("finish")
@click.argument("job_id")
@user_option
@home_option
@reports
def finish(job_id: str, email: str | None, home: Path | None) -> Record:
    """End a training's search now and keep the best model so far."""
    with acting(home, email) as (runtime, user):
        finish_job(runtime, user.id, job_id)
        return Record(asdict(runtime.jobs.get(user.id, job_id)))
