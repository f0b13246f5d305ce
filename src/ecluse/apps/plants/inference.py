"""Answer with a version that was trained on images: one column holds the image, the answer its label."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ecluse import models
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import InvalidInput
from ecluse.later import Later
from ecluse.runtime import Runtime
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl

    from ecluse.apps.plants.prediction import Predictor
else:
    pl = Later("polars")

#: The column of a request that holds an image.
IMAGE: Final = "image"


@dataclass(frozen=True)
class ImageModel:
    """A loaded version; requests with rows send each image in base64."""

    predictor: Predictor

    @property
    def kind(self) -> str:
        return "plants"

    @property
    def schema(self) -> Mapping[str, Any]:
        return {
            "form": "polars",
            "rows_seen": 0,
            "columns": [{"name": IMAGE, "type": "text", "missing": False, "format": "base64"}],
        }

    @property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        return {IMAGE: pl.String()}

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return label and probabilities of each image, as `POST /api/plants/predict` does."""
        answers: list[dict[str, Any]] = []
        for number, text in enumerate(rows[IMAGE], 1):
            try:
                said = self.predictor.predict(base64.b64decode(text or "", validate=True))
            except (UnreadableImage, binascii.Error) as error:
                raise InvalidInput(
                    _(
                        "Row %(number)s, column %(column)s: it is no JPEG, PNG or WebP image in base64. Send one, or "
                        "send the file itself to /api/plants/predict.",
                        number=number,
                        column=IMAGE,
                    )
                ) from error
            answer = {"label": said.label, "nearest": said.nearest, "familiarity": said.familiarity}
            answers.append(answer | {f"probability_{label}": p for label, p in said.probabilities.items()})
        return pl.DataFrame(answers)

    def sample(self) -> pl.DataFrame | None:
        """Return nothing: no image is kept with a version, and images are looked at one by one."""
        return None

    def close(self) -> None:
        """Leave it to the memory: nothing else is held."""


def open_model(runtime: Runtime, row: ModelVersion) -> ImageModel:
    """Return a version ready to answer.

    Copies out of the cache are hashed on the way: a damaged entry is seen, and fetched again.
    """
    from ecluse.apps.plants.prediction import SERVED_FILES, Predictor

    manifest = models.manifest_of(runtime, row)
    registry = runtime.registry_of(row)
    names = {file.path for file in manifest.files}
    with runtime.scratch() as folder:
        for path in SERVED_FILES:
            if path in names:  # what lacks is said by `Predictor.open`
                registry.fetch_file(manifest, path, folder / path)
        return ImageModel(Predictor.open(folder))
