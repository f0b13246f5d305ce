"""Show an application to people: its forms, its results, the pages that its functions draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from ecluse.app.images import ARCHIVES, ENDINGS
from ecluse.app.schedules import schedule_words
from ecluse.app.signature import FILES, FILLED
from ecluse.apps.hosted import answering, files, markdown
from ecluse.apps.hosted.api import answer_file
from ecluse.apps.hosted.jobs import kind_named, queue_score, queue_verb
from ecluse.apps.hosted.sending import into_folder, read_sent, storing, values_for
from ecluse.apps.hosted.shown import MOST_ROWS
from ecluse.apps.hosted.snapshot import SCORED, TABLES, Snapshot, Verb
from ecluse.apps.hosted.tables import AppFile
from ecluse.apps.hosted.versions import version_for
from ecluse.apps.hosted.working import NEWEST
from ecluse.catalog import job_steps
from ecluse.catalog import jobs as job_rows
from ecluse.catalog import models as model_rows
from ecluse.catalog.tables import ModelVersion, User
from ecluse.errors import EcluseError, InvalidInput, ModelNotFound, NotFound, UnreadableTable
from ecluse.runtime import Runtime
from ecluse.sentences import _, unpack
from ecluse.web.pages.jobs import running_jobs
from ecluse.web.pages.models import figure_names, listed
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

#: Versions, reports and results that the first page of an application lists.
SHOWN: Final = 10
#: The beginning of the names of the fields of a row.
ROW: Final = "row."
#: Kinds of parameters, for the fields of forms.
#: A text whose default is longer (signs) is given in a field of several lines.
LONG_TEXT: Final = 60
_KINDS: Final = {"filled": [*FILLED], "file_kinds": [*FILES], "long_text": LONG_TEXT}


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
            "summary": "",
            "at": row.created_at,
            "given": _asked_for(runtime, user.user.id, snapshot, [row])[row.id],
            "parts": parts,
            "inputs": {},
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
        if snapshot.score is not None:
            router.add_api_route("/score", _score(snapshot, snapshot.score), methods=["POST"])
    for verb in snapshot.of_role("page"):
        router.add_api_route(f"/{verb.name}", _page(snapshot, verb), methods=["GET"])
        if verb.files:
            router.add_api_route(f"/{verb.name}", _bring(snapshot, verb), methods=["POST"])
    return router


def _overview(
    request: Request, runtime: Runtime, user: User, snapshot: Snapshot, error: str | None = None, **more: Any
) -> Response:
    say = words_of(request)
    begins = kind_named(snapshot.name, "")
    with runtime.catalog.read() as transaction:
        mine = files.files_of(transaction, user.id, snapshot.name)
        versions = _versions(transaction, user.id, snapshot)
    jobs = running_jobs(runtime, user.id, say).jobs
    running = [line for line in jobs if line.job.kind.startswith(begins)]
    reports = [row for row in mine if row.purpose == "report"][:SHOWN]
    served = _served(runtime, user.id, snapshot) if versions else None
    context: dict[str, Any] = {
        "app": snapshot,
        "jobs": [*snapshot.of_role("train"), *snapshot.of_role("job")],
        "pages": snapshot.of_role("page"),
        **_KINDS,
        "inputs": choices([row for row in mine if row.purpose == "input"]),
        "reports": reports,
        "given": _asked_for(runtime, user.id, snapshot, reports),
        "results": [row for row in mine if row.purpose == "result"][:SHOWN],
        "versions": listed(runtime, user.id, versions),
        "figure_names": figure_names(say),
        "served": served,
        "columns": [] if served is None else list(served.report.get("columns", [])),
        "running": running,
        "markdown": markdown.drawn,
        "schedule_words": schedule_words,
        "error": error,
        "typed": {},
        "answer": [],
        "warnings": (),
    }
    return render(request, "hosted/overview.html", context | more, status=422 if error else 200)


def _asked_for(runtime: Runtime, user_id: str, snapshot: Snapshot, reports: list[AppFile]) -> dict[str, str]:
    """Say by the id of each report what it was asked for: the values of its job that stand in no file."""
    with runtime.catalog.read() as transaction:
        ids = [row.job_id for row in reports if row.job_id]
        subjects = {job.id: dict(job.subject) for job, _place in job_rows.by_ids(transaction, user_id, ids)}
        sought = {job_id: job_steps.step(transaction, job_id, NEWEST, 0) for job_id in subjects}
        names = {row.id: row.name for row in files.files_of(transaction, user_id, snapshot.name, "input")}
    said = {}
    for row in reports:
        values = dict(subjects.get(row.job_id or "", {}).get("values", {}))
        if newest := sought.get(row.job_id or ""):
            values |= {name: each["name"] for name, each in unpack(json.loads(newest)).items()}
        verb = snapshot.verbs.get(row.verb)
        labels = {each.name: each.label for each in verb.parameters} if verb else {}
        said[row.id] = ", ".join(
            f"{labels.get(name, name)}: {names.get(str(value), value)}"
            for name, value in values.items()
            if value is not None
        )
    return said


def choices(inputs: list[AppFile]) -> dict[str, list[AppFile]]:
    """Return the files that can be chosen for each kind of parameter, by the endings of their names."""
    endings: dict[str, tuple[str, ...]] = {
        "table": TABLES,
        "image": tuple(ENDINGS),
        "images": ARCHIVES,
        "file": ("",),
    }
    return {
        kind: [row for row in inputs if row.name.lower().endswith(ends)] for kind, ends in endings.items()
    }


def _versions(transaction: Any, user_id: str, snapshot: Snapshot) -> list[ModelVersion]:
    try:
        return list(model_rows.list_versions(transaction, user_id, snapshot.name))[:SHOWN]
    except ModelNotFound:  # nothing was trained yet
        return []


def _served(runtime: Runtime, user_id: str, snapshot: Snapshot) -> ModelVersion | None:
    try:
        return version_for(runtime, user_id, snapshot, snapshot.predict)
    except ModelNotFound:  # nothing was trained yet
        return None


def _queue(snapshot: Snapshot, verb: Verb) -> Any:
    async def queue(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        sent: dict[str, Any] = {}
        try:
            async with storing(runtime, user.user.id, snapshot.name, verb.files) as keep:
                sent = await read_sent(request, runtime, user.user.id, keep, is_stored=True)
                job = await run_in_threadpool(
                    queue_verb, runtime, user.user.id, snapshot, verb, _given(verb, sent)
                )
        except (InvalidInput, UnreadableTable, NotFound) as error:
            typed = {verb.name: sent}
            return await run_in_threadpool(
                partial(_overview, request, runtime, user.user, snapshot, str(error), typed=typed)
            )
        return RedirectResponse(f"/jobs/{job}", 303)

    return queue


def _given(verb: Verb, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a form gives: a box that is not ticked is not sent, and what is empty is not given."""
    values = {
        each.name: sent.get(each.name, "false" if each.kind == "boolean" else None)
        for each in verb.parameters
        if each.kind in FILLED
    }
    return {name: value for name, value in values.items() if value not in (None, "")}


