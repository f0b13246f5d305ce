"""Ask a version of a model about rows; the answer comes with the request."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Annotated, Any, Final

import polars as pl
from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ecluse.errors import InvalidInput
from ecluse.inference import Answered, Read, Served, ServedModels, from_csv, from_json
from ecluse.sentences import _
from ecluse.web.errors import answers
from ecluse.web.security import CurrentUser

router = APIRouter(tags=["models"])
CSV: Final = "text/csv"
#: Rows that are written faster than a thread takes over.
SMALL: Final = 64
_ROWS: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["rows"],
                    "properties": {
                        "rows": {
                            "type": "array",
                            "items": {"type": "object"},
                            "description": "An object for each row by the names of the columns, or a list of values in "
                            "their order",
                        }
                    },
                },
                "example": {"rows": [{"age": 41, "member": True}]},
            },
            CSV: {"schema": {"type": "string"}},
        },
    }
}
Reference = Annotated[
    str,
    Path(
        description="NAME (its latest version), NAME@VERSION or NAME@ALIAS; an alias counts as it stands now",
        max_length=200,
        examples=["churn@production"],
    ),
]


class AnsweredBody(BaseModel):
    """What a version answers, an object for each row in the order they were sent."""

    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(examples=["churn"])
    version: str = Field(description="The version that answered", examples=["v20251121_041000"])
    answers: list[dict[str, Any]] = Field(
        description='By what the model answers: `prediction`, `probability_CLASS` …; null is "not a number"',
        examples=[[{"prediction": 1, "probability_0": 0.2, "probability_1": 0.8}]],
    )
    warnings: list[str] = Field(
        description="What in the rows was unlike the example that the version was published with"
    )
    milliseconds: float = Field(description="From the rows being read to the answer", examples=[1.4])


def inference_of(request: Request) -> ServedModels:
    """Return the versions that this process answers with."""
    served = request.app.state.inference
    assert isinstance(served, ServedModels)  # noqa: S101 (set where the app is made)
    return served


async def _inference(request: Request) -> ServedModels:
    return inference_of(request)


InferenceDep = Annotated[ServedModels, Depends(_inference)]


@router.post(
    "/models/{reference}/predict",
    response_model=AnsweredBody,
    openapi_extra=_ROWS,
    responses=answers(404, 409, 413, 503),
)
async def predict(
    reference: Reference, request: Request, served: InferenceDep, user: CurrentUser
) -> Response:
    """Answer rows with a version of one of your models that was published with an example.

    Send JSON, or CSV with the names of the columns in its first line (`Content-Type: text/csv`); at most 10,000 rows
    and 1 MB. A value of another type than the column's is refused; one that is outside what the example had is
    answered, with a warning. While more requests wait than can be answered soon, the answer is 503 with `Retry-After`.
    """
    content, kind = await request.body(), request.headers.get("content-type", "").partition(";")[0].strip()

    def prepare() -> tuple[Served, Read]:
        loaded = served.load(served.resolve(user.user.id, reference))
        return loaded, read_rows(loaded, content, kind)

    loaded, read = await run_in_threadpool(prepare)
    answered = await ask(loaded, read)
    is_small = answered.answers.height <= SMALL
    body = _body(answered) if is_small else await run_in_threadpool(_body, answered)
    return Response(body, media_type="application/json")


async def ask(loaded: Served, read: Read) -> Answered:
    """Return what a version answers to rows, once its turn comes. The event loop goes on meanwhile."""
    began = time.perf_counter()
    frame = await asyncio.wrap_future(loaded.batcher.submit(read.rows))
    seconds = time.perf_counter() - began
    return Answered(loaded.row.name, loaded.row.version, frame, read.warnings, seconds)


def read_rows(loaded: Served, content: bytes, kind: str) -> Read:
    """Read the rows of a request, which is JSON unless it says that it is CSV."""
    schema, dtypes = loaded.model.schema, loaded.model.dtypes
    if kind == CSV:
        return from_csv(content, schema, dtypes)
    try:
        sent = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            _('The request is no JSON. Send {"rows": [{"COLUMN": VALUE}]}, or CSV as Content-Type: text/csv.')
        ) from error
    return from_json(sent.get("rows") if isinstance(sent, dict) else sent, schema, dtypes)


def _body(answered: Answered) -> bytes:
    body = {
        "model": answered.name,
        "version": answered.version,
        "answers": plain_rows(answered.answers),
        "warnings": [str(warning) for warning in answered.warnings],
        "milliseconds": round(answered.seconds * 1000, 3),
    }
    return json.dumps(body, ensure_ascii=False, allow_nan=False, default=str).encode()


def plain_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON can hold them: what is not a number is null, an infinity the text "inf" or "-inf"."""
    rows = frame.to_dicts()
    odd = [
        series.name
        for series in frame.iter_columns()
        if series.dtype.is_float() and not bool(series.is_finite().all())
    ]
    for row in rows if odd else ():
        for name in odd:
            value = row[name]
            if value is not None and not math.isfinite(value):
                row[name] = None if math.isnan(value) else str(value)
    return rows
