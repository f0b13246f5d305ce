"""Classify images with a model of yours; import, see and correct sets of images, and train on them."""

from __future__ import annotations

import base64
import time
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from ecluse import models
from ecluse.apps.plants.formats import MEDIA_TYPES
from ecluse.apps.plants.http.images import MOST_IMAGES, Sent, read_form, read_image
from ecluse.apps.plants.http.serving import ImageModels, Looked, Refused, Served, ServedDep
from ecluse.apps.plants.report import read_classifier_report
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.typed_json import write
from ecluse.web.declarations import Declarations
from ecluse.web.errors import ErrorBody, answers
from ecluse.web.security import MayManage, MayPredict, MayRead, RuntimeDep

router = Declarations(prefix="/plants", tags=["plants"])
#: Pixels of a side of the explanation, which is a square.
MAP_SIDE: Final = 320

Model = Annotated[
    str | None,
    Query(
        description="NAME (its latest version), NAME@VERSION or NAME@ALIAS, with @OWNER/ before it for one that is "
        "shared with you; without it, your model of images that was published last",
        examples=["leaves", "leaves@production", "@anna/leaves"],
        max_length=200,
    ),
]
Explain = Annotated[bool, Query(description="Add a picture of what spoke for the label")]
_BINARY: Final = {"type": "string", "format": "binary"}
_ONE: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}
            },
            **{kind: {"schema": _BINARY} for kind in MEDIA_TYPES},
        },
    }
}
_SEVERAL: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "array", "items": _BINARY, "maxItems": MOST_IMAGES}},
                }
            }
        },
    }
}

_BUSY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "model": ErrorBody,
        "description": "More images arrive or wait than can be looked at soon, and `Retry-After` says when to try "
        "again; or the store or the catalog does not answer",
    }
}


class MapBody(BaseModel):
    """What of an image spoke for the label: where the picture has its colours, not why."""

    label: str = Field(description="The label it is about: the nearest where the image is none of them")
    png: str = Field(
        description="The square that was looked at, as a PNG in base64; grey where nothing spoke for it"
    )
    box: tuple[float, float, float, float] = Field(
        description="That square in the image, upright: left, top, right, bottom, in pixels"
    )
    values: list[list[float]] = Field(
        description="The same in numbers, top row first; above 0 speaks for the label"
    )


class AnswerBody(BaseModel):
    """What a version says of one image."""

    label: str | None = Field(description="null: none of the labels", examples=["dandelion"])
    known: bool = Field(description="false where the image is like none of those that were learned from")
    nearest: str = Field(
        description="The most probable label, whether it is given or not", examples=["dandelion"]
    )
    probability: float = Field(description="That of the nearest label, calibrated", examples=[0.987])
    probabilities: dict[str, float] = Field(
        description="Of every label; they add up to 1 whether or not the image is any of them",
        examples=[{"dandelion": 0.987, "grass": 0.013}],
    )
    familiarity: float = Field(
        description="How like the images of the nearest label it is: a cosine, -1 to 1; below the version's threshold "
        "no label is given",
        examples=[0.71],
    )
    map: MapBody | None = Field(None, description="With explain=1")


class PredictedBody(AnswerBody):
    """What a version says of the image that was sent."""

    model: str = Field(examples=["leaves"])
    version: str = Field(description="The version that answered", examples=["v20251121_041000"])
    milliseconds: float = Field(description="To decode the image and to classify it", examples=[9.4])


class RefusedBody(BaseModel):
    """Why nothing is said of a file."""

    code: str = Field(examples=["unreadable_image"])
    message: str = Field(examples=[_("The file is not a JPEG, PNG or WebP image.")])


class FileAnswer(BaseModel):
    """What is said of one of several files: a result or an error."""

    file: str = Field(description="Its name as it was sent", examples=["IMG_0412.jpg"])
    milliseconds: float
    result: AnswerBody | None
    error: RefusedBody | None


class BatchBody(BaseModel):
    """What a version says of several images, in their order."""

    model: str
    version: str
    milliseconds: float
    results: list[FileAnswer]


class IntervalBody(BaseModel):
    """Of the test images, how many were right; `low` and `high` are Wilson's interval at `level`."""

    level: float = Field(examples=[0.95])
    low: float = Field(examples=[0.8630])
    high: float = Field(examples=[0.9829])
    right: int = Field(examples=[57])
    of: int = Field(examples=[60])


class ServedShareBody(IntervalBody):
    """`wrong` test images get another label, `none` get "none of these"; neither is right."""

    wrong: int = Field(examples=[2])
    none: int = Field(examples=[1])


class ServedBody(BaseModel):
    """A model of images as it is served."""

    name: str
    version: str
    aliases: list[str]
    labels: list[str] = Field(examples=[["dandelion", "grass"]])
    recipe: str | None
    architecture: str | None
    as_served: ServedShareBody | None = Field(
        description="Of the test images, how many get their label; None of versions from before it was counted"
    )
    accuracy: float | None = Field(
        description="How often the likeliest label is right, given or not, on test images that nothing was learned "
        "from or chosen by"
    )
    interval: IntervalBody | None
    none_of_these: dict[str, Any] = Field(
        description="How images of something else are told, and what that costs"
    )
    digest: str = Field(description="SHA-256 of its manifest, which has that of every file")
    size_bytes: int
    published_at: datetime
    loaded_at: datetime | None = Field(
        description="Since when the process that answers has it loaded; null: not yet"
    )