def _predict(snapshot: Snapshot) -> Any:
    async def predict(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        keeper = answering.keepers_of(request).of(snapshot.name)
        with keeper.files() as folder:
            try:
                sent = await read_sent(request, runtime, user.user.id, into_folder(folder))
            except InvalidInput as error:
                return await run_in_threadpool(_overview, request, runtime, user.user, snapshot, str(error))
            return await run_in_threadpool(_show_answer, request, runtime, user.user, snapshot, sent, folder)

    return predict


def _show_answer(
    request: Request, runtime: Runtime, user: User, snapshot: Snapshot, sent: Mapping[str, Any], folder: Path
) -> Response:
    verb = snapshot.predict
    typed = {"predict": sent}
    try:
        row = version_for(runtime, user.id, snapshot, verb)
        values = values_for(runtime, user.id, snapshot, verb, _given(verb, sent), folder)
        rows = [_row(row, sent)] if verb.takes_rows else None
        answer = answering.predict(answering.keepers_of(request).of(snapshot.name), row, rows, values)
    except EcluseError as error:
        return _overview(request, runtime, user, snapshot, str(error), typed=typed)
    made = answer["rows"][0] if "rows" in answer else answer["answer"]
    warnings = answer.get("warnings", ())
    return _overview(request, runtime, user, snapshot, typed=typed, answer=_shown(made), warnings=warnings)


def _shown(answer: Any) -> list[dict[str, Any]]:
    """Return an answer as parts of a page: named values, a table of rows, or one value."""
    if isinstance(answer, list) and answer and all(isinstance(row, dict) for row in answer):
        columns = list(dict.fromkeys(name for row in answer for name in row))
        rows = [[_text(row.get(name)) for name in columns] for row in answer[:MOST_ROWS]]
        return [{"kind": "table", "columns": columns, "rows": rows, "count": len(answer)}]
    named = answer if isinstance(answer, dict) else {"": answer}
    nested = {name: value for name, value in named.items() if isinstance(value, list | dict) and value}
    figures = {name: _text(value) for name, value in named.items() if name not in nested}
    parts = [{"kind": "figures", "figures": figures}] if figures else []
    return [*parts, *(_nested(name, value) for name, value in nested.items())]


def _nested(name: str, value: Any) -> dict[str, Any]:
    """Return a list or a dict within an answer as a small table."""
    if isinstance(value, dict):
        columns, rows = [name or _("Name"), _("Value")], [[key, _text(each)] for key, each in value.items()]
    elif all(isinstance(row, dict) for row in value):
        columns = list(dict.fromkeys(key for row in value for key in row))
        rows = [[_text(row.get(key)) for key in columns] for row in value]
    else:
        columns, rows = [name or _("Value")], [[_text(each)] for each in value]
    return {"kind": "table", "title": name, "columns": columns, "rows": rows[:MOST_ROWS], "count": len(rows)}


def _text(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


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


def _score(snapshot: Snapshot, verb: Verb) -> Any:

    async def score(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        sent: dict[str, Any] = {}

        def queue() -> str:
            if not sent.get("table"):
                raise InvalidInput(_("%(name)s is missing.", name="table"))
            row = version_for(runtime, user.user.id, snapshot, verb)
            exact = "" if row is None else f"{row.name}@{row.version}"
            return queue_score(runtime, user.user.id, snapshot, exact, sent["table"], _given(verb, sent))

        try:
            async with storing(runtime, user.user.id, snapshot.name, [SCORED, *verb.files]) as keep:
                sent = await read_sent(request, runtime, user.user.id, keep, is_stored=True)
                job = await run_in_threadpool(queue)
        except (InvalidInput, UnreadableTable, NotFound, ModelNotFound) as error:
            return await run_in_threadpool(_overview, request, runtime, user.user, snapshot, str(error))
        return RedirectResponse(f"/jobs/{job}", 303)

    return score


def _page(snapshot: Snapshot, verb: Verb) -> Any:
    def show(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        sent = dict(request.query_params)
        given = _given(verb, sent) if sent else {}
        parts: list[Any] = []
        error = None
        if sent or not any(each.required for each in verb.parameters if each.kind in FILLED):
            try:
                parts = _drawn(request, runtime, user.user, snapshot, verb, given)
            except EcluseError as failure:
                error = failure
        with runtime.catalog.read() as transaction:
            inputs = choices(files.files_of(transaction, user.user.id, snapshot.name, "input"))
        asks = any(each.kind in FILLED for each in verb.parameters)
        context = {
            "app": snapshot,
            "title": verb.title,
            "summary": verb.summary,
            "at": None,
            "parts": parts,
            "markdown": markdown.drawn,
            "inputs": inputs,
            "form": {"verb": verb, "values": given if sent else {}} if asks else None,
            "error": error and str(error),
            **_KINDS,
        }
        return render(request, "hosted/parts.html", context, status=200 if error is None else error.status)

    return show


def _drawn(
    request: Request, runtime: Runtime, user: User, snapshot: Snapshot, verb: Verb, given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Ask an application to draw a page; the parts of it."""
    keeper = answering.keepers_of(request).of(snapshot.name)
    with keeper.files() as folder:
        values = values_for(runtime, user.id, snapshot, verb, given, folder)
        row = version_for(runtime, user.id, snapshot, verb)
        model = None if row is None else str(keeper.folder_of(row))
        reply, _data = keeper.ask({"do": "page", "verb": verb.name, "values": values, "folder": model})
    return [{name: value for name, value in part.items() if name != "file"} for part in reply["parts"]]


def _bring(snapshot: Snapshot, verb: Verb) -> Any:
    async def bring(request: Request, runtime: RuntimeDep, user: CurrentUser) -> Response:
        """Store the files that the form of a page brings, and show the page with them: it has an address."""
        async with storing(runtime, user.user.id, snapshot.name, verb.files) as keep:
            sent = await read_sent(request, runtime, user.user.id, keep, is_stored=True)
        return RedirectResponse(f"/{snapshot.name}/{verb.name}?{urlencode(sent)}", 303)

    return bring
