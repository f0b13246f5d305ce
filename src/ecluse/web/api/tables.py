"""Upload tables for any model, read them back, and score them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from anyio import open_file
from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from ecluse import handovers, tables
from ecluse.catalog import sharing, user_tables
from ecluse.catalog.tables import UserTable
from ecluse.inference import scoring
from ecluse.runtime import Runtime
from ecluse.storage import read_chunks
from ecluse.tabular.layout import LOOK, Layout
from ecluse.web.api.inference import Reference
from ecluse.web.api.schemas import Accepted, After
from ecluse.web.declarations import Declarations
from ecluse.web.downloads import saved_as, send_object
from ecluse.web.errors import answers
from ecluse.web.receiving import receiving
from ecluse.web.security import MayManage, MayPredict, MayRead, RuntimeDep
from ecluse.web.uploads import Upload, open_upload

router = Declarations(tags=["tables"])
PARQUET: Final = "application/vnd.apache.parquet"
CSV: Final = "text/csv; charset=utf-8"
Format = Literal["parquet", "csv"]
_FORM: Final[dict[str, Any]] = {
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


class ColumnBody(BaseModel):
    """A column, and its type as Polars calls it."""

    name: str
    type: str


class TableBody(BaseModel):
    """A table that you may see; its id stands for it in other requests. A scoring made it where it has a `model`."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    name: str
    rows: int
    columns: list[ColumnBody]
    notes: list[str] = Field(
        description="What was noted when it was made: columns that were left out, rows unlike the example"
    )
    size_bytes: int
    sha256: str = Field(description="Of its Parquet file")
    model: str | None
    version: str | None
    job: str | None
    created_at: datetime
    owner: str | None = Field(None, description="Handle of whose it is, where it is not yours")


class TablePage(BaseModel):
    items: list[TableBody]
    total: int | None = Field(description="How many there are in all; null behind `after`")
    page: int
    per_page: int


class ScoreRequest(BaseModel):
    """Which table is to be scored."""

    model_config = ConfigDict(extra="forbid")

    table: str = Field(
        description="Id of a table that you may read, or of one that you uploaded to an application"
    )


@router.post("/tables", status_code=201, openapi_extra=_FORM, responses=answers(404, 413))
async def upload_table(
    request: Request,
    runtime: RuntimeDep,
    user: MayPredict,
    nonce: Annotated[
        str, Query(max_length=200, description="What you call this upload: sent again, it is the same table")
    ] = "",
    sheet: Annotated[
        str | None, Query(max_length=300, description="Sheet of a workbook; else the largest")
    ] = None,
    header_row: Annotated[
        int | None,
        Query(ge=0, le=2_000, description="Row from 1 with the names of the columns; 0: none; else found"),
    ] = None,
    owner: Annotated[
        str, Query(max_length=41, description="Handle of an organisation whose it is to be; else it is yours")
    ] = "",
) -> TableBody:
    """Upload a table for any model: delimited text, also gzipped, a workbook or Parquet.

    It is read before this answers, and kept as Parquet: `GET /api/tables/{table}/file`. Columns of a delimited text
    become numbers and truth values where every value is one and nothing of it is lost; others stay text.
    """
    maker = await run_in_threadpool(tables.maker_called, runtime, user.user.id, owner)
    async with receiving(request, runtime, maker) as arrival:
        incoming = await open_upload(arrival.request, arrival.most, arrival.refusal)
        row = await receive(runtime, maker, incoming, tables.Origin(nonce=nonce), Layout(sheet, header_row))
        return table_body(row, await run_in_threadpool(owner_of, runtime, user.user.id, maker))


async def receive(
    runtime: Runtime,
    user_id: str,
    incoming: Upload,
    origin: tables.Origin = tables.UPLOADED,
    layout: Layout = LOOK,
) -> UserTable:
    """Keep the table that a request brings."""
    with runtime.scratch() as folder:
        file = folder / "upload"
        async with await open_file(file, "wb") as opened:
            async for chunk in incoming.chunks:
                await opened.write(chunk)
        return await run_in_threadpool(tables.add, runtime, user_id, file, incoming.filename, origin, layout)


@router.get("/tables", responses=answers(422))
def list_tables(
    runtime: RuntimeDep,
    user: MayRead,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
    after: After = None,
) -> TablePage:
    """Your tables, newest first: those that you uploaded for any model, and those that scorings made."""
    if after is not None:
        with runtime.catalog.look() as transaction:
            later = user_tables.tables_behind(transaction, user.user.id, after, limit=per_page)
        return TablePage(items=[table_body(row) for row in later], total=None, page=page, per_page=per_page)
    rows, total = tables.list_tables(runtime, user.user.id, limit=per_page, offset=(page - 1) * per_page)
    return TablePage(items=[table_body(row) for row in rows], total=total, page=page, per_page=per_page)


