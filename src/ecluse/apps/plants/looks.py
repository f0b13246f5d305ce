"""See the images of a set, each once: what is seen of an image is kept by its digest, as `seen` says.

A job gives its checkpoints along, so that the worker that takes it up goes on where it was, on whatever machine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.plants import keypoints
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.array_cache import Arrays, LocalArrays, machine_cache
from ecluse.apps.plants.keypoints import Points, describe
from ecluse.apps.plants.likeness import SHAPE, near_groups, perceptual_hash, thumbnail
from ecluse.apps.plants.pictures import read_picture
from ecluse.apps.plants.rows import Filter
from ecluse.apps.plants.tables import Image
from ecluse.checkpoints import Checkpoints
from ecluse.errors import DigestMismatch, ObjectNotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _

#: What is kept: the looks of images, and the pairs that are copies.
_LOOK: Final = f"look-1-{keypoints.METHOD}"
_PAIRS: Final = f"copies-1-{keypoints.METHOD}"
#: Above so many images points are not compared: of each there would be too few.
MOST_COMPARED: Final = 20_000
#: Images that are seen between two reports.
_BATCH: Final = 16
_THREADS: Final = 8
#: How much of the finding is to see the images.
_SEEN: Final = 0.6

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Look:
    """What tells an image from others: its perceptual hash, its thumbnail and its points."""

    hash: str
    thumbnail: NDArray[np.float32]
    points: Points


def usable(runtime: Runtime, user_id: str, set_id: str) -> list[Image]:
    """Return the stored images of a set, those out of use included, the first that came first.

    Raises:
        NotFound: there is no such set that the user may see.
    """
    filter_ = Filter(states=("valid", "excluded"))
    with runtime.catalog.read() as transaction:
        home = images.readable_set(transaction, user_id, set_id)
        rows = images.list_images(transaction, home.user_id, set_id, filter_, limit=None)
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def group_copies(
    runtime: Runtime,
    set_id: str,
    rows: Sequence[Image],
    report: Report,
    checkpoints: Checkpoints | None = None,
) -> list[str | None]:
    """Find the copies among the images of a set, and keep the group of each; raises as `groups_of` does."""
    groups = groups_of(runtime, rows, report, checkpoints)
    with runtime.catalog.write() as transaction:
        images.set_groups(
            transaction, set_id, {row.id: group for row, group in zip(rows, groups, strict=True)}
        )
    return groups


def groups_of(
    runtime: Runtime, rows: Sequence[Image], report: Report, checkpoints: Checkpoints | None = None
) -> list[str | None]:
    """Return the group of each image: the id of the first that it is a copy of or that is a copy of it; None: of none.

    Copies are what hashes and thumbnails say (compressed, resized, mirrored, turned on a side) and what points say
    (turned by any angle, sheared, shifted, zoomed). A copy of a copy is in the same group.

    Raises:
        DigestMismatch: an image was changed in the store or is gone.
    """
    looks = _looks(runtime, rows, lambda done, text: report(_SEEN * done, text), checkpoints)
    pairs = _copies(
        runtime, rows, looks, lambda done: report(_SEEN + 0.3 * done, _("comparing")), checkpoints
    )
    similar = near_groups(
        [look.hash for look in looks],
        np.stack([look.thumbnail for look in looks]) if looks else np.zeros((0, *SHAPE), np.float32),
        copies=pairs,
        report=lambda done: report(0.9 + 0.1 * done, _("comparing")),
    )
    groups: list[str | None] = [None] * len(rows)
    for group in similar:
        for index in group:
            groups[index] = rows[group[0]].id
    return groups


def features_of(
    runtime: Runtime, rows: Sequence[Image], report: Report, checkpoints: Checkpoints | None = None
) -> NDArray[np.float32]:
    """Return what EfficientNet-Lite0 sees last in each image, (images, 1280); raises as `groups_of` does."""
    from ecluse.apps.plants.architectures import lite0
    from ecluse.apps.plants.features import MEANING, see_images

    seen = see_images(
        [(row.sha256, partial(_read, runtime, row)) for row in rows],
        machine_cache(runtime, MEANING, checkpoints),
        progress=lambda done, total: report(
            done / total, _("%(done)s of %(total)s images", done=done, total=total)
        ),
    )
    return seen[:, : lite0().features]


def _looks(
    runtime: Runtime, rows: Sequence[Image], report: Report, checkpoints: Checkpoints | None
) -> list[Look]:
    cache = machine_cache(runtime, _LOOK, checkpoints)
    looks = {
        digest: _look_of(arrays)
        for digest, arrays in cache.load((row.sha256 for row in rows), *_PARTS).items()
    }
    missing = [row for row in rows if row.sha256 not in looks]

    def look(row: Image) -> Look:
        image = read_picture(_read(runtime, row), side=keypoints.SIDE).image
        return Look(perceptual_hash(image), thumbnail(image), describe(image))

    def tell() -> None:
        done = len(rows) - len(missing) + count
        report(done / len(rows), _("%(done)s of %(total)s images", done=done, total=len(rows)))

    count = 0
    if missing:
        tell()
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            for row, description in zip(batch, pool.map(look, batch), strict=True):
                looks[row.sha256] = description
                cache.keep(row.sha256, **_arrays_of(description))
                count += 1
            tell()
    cache.finish()
    return [looks[row.sha256] for row in rows]


#: The arrays that a look is kept as.
_PARTS: Final = ("bits", "thumbnail", "at", "seen")


def _arrays_of(look: Look) -> dict[str, NDArray[Any]]:
    return {
        "bits": np.frombuffer(bytes.fromhex(look.hash), np.uint8),
        "thumbnail": look.thumbnail,
        "at": look.points.at,
        "seen": look.points.seen,
    }


def _look_of(arrays: Arrays) -> Look:
    points = Points(arrays["at"], arrays["seen"])
    return Look(arrays["bits"].tobytes().hex(), arrays["thumbnail"], points)


def _copies(
    runtime: Runtime,
    rows: Sequence[Image],
    looks: Sequence[Look],
    report: Callable[[float], None],
    checkpoints: Checkpoints | None,
) -> list[tuple[int, int]]:
    """Return the pairs that keypoints find to be copies, from the cache if just these images were compared before."""
    if len(rows) > MOST_COMPARED:
        return []
    order = sorted(range(len(rows)), key=lambda index: rows[index].sha256)
    name = hashlib.sha256("\n".join(rows[index].sha256 for index in order).encode()).hexdigest()
    cache = LocalArrays(runtime.settings.home, _PAIRS)
    cached = cache.load(name, "pairs")
    if cached is None:
        points = [looks[index].points for index in order]
        pairs_found = keypoints.copies(points, report, checkpoints, of=f"{_PAIRS} {name}")
        pairs = np.array(pairs_found, dtype=np.int64).reshape(-1, 2)
        cache.save(name, pairs=pairs)
    else:
        pairs = cached["pairs"]
    return [(order[first], order[other]) for first, other in pairs.reshape(-1, 2).tolist()]


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
    return _(
        "The image %(file)s was changed in the store or is gone since it was imported. Leave "
        "it out: ecluse plants exclude SET %(key)s",
        file=row.origin.rpartition("/")[2],
        key=row.id,
    )
