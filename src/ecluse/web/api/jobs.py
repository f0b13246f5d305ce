"""Follow jobs and stop them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import Query

from ecluse.accounts import Scope
from ecluse.accounts.scopes import scopes_of
from ecluse.jobs import Job
from ecluse.runtime import Runtime
from ecluse.web.api.bodies import job_body
from ecluse.web.api.schemas import After, JobBody, JobLines, Me
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import AnyToken, MayManage, MayRead, RuntimeDep
from ecluse.work import cancel_job, finish_job, result_of

router = Declarations(tags=["jobs"])


def _with_result(runtime: Runtime, job: Job) -> JobBody:
    return job_body(job, result_of(runtime, job))


@router.get("/status/{job}", responses=answers(404))
def status(job: str, runtime: RuntimeDep, user: MayRead) -> JobBody:
    """Say how far a job is, and what it made."""
    return _with_result(runtime, runtime.jobs.get(user.user.id, job))


@router.get("/jobs", responses=answers(422))
def list_jobs(
    runtime: RuntimeDep,
    user: MayRead,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: After = None,
) -> list[JobBody]:
    """Your jobs, newest first."""
    jobs = runtime.jobs.list(user.user.id, limit=limit, after=after)
    return [_with_result(runtime, job) for job in jobs]


@router.get("/jobs/{job}/logs", responses=answers(404))
def logs(
    job: str, runtime: RuntimeDep, user: MayRead, after: Annotated[int, Query(ge=0, le=2**62)] = 0
) -> JobLines:
    """List what there is to say of a job: its stages, what is in its way, how it ended. Ask again for what follows."""
    log = runtime.jobs.lines(user.user.id, job, after=after)
    return JobLines.model_validate({"job": job, **asdict(log)})


@router.post("/jobs/{job}/cancel", responses=answers(404))
def cancel(job: str, runtime: RuntimeDep, user: MayManage) -> JobBody:
    """Stop a job. One that has ended stays as it is."""
    cancel_job(runtime, user.user.id, job)
    return job_body(runtime.jobs.get(user.user.id, job))


@router.post("/jobs/{job}/finish", responses=answers(404))
def finish(job: str, runtime: RuntimeDep, user: MayManage) -> JobBody:
    """End a training's search now and keep the best model so far. One that has ended stays as it is."""
    finish_job(runtime, user.user.id, job)
    return job_body(runtime.jobs.get(user.user.id, job))


@router.get("/me", tags=["account"])
def me(user: AnyToken) -> Me:
    """Whose token or session this is."""
    token, owner = user.token, user.user
    return Me.model_validate(
        {
            "id": owner.id,
            "email": owner.email,
            "name": owner.name,
            "role": owner.role,
            "scopes": [Scope.MANAGE] if token is None else sorted(scopes_of(token)),
            "model": None if token is None else token.model,
            "service_account": None if user.service is None else user.service.name,
        }
    )
