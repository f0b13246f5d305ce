"""Do the job of an audit: see every image of a set once, group those that look alike, judge the labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ecluse.catalog import audit, images
from ecluse.catalog.images import Filter
from ecluse.catalog.tables import Image
from ecluse.errors import DigestMismatch, ObjectNotFound
from ecluse.jobs import JobKind, Task
from ecluse.plants.audit import AUDIT
from ecluse.plants.workflows import QUEUE
from ecluse.runtime import Runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: How much of the job it is to see the images, and to compare them.
_SEEN: Final = 0.85
_COMPARED: Final = 0.92


def run_audit(runtime: Runtime, task: Task, set_id: str) -> None:
    """A job that is taken up again begins anew; what it writes is the same."""
    task.step("audit", _audit, runtime, task, set_id)


def _audit(runtime: Runtime, task: Task, set_id: str) -> dict[str, int]:
    with runtime.catalog.read() as transaction:
        images.set_of(transaction, task.user_id, set_id)
        rows = images.list_images(
            transaction, task.user_id, set_id, Filter(states=("valid", "excluded")), limit=None
        )
    rows = sorted(rows, key=lambda row: (row.created_at, row.id))
    features, groups = _seen(runtime, task, rows)
    judged = _judged(task, rows, groups, features)
    with runtime.catalog.write() as transaction:
        images.set_groups(
            transaction, set_id, {row.id: group for row, group in zip(rows, groups, strict=True)}
        )
        images.set_suspicions(transaction, set_id, judged)
        images.set_audited(transaction, set_id)
        done = {
            "images": len(rows),
            "near_duplicates": sum(group is not None for group in groups),
            "suspects": sum(suggested is not None for *_, suggested in judged),
        }
        audit.record(transaction, task.user_id, "images.audited", set_id, **done)
    task.report("judge", 1.0, f"{done['near_duplicates']} near duplicates, {done['suspects']} suspects")
    return done


def _seen(
    runtime: Runtime, task: Task, rows: Sequence[Image]
) -> tuple[NDArray[np.float32], list[str | None]]:
    """The features of the images, and the group of each: the id of the first that looks the same."""
    import numpy as np

    from ecluse.plants.features import extract_features
    from ecluse.plants.likeness import LOOKED_AT, SHAPE, near_groups, perceptual_hash, thumbnail
    from ecluse.plants.pictures import read_picture

    thumbnails = np.zeros((len(rows), *SHAPE), dtype=np.float32)
    hashes = ["0" * 16] * len(rows)

    def read(number: int) -> bytes:
        data = _read(runtime, rows[number])
        image = read_picture(data, side=LOOKED_AT).image
        thumbnails[number], hashes[number] = thumbnail(image), perceptual_hash(image)
        return data

    def told(done: int, total: int) -> None:
        task.report("read", _SEEN * done / total, f"{done} of {total} images")

    reads: list[Callable[[], bytes]] = [partial(read, number) for number in range(len(rows))]
    features = extract_features(reads, progress=told)
    groups: list[str | None] = [None] * len(rows)
    found = near_groups(
        hashes,
        thumbnails,
        report=lambda fraction: task.report("compare", _SEEN + (_COMPARED - _SEEN) * fraction, "comparing"),
    )
    for group in found:
        for one in group:
            groups[one] = rows[group[0]].id
    return features, groups


def _judged(
    task: Task, rows: Sequence[Image], groups: Sequence[str | None], features: NDArray[np.float32]
) -> list[tuple[str, str, float | None, str | None]]:
    """Id, label, suspicion and suggested label of each image; those out of use are not judged."""
    from ecluse.plants.suspects import judge_labels

    used = [number for number, row in enumerate(rows) if row.state == "valid"]
    task.report("judge", _COMPARED, "judging the labels")
    judged = judge_labels(
        features[used],
        [rows[one].label for one in used],
        [groups[one] or rows[one].id for one in used],
        report=lambda fraction: task.report(
            "judge", min(_COMPARED + (1 - _COMPARED) * fraction, 0.999), "judging the labels"
        ),
    )
    known = dict(zip(used, judged, strict=True))
    return [
        (
            row.id,
            row.label,
            None if (said := known.get(number)) is None else said.suspicion,
            None if said is None else said.suggested,
        )
        for number, row in enumerate(rows)
    ]


def _read(runtime: Runtime, row: Image) -> bytes:
    located = runtime.stores.locate(row.url)
    try:
        data = located.store.get(located.key)
    except ObjectNotFound as error:
        raise DigestMismatch(_gone(row)) from error
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise DigestMismatch(_gone(row))
    return data


def _gone(row: Image) -> str:
    return (
        f"The image {row.origin.rpartition('/')[2]} was changed in the store or is gone since it was imported."
        f" Leave it out: ecluse plants exclude SET {row.id}"
    )


def _failed(runtime: Runtime, task: Task, message: str, set_id: str, **_: Any) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "images.audit_failed", set_id, found=message)


KINDS: Final[dict[str, JobKind]] = {AUDIT: JobKind(run_audit, _failed, QUEUE, ("read", "compare", "judge"))}
