"""Wait for jobs, and for the tables that jobs read."""

from __future__ import annotations

from typing import Any

import httpx

from ecluse.jobs import Job
from ecluse.runtime import Runtime
from tests.support.wait import wait_until


def ended_job(runtime: Runtime, user_id: str | None, job_id: str, seconds: float = 120) -> Job:
    """Return a job once it has ended."""

    def look() -> Job | None:
        job = runtime.jobs.get(user_id, job_id)
        return None if job.active else job

    return wait_until(look, lambda: f"an end of {runtime.jobs.get(user_id, job_id)}", seconds)


def ended_status(client: httpx.Client, job: str, seconds: float = 180) -> dict[str, Any]:
    """Return what /api/status says of a job once it has ended."""
    body: dict[str, Any] = {}

    def look() -> dict[str, Any] | None:
        body.update(client.get(f"/api/status/{job}").raise_for_status().json())
        return None if body["status"] in ("queued", "running") else body

    return wait_until(look, lambda: f"an end of {body}", seconds)


def begun_job(client: httpx.Client, job: str) -> None:
    """Return once a job is queued no more."""
    wait_until(lambda: client.get(f"/api/status/{job}").json()["status"] != "queued", "a worker for the job")


def read_table(client: httpx.Client, table: str) -> None:
    """Return once a table that was uploaded has been read."""
    wait_until(
        lambda: client.get(f"/api/datasets/{table}").json()["state"] != "profiling", "a table that is read"
    )
