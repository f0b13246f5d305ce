"""List, show, cancel and finish jobs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from ecluse.catalog.jobs_of_everyone import failures, jobs_of_everyone
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, reports
from ecluse.cli.session import acting, home_option, opened, user_option
from ecluse.work import cancel_job, finish_job

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
    with acting(home, email) as (runtime, user):
        rows = [asdict(job) for job in runtime.jobs.list(user.id, limit=limit, active=active)]
    return Rows(rows, ("id", "kind", "status", "stage", "title", "created_at"), "No jobs yet.")


@jobs.command("everyone")
@click.option("--status", default="", type=click.Choice(["", *STATUSES]), help="Only those that stand so.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@home_option
@reports
def list_everyones(status: str, limit: int, home: Path | None) -> Rows:
    """List the jobs of everyone, newest first, with why they failed."""
    with opened(home) as runtime, runtime.catalog.read() as transaction:
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
    return Rows(rows, ("id", "kind", "status", "user", "title", "created_at", "error"), "No jobs yet.")


@jobs.command("failures")
@home_option
@reports
def list_failures(home: Path | None) -> Rows:
    """List why jobs of the last 30 days failed, the most frequent reason first."""
    with opened(home) as runtime, runtime.catalog.read() as transaction:
        rows = [asdict(each) for each in failures(transaction)]
    return Rows(rows, ("count", "people", "kind", "example"), "None failed.")


@jobs.command("show")
@click.argument("job_id")
@user_option
@home_option
@reports
def show_job(job_id: str, email: str | None, home: Path | None) -> Record:
    """One job: how far it is, and why it failed."""
    with acting(home, email) as (runtime, user):
        return Record(asdict(runtime.jobs.get(user.id, job_id)))


@jobs.command("cancel")
@click.argument("job_id")
@user_option
@home_option
@reports
def cancel(job_id: str, email: str | None, home: Path | None) -> Record:
    """Stop a job. One that has ended stays as it is."""
    with acting(home, email) as (runtime, user):
        cancel_job(runtime, user.id, job_id)
        return Record(asdict(runtime.jobs.get(user.id, job_id)))


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
