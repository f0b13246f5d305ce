"""Upload tables, list them and see what is in them."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Final

from fastapi import Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.api.bodies import dataset_body
from ecluse.apps.fraud.api.schemas import AnalyzeRequest, DatasetBody, LayoutRequest, ProfileBody, UploadBody
from ecluse.apps.fraud.rows import datasets
from ecluse.errors import InvalidInput, NotFound
from ecluse.sentences import _
from ecluse.storage.to_the_end import to_the_end
from ecluse.tabular.layout import Layout
from ecluse.web.admission import LONGEST_ID, admission_of
from ecluse.web.api.schemas import Accepted, After
from ecluse.web.api.tables import owner_of
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.receiving import receiving
from ecluse.web.security import MayManage, MayPredict, MayRead, RuntimeDep
from ecluse.web.uploads import open_upload

router = Declarations(tags=["datasets"])
#: How long `POST /api/analyze` waits for a profile that is being made before it answers 202.
ANALYZE_SECONDS: Final = 20.0

_MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


@router.post("/upload", status_code=201, openapi_extra=_MULTIPART, responses=answers(413))
async def upload(
    request: Request,
    runtime: RuntimeDep,
    user: MayPredict,
    sheet: Annotated[
        str | None, Query(max_length=300, description="Sheet of a workbook; else the largest")
    ] = None,
    header_row: Annotated[
        int | None,
        Query(ge=0, le=2_000, description="Row from 1 with the names of the columns; 0: none; else found"),
    ] = None,
) -> DatasetBody:
    """Upload a table: delimited text, also gzipped, a workbook or Parquet. It is streamed into the store and then
    profiled.

    A few are stored at a time; the others wait and are not refused, so give your program's writes the time. With a
    header `Upload-Id` of your own making, `GET /api/uploads/{id}` says how many are ahead.
    """
    async with receiving(request, runtime, user.user.id) as arrival:
        incoming = await open_upload(arrival.request, arrival.most, arrival.refusal)
        stored = await workflows.store_upload(runtime, user.user.id, incoming.filename, incoming.chunks)
        layout = Layout(sheet, header_row)
        row = await to_the_end(
            workflows.record_dataset, runtime, user.user.id, incoming.filename, stored, layout
        )
    return dataset_body(row)


@router.get("/uploads/{upload_id}", responses=answers(404))
async def show_upload(
    request: Request, user: MayPredict, upload_id: Annotated[str, Path(max_length=LONGEST_ID)]
) -> UploadBody:
    """Show whether an upload of yours that is under way waits for its turn, by its header `Upload-Id`.

    It is known to the process that receives it: where there are several, another answers 404.
    """
    ahead = admission_of(request).ahead_of(user.user.id, upload_id)
    if ahead is None:
        raise NotFound(f"No upload {upload_id} is under way here.")
    return UploadBody(state="waiting" if ahead else "arriving", ahead=ahead)


@router.post(
    "/analyze",
    response_model=ProfileBody,
    responses=answers(404) | {202: {"model": Accepted, "description": "Still being read"}},
)
async def analyze(body: AnalyzeRequest, runtime: RuntimeDep, user: MayPredict) -> Response | ProfileBody:
    """Show the columns of a table that you may read, with guesses of the label, identifier, customer and time."""
    deadline = time.monotonic() + ANALYZE_SECONDS
    while True:
        row = await run_in_threadpool(workflows.find_readable, runtime, user.user.id, body.reference)
        owner = await run_in_threadpool(owner_of, runtime, user.user.id, row.user_id)
        if row.state == "failed":
            raise InvalidInput(_("%(file)s could not be read: %(error)s", file=row.filename, error=row.error))
        if row.profile is not None:
            return ProfileBody(dataset=dataset_body(row, owner), profile=row.profile)
        if owner is not None:  # whose job it is to read it
            raise InvalidInput(_("%(file)s is still being read by its owner. Ask again.", file=row.filename))
        if time.monotonic() > deadline:
            accepted = Accepted(job=row.job_id or "", status_url=f"/api/status/{row.job_id}")
            return JSONResponse(accepted.model_dump(), 202)
        await asyncio.sleep(0.25)


@router.get("/datasets", responses=answers(422))
def list_datasets(
    runtime: RuntimeDep,
    user: MayRead,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
    after: After = None,
) -> list[DatasetBody]:
    """Your tables, newest first."""
    offset = 0 if after is not None else (page - 1) * per_page
    with runtime.catalog.look() as transaction:
        rows = datasets.list_datasets(transaction, user.user.id, limit=per_page, offset=offset, after=after)
    return [dataset_body(row) for row in rows]


@router.get("/datasets/{dataset_id}", responses=answers(404))
def show_dataset(dataset_id: str, runtime: RuntimeDep, user: MayRead) -> DatasetBody:
    """One of your tables, or by its id one that is shared with you; its file is at `/api/tables/{table}/file`."""
    row = workflows.find_readable(runtime, user.user.id, dataset_id)
    return dataset_body(row, owner_of(runtime, user.user.id, row.user_id))


@router.post("/datasets/{dataset_id}/layout", status_code=202, responses=answers(404))
def read_again(dataset_id: str, body: LayoutRequest, runtime: RuntimeDep, user: MayManage) -> DatasetBody:
    """Read a table from another sheet, or with its names in another row. Refused once something was made from it."""
    layout = Layout(body.sheet, body.header_row)
    return dataset_body(workflows.read_again(runtime, user.user.id, dataset_id, layout))


@router.delete("/datasets/{dataset_id}", status_code=204, responses=answers(404))
def delete_dataset(dataset_id: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Delete a table. Models and predictions made from it stay."""
    workflows.remove_dataset(runtime, user.user.id, dataset_id)
