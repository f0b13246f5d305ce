"""See the images of a set, each once: what is seen of an image is kept on this machine by its digest.

What is kept can be removed at any time; it is seen anew then. Files that cannot be read count as not there.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.catalog import images
from ecluse.catalog.images import Filter
from ecluse.catalog.tables import Image
from ecluse.errors import DigestMismatch, ObjectNotFound
from ecluse.plants import keypoints
from ecluse.plants.keypoints import Points, describe
from ecluse.plants.likeness import SHAPE, near_groups, perceptual_hash, thumbnail
from ecluse.plants.pictures import read_picture
from ecluse.runtime import Runtime

#: Where it is kept below the home, and how much of it at most: some 20,000 images.
FOLDER: Final = "looks"
MOST_BYTES: Final = 1_000_000_000
#: What the kept files mean: the looks of images, and what the network sees in them.
_LOOK: Final = f"look-1-{keypoints.METHOD}"
_FEATURES: Final = "lite0-1"
_PAIRS: Final = f"copies-1-{keypoints.METHOD}"
#: Above so many images points are not compared: of each there would be too few.
MOST_COMPARED: Final = 20_000
#: Images that are seen before what was seen of them is kept.
_BATCH: Final = 64
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
    """The stored images of a set, those out of use included, the first that came first.

    Raises:
        NotFound: the user has no such set.
    """
    wanted = Filter(states=("valid", "excluded"))
    with runtime.catalog.read() as transaction:
        images.set_of(transaction, user_id, set_id)
        rows = images.list_images(transaction, user_id, set_id, wanted, limit=None)
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def group_copies(runtime: Runtime, set_id: str, rows: Sequence[Image], report: Report) -> list[str | None]:
    """Find the copies among the images of a set, and keep the group of each; raises as `groups_of` does."""
    groups = groups_of(runtime, rows, report)
    with runtime.catalog.write() as transaction:
        images.set_groups(transaction, set_id, {row.id: one for row, one in zip(rows, groups, strict=True)})
    return groups


def groups_of(runtime: Runtime, rows: Sequence[Image], report: Report) -> list[str | None]:
    """The group of each image: the id of the first that it is a copy of or that is a copy of it; None: of none.

    Copies are what hashes and thumbnails say (compressed, resized, mirrored, turned on a side) and what points say
    (turned by any angle, sheared, shifted, zoomed). A copy of a copy is in the same group.

    Raises:
        DigestMismatch: an image was changed in the store or is gone.
    """
    looks = list(_looks(runtime, rows, lambda done, text: report(_SEEN * done, text)))
    pairs = _copies(runtime, rows, looks, lambda done: report(_SEEN + 0.3 * done, "comparing"))
    found = near_groups(
        [look.hash for look in looks],
        np.stack([look.thumbnail for look in looks]) if looks else np.zeros((0, *SHAPE), np.float32),
        copies=pairs,
        report=lambda done: report(0.9 + 0.1 * done, "comparing"),
    )
    groups: list[str | None] = [None] * len(rows)
    for group in found:
        for one in group:
            groups[one] = rows[group[0]].id
    return groups


def features_of(runtime: Runtime, rows: Sequence[Image], report: Report) -> NDArray[np.float32]:
    """What EfficientNet-Lite0 sees in each image, (images, 1280); raises as `groups_of` does."""
    from ecluse.plants.architectures import lite0
    from ecluse.plants.features import extract_features

    kept = _Kept(runtime, _FEATURES)
    found = np.zeros((len(rows), lite0().features), np.float32)
    missing = []
    for number, row in enumerate(rows):
        values = kept.load(row.sha256, "features")
        if values is None or values[0].shape != found.shape[1:]:
            missing.append(number)
        else:
            found[number] = values[0]
    done = len(rows) - len(missing)
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        before = done + start

        def told(now: int, _: int, before: int = before) -> None:
            report((before + now) / len(rows), f"{before + now} of {len(rows)} images")

        seen = extract_features([partial(_read, runtime, rows[number]) for number in batch], progress=told)
        for number, values_ in zip(batch, seen, strict=True):
            found[number] = values_
            kept.save(rows[number].sha256, features=values_)
    kept.prune()
    return found


def _looks(runtime: Runtime, rows: Sequence[Image], report: Report) -> Iterator[Look]:
    kept = _Kept(runtime, _LOOK)

    def look(row: Image) -> Look:
        known = kept.load(row.sha256, "bits", "thumbnail", "at", "seen")
        if known is not None:
            bits, small, at, seen = known
            return Look(bits.tobytes().hex(), small, Points(at, seen))
        image = read_picture(_read(runtime, row), side=keypoints.SIDE).image
        found = Look(perceptual_hash(image), thumbnail(image), describe(image))
        kept.save(
            row.sha256,
            bits=np.frombuffer(bytes.fromhex(found.hash), np.uint8),
            thumbnail=found.thumbnail,
            at=found.points.at,
            seen=found.points.seen,
        )
        return found

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(rows), _BATCH):
            yield from pool.map(look, rows[start : start + _BATCH])
            done = min(start + _BATCH, len(rows))
            report(done / len(rows), f"{done} of {len(rows)} images")
    kept.prune()


def _copies(
    runtime: Runtime, rows: Sequence[Image], looks: Sequence[Look], report: Callable[[float], None]
) -> list[tuple[int, int]]:
    """The pairs that points say are copies; what was found of just these images before is not looked for again."""
    if len(rows) > MOST_COMPARED:
        return []
    order = sorted(range(len(rows)), key=lambda one: rows[one].sha256)
    name = hashlib.sha256("\n".join(rows[one].sha256 for one in order).encode()).hexdigest()
    kept = _Kept(runtime, _PAIRS)
    known = kept.load(name, "pairs")
    if known is None:
        pairs = np.array(keypoints.copies([looks[one].points for one in order], report), dtype=np.int64)
        kept.save(name, pairs=pairs.reshape(-1, 2))
    else:
        pairs = known[0]
    return [(order[one], order[other]) for one, other in pairs.reshape(-1, 2).tolist()]


class _Kept:
    """Arrays by a digest and what they mean, in files that appear whole."""

    def __init__(self, runtime: Runtime, meaning: str) -> None:
        self._root = runtime.settings.home / FOLDER
        self._folder = self._root / meaning

    def load(self, digest: str, *names: str) -> tuple[NDArray[Any], ...] | None:
        try:
            with np.load(self._path(digest), allow_pickle=False) as file:
                return tuple(file[name] for name in names)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, digest: str, **arrays: NDArray[Any]) -> None:
        path = self._path(digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.{os.getpid()}-{id(arrays):x}")
        try:
            with hidden.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            hidden.replace(path)
        finally:
            hidden.unlink(missing_ok=True)

    def prune(self) -> None:
        """Remove what was kept first, until the rest takes `MOST_BYTES` at most."""
        files = []
        for path in self._root.rglob("*.npz"):
            with suppress(FileNotFoundError):  # another process has removed it meanwhile
                files.append((path, path.stat()))
        size = sum(status.st_size for _, status in files)
        for path, status in sorted(files, key=lambda one: one[1].st_mtime):
            if size <= MOST_BYTES:
                break
            path.unlink(missing_ok=True)
            size -= status.st_size

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.npz"


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
