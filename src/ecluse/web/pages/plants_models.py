"""Show what a classifier of images was measured to do: the part of a version's page that is its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import Image, ImageSet, ImageSplit, ModelVersion, Run
from ecluse.runtime import Runtime
from ecluse.web.i18n import Words
from ecluse.web.plants_charts import classifier_charts, shaded
from ecluse.web.plants_pictures import Shown, shown
from ecluse.web.plants_recipes import RecipeText, recipe_texts

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


def classifier_context(runtime: Runtime, version: ModelVersion, say: Words) -> dict[str, Any]:
    """What `model_plants.html` needs beside what every version's page has."""
    report = version.report
    with runtime.catalog.read() as transaction:
        mistakes = _doubts(transaction, version.user_id, report.get("mistakes") or ())
        unsure = _doubts(transaction, version.user_id, report.get("unsure") or ())
        split, home = _split_of(transaction, version)
        run = transaction.scalars(
            select(Run).where(
                Run.user_id == version.user_id, Run.name == version.name, Run.version == version.version
            )
        ).first()
    labels = [str(label) for label in report.get("labels") or ()]
    confusion = report.get("confusion") or []
    named = str(report.get("recipe") or "–")
    recipe = recipe_texts(say).get(named)
    return {
        "report": report,
        "figures": classifier_charts(report, say),
        "labels": labels,
        "matrix": shaded(confusion) if len(labels) <= MATRIX_LABELS else [],
        "pairs": confused_pairs(labels, confusion),
        "mistakes": mistakes,
        "unsure": unsure,
        "split": split,
        "image_set": home,
        "run": run,
        "recipe": recipe or RecipeText(named, named, "", ""),
    }


def confused_pairs(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[Confused]:
    """The labels that are taken for others, those of most images first."""
    pairs = [
        Confused(labels[truth], labels[predicted], count)
        for truth, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if truth != predicted and count
    ]
    return sorted(pairs, key=lambda pair: -pair.count)[:PAIRS_SHOWN]


def _doubts(transaction: Transaction, user_id: str, told: Sequence[Mapping[str, Any]]) -> list[Doubt]:
    ids = [str(one["image"]) for one in told if one.get("image")]
    found = transaction.scalars(select(Image).where(Image.user_id == user_id, Image.id.in_(ids)))
    known = {row.id: shown(row) for row in found if row.url}
    return [
        Doubt(
            known.get(str(one.get("image"))),
            str(one["truth"]),
            str(one["predicted"]),
            float(one["probability"]),
        )
        for one in told
    ]


def _split_of(transaction: Transaction, version: ModelVersion) -> tuple[ImageSplit | None, ImageSet | None]:
    """The split that was learned from, and the set it is of; None for what was removed."""
    told = (version.report.get("split") or {}).get("id")
    split = transaction.get(ImageSplit, str(told)) if told else None
    if split is None or split.user_id != version.user_id:
        return None, None
    return split, transaction.get(ImageSet, split.set_id)
