"""Show an application to people: its forms, its results, the pages that its functions draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from ecluse.app.signature import FILES, FILLED, checked, checked_all
from ecluse.apps.hosted import answering, files, markdown
from ecluse.apps.hosted.api import answer_file
from ecluse.apps.hosted.jobs import kind_named, queue_score, queue_verb
from ecluse.apps.hosted.snapshot import Snapshot, Verb
from ecluse.catalog import models as model_rows
from ecluse.catalog.tables import ModelVersion, User
from ecluse.errors import EcluseError, InvalidInput, ModelNotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.admission import admission_of
from ecluse.web.file_forms import open_file_form
from ecluse.web.pages.jobs import progress_of
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

#: Versions, reports and results that the first page of an application lists.
SHOWN: Final = 10
#: The beginning of the names of the fields of a row.
ROW: Final = "row."
#: Kinds of parameters, for the fields of forms.
_KINDS: Final = {"filled": [*FILLED], "file_kinds": [*FILES]}


def pages_of(snapshot: Snapshot) -> APIRouter:
    """Make the pages of an application, below /NAME."""
    router = APIRouter(prefix=f"/{snapshot.name}")
    app = snapshot.name

    def overview(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        return _overview(request, runtime, user.user, snapshot)

    def report(request: Request, report_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
        with runtime.catalog.read() as transaction:
            row = files.file_of(transaction, user.user.id, app, report_id)
        if row.purpose != "report":
            raise InvalidInput(_("This file is no report. Download it instead."))
        parts = json.loads(files.content(runtime, row))
        title = snapshot.verbs[row.verb].title if row.verb in snapshot.verbs else row.verb
        context = {
            "app": snapshot,
            "title": title,
            "at": row.created_at,
            "parts": parts,
            "form": None,
            "error": None,
        }
        return render(request, "hosted/parts.html", context | {"markdown": markdown.drawn, **_KINDS})

    def download(file_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
        return answer_file(runtime, user.user.id, app, file_id)

    router.add_api_route("", overview, methods=["GET"])
    router.add_api_route("/reports/{report_id}", report, methods=["GET"])
    router.add_api_route("/files/{file_id}", download, methods=["GET"])
    for verb in (*snapshot.of_role("train"), *snapshot.of_role("job")):
        router.add_api_route(f"/{verb.name}", _queue(snapshot, verb), methods=["POST"])
    if snapshot.predicts:
        router.add_api_route("/predict", _predict(snapshot), methods=["POST"])
        if snapshot.predict.takes_rows:
            router.add_api_route("/score", _score(snapshot), methods=["POST"])
    for verb in snapshot.of_role("page"):
        router.add_api_route(f"/{verb.name}", _page(snapshot, verb), methods=["GET"])
    return router


def _overview(
    request: Request, runtime: Runtime, user: User, snapshot: Snapshot, error: str | None = None, **more: Any
) -> Response:
    say = words_of(request)
    prefix = kind_named(snapshot.name, "")
    with runtime.catalog.read() as transaction:
        mine = files.files_of(transaction, user.id, snapshot.name)
        versions = _versions(transaction, user.id, snapshot)
    running = [
        progress_of(runtime, job, say)
        for job in runtime.jobs.list(user.id, active=True)
        if job.kind.startswith(prefix)
    ]
    served = _served(runtime, user.id, snapshot) if versions else None
    context: dict[str, Any] = {
        "app": snapshot,
        "jobs": [*snapshot.of_role("train"), *snapshot.of_role("job")],
        "pages": snapshot.of_role("page"),
        **_KINDS,
        "inputs": [row for row in mine if row.purpose == "input"],
        "reports": [row for row in mine if row.purpose == "report"][:SHOWN],
        "results": [row for row in mine if row.purpose == "result"][:SHOWN],
        "versions": versions,
        "served": served,
        "columns": [] if served is None else list(served.report.get("columns", [])),
        "running": running,
        "error": error,
        "typed": {},
        "answer": None,
    }
    return render(request, "hosted/overview.html", context | more, status=422 if error else 200)


def _versions(transaction: Any, user_id: str, snapshot: Snapshot) -> list[ModelVersion]:
    try:
        return list(model_rows.list_versions(transaction, user_id, snapshot.name))[:SHOWN]
    except ModelNotFound:  # nothing was trained yet
        return []


def _served(runtime: Runtime, user_id: str, snapshot: Snapshot) -> ModelVersion | None:
    try:
        return answering.version_for(runtime, user_id, snapshot)
    except ModelNotFound:  # nothing was trained yet
        return None


def _queue(snapshot: Snapshot, verb: Verb) -> Any:
    async def queue(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        try:
            values = await _sent(request, runtime, user.user.id, snapshot, verb)
            job = await run_in_threadpool(queue_verb, runtime, user.user.id, snapshot, verb, values)
        except InvalidInput as error:
            return await run_in_threadpool(_overview, request, runtime, user.user, snapshot, str(error))
        return RedirectResponse(f"/jobs/{job}", 303)

    return queue


async def _sent(
    request: Request, runtime: Runtime, user_id: str, snapshot: Snapshot, verb: Verb
) -> dict[str, Any]:
    """Return the values of a form; a file that it brings is stored, and stands for the first that is asked for."""
    first = next((each.name for each in verb.parameters if each.kind in FILES), None)
    async with admission_of(request).arriving(request, user_id) as admitted:
        form = await open_file_form(admitted, runtime.settings.upload_max_bytes, 1)
        stored = None
        async for upload in form.files():
            stored = await files.receive(runtime, user_id, snapshot.name, upload.filename, upload.chunks)
    values: dict[str, Any] = {
        each.name: form.fields.get(each.name, "false" if each.kind == "boolean" else None)
        for each in verb.parameters
        if each.kind in FILLED
    }
    if first is not None and stored is not None:
        values[first] = stored.id
    return {name: value for name, value in values.items() if value not in (None, "")}


def _predict(snapshot: Snapshot) -> Any:
    async def predict(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        sent = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
        return await run_in_threadpool(_show_answer, request, runtime, user.user, snapshot, sent)

    return predict


def _show_answer(
    request: Request, runtime: Runtime, user: User, snapshot: Snapshot, sent: Mapping[str, str]
) -> Response:
    verb = snapshot.predict
    try:
        row = answering.version_for(runtime, user.id, snapshot)
        given = {name: value for name, value in sent.items() if not name.startswith(ROW) and value != ""}
        values = checked_all(list(verb.parameters), given)
        rows = [_row(row, sent)] if verb.takes_rows else None
        keeper = answering.keepers_of(request).of(snapshot.name)
        answer = answering.predict(keeper, row, rows, values)
    except EcluseError as error:
        return _overview(request, runtime, user, snapshot, str(error), typed=dict(sent))
    made = answer["rows"][0] if "rows" in answer else answer["answer"]
    shown = made if isinstance(made, dict) else {"": made}
    return _overview(request, runtime, user, snapshot, typed=dict(sent), answer=shown)


def _row(version: ModelVersion | None, sent: Mapping[str, str]) -> dict[str, Any]:
    """Return the row that a form holds: each value as the column of the example has it."""
    columns = [] if version is None else version.report.get("columns", [])
    return {column["name"]: _cell(column, sent.get(ROW + column["name"], "")) for column in columns}


def _cell(column: Mapping[str, Any], text: str) -> Any:
    if text == "":
        return None
    kinds = {"integer": int, "number": float}
    try:
        return kinds.get(column["type"], str)(text) if column["type"] != "boolean" else text == "true"
    except ValueError as error:
        raise InvalidInput(
            _(
                "%(name)s is %(value)s; expected: %(what)s.",
                name=column["name"],
                value=repr(text)[:100],
                what=column["type"],
            )
        ) from error


def _score(snapshot: Snapshot) -> Any:
    verb = Verb("score", "score", "", "", snapshot.predict.parameters)

    async def score(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        async with admission_of(request).arriving(request, user.user.id) as admitted:
            form = await open_file_form(admitted, runtime.settings.upload_max_bytes, 1)
            table = form.fields.get("table", "")
            async for upload in form.files():
                stored = await files.receive(
                    runtime, user.user.id, snapshot.name, upload.filename, upload.chunks
                )
                table = stored.id
        given = {each.name: form.fields.get(each.name) for each in verb.parameters if each.kind in FILLED}

        def queue() -> str:
            if not table:
                raise InvalidInput(_("%(name)s is missing.", name="table"))
            row = answering.version_for(runtime, user.user.id, snapshot)
            exact = "" if row is None else f"{row.name}@{row.version}"
            return queue_score(runtime, user.user.id, snapshot, exact, table, given)

        try:
            job = await run_in_threadpool(queue)
        except InvalidInput as error:
            return await run_in_threadpool(_overview, request, runtime, user.user, snapshot, str(error))
        return RedirectResponse(f"/jobs/{job}", 303)

    return score


def _page(snapshot: Snapshot, verb: Verb) -> Any:
    def show(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        asked = {each.name: request.query_params.get(each.name) for each in verb.parameters}
        parts: list[Any] = []
        error = None
        try:
            values = {each.name: checked(each, asked[each.name]) for each in verb.parameters}
            reply, _data = (
                answering.keepers_of(request)
                .of(snapshot.name)
                .ask({"do": "page", "verb": verb.name, "values": values})
            )
            parts = [
                {name: value for name, value in part.items() if name != "file"} for part in reply["parts"]
            ]
        except EcluseError as failure:
            error, values = failure, dict(asked)
        context = {
            "app": snapshot,
            "title": verb.title,
            "at": None,
            "parts": parts,
            "markdown": markdown.drawn,
            **_KINDS,
        }
        form = {"verb": verb, "values": values} if verb.parameters else None
        status = 200 if error is None else error.status
        return render(
            request,
            "hosted/parts.html",
            context | {"form": form, "error": error and str(error)},
            status=status,
        )

    return show
