"""Import images into a set: read each within bounds, decode it, hash it, store it, and write down what became of it.

An image is known in its set by the SHA-256 of its bytes, so that importing twice changes nothing. A job keeps which
files are behind it: one that is taken up again reads, or fetches, only the others, and leaves what one that was not
interrupted leaves.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from ecluse import unclaimed
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.actions import checked_label, images_prefix
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.formats import FORMATS
from ecluse.apps.plants.likeness import perceptual_hash
from ecluse.apps.plants.pictures import Picture, read_picture, says_many_pixels
from ecluse.apps.plants.sources import File
from ecluse.apps.plants.sources.archives import is_archive
from ecluse.apps.plants.tables import Image
from ecluse.catalog import quotas
from ecluse.catalog.fences import job_of_thread
from ecluse.catalog.tables import new_id
from ecluse.checkpoints import Checkpoints, from_bytes, to_bytes
from ecluse.errors import InvalidInput, NotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import ObjectStore, join_key

#: Files that are read, decoded and stored at a time; each may take 25 MB, and several times that once decoded.
ABREAST: Final = 4
#: Files that wait to be written down at most, and for how long (s).
_BATCH: Final = 50
_BATCH_SECONDS: Final = 1.0
#: Seconds between two reports while a file takes its time.
_LOOK: Final = 0.5
#: Other places of the same bytes that a row remembers.
_PLACES: Final = 20
#: What a perceptual hash needs is seen in an image of about this size.
_SIDE: Final = 64

#: The checkpoint of an import, and the bytes that a file is known by in it.
_CHECKPOINT: Final = "import-1"
_KEY_BYTES: Final = 16

#: A large image takes a gigabyte while it is decoded.
_MANY_BYTES: Final = 5_000_000
_one_at_a_time = threading.Lock()

#: Told the fraction done (0 to 1) and what has come; what it raises ends the import.
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Imported:
    """What became of the files of an import.

    `added` images are new in the set, `known` were there with this origin, `duplicates` are there from elsewhere,
    `contested` of these with another label; `rejected` could not be taken.
    """

    added: int = 0
    known: int = 0
    duplicates: int = 0
    contested: int = 0
    rejected: int = 0

    @property
    def files(self) -> int:
        return self.added + self.known + self.duplicates + self.rejected

    def __add__(self, other: Imported) -> Imported:
        return Imported(**{name: value + getattr(other, name) for name, value in asdict(self).items()})


def import_images(
    runtime: Runtime,
    user_id: str,
    set_id: str,
    files: Iterable[File],
    *,
    label: str | None = None,
    report: Report = lambda fraction, message: None,
    checkpoints: Checkpoints | None = None,
) -> Imported:
    """Take files into a set of the user; `label` is that of files which have none.

    What could not be taken is a row with its reason, and the rest goes on. Where `report` raises, what is done by
    then is kept, and the same call with the same `checkpoints` goes on from there: what it returns is of both.

    Raises:
        NotFound: the user has no such set, or it was removed meanwhile.
        InvalidInput: the source is no source; what came of it before stays.
        StoreUnavailable, CatalogUnavailable: what was done stays; import again.
    """
    with runtime.catalog.read() as transaction:
        images.set_of(transaction, user_id, set_id)
    place = _Place(runtime, user_id, set_id)
    behind = _Behind(checkpoints, f"{set_id} {label or ''}")
    done, waiting, written_at, told_at = behind.done, list[_Examined](), time.monotonic(), 0.0
    fraction = behind.fraction
    try:
        with contextlib.closing(_examine_all(place, files, label, behind)) as looked_at:
            for at, examined in looked_at:
                fraction = max(fraction, at)
                if examined is not None:
                    waiting.append(examined)
                if len(waiting) >= _BATCH or time.monotonic() - written_at >= _BATCH_SECONDS:
                    done += _write_down(place, waiting)
                    behind.note(waiting, done, fraction)
                    waiting, written_at = [], time.monotonic()
                if time.monotonic() - told_at >= _LOOK:
                    told_at = time.monotonic()
                    report(
                        min(fraction, 0.999),
                        _(
                            "%(done)s files, %(number)s rejected",
                            done=done.files + len(waiting),
                            number=done.rejected,
                        ),
                    )
    finally:
        done += _write_down(place, waiting)
        behind.note(waiting, done, fraction, last=True)
    with runtime.catalog.write() as transaction:
        images.set_imported(transaction, set_id, asdict(done))
    return done


@dataclass(frozen=True)
class _Place:
    """Where an import goes."""

    runtime: Runtime
    user_id: str
    set_id: str

    @property
    def store(self) -> ObjectStore:
        return self.runtime.stores.area("images")

    def key(self, sha256: str, format_: str) -> str:
        return join_key(images_prefix(self.user_id, self.set_id), f"{sha256}.{FORMATS[format_][0]}")


class _Behind:
    """Which files of an import are behind it, by origin and label, and what became of them all.

    Files of one origin and label may be several, as uploads of one name are: so many of them are passed over as there
    were, the first ones.
    """

    def __init__(self, checkpoints: Checkpoints | None, of: str) -> None:
        self._checkpoints, self._of = checkpoints, hashlib.sha256(of.encode()).hexdigest()
        saved = None if checkpoints is None else from_bytes(checkpoints.load(_CHECKPOINT, of=self._of))
        self.done = Imported() if saved is None else Imported(**saved[0]["done"])
        #: How much of the source was behind it: what is said while those files are passed over.
        self.fraction = 0.0 if saved is None else float(saved[0]["fraction"])
        self._keys: list[bytes] = [] if saved is None else [row.tobytes() for row in saved[1]["files"]]
        self._ahead = Counter(self._keys)

    def has(self, file: File) -> bool:
        """Return whether this file was done by a worker before; each is asked of once."""
        key = _key(file)
        if not self._ahead[key]:
            return False
        self._ahead[key] -= 1
        return True

    def note(
        self, examined: Sequence[_Examined], done: Imported, fraction: float, *, last: bool = False
    ) -> None:
        """Note what is written down by now; `done` is what became of all, `fraction` how much of the source that is."""
        if self._checkpoints is None:
            return
        self._keys += [file.key for file in examined]
        if last or self._checkpoints.is_due():
            files = np.frombuffer(b"".join(self._keys), np.uint8).reshape(-1, _KEY_BYTES)
            figures = {"done": asdict(done), "fraction": fraction}
            self._checkpoints.save(_CHECKPOINT, to_bytes(figures, {"files": files}), of=self._of, force=last)


def _key(file: File) -> bytes:
    named = f"{file.label or ''}/{file.origin}".encode(errors="surrogatepass")
    return hashlib.sha256(named).digest()[:_KEY_BYTES]


@dataclass(frozen=True)
class _Examined:
    """A file that was looked at: an image that is stored by now, or the reason why it is none."""

    key: bytes
    origin: str
    label: str
    sha256: str
    size: int
    reason: str | None = None
    format: str = ""
    width: int | None = None
    height: int | None = None
    perceptual_hash: str | None = None
    url: str = ""
    #: The bytes are those of an image that was there before, which was not decoded again.
    is_known: bool = False


def _examine_all(
    place: _Place, files: Iterable[File], label: str | None, behind: _Behind
) -> Generator[tuple[float, _Examined | None]]:
    """Yield each file in turn, several looked at at a time; None where none is ready for a while, or one is behind."""
    running: deque[tuple[float, Future[_Examined]]] = deque()
    source, stopped, fraction = iter(files), threading.Event(), 0.0
    pool = ThreadPoolExecutor(ABREAST, thread_name_prefix="images")
    try:
        while True:
            while len(running) < 2 * ABREAST and (file := next(source, None)) is not None:
                if behind.has(file):
                    yield file.fraction, None
                else:
                    running.append((file.fraction, pool.submit(_examine, place, file, label, stopped)))
            if not running:
                return
            fraction, first = running[0]
            if wait([first], _LOOK).done:
                running.popleft()
                yield fraction, first.result()
            else:
                yield fraction, None
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _examine(place: _Place, file: File, label: str | None, stopped: threading.Event) -> _Examined:
    """Read, decode and store a file. What is known already is not decoded again."""
    nothing = hashlib.sha256(file.origin.encode(errors="surrogatepass")).hexdigest()
    rejected = _Examined(_key(file), _shown(file.origin), _shown_label(file.label, label), nothing, 0)
    if stopped.is_set():
        return rejected
    try:
        named = _label(file, label)
        data = file.read()
    except UnreadableImage as error:
        return replace(rejected, reason=str(error))
    sha256 = hashlib.sha256(data).hexdigest()
    read = replace(rejected, sha256=sha256, size=len(data))
    try:
        if named is None:
            # What is no image has no use for a label: that it cannot be read is the reason then.
            _picture_of(data)
            return replace(
                read,
                reason=_(
                    "It has no label: it is in no folder, and none was named for such files. Name one when you import "
                    "it."
                ),
            )
        if _is_stored(place, sha256):
            return replace(read, label=named, is_known=True)
        return _stored(place, replace(read, label=named), data)
    except UnreadableImage as error:
        return replace(read, reason=str(error))


def _picture_of(data: bytes) -> Picture:
    """Decode an image, one at a time where it is large; `UnreadableImage` where it is none."""

    if not data:
        raise UnreadableImage(_("The file is empty."))
    try:
        with (
            _one_at_a_time if len(data) > _MANY_BYTES or says_many_pixels(data) else contextlib.nullcontext()
        ):
            return read_picture(data, side=_SIDE, whole=True)
    except UnreadableImage:
        if is_archive(data):
            raise UnreadableImage(
                _("It is an archive within what is imported. Import it by itself.")
            ) from None
        raise


def _stored(place: _Place, read: _Examined, data: bytes) -> _Examined:
    picture = _picture_of(data)
    key = place.key(read.sha256, picture.format)
    unclaimed.expect(place.runtime, key, place.store)
    place.store.put(key, data, attributes={"Content-Type": FORMATS[picture.format][1]})
    return replace(
        read,
        format=picture.format,
        width=picture.width,
        height=picture.height,
        perceptual_hash=perceptual_hash(picture.image),
        url=place.store.url_of(key),
    )


def _is_stored(place: _Place, sha256: str) -> bool:
    with place.runtime.catalog.read() as transaction:
        row = images.images_by_digest(transaction, place.set_id, [sha256]).get(sha256)
    return row is not None and row.state != "rejected"


def _label(file: File, chosen: str | None) -> str | None:
    label = file.label if file.label is not None else chosen
    try:
        return None if label is None else checked_label(label)
    except InvalidInput as error:
        raise UnreadableImage(str(error)) from error


def _shown(origin: str) -> str:
    """Return an origin as it is kept: what no database takes is written out."""
    return origin.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")[:1200]


def _shown_reason(reason: str) -> str:
    """Return a reason as it is kept: as the sentence it is, unless it quotes what no database takes."""
    shown = _shown(reason)
    return reason if shown == reason else shown


def _shown_label(label: str | None, chosen: str | None) -> str:
    return _shown(label if label is not None else chosen or "")[:100]


def _write_down(place: _Place, examined: Sequence[_Examined]) -> Imported:
    """Add the rows of these files; of bytes that are there already, where else they came from."""
    if not examined:
        return Imported()
    done = Imported()
    with place.runtime.catalog.write() as transaction:
        if not images.lock_set(transaction, place.set_id):
            raise NotFound(_("The set of images was removed while images were imported into it."))
        existing = images.images_by_digest(transaction, place.set_id, {file.sha256 for file in examined})
        new = []
        for file in examined:
            row = existing.get(file.sha256)
            if row is None and not file.is_known:
                row = existing[file.sha256] = Image(
                    id=new_id(), seen_again=[], contested=False, **_columns(place, file)
                )
                new.append(row)
                done += Imported(rejected=1) if file.reason else Imported(added=1)
            elif row is not None:
                done += _met_again(place, row, file)
        images.remove_rejected(transaction, place.set_id, _read_since(examined))
        sizes = [image.size_bytes for image in new if image.state != "rejected"]
        if sizes:
            job_id, _fence = job_of_thread() or ("", 0)
            quotas.expect_to_import(transaction, place.user_id, job_id, sum(sizes), len(sizes))
        images.add_images(transaction, new)
    return done


def _met_again(place: _Place, row: Image, file: _Examined) -> Imported:
    """Return the same bytes once more."""
    if file.reason is not None:
        return Imported(rejected=1)
    if row.state == "rejected":  # it can be taken now: it has a label, or more is read than before
        for name, value in _columns(place, file).items():
            setattr(row, name, value)
        return Imported(added=1)
    here = {"origin": file.origin, "label": file.label}
    if row.origin == file.origin and row.imported_label == file.label:
        return Imported(known=1)
    if here in row.seen_again:
        return Imported(known=1)
    if len(row.seen_again) < _PLACES:
        row.seen_again = [*row.seen_again, here]
    if file.label in (row.label, row.imported_label):
        return Imported(duplicates=1)
    row.contested = True
    return Imported(duplicates=1, contested=1)


def _columns(place: _Place, file: _Examined) -> dict[str, Any]:
    return {
        "set_id": place.set_id,
        "user_id": place.user_id,
        "sha256": file.sha256,
        "url": file.url,
        "size_bytes": file.size,
        "format": file.format,
        "width": file.width,
        "height": file.height,
        "label": file.label,
        "imported_label": file.label,
        "origin": file.origin,
        "state": "valid" if file.reason is None else "rejected",
        "reason": None if file.reason is None else _shown_reason(file.reason),
        "perceptual_hash": file.perceptual_hash,
    }


def _read_since(examined: Sequence[_Examined]) -> list[str]:
    """Return the digests that rejections of these origins have, of what was never read and was now."""
    origins = {file.origin for file in examined if file.reason is None}
    return [hashlib.sha256(origin.encode()).hexdigest() for origin in origins]