@router.post("/predict", openapi_extra=_ONE, responses=answers(404, 409, 413) | _BUSY)
async def predict(
    request: Request,
    runtime: RuntimeDep,
    served: ServedDep,
    user: MayPredict,
    model: Model = None,
    explain: Explain = False,
) -> PredictedBody:
    """Classify one image: a JPEG, PNG or WebP file, as the part `file` of a form or as the body itself.

    An image like none of those that were learned from has `label: null`. At most 25 MB and 50 million pixels; the
    image is not kept. Of each process, 32 requests may wait; one more is answered 503 with `Retry-After`.
    """
    with served.work.room.holding() as holding:
        sent = await read_image(request, holding)
        with served.work.turn():
            loaded = await run_in_threadpool(served.load, user.user.id, model)
            looked = await served.look(loaded, sent, explain=explain)
            if isinstance(looked, Refused):
                raise looked.error
            answer = await _answer(served, loaded, looked, explain)
    return PredictedBody(
        **answer.model_dump(),
        model=models.address_of(runtime, user.user.id, loaded.row),
        version=loaded.row.version,
        milliseconds=round(looked.milliseconds, 2),
    )


@router.post("/predict/batch", openapi_extra=_SEVERAL, responses=answers(404, 409, 413) | _BUSY)
async def predict_several(
    request: Request,
    runtime: RuntimeDep,
    served: ServedDep,
    user: MayPredict,
    model: Model = None,
    explain: Explain = False,
) -> BatchBody:
    """Classify up to 64 images, sent as parts `file` of one form, together at most 100 MB; one version answers all.

    Each file has a result or an error of its own. The images are not kept.
    """
    began = time.perf_counter()
    with served.work.room.holding() as holding:
        form = await read_form(request, holding)
        if not form.files:
            raise InvalidInput(
                "The request carries no file. Send them as: curl -F file=@a.jpg -F file=@b.jpg …"
            )
        with served.work.turn():
            loaded = await run_in_threadpool(served.load, user.user.id, model)
            results = [await _file_answer(served, loaded, sent, explain) for sent in form.files]
    return BatchBody(
        model=models.address_of(runtime, user.user.id, loaded.row),
        version=loaded.row.version,
        milliseconds=round((time.perf_counter() - began) * 1000, 2),
        results=results,
    )


@router.get("/model", responses=answers(404, 409))
def show_model(runtime: RuntimeDep, served: ServedDep, user: MayRead, model: Model = None) -> ServedBody:
    """Show the version that a request with this `model` would be answered by now, and its figures."""
    row = served.resolve(user.user.id, model)
    return served_body(runtime, user.user.id, row, served.loaded_at(row))


@router.post("/model/reload", responses=answers(404, 409))
def reload_model(runtime: RuntimeDep, served: ServedDep, user: MayManage, model: Model = None) -> ServedBody:
    """Load a version again in the process that answers, every byte compared with its digest.

    It is not needed after an alias was moved or a version published: those count at the next request.
    """
    loaded = served.reload(user.user.id, model)
    return served_body(runtime, user.user.id, loaded.row, loaded.loaded_at)


def served_body(
    runtime: Runtime, reader_id: str, row: ModelVersion, loaded_at: datetime | None
) -> ServedBody:
    """Return a version as the API describes it to a reader."""
    report = read_classifier_report(row.report)
    aliases = models.aliases(runtime, row.user_id, row.name)
    return ServedBody(
        name=models.address_of(runtime, reader_id, row),
        version=row.version,
        aliases=[alias.alias for alias in aliases if alias.version == row.version],
        labels=list(report.labels),
        recipe=report.recipe,
        architecture=report.architecture,
        as_served=write(report.served),
        accuracy=report.metrics.get("accuracy"),
        interval=write(report.interval),
        none_of_these=row.report.get("none_of_these", {}),
        digest=row.manifest_digest,
        size_bytes=row.size_bytes,
        published_at=row.created_at,
        loaded_at=loaded_at,
    )


async def _file_answer(served: ImageModels, loaded: Served, sent: Sent, explain: bool) -> FileAnswer:
    looked = await served.look(loaded, sent, explain=explain)
    result, error = None, None
    if isinstance(looked, Refused):
        error = RefusedBody(code=looked.error.code, message=str(looked.error))
    else:
        result = await _answer(served, loaded, looked, explain)
    return FileAnswer(file=sent.name, milliseconds=round(looked.milliseconds, 2), result=result, error=error)


async def _answer(served: ImageModels, loaded: Served, looked: Looked, explain: bool) -> AnswerBody:
    prediction = looked.prediction
    return AnswerBody(
        label=prediction.label,
        known=prediction.known,
        nearest=prediction.nearest,
        probability=prediction.probability,
        probabilities=dict(prediction.probabilities),
        familiarity=prediction.familiarity,
        map=await served.work.run(lambda: _map(loaded, looked)) if explain else None,
    )


def _map(loaded: Served, looked: Looked) -> MapBody | None:
    """None where the graph has no maps."""
    from ecluse.apps.plants.http.pictures import encoded, looked_at

    prediction, transform = looked.prediction, loaded.predictor.transform
    if prediction.evidence is None:
        return None
    square = looked_at(looked.data, transform, prediction.evidence, MAP_SIDE)
    return MapBody(
        label=prediction.nearest,
        png=base64.b64encode(encoded(square, "PNG")).decode("ascii"),
        box=transform.box(prediction.width, prediction.height),
        values=[[round(float(value), 4) for value in line] for line in prediction.evidence],
    )
