"""Offer an application to programs: its functions as operations, with bodies made of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ecluse.app.signature import FILES, FILLED, Parameter
from ecluse.apps.hosted import answering, files
from ecluse.apps.hosted.jobs import queue_score, queue_verb
from ecluse.apps.hosted.sending import bounded_body, into_folder, read_sent, storing, values_for
from ecluse.apps.hosted.snapshot import SCORED, TABLES, Snapshot, Verb
from ecluse.apps.hosted.tables import AppFile
from ecluse.apps.hosted.versions import version_for
from ecluse.catalog.tables import User
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.errors import answers
from ecluse.web.multipart import is_form
from ecluse.web.receiving import receiving
from ecluse.web.security import MayManage, MayPredict, MayPublish, MayRead, RuntimeDep
from ecluse.web.uploads import open_upload

#: Rows of one request; more are for the scoring of a table.
MOST_ROWS: Final = 10_000
_TYPES: Final[dict[str, Any]] = {
    "text": str, "integer": int, "number": float, "boolean": bool, "table": str, "file": str,
    "image": str,
    "images": str,
}  # fmt: skip


class Queued(BaseModel):
    """A job that waits: follow it at `/api/status/{job}`."""

    job: str


class FileBody(BaseModel):
    """A file of yours in this application; its id stands for it in other requests."""

    id: str
    name: str
    purpose: Literal["input", "result", "report"]
    size_bytes: int
    created_at: datetime
    job: str | None


class ModelBody(BaseModel):
    """The version that answered."""

    name: str
    version: str


class Answer(BaseModel):
    """One row for each that was sent, or what the function returned for single values."""

    model: ModelBody | None = None
    rows: list[dict[str, Any]] | None = None
    warnings: list[str] | None = Field(
        default=None,
        description="What in the rows was unlike the example that the version was published with",
    )
    answer: Any = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def operations_of(snapshot: Snapshot) -> APIRouter:
    """Make the operations of an application, below /api/NAME."""
    router = APIRouter(prefix=f"/{snapshot.name}", tags=[snapshot.name])
    _add_files(router, snapshot)
    for verb in (*snapshot.of_role("train"), *snapshot.of_role("job")):
        _add_job(router, snapshot, verb)
    if snapshot.predicts:
        _add_predict(router, snapshot)
        if snapshot.score is not None:
            _add_score(router, snapshot, snapshot.score)
    return router


def _fields(verb: Verb) -> dict[str, Any]:
    """Return the fields of a body: a parameter each that a person fills in."""
    return {each.name: (_type_of(each), _field_of(each)) for each in verb.parameters if each.kind in FILLED}


def _type_of(parameter: Parameter) -> Any:
    kind: Any = Literal[parameter.choices] if parameter.kind == "choice" else _TYPES[parameter.kind]
    return kind if parameter.required or parameter.default is not None else kind | None


def _field_of(parameter: Parameter) -> Any:
    words = "Id of a file: POST …/files" if parameter.kind in FILES else None
    if parameter.newest is not None:
        words = (
            f"{words}. Default: your newest table{parameter.newest and ' '}{parameter.newest} when it begins"
        )
    return (
        Field(description=words)
        if parameter.required
        else Field(default=parameter.default, description=words)
    )


def _body(snapshot: Snapshot, verb: Verb, **more: Any) -> Any:
    name = f"{snapshot.name}_{verb.name}".title().replace("_", "")
    return create_model(name, __base__=_Body, **_fields(verb), **more)


def _add_job(router: APIRouter, snapshot: Snapshot, verb: Verb) -> None:
    body_type = _body(snapshot, verb)

    def take(sent: dict[str, Any], runtime: Runtime, user: User) -> Queued:
        return Queued(job=queue_verb(runtime, user.id, snapshot, verb, sent))

    queue = _taking(take, snapshot, body_type, verb.files)
    if verb.role == "train":
        queue.__annotations__["user"] = MayPublish
    queue.__doc__ = verb.summary or f"{verb.title}: a job."
    router.add_api_route(
        f"/{verb.name}",
        queue,
        methods=["POST"],
        status_code=202,
        name=f"{snapshot.name} {verb.name}",
        responses=answers(404, 413) if verb.files else answers(404),
        openapi_extra=_bodies(body_type, verb.files),
    )


def _taking(
    take: Callable[[dict[str, Any], Runtime, User], Queued],
    snapshot: Snapshot,
    body_type: Any,
    brought: Sequence[Parameter],
) -> Any:
    """Return an operation whose body is JSON, or a form where it may bring files. What it brought is kept for a job
    that is queued, and for no other.
    """

    def of_json(body: Any, runtime: RuntimeDep, user: MayManage) -> Queued:
        return take(body.model_dump(), runtime, user.user)

    async def of_form(request: Request, runtime: RuntimeDep, user: MayManage) -> Queued:
        if not is_form(request):
            sent = _json_body(body_type, await bounded_body(request))
            return await run_in_threadpool(take, sent, runtime, user.user)
        async with storing(runtime, user.user.id, snapshot.name, brought) as keep:
            sent = await read_sent(request, runtime, user.user.id, keep, is_stored=True)
            return await run_in_threadpool(take, sent, runtime, user.user)

    if brought:
        return of_form
    of_json.__annotations__["body"] = body_type
    return of_json


def _add_predict(router: APIRouter, snapshot: Snapshot) -> None:
    verb = snapshot.predict
    more: dict[str, Any] = {}
    if verb.takes_rows:
        more["rows"] = (Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_ROWS)], ...)
    if verb.takes_model:
        more["model"] = (
            str,
            Field(default="", description="NAME@VERSION or NAME@ALIAS. Default: production, else the newest"),
        )
    body_type = _body(snapshot, verb, **more)

    def answer(
        sent: dict[str, Any], keeper: answering.Keeper, folder: Path, runtime: Runtime, user: User
    ) -> Answer:
        rows, reference = sent.pop("rows", None), sent.pop("model", "")
        values = values_for(runtime, user.id, snapshot, verb, sent, folder)
        row = version_for(runtime, user.id, snapshot, verb, reference)
        made = answering.predict(keeper, row, rows, values)
        model = None if row is None else ModelBody(name=row.name, version=row.version)
        if "warnings" in made:
            made["warnings"] = [str(warning) for warning in made["warnings"]]
        return Answer(model=model, **made)

    def predict(body: Any, request: Request, runtime: RuntimeDep, user: MayPredict) -> Answer:
        keeper = answering.keepers_of(request).of(snapshot.name)
        with keeper.files() as folder:
            return answer(body.model_dump(), keeper, folder, runtime, user.user)

    async def predict_files(request: Request, runtime: RuntimeDep, user: MayPredict) -> Answer:
        keeper = answering.keepers_of(request).of(snapshot.name)
        with keeper.files() as folder:
            if is_form(request):
                sent = await read_sent(request, runtime, user.user.id, into_folder(folder))
            else:
                sent = _json_body(body_type, await bounded_body(request))
            return await run_in_threadpool(answer, sent, keeper, folder, runtime, user.user)

    function: Any = predict_files if verb.files else predict
    if not verb.files:
        predict.__annotations__["body"] = body_type
    function.__doc__ = verb.summary or "Answer rows by the model."
    router.add_api_route(
        "/predict", function, methods=["POST"], name=f"{snapshot.name} predict", responses=answers(404),
        response_model_exclude_none=True, openapi_extra=_bodies(body_type, verb.files),
    )  # fmt: skip


def _bodies(body_type: Any, brought: Sequence[Parameter]) -> dict[str, Any] | None:
    """Describe a body with files: a form that brings them, or JSON that names those that were sent before. None where
    there are none: FastAPI describes JSON alone itself.
    """
    if not brought:
        return None
    described = body_type.model_json_schema(ref_template="#/components/schemas/{model}")
    names = {each.name for each in brought}
    in_form = {
        name: {"type": "string", "format": "binary"} if name in names else value
        for name, value in described["properties"].items()
    }
    form = {"type": "object", "properties": in_form, "required": described.get("required", [])}
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": described}}
    return {"requestBody": {"required": True, "content": content}}


def _json_body(body_type: Any, content: bytes) -> dict[str, Any]:
    """Read a body of JSON. Raises RequestValidationError, as FastAPI does where it reads one itself."""
    try:
        return dict(body_type.model_validate_json(content or b"{}").model_dump())
    except ValidationError as error:
        raise RequestValidationError(
            [
                {**each, "loc": ("body", *each["loc"]), "ctx": {"names": list(body_type.model_fields)}}
                for each in error.errors()
            ]
        ) from error


def _add_score(router: APIRouter, snapshot: Snapshot, verb: Verb) -> None:
    table = (str, Field(description="Id of a file: POST …/files"))
    model = (
        str,
        Field(default="", description="NAME@VERSION or NAME@ALIAS. Default: production, else the newest"),
    )
    body_type = _body(snapshot, verb, table=table, model=model)

    def take(sent: dict[str, Any], runtime: Runtime, user: User) -> Queued:
        table, reference = sent.pop("table", ""), sent.pop("model", "")
        if not table:
            raise InvalidInput(_("%(name)s is missing.", name="table"))
        row = version_for(runtime, user.id, snapshot, verb, reference)
        exact = "" if row is None else f"{row.name}@{row.version}"
        return Queued(job=queue_score(runtime, user.id, snapshot, exact, table, sent))

    brought = [SCORED, *verb.files]
    score = _taking(take, snapshot, body_type, brought)
    score.__annotations__["user"] = MayPredict
    score.__doc__ = "Answer every row of a table, as a job; its result is a file."
    router.add_api_route(
        "/score",
        score,
        methods=["POST"],
        status_code=202,
        name=f"{snapshot.name} score",
        responses=answers(404, 413),
        openapi_extra=_bodies(body_type, brought),
    )


def _add_files(router: APIRouter, snapshot: Snapshot) -> None:
    app = snapshot.name

    async def upload(request: Request, runtime: RuntimeDep, user: MayPredict) -> FileBody:
        """Upload a table or another file, to be named by its id. A table is read before this answers."""
        async with receiving(request, runtime, user.user.id) as arrival:
            incoming = await open_upload(arrival.request, arrival.most, arrival.refusal)
            is_table = snapshot.checks_tables and incoming.filename.lower().endswith(TABLES)
            store = files.receive_table if is_table else files.receive
            row = await store(runtime, user.user.id, app, incoming.filename, incoming.chunks)
        return _file_body(row)

    def list_files(
        runtime: RuntimeDep,
        user: MayRead,
        purpose: Annotated[Literal["input", "result", "report"] | None, Query()] = None,
    ) -> list[FileBody]:
        """List your files in this application, the newest first."""
        with runtime.catalog.read() as transaction:
            return [_file_body(row) for row in files.files_of(transaction, user.user.id, app, purpose)]

    def download(file: str, runtime: RuntimeDep, user: MayRead) -> Response:
        """Download a file."""
        return answer_file(runtime, user.user.id, app, file)

    def remove(file: str, runtime: RuntimeDep, user: MayManage) -> None:
        """Remove a file."""
        files.remove(runtime, user.user.id, app, file)

    router.add_api_route(
        "/files", upload, methods=["POST"], status_code=201, name=f"{app} upload", responses=answers(413)
    )
    router.add_api_route("/files", list_files, methods=["GET"], name=f"{app} files")
    router.add_api_route(
        "/files/{file}",
        download,
        methods=["GET"],
        name=f"{app} download",
        responses=answers(404),
        response_class=Response,
    )
    router.add_api_route(
        "/files/{file}",
        remove,
        methods=["DELETE"],
        status_code=204,
        name=f"{app} remove",
        responses=answers(404),
    )


def answer_file(runtime: Any, user_id: str, app: str, file_id: str) -> Response:
    """Answer with a file, to be kept and never shown as a page."""
    from urllib.parse import quote

    with runtime.catalog.read() as transaction:
        row = files.file_of(transaction, user_id, app, file_id)
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(row.name)}"}
    return Response(files.content(runtime, row), media_type="application/octet-stream", headers=headers)


def _file_body(row: AppFile) -> FileBody:
    return FileBody(
        id=row.id,
        name=row.name,
        purpose=cast("Any", row.purpose),
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        job=row.job_id,
    )
