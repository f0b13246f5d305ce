"""Show what a model says of images that a person drops: label, probability, what spoke for it, which version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ecluse import models as published
from ecluse.apps.plants.formats import MEDIA_TYPES
from ecluse.apps.plants.http.images import ALL_BYTES, IMAGE_BYTES, MOST_IMAGES, Sent, read_form
from ecluse.apps.plants.http.serving import APPLICATION, ImageModels, Looked, Refused, Served, ServedDep
from ecluse.apps.plants.report import Share, read_classifier_report
from ecluse.catalog import models
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import (
    EcluseError,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    RegistryError,
    UploadTooLarge,
    VersionNotFound,
)
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import NBSP, Words
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render

router = Declarations()
#: Pixels of the longer side of the picture that is shown back: alone, and in a table of several.
ALONE, IN_TABLE = 480, 128
MAP_SIDE: Final = 320
#: Models of others among which those of images are looked for.
SHARED_OFFERED: Final = 500
#: What a person can mend, and the form says so.
MENDABLE: Final = (InvalidInput, Overloaded, RegistryError, UploadTooLarge)


@dataclass(frozen=True)
class Offered:
    """A model to choose: what names it in a request, and the version that means now. `by` is the alias, if any."""

    reference: str
    version: ModelVersion
    by: str = ""

    @property
    def share(self) -> Share | None:
        """Return how many test images it names right."""
        return read_classifier_report(self.version.report).best_share


@dataclass(frozen=True)
class Shown:
    """One file with what is said of it. `picture` and `evidence` are data: addresses; nothing is stored.

    `shares`: labels with their probabilities, the highest first; empty where there is an error.
    """

    name: str
    milliseconds: float
    picture: str = ""
    evidence: str = ""
    label: str | None = None
    nearest: str = ""
    probability: float = 0.0
    shares: tuple[tuple[str, float], ...] = ()
    error: str = ""


@router.get("/plants/classify")
def classify_page(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    model: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Show the form: a model that the user may ask, and images to drop."""
    return _page(request, runtime, user.user.id, model)


@router.post("/plants/classify")
async def classify(request: Request, runtime: RuntimeDep, served: ServedDep, user: CurrentUser) -> Response:
    """Show what the chosen model says of each file. The files are not kept; what is shown was drawn from them anew."""
    chosen = ""
    try:
        with served.work.room.holding() as holding:
            form = await read_form(request, holding)
            chosen = form.fields.get("model", "")[:200]
            if not form.files:
                raise InvalidInput(_("No image was chosen. Choose one or several."))
            with served.work.turn():
                loaded = await run_in_threadpool(served.load, user.user.id, chosen or None)
                alone = len(form.files) == 1
                shown = [await _shown(served, loaded, sent, alone) for sent in form.files]
    except MENDABLE as error:
        return await run_in_threadpool(_page, request, runtime, user.user.id, chosen, error=error)
    return await run_in_threadpool(
        _page, request, runtime, user.user.id, chosen, answered=loaded, shown=shown
    )


async def _shown(served: ImageModels, loaded: Served, sent: Sent, alone: bool) -> Shown:
    looked = await served.look(loaded, sent, explain=alone)
    if isinstance(looked, Refused):
        return Shown(sent.name, looked.milliseconds, error=str(looked.error))
    return await served.work.run(lambda: _drawn(loaded, looked, alone))


def _drawn(loaded: Served, looked: Looked, alone: bool) -> Shown:
    from ecluse.apps.plants.http.pictures import data_url, encoded, looked_at, thumbnail

    prediction, data = looked.prediction, looked.data
    evidence = ""
    if alone and prediction.evidence is not None:
        square = looked_at(data, loaded.predictor.transform, prediction.evidence, MAP_SIDE)
        evidence = data_url(encoded(square, "JPEG"))
    return Shown(
        name=looked.name,
        milliseconds=looked.milliseconds,
        picture=data_url(thumbnail(data, ALONE if alone else IN_TABLE)),
        evidence=evidence,
        label=prediction.label,
        nearest=prediction.nearest,
        probability=prediction.probability,
        shares=tuple(sorted(prediction.probabilities.items(), key=lambda pair: -pair[1])),
    )


def share_of(probability: float, say: Words) -> str:
    """Return a probability as per cent, to a tenth: `98.7 %`, `> 99.9 %`; a classifier's says no more."""
    low, high = 0.001, 0.999
    sign = ">" if probability > high else "<" if probability < low else ""
    text = say.percent(min(max(probability, low), high), 1)
    return f"{sign}{NBSP}{text}" if sign else text


def offered(runtime: Runtime, user_id: str, chosen: str = "") -> list[Offered]:
    """Return the models of images to choose from: each by its name, and by each of its aliases; `chosen` too."""
    aliases = published.aliases(runtime, user_id)
    choices = []
    with runtime.catalog.read() as transaction:
        latest = [row for row in models.list_latest(transaction, user_id) if row.application == APPLICATION]
        for row in latest:
            choices.append(Offered(row.name, row))
            for alias in aliases:
                if alias.name == row.name:
                    version = models.version_of(transaction, user_id, row.name, alias.version)
                    choices.append(Offered(f"{row.name}@{alias.alias}", version, alias.alias))
    shared, _total = published.list_shared(runtime, user_id, limit=SHARED_OFFERED, applications=[APPLICATION])
    choices += [Offered(each.place.address, each.row) for each in shared]
    if chosen and chosen not in {choice.reference for choice in choices}:
        try:
            row = published.resolve_readable(runtime, user_id, chosen)
        except (ModelNotFound, VersionNotFound, InvalidInput):  # the page says so where it answers
            return choices
        if row.application == APPLICATION:
            choices.insert(0, Offered(chosen, row, row.version))
    return choices


def _page(
    request: Request,
    runtime: Runtime,
    user_id: str,
    chosen: str,
    *,
    answered: Served | None = None,
    shown: list[Shown] | None = None,
    error: EcluseError | None = None,
) -> Response:
    context = {
        "offered": offered(runtime, user_id, chosen),
        "chosen": chosen,
        "answered": answered,
        "report": read_classifier_report(answered.row.report) if answered else None,
        "shown": shown or [],
        "error": error and str(error),
        "share_of": share_of,
        "most_images": MOST_IMAGES,
        "media_types": ",".join(MEDIA_TYPES),
        "image_bytes": IMAGE_BYTES,
        "all_bytes": ALL_BYTES,
    }
    headers = {"retry-after": str(error.seconds)} if isinstance(error, Overloaded) else None
    return render(
        request, "plants/classify.html", context, status=error.status if error else 200, headers=headers
    )