@router.get("/tables/{table}", responses=answers(404))
def show_table(table: str, runtime: RuntimeDep, user: MayRead) -> TableBody:
    """Show a table of yours, or one that you may read."""
    row = tables.table_of(runtime, user.user.id, table)
    with runtime.catalog.read() as transaction:
        may_change = row.user_id in sharing.makers_of(transaction, user.user.id)
    return table_body(row, owner_of(runtime, user.user.id, row.user_id), may_change=may_change)


@router.get(
    "/tables/{table}/file",
    response_class=Response,
    responses=answers(404, 409, 416) | {206: {"description": "The part that `Range` asks for"}},
)
def download_table(
    request: Request,
    table: str,
    runtime: RuntimeDep,
    user: MayRead,
    format: Annotated[
        Format, Query(description="A CSV is made for the answer, and has no parts")
    ] = "parquet",
) -> Response:
    """Download a table, also one that you uploaded to an application, such as fraud.

    The Parquet of a table of the core has its SHA-256 as ETag, and `Range` asks for a part of it.
    """
    return send_table(runtime, user.user.id, table, format, request)


@router.delete("/tables/{table}", status_code=204, responses=answers(404))
def delete_table(table: str, runtime: RuntimeDep, user: MayManage) -> None:
    """Delete a table. What was made of it stays."""
    tables.remove(runtime, user.user.id, table)


class HandOverRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    owner: str = Field(max_length=41, description="Handle of an organisation in which you make things")


@router.post("/tables/{table}/hand-over", status_code=202, responses=answers(404))
def hand_over_table(table: str, body: HandOverRequest, runtime: RuntimeDep, user: MayManage) -> Accepted:
    """Give a table of yours to an organisation, as a job: its file goes below the organisation's prefix, then its row.

    With it go its shares, and what it takes counts for the organisation. The id stays.
    """
    job = handovers.start(runtime, user.user.id, table, body.owner)
    return Accepted(job=job, status_url=f"/api/status/{job}")


@router.post("/models/{reference}/score", status_code=202, responses=answers(404, 409))
def score(reference: Reference, body: ScoreRequest, runtime: RuntimeDep, user: MayPredict) -> Accepted:
    """Score a whole table by a version that was published with an example, as a job.

    Its result, `table` in `result` of `status_url`, is a new table of yours: the rows with the answers beside them. An
    alias counts as it stands now. A version whose application scores tables in its own way is refused, with its page.
    """
    job = scoring.start(runtime, user.user.id, reference, body.table)
    return Accepted(job=job, status_url=f"/api/status/{job}")


def table_body(row: UserTable, owner: str | None = None, *, may_change: bool = True) -> TableBody:
    """Describe a table to a program. `owner`: the handle of its owner, where that is not who asks.

    To who may not change it, it is not said what it was made from.
    """
    body = TableBody.model_validate(tables.described(row, may_change=may_change) | {"owner": owner})
    if owner is None:
        return body
    return body.model_copy(update={"job": None, "model": tables.model_of(row, owner) if may_change else None})


def owner_of(runtime: Runtime, user_id: str, owner_id: str) -> str | None:
    """Return the handle of an owner, to be told to someone; None to the owner."""
    if owner_id == user_id:
        return None
    with runtime.catalog.read() as transaction:
        return sharing.handle_of(transaction, owner_id)


def send_table(runtime: Runtime, user_id: str, table_id: str, format: Format, request: Request) -> Response:
    """Answer with a table as a file."""
    readable = tables.find(runtime, user_id, table_id)
    name = tables.file_name(readable.name, f".{format}")
    if readable.row is not None and format == "parquet":
        row = readable.row
        return send_object(
            runtime, row.url, name, PARQUET, sha256=row.sha256, size=row.size_bytes, asked=request.headers
        )
    return _made(runtime, readable, format, name)


def _made(runtime: Runtime, readable: tables.Readable, format: Format, name: str) -> Response:
    """Answer with a file that is made for it, and removed once it is sent or the connection has ended."""
    with ExitStack() as stack:
        folder = stack.enter_context(runtime.scratch())
        file = folder / "table.parquet"
        readable.write(file)
        if format == "csv":
            tables.write_csv(file, file.with_suffix(".csv"))
            file = file.with_suffix(".csv")
        headers = {"content-disposition": saved_as(name), "content-length": str(file.stat().st_size)}
        chunks = _removing(file, stack.pop_all())
    return StreamingResponse(chunks, media_type=PARQUET if format == "parquet" else CSV, headers=headers)


def _removing(file: Path, stack: ExitStack) -> Iterator[bytes]:
    with stack:
        yield from read_chunks(file)
