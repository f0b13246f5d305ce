"""Bring the images of a split to this machine, each compared with its digest, as what a recipe learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecluse.apps.plants import rows as images
from ecluse.apps.plants.demo import is_drawn
from ecluse.apps.plants.errors import UnusableImages
from ecluse.apps.plants.recipe import Example, TrainingData
from ecluse.apps.plants.splits import PARTS, Part, manifest_of
from ecluse.apps.plants.tables import Image, ImageSplit
from ecluse.errors import DigestMismatch, ObjectNotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _, ngettext
from ecluse.storage.side_by_side import side_by_side


@dataclass(frozen=True)
class SplitImages:
    """The images of a split, those of the test part apart, and where it says so."""

    training_data: TrainingData
    test: Sequence[Example]
    split: ImageSplit
    manifest: dict[str, Any]
    #: The images are those of the sample, which are drawn.
    simulated: bool = False

    def counted(self) -> dict[str, Counter[str]]:
        """Return how many images of each label each part has."""
        parts = {
            "train": self.training_data.train,
            "validation": self.training_data.validation,
            "test": self.test,
        }
        labels = self.training_data.labels
        none = dict.fromkeys(labels, 0)
        return {part: Counter(none | _counts(labels, examples)) for part, examples in parts.items()}


def read_training_data(
    runtime: Runtime, split: ImageSplit, folder: Path, progress: Callable[[float], None]
) -> SplitImages:
    """Fetch every image of a split below `folder`, for reading only; through the cache, within its bound.

    `progress` is told the share that has come, from any thread; what it raises ends the work.

    Raises:
        DigestMismatch: an image, or the split, is not what was stored, or is gone; the message names it.
        UnusableImages: images of the split were removed.
    """
    manifest = manifest_of(runtime, split)
    parts: dict[str, Part] = manifest["parts"]
    with runtime.catalog.read() as transaction:
        rows_by_digest = images.images_by_digest(transaction, split.set_id, parts)
    if missing := sorted(parts.keys() - rows_by_digest.keys()):
        raise UnusableImages(
            ngettext(
                "%(count)s image of the split was removed while the training began. Train again.",
                "%(count)s images of the split were removed while the training began. Train again.",
                len(missing),
            )
        )
    labels = tuple(manifest["labels"])
    rows = [rows_by_digest[sha256] for sha256 in sorted(parts)]
    fetch_images(runtime, rows, folder, progress)
    # Labels are those of the split: one that is changed meanwhile counts from the next training on.
    at = {sha256: labels.index(label) for sha256, label in manifest["images"].items()}
    examples = {
        part: [
            Example(row.id, row.sha256, at[row.sha256], (folder / row.sha256).read_bytes)
            for row in rows
            if parts[row.sha256] == part
        ]
        for part in PARTS
    }
    training_data = TrainingData(labels, examples["train"], examples["validation"])
    simulated = is_drawn((row.origin, row.width, row.height) for row in rows)
    return SplitImages(training_data, examples["test"], split, manifest, simulated)


def fetch_images(
    runtime: Runtime, rows: Sequence[Image], folder: Path, progress: Callable[[float], None]
) -> None:
    """Put each image at `folder / sha256`, for reading only; see `read_training_data`."""
    folder.mkdir(parents=True, exist_ok=True)
    total, come = sum(row.size_bytes for row in rows), 0

    def fetch(row: Image, tick: Callable[[int], None]) -> None:
        located = runtime.stores.locate(row.url)
        try:
            runtime.cache.link(
                located.store, located.key, row.sha256, row.size_bytes, folder / row.sha256, tick
            )
        except (DigestMismatch, ObjectNotFound) as error:
            raise DigestMismatch(
                _(
                    "The image %(file)s was changed in the store or is gone since it was imported. Leave "
                    "it out: ecluse plants exclude SET %(key)s",
                    file=row.origin.rpartition("/")[2],
                    key=row.id,
                )
            ) from error
        tick(0)

    def count_bytes(size: int) -> None:
        nonlocal come
        come += size
        progress(min(come / total, 1.0) if total else 1.0)

    side_by_side(fetch, rows, count_bytes)


def _counts(labels: Sequence[str], examples: Sequence[Example]) -> Counter[str]:
    return Counter(labels[example.label] for example in examples)
