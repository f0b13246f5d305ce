"""Score tables and download the results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import StreamingResponse

from ecluse import models
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.actions.versions import may_score
from ecluse.apps.fraud.api.bodies import prediction_body
from ecluse.apps.fraud.api.budget import doubt_of, meaning_of_scores
from ecluse.apps.fraud.api.schemas import BudgetBody, PredictionBody, PredictionDetail, PredictRequest
from ecluse.apps.fraud.evaluation.ranking import Ranking
from ecluse.apps.fraud.performance.reports import AnyReport, read_report
from ecluse.apps.fraud.rows import predictions
from ecluse.apps.fraud.rows.tables import Prediction
from ecluse.apps.fraud.scoring.formats import result_format
from ecluse.catalog import sharing
from ecluse.errors import InvalidInput, ModelNotFound, NotFound, VersionNotFound
from ecluse.intervals import expected_among
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.api.schemas import Accepted, After
from ecluse.web.declarations import Declarations
from ecluse.web.downloads import joined, send_object
from ecluse.web.errors import answers
from ecluse.web.security import MayPredict, MayRead, RuntimeDep

router = Declarations(tags=["predictions"])
_CHUNK = 1024 * 1024


@router.post("/predict", status_code=202, responses=answers(404))
def predict(body: PredictRequest, runtime: RuntimeDep, user: MayPredict) -> Accepted:
    """Score a table that you may read with one of your models, or with one that is shared with you: @OWNER/NAME."""
    sign = "@" if body.model.startswith("@") else ""
    name, _at, named = body.model.removeprefix("@").partition("@")
    name = f"{sign}{name}"
    if named and body.version and named != body.version:
        raise InvalidInput(
            _(
                "model says version %(version)s, version says %(other)s. Give one of them.",
                version=named,
                other=body.version,
            )
        )
    dataset = workflows.find_readable(runtime, user.user.id, body.reference)
    reference = f"{name}@{body.version}" if body.version else body.model
    model = models.resolve_readable(runtime, user.user.id, reference)
    address = models.address_of(runtime, user.user.id, model)
    request = workflows.ScoringRequest(address, model.version, body.format, body.reasons, body.columns)
    row = workflows.start_prediction(runtime, user.user.id, dataset.id, request)
    return Accepted(job=row.job_id or "", status_url=f"/api/status/{row.job_id}", prediction=row.id)


@router.get("/predictions", responses=answers(422))
def list_predictions(
    runtime: RuntimeDep,
    user: MayRead,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
    after: After = None,
) -> list[PredictionBody]:
    """Your predictions, newest first."""
    offset = 0 if after is not None else (page - 1) * per_page
    with runtime.catalog.look() as transaction:
        rows = predictions.list_predictions(
            transaction, user.user.id, limit=per_page, offset=offset, after=after
        )
    return [prediction_body(runtime, row) for row in rows]


@router.get("/predictions/{prediction_id}", responses=answers(404))
def show_prediction(prediction_id: str, runtime: RuntimeDep, user: MayRead) -> PredictionDetail:
    """One prediction of yours or one that is shared with you, with its riskiest rows."""
    with runtime.catalog.read() as transaction:
        row = predictions.readable_prediction(transaction, user.user.id, prediction_id)
        is_own = row.user_id == user.user.id
        owner = None if is_own else sharing.handle_of(transaction, row.user_id)
    return PredictionDetail(**prediction_body(runtime, row, owner).model_dump(), summary=row.summary)


@router.get("/predictions/{prediction_id}/budget", responses=answers(404, 422))
def show_budget(
    prediction_id: str,
    runtime: RuntimeDep,
    user: MayRead,
    alerts: Annotated[int, Query(ge=1, description="How many of the riskiest rows one can review")],
) -> BudgetBody:
    """Show what exactly so many of the riskiest rows hold, those that a download with the same `alerts` sends."""
    with runtime.catalog.read() as transaction:
        row = predictions.readable_prediction(transaction, user.user.id, prediction_id)
    if row.key is None:
        raise _no_result(row)
    if (ranking := ranking_of(runtime, row)) is None:
        raise InvalidInput(
            f"Prediction {row.id} was scored before exact counts were kept. Score its table again."
        )
    report, cut = report_of(runtime, row), ranking.cut(alerts)
    body: dict[str, Any] = asdict(cut)
    if meaning_of_scores(row.summary or {}, report) == "unusual":
        return BudgetBody(**body | {"expected": None})
    low, high = expected_among(cut.expected, cut.alerts, doubt_of(report))
    return BudgetBody(**body, expected_low=low, expected_high=high)


def report_of(runtime: Runtime, row: Prediction) -> AnyReport | None:
    """Read the report of the version that scored; None once it is gone or shared no more, or could not have scored."""
    try:
        version = models.resolve_readable(runtime, row.user_id, f"{row.model_name}@{row.version}")
    except (ModelNotFound, VersionNotFound):
        return None  # deleted since; the scores stay without its words
    return read_report(version.report) if may_score(version) else None


@router.get(
    "/predictions/{prediction_id}/download",
    response_class=StreamingResponse,
    responses=answers(404, 409),
)
def download(
    prediction_id: str,
    runtime: RuntimeDep,
    user: MayRead,
    alerts: Annotated[
        int | None, Query(ge=1, description="Only so many of the riskiest rows, as CSV; all without it")
    ] = None,
) -> StreamingResponse:
    """Send the scored table, or its riskiest rows."""
    with runtime.catalog.read() as transaction:
        row = predictions.readable_prediction(transaction, user.user.id, prediction_id)
    return send_prediction(runtime, row) if alerts is None else send_riskiest(runtime, row, alerts)


@router.get("/download_s3_predictions", response_class=StreamingResponse, responses=answers(404, 409))
def download_by_key(key: str, runtime: RuntimeDep, user: MayRead) -> StreamingResponse:
    """Send the scored table at a key of yours, as `key` of a prediction gives it."""
    return send_prediction(runtime, workflows.prediction_by_owned_key(runtime, user.user.id, key))


def ranking_of(runtime: Runtime, row: Prediction) -> Ranking | None:
    """Return the order of risk of a prediction's rows; None of one that has none, or was made before rankings were
    kept.
    """
    with runtime.catalog.read() as transaction:
        content = predictions.ranking_of(transaction, row.id)
    return None if content is None or not row.rows else Ranking.from_bytes(content)


def send_prediction(runtime: Runtime, row: Prediction) -> StreamingResponse:
    """Send the result of a finished prediction as an attachment; `NotFound` while there is none."""
    if row.key is None or row.sha256 is None or row.size_bytes is None:
        raise _no_result(row)
    name = row.key.rsplit("/", 1)[-1]
    return send_object(
        runtime,
        row.url or "",
        name,
        result_format(row.format).media_type,
        sha256=row.sha256,
        size=row.size_bytes,
    )


def send_riskiest(runtime: Runtime, row: Prediction, alerts: int) -> StreamingResponse:
    """Send the `alerts` riskiest rows of a finished prediction as CSV, the riskiest first; `NotFound` while there is
    none.

    The whole result is compared with its digest before any row of it is sent.

    Raises:
        DigestMismatch, ObjectNotFound, StoreUnavailable: before anything is sent.
    """
    if row.url is None or row.sha256 is None:
        raise _no_result(row)
    chunks = _riskiest(runtime, row, row.url, row.sha256, alerts)
    first = next(chunks)
    model = row.model_name.rpartition("/")[2]
    headers = {
        "content-disposition": f'attachment; filename="riskiest_{min(alerts, row.rows or alerts)}_{model}.csv"'
    }
    return StreamingResponse(
        joined(first, chunks), media_type=result_format("csv").media_type, headers=headers
    )


def _riskiest(runtime: Runtime, row: Prediction, url: str, sha256: str, alerts: int) -> Iterator[bytes]:
    """Return the bytes of a scratch file, which is gone when they are sent or no one wants them any more."""
    from ecluse.apps.fraud.scoring.results import write_riskiest

    located = runtime.stores.locate(url)
    with runtime.scratch() as folder:
        located.store.download(located.key, folder / "scores", sha256=sha256)
        write_riskiest(
            folder / "scores",
            result_format(row.format).name,
            alerts,
            folder / "riskiest.csv",
        )
        with (folder / "riskiest.csv").open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


def _no_result(row: Prediction) -> NotFound:
    return NotFound(
        _(
            "Prediction %(id)s has no result: it is %(status)s. See: GET /api/status/%(job)s",
            id=row.id,
            status=row.status,
            job=row.job_id or "",
        )
    )
