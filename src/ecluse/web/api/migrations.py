"""Plan migrations, run them, verify what arrived and roll them back. For administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from ecluse import migration, upkeep
from ecluse.catalog import journal
from ecluse.web.api.bodies import migration_body, migration_detail
from ecluse.web.api.schemas import Accepted, MigrationDetail, MigrationsPage, PlanRequest
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import Administrator, RuntimeDep

router = Declarations(tags=["migrations"])


@router.get("/migrations")
def list_migrations(
    runtime: RuntimeDep,
    user: Administrator,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> MigrationsPage:
    """List the migrations, newest first."""
    with runtime.catalog.read() as transaction:
        total = journal.count_migrations(transaction)
        rows = journal.list_migrations(transaction, limit=per_page, offset=(page - 1) * per_page)
    return MigrationsPage(
        items=[migration_body(row) for row in rows], total=total, page=page, per_page=per_page
    )


@router.post("/migrations", status_code=202, responses=answers(422))
def plan(request: PlanRequest, runtime: RuntimeDep, user: Administrator) -> Accepted:
    """Queue the comparison of two places. The job's result names the migration; nothing is copied before its run."""
    job = upkeep.start_plan(
        runtime, user.user.id, request.source, request.destination, request.prefix, request.switch_rows
    )
    return _accepted(job)


@router.get("/migrations/{migration_id}", responses=answers(404))
def show_migration(migration_id: str, runtime: RuntimeDep, user: Administrator) -> MigrationDetail:
    """Say how a migration stands: objects and bytes by state, what is in the way, and what is left to do."""
    summary = migration.summary(runtime.catalog, migration_id)
    return migration_detail(summary, migration.estimate_rest(runtime.catalog, summary))


@router.post("/migrations/{migration_id}/run", status_code=202, responses=answers(404, 409))
def run(migration_id: str, runtime: RuntimeDep, user: Administrator) -> Accepted:
    """Queue its run, or let a stopped one go on; 409 while it has a job already."""
    return _accepted(upkeep.start_migration(runtime, user.user.id, migration_id))


@router.post("/migrations/{migration_id}/verify", status_code=202, responses=answers(404, 409))
def verify(migration_id: str, runtime: RuntimeDep, user: Administrator) -> Accepted:
    """Queue reading everything again at the destination; the job fails where something is not right."""
    return _accepted(upkeep.start_verification(runtime, user.user.id, migration_id))


@router.post("/migrations/{migration_id}/rollback", status_code=202, responses=answers(404, 409))
def roll_back(migration_id: str, runtime: RuntimeDep, user: Administrator) -> Accepted:
    """Queue its rollback: rows first, then what it wrote at the destination."""
    return _accepted(upkeep.start_rollback(runtime, user.user.id, migration_id))


def _accepted(job: str) -> Accepted:
    return Accepted(job=job, status_url=f"/api/status/{job}")
