"""Answer with models of images: which version a request means, and what it says of a file.

Versions are kept loaded by the core (`ecluse.inference`), as those of any other application are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, FastAPI, Request
from prometheus_client import CollectorRegistry, Counter, Histogram

from ecluse import models
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.http.image_work import ImageWork
from ecluse.apps.plants.http.images import IMAGE_BYTES, Sent
from ecluse.apps.plants.inference import ImageModel
from ecluse.catalog import models as rows
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput, ModelNotFound
from ecluse.inference import Served as Kept
from ecluse.inference import ServedModels
from ecluse.runtime import Runtime
from ecluse.sentences import _, num

if TYPE_CHECKING:
    from ecluse.apps.plants.prediction import Prediction, Predictor

APPLICATION: Final = "plants"


@dataclass(frozen=True)
class Served:
    """A loaded version."""

    row: ModelVersion
    predictor: Predictor
    loaded_at: datetime


@dataclass(frozen=True)
class Looked:
    """What a version says of one file; `milliseconds` are those of this file alone."""

    name: str
    milliseconds: float
    data: bytes
    prediction: Prediction


@dataclass(frozen=True)
class Refused:
    """Why nothing is said of one file."""

    name: str
    milliseconds: float
    error: UnreadableImage


class ImageMetrics:
    """What a web process counts of the images it looks at."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.images = Counter("ecluse_plants_images", "Images looked at", ("result",), registry=registry)
        self.seconds = Histogram(
            "ecluse_plants_image_seconds",
            "Time to decode an image and to classify it",
            buckets=(0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )


def hold_models(app: FastAPI) -> None:
    """Let a web process keep the models of images that it answers with."""
    app.state.image_work = ImageWork()
    app.state.image_metrics = ImageMetrics(app.state.metrics.registry)
    app.state.plants = ImageModels(
        app.state.runtime, app.state.inference, app.state.image_metrics, app.state.image_work
    )


class ImageModels:
    """The models of images that one web process answers with; `kept` holds them loaded."""

    def __init__(self, runtime: Runtime, kept: ServedModels, metrics: ImageMetrics, work: ImageWork) -> None:
        self.work = work
        self._runtime = runtime
        self._kept = kept
        self._metrics = metrics

    # Which model

    def resolve(self, user_id: str, reference: str | None = None) -> ModelVersion:
        """Return the version that a reference means now; without one the user's model of images published last.

        @OWNER/NAME means a model of another that the user may see.

        Raises:
            ModelNotFound, VersionNotFound: there is no such model that the user may see, or they have none of images.
            InvalidInput: it is a model of something else.
        """
        if not reference:
            with self._runtime.catalog.read() as transaction:
                newest = rows.newest_of(transaction, user_id, APPLICATION)
            if newest is None:
                raise ModelNotFound(
                    _("You have no model of images yet. Train one: ecluse plants train --name NAME")
                )
            return newest
        row = models.resolve_readable(self._runtime, user_id, reference)
        if row.application != APPLICATION:
            raise InvalidInput(_("%(name)s is no model of images. See: GET /api/models", name=row.name))
        return row

    def loaded_at(self, row: ModelVersion) -> datetime | None:
        """Since when this process has a version loaded; None where it has not."""
        return self._kept.loaded_at(row)

    def load(self, user_id: str, reference: str | None = None) -> Served:
        """Return a version ready to answer; see `resolve` and `ServedModels.load` for what it raises."""
        return self._served(self._kept.load(self.resolve(user_id, reference)))

    def reload(self, user_id: str, reference: str | None = None) -> Served:
        """Forget what is loaded of a version that the user may change, and load it again, every byte verified.

        Raises:
            Forbidden: the user may read it, and not change it.
        """
        row = self.resolve(user_id, reference)
        if row.user_id != user_id:
            models.resolve_changeable(self._runtime, user_id, reference or "")
        return self._served(self._kept.reload(row))

    def _served(self, kept: Kept) -> Served:
        assert isinstance(kept.model, ImageModel)  # noqa: S101 (what `open_model` returns)
        return Served(kept.row, kept.model.predictor, kept.loaded_at)

    # Look at images

    async def look(self, served: Served, sent: Sent, *, explain: bool = False) -> Looked | Refused:
        """Return what a loaded version says of one file. The event loop goes on meanwhile."""
        return await self.work.run(lambda: self._look(served, sent, explain))

    def _look(self, served: Served, sent: Sent, explain: bool) -> Looked | Refused:
        began = time.perf_counter()
        try:
            data = _kept(sent)
            prediction = served.predictor.predict(data, explain=explain)
        except UnreadableImage as error:
            self._metrics.images.labels("unreadable").inc()
            return Refused(sent.name, (time.perf_counter() - began) * 1000, error)
        seconds = time.perf_counter() - began
        self._metrics.images.labels("label" if prediction.known else "none of these").inc()
        self._metrics.seconds.observe(seconds)
        self._kept.answered.note(served.row.user_id, 1)
        return Looked(sent.name, seconds * 1000, data, prediction)


def _kept(sent: Sent) -> bytes:
    if sent.data is None:
        raise UnreadableImage(
            _(
                "The file has %(count)s bytes; %(total)s are the most. Make the image smaller.",
                count=num(sent.size, ","),
                total=num(IMAGE_BYTES, ","),
            )
        )
    return sent.data


def served_models(request: Request) -> ImageModels:
    """Return the models of images that this process answers with."""
    served = request.app.state.plants
    assert isinstance(served, ImageModels)  # noqa: S101 (set where the app is made)
    return served


ServedDep = Annotated[ImageModels, Depends(served_models)]
