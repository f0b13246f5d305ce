"""Keep the models of images that this web process answers with: loaded once, verified, a few at a time.

A reference (NAME, NAME@VERSION, NAME@ALIAS) is resolved against the catalog for every request, so that an alias
that was moved, a version that was deleted or found damaged counts from the next request on. What is loaded is
kept by its version; the least recently used makes room.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, FastAPI, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ecluse import models
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.http.image_work import ImageWork
from ecluse.apps.plants.http.images import IMAGE_BYTES, Sent
from ecluse.catalog import models as rows
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput, ModelNotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _, num

if TYPE_CHECKING:
    from ecluse.apps.plants.prediction import Prediction, Predictor

APPLICATION: Final = "plants"
#: Versions that are loaded at once; one takes some 20 to 60 MB of memory.
MOST_LOADED: Final = 8


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
        self.loaded = Gauge("ecluse_plants_models_loaded", "Models of images in memory", registry=registry)


def hold_models(app: FastAPI) -> None:
    """Let a web process keep the models of images that it answers with."""
    app.state.image_work = ImageWork()
    app.state.image_metrics = ImageMetrics(app.state.metrics.registry)
    app.state.plants = ServedModels(app.state.runtime, app.state.image_metrics, app.state.image_work)


class ServedModels:
    """The models that one web process answers with."""

    def __init__(
        self,
        runtime: Runtime,
        metrics: ImageMetrics,
        work: ImageWork,
        *,
        most_loaded: int = MOST_LOADED,
    ) -> None:
        self.work = work
        self._runtime = runtime
        self._metrics = metrics
        self._most_loaded = most_loaded
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Future[Served]] = OrderedDict()

    # Which model

    def resolve(self, user_id: str, reference: str | None = None) -> ModelVersion:
        """Return the version that a reference means now; without one the user's model of images published last.

        Raises:
            ModelNotFound, VersionNotFound: the user has no such model, or none of images.
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
        row = models.resolve(self._runtime, user_id, reference)
        if row.application != APPLICATION:
            raise InvalidInput(_("%(name)s is no model of images. See: GET /api/models", name=row.name))
        return row

    def loaded_at(self, row: ModelVersion) -> datetime | None:
        """Since when this process has a version loaded; None where it has not."""
        with self._lock:
            loaded = self._loaded.get(row.id)
        return loaded.result().loaded_at if loaded is not None and loaded.done() else None

    # Load

    def load(self, user_id: str, reference: str | None = None) -> Served:
        """Return a version ready to answer. Who asks for one that is being loaded waits for it.

        Raises:
            DigestMismatch, ManifestInvalid: it is not what was published.
            StoreUnavailable: it is not in the cache, and the store does not answer.
            See `resolve` for the rest.
        """
        row = self.resolve(user_id, reference)
        models.check_intact(row)
        with self._lock:
            loaded = self._loaded.get(row.id)
            mine = loaded is None
            loaded = self._loaded.setdefault(row.id, loaded or Future())
            self._loaded.move_to_end(row.id)
            while len(self._loaded) > self._most_loaded:
                self._loaded.popitem(last=False)
            self._metrics.loaded.set(len(self._loaded))
        if mine:
            self._fill(row, loaded)
        return loaded.result()

    def reload(self, user_id: str, reference: str | None = None) -> Served:
        """Forget what is loaded of a version, and load it again, every byte verified.

        Requests that have begun end with what they began with.
        """
        row = self.resolve(user_id, reference)
        with self._lock:
            self._loaded.pop(row.id, None)
        return self.load(user_id, f"{row.name}@{row.version}")

    def _fill(self, row: ModelVersion, future: Future[Served]) -> None:
        try:
            future.set_result(self._open(row))
        except BaseException as error:  # noqa: BLE001 (told to everyone who waits, by `result`)
            with self._lock:
                if self._loaded.get(row.id) is future:
                    del self._loaded[row.id]  # the next request tries again
            future.set_exception(error)

    def _open(self, row: ModelVersion) -> Served:
        """Copies out of the cache are hashed on the way: a damaged entry is seen, and fetched again."""
        from ecluse.apps.plants.prediction import SERVED_FILES, Predictor

        manifest = models.manifest_of(self._runtime, row)
        registry = self._runtime.registry_of(row)
        names = {file.path for file in manifest.files}
        with self._runtime.scratch() as folder:
            for path in SERVED_FILES:
                if path in names:  # what lacks is said by `Predictor.open`
                    registry.fetch_file(manifest, path, folder / path)
            return Served(row, Predictor.open(folder), datetime.now(UTC))

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


def served_models(request: Request) -> ServedModels:
    """Return the models that this process answers with."""
    served = request.app.state.plants
    assert isinstance(served, ServedModels)  # noqa: S101 (set where the app is made)
    return served


ServedDep = Annotated[ServedModels, Depends(served_models)]
