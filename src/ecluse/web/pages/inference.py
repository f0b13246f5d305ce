"""Show how a version is asked: a form made of its schema, and the same request for a terminal and for Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ecluse import models, tables
from ecluse.catalog import sharing
from ecluse.catalog.tables import ModelVersion, UserTable
from ecluse.errors import EcluseError, InvalidInput, ModelRefused, ModelUnreadable, Overloaded, RegistryError
from ecluse.inference import Answered, Loaded, Served, ServedModels, from_texts, scoring
from ecluse.runtime import Runtime
from ecluse.web.api.inference import InferenceDep, ask, plain_rows
from ecluse.web.declarations import Declarations
from ecluse.web.pages.account import FormValues
from ecluse.web.pages.models import readable_version
from ecluse.web.pages.tables import upload_context
from ecluse.web.security import CurrentUser, RuntimeDep, address_of
from ecluse.web.templating import render

router = Declarations()
#: Columns that a form shows; a version that takes more is asked by a program.
MOST_FIELDS: Final = 60
#: Tables that are offered to be scored, the newest of the person and of others.
MOST_TABLES: Final = 50
#: What a person can mend or wait for, and the page says so.
SHOWN: Final = (InvalidInput, ModelRefused, ModelUnreadable, Overloaded, RegistryError)


@dataclass(frozen=True)
class Field:
    """A column as a form shows it. `kind`: that of the input; `value`: what stands in it."""

    id: str
    name: str
    kind: str
    value: str
    categories: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    may_be_missing: bool = False


@dataclass(frozen=True)
class _Asked:
    """A version that is shown, and to whom."""

    user_id: str
    row: ModelVersion


@router.get("/models/{name}/{version}/use")
async def use_page(
    request: Request, name: str, version: str, runtime: RuntimeDep, served: InferenceDep, user: CurrentUser
) -> Response:
    """Show the form with the first row of the example, and the lines for programs."""
    row = await run_in_threadpool(readable_version, runtime, user.user.id, name, version)
    try:
        loaded = await run_in_threadpool(served.load, row)
    except SHOWN as error:
        return await run_in_threadpool(_page, request, _Asked(user.user.id, row), None, {}, None, error)
    values = await run_in_threadpool(_example, loaded.model)
    return await run_in_threadpool(_page, request, _Asked(user.user.id, row), loaded, values, None, None)


@router.post("/models/{name}/{version}/use")
async def use(
    request: Request,
    name: str,
    version: str,
    runtime: RuntimeDep,
    served: InferenceDep,
    user: CurrentUser,
    form: FormValues,
) -> Response:
    """Show what the version answers to the row that was typed."""
    row = await run_in_threadpool(readable_version, runtime, user.user.id, name, version)
    try:
        return await _answered(request, _Asked(user.user.id, row), served, form)
    except SHOWN as error:
        loaded = await run_in_threadpool(_loaded_or_none, served, row)
        values = _typed(loaded.model, form) if loaded else {}
        return await run_in_threadpool(_page, request, _Asked(user.user.id, row), loaded, values, None, error)


async def _answered(
    request: Request, asked: _Asked, served: ServedModels, form: Mapping[str, str]
) -> Response:
    loaded = await run_in_threadpool(served.load, asked.row)
    values = _typed(loaded.model, form)
    read = from_texts([values], loaded.model.schema, loaded.model.dtypes)
    answered = await ask(loaded, read)
    return await run_in_threadpool(_page, request, asked, loaded, values, answered, None)


def _loaded_or_none(served: ServedModels, row: ModelVersion) -> Served | None:
    try:
        return served.load(row)
    except SHOWN:  # the page says why already: it is what kept the version from answering
        return None


def _typed(model: Loaded, form: Mapping[str, str]) -> dict[str, str | None]:
    """Return what was typed, by the names of the columns; what was left empty is missing."""
    names = [column["name"] for column in model.schema["columns"]]
    return {name: form.get(f"c{at}", "").strip() or None for at, name in enumerate(names)}


def _example(model: Loaded) -> dict[str, str | None]:
    """Return the first row of the example as it would be typed."""
    sample = model.sample()
    if sample is None or sample.is_empty() or not model.schema.get("rows_seen"):
        return {}
    return {name: _text(value) for name, value in sample.row(0, named=True).items()}


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fields(model: Loaded, values: Mapping[str, str | None]) -> list[Field]:
    kinds = {"integer": "number", "number": "number", "boolean": "boolean", "date": "date"}
    return [
        Field(
            id=f"c{at}",
            name=column["name"],
            kind=kinds.get(column["type"], "text"),
            value=values.get(column["name"]) or "",
            categories=tuple(column.get("categories", ())),
            minimum=column.get("minimum"),
            maximum=column.get("maximum"),
            may_be_missing=bool(column["missing"]),
        )
        for at, column in enumerate(model.schema["columns"])
    ]


def _page(
    request: Request,
    asked: _Asked,
    loaded: Served | None,
    values: Mapping[str, str | None],
    answered: Answered | None,
    error: EcluseError | None,
) -> Response:
    row, runtime = asked.row, request.app.state.runtime
    is_own = row.user_id == asked.user_id
    address = models.address_of(runtime, asked.user_id, row)
    fields = _fields(loaded.model, values) if loaded else []
    is_typed = bool(fields) and len(fields) <= MOST_FIELDS and not _has_format(loaded)
    context = {
        "version": row,
        "address": address,
        "fields": fields if is_typed else [],
        "columns_total": len(fields),
        "lines": _lines(request, f"{address}@{row.version}", loaded, values) if loaded else None,
        "answers": plain_rows(answered.answers)[0] if answered else None,
        "warnings": answered.warnings if answered else (),
        "milliseconds": answered.seconds * 1000 if answered else None,
        "error": str(error) if error else None,
        "own_page": scoring.page_of_scoring(row, asked.user_id),
        "is_own": is_own,
        "tables": _tables(runtime, asked.user_id),
    } | upload_context(runtime)
    headers = {"retry-after": str(error.seconds)} if isinstance(error, Overloaded) else None
    return render(request, "model_use.html", context, status=error.status if error else 200, headers=headers)


def _tables(runtime: Runtime, user_id: str) -> list[tuple[UserTable, str]]:
    """List the tables that a person may choose to have scored, and what to call them: theirs, then those of others."""
    rows, _total = tables.list_tables(runtime, user_id, limit=MOST_TABLES)
    with runtime.catalog.read() as transaction:
        others, _total = sharing.tables_of_others(transaction, user_id, limit=MOST_TABLES)
    named = [(row, row.name) for row in rows] + [
        (row, f"@{owner.handle}/{row.name}") for row, owner in others
    ]
    return [(row, name) for row, name in named if row.model is None]


def _has_format(loaded: Served | None) -> bool:
    """Say whether a column is written in a way that nobody types, such as an image in base64."""
    return loaded is not None and any("format" in column for column in loaded.model.schema["columns"])


def _lines(
    request: Request, reference: str, loaded: Served, values: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the request that the form makes, as a line for a terminal and as lines of Python."""
    base = address_of(request)
    sent = {
        column["name"]: _value(values.get(column["name"]), column["type"])
        for column in loaded.model.schema["columns"]
        if not column.get("optional")
    }
    body = json.dumps({"rows": [sent]}, ensure_ascii=False)
    quoted = body.replace("'", "'\\''")
    return {
        "curl": f"curl {base}/api/models/{reference.replace('/', '~')}/predict -H 'Authorization: Bearer ecluse_…' "
        f"-H 'Content-Type: application/json' -d '{quoted}'",
        "python": f'import ecluse\n\necluse.login("{base}")\necluse.predict("{reference}", [{sent!r}])',
    }


def _value(text: str | None, kind: str) -> Any:
    """Return what was typed as JSON has it; as it stands where it is none of its type."""
    if text is None:
        return None
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return text
    return text.lower() == "true" if kind == "boolean" else text
