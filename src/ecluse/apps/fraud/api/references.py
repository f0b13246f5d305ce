"""List the library of reference models, match tables with it; for administrators: build, measure and remove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from ecluse.apps.fraud.actions import ensembles
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.api.bodies import reference_body
from ecluse.apps.fraud.api.schemas import (
    DemoRequest,
    EvaluateRequest,
    MatchRequest,
    MatchResultBody,
    ReferenceDetail,
    ReferencesPage,
    StartedBody,
)
from ecluse.apps.fraud.jobs import reference_evaluation as evaluation
from ecluse.apps.fraud.jobs import references as building
from ecluse.apps.fraud.jobs.references import Started
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.references.published import POSITIVE
from ecluse.apps.fraud.rows import references
from ecluse.web.api.bodies import file_body
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayPredict, MayRead, RuntimeDep

router = Declarations(tags=["references"])


@router.get("/references")
def list_references(
    runtime: RuntimeDep,
    user: MayRead,
    domain: Annotated[str | None, Query(description="Only those of one domain")] = None,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ReferencesPage:
    """List the reference models that unlabelled tables are matched with, by name."""
    with runtime.catalog.read() as transaction:
        rows = references.list_references(
            transaction, domain=domain, limit=per_page, offset=(page - 1) * per_page
        )
        total = references.count_references(transaction, domain=domain)
        domains = references.domains(transaction)
    items = [reference_body(row) for row in rows]
    return ReferencesPage(items=items, total=total, page=page, per_page=per_page, domains=domains)


@router.post("/references/match", responses=answers(404))
def match(body: MatchRequest, runtime: RuntimeDep, user: MayPredict) -> MatchResultBody:
    """Show the references that a table means the same as, its columns beside theirs; or why none does.

    Mappings that were corrected for a dataset count as they were.
    """
    if body.columns is not None:
        return MatchResultBody.model_validate(
            library.match_columns(runtime, body.columns, body.limit).to_dict()
        )
    dataset = workflows.find_dataset(runtime, user.user.id, body.dataset or "")
    result = ensembles.match_dataset(runtime, dataset)
    return MatchResultBody.model_validate(result.to_dict())


@router.post("/references/demo", status_code=202, responses=answers(403))
def build_demo(body: DemoRequest, runtime: RuntimeDep, user: MayManage) -> list[StartedBody]:
    """Build references from simulated institutions, five a domain, a job for each. For administrators."""
    started = building.start_demo(
        runtime, user.user, domains=body.domains, budget_s=body.budget_s, with_sample=body.sample
    )
    return _started(started)


@router.post("/references/evaluate", status_code=202, responses=answers(403, 404))
def evaluate(body: EvaluateRequest, runtime: RuntimeDep, user: MayManage) -> list[StartedBody]:
    """Score the tables of the library with the references that match them, a job for each. For administrators."""
    return _started(evaluation.start_evaluation(runtime, user.user, body.names))


@router.get("/references/{name}", responses=answers(404, 409))
def show_reference(name: str, runtime: RuntimeDep, user: MayRead) -> ReferenceDetail:
    """One reference: its figures, its columns by importance, and its files with their digests."""
    row = library.find(runtime, name)
    files = [file_body(file) for file in library.manifest_of(runtime, row).files]
    known = reference_body(row).model_dump()
    return ReferenceDetail(
        **known,
        target=row.target,
        positive=row.performance.get(POSITIVE),
        sketches=row.sketches if known["matchable"] else [],
        files=files,
    )


@router.delete("/references/{name}", status_code=204, responses=answers(403, 404))
def remove_reference(name: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Remove a reference for everyone; ensembles made with it stay. For administrators."""
    library.remove(runtime, user.user, name)


def _started(started: Sequence[Started]) -> list[StartedBody]:
    return [
        StartedBody(name=row.name, job=row.job_id, status_url=row.job_id and f"/api/status/{row.job_id}")
        for row in started
    ]
