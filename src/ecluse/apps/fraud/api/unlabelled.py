"""Match tables without labels with the reference library, and make ensembles for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ecluse import models
from ecluse.apps.fraud.actions import ensembles as workflows
from ecluse.apps.fraud.actions.main import find_dataset
from ecluse.apps.fraud.actions.versions import expect_may_score
from ecluse.apps.fraud.api.schemas import ApplyRequest, EnsembleBody, MappingRequest, MatchesBody
from ecluse.apps.fraud.performance.ensemble import EnsembleReport
from ecluse.apps.fraud.performance.reports import read_report, report_content
from ecluse.apps.fraud.rows import mappings
from ecluse.errors import VersionNotFound
from ecluse.runtime import Runtime
from ecluse.web.api.schemas import Accepted
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayPublish, MayRead, RuntimeDep

if TYPE_CHECKING:
    from ecluse.apps.fraud.references.facts import MatchResult

router = Declarations(tags=["unlabelled"])


@router.post("/apply_unlabeled", status_code=202, responses=answers(404))
def apply_unlabeled(body: ApplyRequest, runtime: RuntimeDep, user: MayPublish) -> Accepted:
    """Make an ensemble for a table without labels. `POST /api/predict` then scores with it like with any model."""
    dataset = find_dataset(runtime, user.user.id, body.reference)
    run = workflows.start_ensemble(
        runtime,
        user.user.id,
        dataset.id,
        body.model_name,
        fraud_rate=body.fraud_rate,
        references=body.references,
        corrections=body.corrections,
    )
    return Accepted(job=run.job_id or "", status_url=f"/api/status/{run.job_id}", training=run.id)


@router.get("/datasets/{dataset_id}/matches", responses=answers(404))
def show_matches(dataset_id: str, runtime: RuntimeDep, user: MayRead) -> MatchesBody:
    """Show the references that a table means the same as, column by column, corrections counted."""
    dataset = find_dataset(runtime, user.user.id, dataset_id)
    return _matches(runtime, dataset.id, workflows.match_dataset(runtime, dataset))


@router.put("/datasets/{dataset_id}/mappings/{reference}", responses=answers(404))
def correct_mapping(
    dataset_id: str, reference: str, body: MappingRequest, runtime: RuntimeDep, user: MayManage
) -> MatchesBody:
    """Correct which columns of a table stand for those of a reference, and match again."""
    result = workflows.keep_corrections(runtime, user.user.id, dataset_id, reference, body.columns)
    return _matches(runtime, dataset_id, result)


@router.get("/ensembles/{name}/{version}", responses=answers(404))
def show_ensemble(name: str, version: str, runtime: RuntimeDep, user: MayRead) -> EnsembleBody:
    """Show what an ensemble judges by: its references with their mappings and weights, and how they agree."""
    row = expect_may_score(models.resolve(runtime, user.user.id, f"{name}@{version}"))
    report = read_report(row.report)
    if not isinstance(report, EnsembleReport):
        raise VersionNotFound(
            f"{name}@{row.version} is no ensemble. See: GET /api/models/{name}/{row.version}"
        )
    return EnsembleBody.model_validate(
        report_content(report) | {"name": row.name, "version": row.version, "created_at": row.created_at}
    )


def _matches(runtime: Runtime, dataset_id: str, result: MatchResult) -> MatchesBody:
    with runtime.catalog.read() as transaction:
        kept = mappings.mappings_of(transaction, dataset_id)
    return MatchesBody.model_validate(result.to_dict() | {"corrections": kept})
