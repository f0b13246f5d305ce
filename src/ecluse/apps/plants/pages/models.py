"""Show what a classifier of images was measured to do: the part of a version's page that is its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ecluse.apps.plants import rows as images
from ecluse.apps.plants.pages.charts import classifier_charts, shaded
from ecluse.apps.plants.pages.pictures import Shown, shown
from ecluse.apps.plants.pages.recipes import RecipeText, recipe_texts
from ecluse.apps.plants.report import DoubtfulImage, read_classifier_report
from ecluse.apps.plants.tables import Image, ImageSet
from ecluse.catalog import Transaction, runs
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import NotFound
from ecluse.registry import Manifest
from ecluse.runtime import Runtime
from ecluse.web.i18n import Words
from ecluse.web.pages.models import ModelPage

#: Beyond so many labels the matrix is a list of the pairs that are confused.
MATRIX_LABELS: Final = 16
PAIRS_SHOWN: Final = 12


@dataclass(frozen=True)
class Doubt:
    """An image of the test part that was named wrong, or barely right. `picture` is None once the image is gone."""

    picture: Shown | None
    truth: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Confused:
    """Images of one label that were given another."""

    truth: str
    predicted: str
    count: int


def page(runtime: Runtime, version: ModelVersion, manifest: Manifest | None, say: Words) -> ModelPage | None:
    """Gather how a classifier is shown; None for files of this application that are none."""
    if not version.report.get("recipe"):
        return None
    return ModelPage("plants/model.html", classifier_context(runtime, version, say))


def classifier_context(runtime: Runtime, version: ModelVersion, say: Words) -> dict[str, Any]:
    """Return what `model_plants.html` needs beside what every version's page has."""
    report = read_classifier_report(version.report)
    doubtful = [*report.mistakes, *report.unsure]
    with runtime.catalog.read() as transaction:
        rows = images.images_with(transaction, version.user_id, [str(entry.image) for entry in doubtful])
        split = images.find_split(transaction, version.user_id, report.split.id or "")
        home = _home(transaction, version.user_id, split.set_id) if split else None
        run = runs.run_of_version(transaction, version.user_id, version.name, version.version)
    labels, confusion = report.labels, report.confusion
    named = report.recipe or "–"
    recipe = recipe_texts(say).get(named)
    return {
        "report": report,
        "figures": classifier_charts(report, say),
        "labels": labels,
        "matrix": shaded(confusion) if len(labels) <= MATRIX_LABELS else [],
        "pairs": confused_pairs(labels, confusion),
        "mistakes": _doubts(report.mistakes, rows),
        "unsure": _doubts(report.unsure, rows),
        "split": split,
        "image_set": home,
        "run": run,
        "recipe": recipe or RecipeText(named, named, "", ""),
    }


def _home(transaction: Transaction, user_id: str, set_id: str) -> ImageSet | None:
    """Return the set that a user's version learned from; None where they may see it no more."""
    try:
        return images.readable_set(transaction, user_id, set_id)
    except NotFound:
        return None


def confused_pairs(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[Confused]:
    """List the labels that are taken for others, those of most images first."""
    pairs = [
        Confused(labels[truth], labels[predicted], count)
        for truth, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if truth != predicted and count
    ]
    return sorted(pairs, key=lambda pair: -pair.count)[:PAIRS_SHOWN]


def _doubts(doubtful: Sequence[DoubtfulImage], rows: Mapping[str, Image]) -> list[Doubt]:
    doubts = []
    for entry in doubtful:
        row = rows.get(str(entry.image))
        picture = shown(row) if row and row.url else None
        doubts.append(Doubt(picture, entry.truth, entry.predicted, entry.probability))
    return doubts
