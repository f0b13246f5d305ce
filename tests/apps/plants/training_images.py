"""Small split_images to learn from, and what a training tells while it learns."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np
from PIL import Image

from ecluse.apps.plants.array_cache import ArrayCache
from ecluse.apps.plants.recipe import Epoch, Example, TrainingData
from ecluse.checkpoints import Checkpoints
from ecluse.errors import JobCancelled

LABELS = ("round", "striped")


def drawn(label: int, number: int, side: int = 48) -> bytes:
    """A bright disc or stripes over noise, as a PNG."""
    draw = np.random.default_rng([label, number])
    pixels = draw.integers(0, 90, (side, side, 3))
    y, x = np.mgrid[:side, :side]
    middle = draw.uniform(0.35, 0.65, 2) * side
    shape = np.hypot(x - middle[0], y - middle[1]) < side / 4 if label == 0 else (x + number) % 12 < 5
    pixels[shape] += draw.integers(90, 160, 3)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def example(label: int, number: int) -> Example:
    data = drawn(label, number)
    return Example(f"{LABELS[label]}-{number}", hashlib.sha256(data).hexdigest(), label, partial(bytes, data))


def training_data(train: int = 12, validation: int = 6) -> TrainingData:
    """So many images of two labels that are easily told apart."""
    examples = [example(number % 2, number) for number in range(train + validation)]
    return TrainingData(LABELS, examples[:train], examples[train:])


class Memory:
    """Checkpoints of a job that has no store; every save is made."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, str]] = {}

    def load(self, name: str, *, of: str = "") -> bytes | None:
        data, made_of = self.kept.get(name, (None, of))
        return data if made_of == of else None

    def save(self, name: str, data: bytes, *, of: str = "", force: bool = False) -> bool:
        del force
        self.kept[name] = (data, of)
        return True

    def is_due(self) -> bool:
        return True


class Notes:
    """A callbacks that remembers; `cancelled_at` and `finish_at` are asked with the number of reports so far."""

    def __init__(
        self,
        saved: bytes | None = None,
        cancelled: Callable[[Notes], bool] = lambda notes: False,
        finish: Callable[[Notes], bool] = lambda notes: False,
    ) -> None:
        self.kept, self.cancelled, self.finish = saved, cancelled, finish
        self.memory = Memory()
        self.epochs: dict[int, Epoch] = {}
        self.reports: list[tuple[str, float, str]] = []

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        self.reports.append((stage, fraction, message))
        if self.cancelled(self):
            raise JobCancelled("The job was cancelled.")

    def epoch(self, epoch: Epoch) -> None:
        self.epochs[epoch.epoch] = epoch

    def asked_to_finish(self) -> bool:
        return self.finish(self)

    def save(self, checkpoint: bytes) -> None:
        self.kept = checkpoint

    def saved(self) -> bytes | None:
        return self.kept

    def cache(self, meaning: str) -> ArrayCache:
        return ArrayCache(meaning, checkpoints=cast(Checkpoints, self.memory))
