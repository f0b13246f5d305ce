"""Ask a version of a model about rows; the answer comes with the request."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ecluse.accounts import Scope, SignedIn, expect_scope, model_named
from ecluse.accounts.ways import bearer
from ecluse.addresses import SENDER_IS_KNOWN
from ecluse.errors import InvalidInput
from ecluse.inference import Answered, Read, Served, ServedModels, Values, from_csv, from_json
from ecluse.later import Later
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.lately import Lately
from ecluse.web.security import MayPredict, runtime_of, signed_in, signed_in_or_none

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

router = Declarations(tags=["models"])
CSV: Final = "text/csv"
#: Rows that are written, and bytes of JSON that are read, faster than a thread takes over.
SMALL: Final = 64
FEW_BYTES: Final = 20_000
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
        description="NAME (its latest version), NAME@VERSION or NAME@ALIAS; an alias counts as it stands now. "
        "Of what others share @OWNER~NAME, and so on",
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
async def predict(reference: Reference, request: Request, user: MayPredict) -> Response:
    """Answer rows with a version, of a model of yours or shared with you, that was published with an example.

    Send JSON, or CSV with the names of the columns in its first line (`Content-Type: text/csv`); at most 10,000 rows
    and 1 MB. A value of another type than the column's is refused; one that is outside what the example had is
    answered, with a warning. While more requests wait than can be answered soon, the answer is 503 with `Retry-After`.
    """
    return await answer(reference, request)


async def answer(reference: str, request: Request) -> Response:
    """Answer as `predict` does, for whoever sends the request; the router need not have been asked."""
    content, kind = await request.body(), request.headers.get("content-type", "").partition(";")[0].strip()
    loaded = await loaded_for(request, reference)
    if len(content) <= FEW_BYTES and kind != CSV:
        read = read_rows(loaded, content, kind)
    else:
        read = await run_in_threadpool(read_rows, loaded, content, kind)
    answered = await ask(loaded, read)
    is_small = answered.answers.height <= SMALL
    body = _body(answered) if is_small else await run_in_threadpool(_body, answered)
    return Response(body, media_type="application/json")


async def loaded_for(request: Request, reference: str) -> Served:
    """Return the version that a reference means now to whoever asks, ready to answer.

    Raises:
        NotSignedIn: nobody is known to ask.
        OutOfScope: a token asks that is not for this.
        ModelNotFound, VersionNotFound: it means nothing to them; see `ServedModels.load` for more.
    """
    served, lately = inference_of(request), request.app.state.lately
    assert isinstance(lately, Lately)  # noqa: S101 (set where the app is made)
    token = bearer(request.headers.get("authorization"))
    state = lately.state()
    row = lately.find(state, token, reference)
    ready = None if row is None else served.ready(row)
    if ready is not None:
        request.scope.setdefault("state", {})[SENDER_IS_KNOWN] = True
        return ready

    def look_up() -> tuple[SignedIn, Served]:
        user = signed_in(signed_in_or_none(request, runtime_of(request)))
        expect_scope(user, Scope.PREDICT, model_named(reference))
        return user, served.load(served.resolve(user.user.id, reference))

    user, loaded = await lately.once(state, token, reference, look_up)
    request.scope.setdefault("state", {})[SENDER_IS_KNOWN] = True
    if loaded.row.user_id == user.user.id:  # a share ends by the clock, too, which changes no row
        lately.note(state, token, reference, user, loaded.row)
    return loaded


async def ask(loaded: Served, read: Read | Values) -> Answered:
    """Return what a version answers to rows, once its turn comes. The event loop goes on meanwhile."""
    began = time.perf_counter()
    rows = read if isinstance(read, Values) else read.rows
    frame = await loaded.batcher.ask(rows)
    seconds = time.perf_counter() - began
    loaded.answered(frame.height)
    return Answered(loaded.row.name, loaded.row.version, frame, read.warnings, seconds)


def read_rows(loaded: Served, content: bytes, kind: str) -> Read | Values:
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
    rows = sent.get("rows") if isinstance(sent, dict) else sent
    return loaded.reader.read(rows) or from_json(rows, schema, dtypes)


def _body(answered: Answered) -> bytes:
    body = {
        "model": answered.name,
        "version": answered.version,
        "answers": plain_rows(answered.answers),
        "warnings": [str(warning) for warning in answered.warnings],
        "milliseconds": round(answered.seconds * 1000, 3),
    }
    return json.dumps(body, ensure_ascii=False, allow_nan=False, default=str).encode(errors="replace")


def plain_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON can hold them: what is not a number is null, an infinity the text "inf" or "-inf"."""
    rows = frame.to_dicts()
    numbers = [name for name, dtype in frame.schema.items() if dtype.is_float()]
    for row in rows:
        for name in numbers:
            value = row[name]
            if value is not None and not math.isfinite(value):
                row[name] = None if math.isnan(value) else str(value)
    return rows
