"""A set of images and a classifier with invented figures, for tests of pages that train nothing."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime
from typing import Any, Final

from PIL import Image as Drawing
from PIL import ImageDraw

from ecluse.apps.plants.tables import Image, ImageSet, ImageSplit
from ecluse.catalog.tables import ModelVersion, Run, User
from ecluse.runtime import Runtime

MOMENT: Final = datetime(2025, 11, 21, 4, 10, tzinfo=UTC)
SET: Final = "meadow00000000000000000000000000"
VERSION: Final = "v20251121_041000"
LABELS: Final = ("daisy", "dandelion", "grass")
#: What is at each image: its number, label, and what differs from a plain valid image.
SPECIAL: Final[dict[int, dict[str, Any]]] = {
    1: {"group": "image0000000000000000000000000001"[:32]},
    2: {"group": "image0000000000000000000000000001"[:32]},
    4: {"suspicion": 0.93, "suggested_label": "grass"},
    6: {"suspicion": 0.04},
    5: {"contested": True, "seen_again": [{"origin": "copies/5.png", "label": "grass"}]},
    7: {"state": "excluded"},
}


def drawn(number: int, label: str, side: int = 96) -> bytes:
    """A small picture of its label, each another."""
    picture = Drawing.new("RGB", (side, side), (120, 150 + number % 40, 90))
    pen, middle, reach = ImageDraw.Draw(picture), side / 2, side / 3 - number % 9
    box = (middle - reach, middle - reach, middle + reach, middle + reach)
    if label == "grass":
        for blade in range(6, side, 11):
            pen.line((blade + number % 7, side, blade - 8, side / 4 + number % 13), (40, 110, 40), 3)
    else:
        pen.ellipse(box, (250, 205, 30) if label == "dandelion" else (245, 245, 245))
        pen.ellipse((middle - 8, middle - 8, middle + 8, middle + 8), (200, 150, 20))
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def image_id(number: int) -> str:
    return f"image{number:027d}"


def fill(runtime: Runtime, user: User, *, each: int = 20) -> str:
    """Give the user a set of images with every kind of doubt, a split, a run and a classifier; the set's id."""
    rows, number = list[Image](), 0
    for label in LABELS:
        for _ in range(each if label != "grass" else each // 2):
            data = drawn(number, label)
            key = f"user_data/{user.id}/images/{SET}/{number}.png"
            stored = runtime.data.put(key, data)
            values: dict[str, Any] = {
                "id": image_id(number), "set_id": SET, "user_id": user.id, "sha256": stored.sha256,
                "url": runtime.data.url_of(key), "size_bytes": len(data), "format": "PNG", "width": 96,
                "height": 96, "label": label, "imported_label": label, "origin": f"{label}/{number}.png",
                "perceptual_hash": f"{number:016x}", "created_at": MOMENT,
            }  # fmt: skip
            rows.append(Image(**(values | SPECIAL.get(number, {}))))
            number += 1
    rows.append(
        Image(
            id=image_id(900),
            set_id=SET,
            user_id=user.id,
            sha256=hashlib.sha256(b"cut").hexdigest(),
            size_bytes=3,
            label="daisy",
            imported_label="daisy",
            origin="daisy/cut short.jpg",
            state="rejected",
            reason="The file is not a JPEG, PNG or WebP image.",
            created_at=MOMENT,
        )
    )
    with runtime.catalog.write() as transaction:
        transaction.add(
            ImageSet(
                id=SET,
                user_id=user.id,
                name="Meadow",
                created_at=MOMENT,
                imported_at=MOMENT,
                audited_at=MOMENT,
            )
        )
        transaction.flush()
        transaction.add_all(rows)
        transaction.add(_split(runtime, user.id, rows))
        transaction.add(_run(user.id))
        transaction.add(_version(user.id, "meadow", report()))
    return SET


def report() -> dict[str, Any]:
    """The metrics.json of a classifier that was 57 times right of 60."""
    history = [
        {
            "epoch": epoch,
            "train_loss": 1.1 / epoch + 0.05,
            "train_accuracy": 1 - 0.5 / epoch,
            "validation_loss": 1.1 / epoch + 0.12 + 0.004 * epoch,
            "validation_accuracy": 0.97 - 0.5 / epoch,
            "learning_rate": 0.001,
            "seconds": 1.5,
        }
        for epoch in range(1, 13)
    ]
    doubt = {"sha256": "0" * 64, "probability": 0.97}
    return {
        "application": "plants", "recipe": "features", "architecture": "lite0", "labels": list(LABELS),
        "image_size": 224,
        "images": {"train": dict.fromkeys(LABELS, 93), "validation": dict.fromkeys(LABELS, 20),
                   "test": dict.fromkeys(LABELS, 20)},
        "metrics": {"accuracy": 0.95, "log_loss": 0.171, "macro_f1": 0.949, "expected_calibration_error": 0.031},
        "interval": {"level": 0.95, "low": 0.863, "high": 0.983, "right": 57, "of": 60},
        "served": {"level": 0.95, "low": 0.839, "high": 0.972, "right": 56, "of": 60, "wrong": 2, "none": 2},
        "validation": {"accuracy": 0.967, "log_loss": 0.13}, "train": {"accuracy": 1.0, "log_loss": 0.02},
        "classes": [
            {"label": label, "precision": 0.95, "recall": 0.95, "f1": 0.95, "images": 20, "predicted": 20,
             "precision_interval": [0.76, 0.99], "recall_interval": [0.76, 0.99]}
            for label in LABELS
        ],
        "confusion": [[19, 1, 0], [1, 19, 0], [0, 1, 19]],
        "calibration": {"temperature": 1.3, "bins": [
            {"from": 0.5, "to": 0.6, "count": 3, "confidence": 0.56, "accuracy": 0.667},
            {"from": 0.8, "to": 0.9, "count": 10, "confidence": 0.86, "accuracy": 0.8},
            {"from": 0.9, "to": 1.0, "count": 47, "confidence": 0.98, "accuracy": 1.0}]},
        "mistakes": [
            {"image": image_id(3), "truth": "daisy", "predicted": "dandelion", **doubt},
            {"image": "gone", "truth": "grass", "predicted": "dandelion", **doubt},
        ],
        "unsure": [{"image": image_id(25), "truth": "dandelion", "predicted": "dandelion", **doubt,
                    "probability": 0.52}],
        "none_of_these": {"method": "distance", "threshold": 3.25, "accepted_validation": 0.967,
                          "accepted_test": 0.95, "expected": 0.97},
        "history": history, "best_epoch": 9, "epochs": 12, "optimiser": "L-BFGS", "details": {"C": 1.0},
        "seconds": {"reading": 8.0, "training": 2.0, "evaluation": 3.0, "total": 13.0}, "device": "cpu", "seed": 0,
        "split": {"id": "split", "seed": 0, "sha256": "5" * 64, "shares": {"train": 0.7, "validation": 0.15, "test": 0.15}},
        "data_digest": "d" * 64, "code_version": "0.6.0",
        "export": {"checked_against": "numpy", "largest_difference": 2.4e-06, "images": 60},
        "size_bytes": 13_600_000, "warnings": [],
    }  # fmt: skip


def _split(runtime: Runtime, user_id: str, rows: list[Image]) -> ImageSplit:
    """One image of four to test on, one to choose by."""
    names = ("train", "train", "validation", "test")
    parts = {row.sha256: names[number % 4] for number, row in enumerate(rows) if row.state != "rejected"}
    counts = {part: dict.fromkeys(LABELS, 0) for part in names}
    for row in rows:
        if row.sha256 in parts:
            counts[parts[row.sha256]][row.label] += 1
    data = json.dumps({"format": 1, "parts": parts}).encode()
    stored = runtime.data.put(f"user_data/{user_id}/splits/split.json", data)
    return ImageSplit(
        id="split", set_id=SET, user_id=user_id, seed=0, shares={"train": 0.7}, counts=counts,
        data_digest="d" * 64, url=runtime.data.url_of(stored.key), sha256=stored.sha256,
        size_bytes=len(data), created_at=MOMENT,
    )  # fmt: skip


def _run(user_id: str) -> Run:
    return Run(
        id="run", user_id=user_id, application="plants", kind="features", name="meadow", status="done",
        version=VERSION, subject={"set_id": SET, "split_id": "split"}, created_at=MOMENT,
    )  # fmt: skip


def publish(runtime: Runtime, user: User, name: str, changed: dict[str, Any]) -> None:
    """Give the user another classifier, in whose report some is changed."""
    with runtime.catalog.write() as transaction:
        transaction.add(_version(user.id, name, report() | changed))


def _version(user_id: str, name: str, told: dict[str, Any]) -> ModelVersion:
    return ModelVersion(
        user_id=user_id, name=name, version=VERSION, application="plants", prefix=f"models/{name}",
        size_bytes=28_000_000, manifest_digest="a" * 64, report=told, created_at=MOMENT,
    )  # fmt: skip
