"""Offer an application to programs: its functions as operations, with bodies made of their parameters."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.responses import Response

from ecluse.app.signature import Parameter, checked_all
from ecluse.apps.hosted import answering, files
from ecluse.apps.hosted.jobs import queue_score, queue_verb
from ecluse.apps.hosted.snapshot import Snapshot, Verb
from ecluse.apps.hosted.tables import AppFile
from ecluse.errors import InvalidInput
from ecluse.sentences import _
from ecluse.web.admission import admission_of
from ecluse.web.errors import answers
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.uploads import open_upload

#: Rows of one request; more are for the scoring of a table.
MOST_ROWS: Final = 10_000
_TYPES: Final[dict[str, Any]] = {
    "text": str, "integer": int, "number": float, "boolean": bool, "table": str, "file": str,
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
        if snapshot.predict.takes_rows:
            _add_score(router, snapshot)
    return router


def _fields(verb: Verb) -> dict[str, Any]:
    """Return the fields of a body: a parameter each that a person fills in."""
    return {
        each.name: (_type_of(each), _field_of(each))
        for each in verb.parameters
        if each.kind in _TYPES or each.kind == "choice"
    }


def _type_of(parameter: Parameter) -> Any:
    kind: Any = Literal[parameter.choices] if parameter.kind == "choice" else _TYPES[parameter.kind]
    return kind if parameter.required or parameter.default is not None else kind | None


def _field_of(parameter: Parameter) -> Any:
    words = "Id of a file: POST …/files" if parameter.kind in ("table", "file") else None
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

    def queue(body: Any, runtime: RuntimeDep, user: CurrentUser) -> Queued:
        return Queued(job=queue_verb(runtime, user.user.id, snapshot, verb, body.model_dump()))

    queue.__annotations__["body"] = body_type
    queue.__doc__ = verb.summary or f"{verb.title}: a job."
    router.add_api_route(
        f"/{verb.name}",
        queue,
        methods=["POST"],
        status_code=202,
        name=f"{snapshot.name} {verb.name}",
        responses=answers(404),
    )


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

    def predict(body: Any, request: Request, runtime: RuntimeDep, user: CurrentUser) -> Answer:
        sent = body.model_dump()
        rows, reference = sent.pop("rows", None), sent.pop("model", "")
        values = checked_all(list(verb.parameters), sent)
        row = answering.version_for(runtime, user.user.id, snapshot, _own(snapshot, reference))
        keeper = answering.keepers_of(request).of(snapshot.name)
        made = answering.predict(keeper, row, rows, values)
        model = None if row is None else ModelBody(name=row.name, version=row.version)
        return Answer(model=model, **made)

    predict.__annotations__["body"] = body_type
    predict.__doc__ = verb.summary or "Answer rows by the model."
    router.add_api_route(
        "/predict", predict, methods=["POST"], name=f"{snapshot.name} predict", responses=answers(404),
        response_model_exclude_none=True,
    )  # fmt: skip


def _own(snapshot: Snapshot, reference: str) -> str:
    """Return a reference to a model of this application.

    Raises:
        InvalidInput: it names another model: what it holds is not for this application to load.
    """
    name, at, _which = reference.partition("@")
    if at and name != snapshot.name:
        raise InvalidInput(
            _("%(value)s is no model of this application. Name a version of %(name)s.", value=repr(reference)[:100],
              name=snapshot.name)
        )  # fmt: skip
    return "" if reference == snapshot.name else reference


def _add_score(router: APIRouter, snapshot: Snapshot) -> None:
    verb = Verb("score", "score", "", "", snapshot.predict.parameters)
    table = (str, Field(description="Id of a file: POST …/files"))
    model = (
        str,
        Field(default="", description="NAME@VERSION or NAME@ALIAS. Default: production, else the newest"),
    )
    body_type = _body(snapshot, verb, table=table, model=model)

    def score(body: Any, runtime: RuntimeDep, user: CurrentUser) -> Queued:
        sent = body.model_dump()
        table, reference = sent.pop("table"), _own(snapshot, sent.pop("model"))
        row = answering.version_for(runtime, user.user.id, snapshot, reference)
        exact = "" if row is None else f"{row.name}@{row.version}"
        return Queued(job=queue_score(runtime, user.user.id, snapshot, exact, table, sent))

    score.__annotations__["body"] = body_type
    score.__doc__ = "Answer every row of a table, as a job; its result is a file."
    router.add_api_route(
        "/score",
        score,
        methods=["POST"],
        status_code=202,
        name=f"{snapshot.name} score",
        responses=answers(404),
    )


def _add_files(router: APIRouter, snapshot: Snapshot) -> None:
    app = snapshot.name

    async def upload(request: Request, runtime: RuntimeDep, user: CurrentUser) -> FileBody:
        """Upload a table or another file, to be named by its id."""
        async with admission_of(request).arriving(request, user.user.id) as admitted:
            incoming = await open_upload(admitted, runtime.settings.upload_max_bytes)
            row = await files.receive(runtime, user.user.id, app, incoming.filename, incoming.chunks)
        return _file_body(row)

    def list_files(
        runtime: RuntimeDep,
        user: CurrentUser,
        purpose: Annotated[Literal["input", "result", "report"] | None, Query()] = None,
    ) -> list[FileBody]:
        """List your files in this application, the newest first."""
        with runtime.catalog.read() as transaction:
            return [_file_body(row) for row in files.files_of(transaction, user.user.id, app, purpose)]

    def download(file: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
        """Download a file."""
        return answer_file(runtime, user.user.id, app, file)

    def remove(file: str, runtime: RuntimeDep, user: CurrentUser) -> None:
        """Remove a file."""
        files.remove(runtime, user.user.id, app, file)

    router.add_api_route("/files", upload, methods=["POST"], status_code=201, name=f"{app} upload")
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
