"""Give the images of a set out again: a folder for each label and a table of all, in a folder or as a zip."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ecluse.apps.plants import rows as images
from ecluse.apps.plants.rows import Filter
from ecluse.apps.plants.sharing import origin_of
from ecluse.apps.plants.splits import manifest_of
from ecluse.apps.plants.tables import Image
from ecluse.errors import DigestMismatch, InvalidInput, NotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import safe_filename
from ecluse.storage.zips import ZipStream

TABLE: Final = "manifest.csv"
#: The columns of the table; `part` is that of the newest split.
COLUMNS: Final = (
    *((name, str) for name in ("file", "label", "part", "sha256", "origin", "imported_label")),
    ("width", int),
    ("height", int),
)
#: How many characters of its digest tell an image from another of its name.
_DIGITS: Final = 12


@dataclass(frozen=True)
class Exported:
    """An image of a set and where it is put: `label/name`, safe on any file system."""

    path: str
    row: Image
    part: str


def exported_images(runtime: Runtime, user_id: str, set_id: str) -> list[Exported]:
    """Return the images in use, in the order of their paths, with their parts in the newest split ("" where there is
    none).

    Raises:
        NotFound: the user has no such set, or none of its images is in use.
    """
    with runtime.catalog.read() as transaction:
        name = images.set_of(transaction, user_id, set_id).name
        rows = images.list_images(transaction, user_id, set_id, Filter(states=("valid",)), limit=None)
        split = images.newest_split(transaction, user_id, set_id)
    if not rows:
        raise NotFound(_("No image of %(name)s is in use, so that there is nothing to export.", name=name))
    parts: Mapping[str, str] = {} if split is None else manifest_of(runtime, split)["parts"]
    folders = _folders({row.label for row in rows})
    exported = [
        Exported(f"{folders[row.label]}/{_name(row)}", row, parts.get(row.sha256, "")) for row in rows
    ]
    return sorted(exported, key=lambda image: image.path)


def export_folder(
    runtime: Runtime,
    user_id: str,
    set_id: str,
    folder: Path,
    report: Callable[[float, str], None] = lambda *_: None,
) -> int:
    """Write the images in use to a new folder, which appears when it is complete; how many those are.

    Raises:
        InvalidInput: the folder is there and holds something.
        NotFound: as `exported_images`.
        DigestMismatch: an image was changed in the store.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise InvalidInput(_("%(file)s is not empty. Give another folder, or empty it.", file=folder))
    images = exported_images(runtime, user_id, set_id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        partial = Path(scratch) / "set"
        for number, image in enumerate(images):
            path = partial / image.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_bytes(runtime, image.row))
            report((number + 1) / len(images), "")
        (partial / TABLE).write_bytes(table_of(images))
        if folder.exists():
            folder.rmdir()  # empty: checked above, and refused by the system otherwise
        shutil.move(partial, folder)
    return len(images)


def zip_chunks(runtime: Runtime, user_id: str, set_id: str, *, with_origins: bool = True) -> Iterator[bytes]:
    """Yield the same as the bytes of a zip, in bounded memory. What cannot be given out is said before the first
    chunk. Without `with_origins` the table has of these only the names of files.

    Raises:
        NotFound: as `exported_images`.
        DigestMismatch: an image was changed in the store; what came until then is no complete zip.
    """
    return _zipped(runtime, exported_images(runtime, user_id, set_id), with_origins=with_origins)


def table_of(images: list[Exported], *, with_origins: bool = True) -> bytes:
    """Return the table of what is exported, as CSV that a spreadsheet opens."""
    import polars as pl

    from ecluse.formulas import neutralise_formulas

    rows = [
        (
            image.path,
            image.row.label,
            image.part,
            image.row.sha256,
            origin_of(image.row, is_own=with_origins),
            image.row.imported_label,
            image.row.width,
            image.row.height,
        )
        for image in images
    ]
    table = pl.DataFrame(rows, schema=dict(COLUMNS), orient="row")
    return neutralise_formulas(table).write_csv(include_bom=True).encode()


def _zipped(runtime: Runtime, images: list[Exported], *, with_origins: bool) -> Iterator[bytes]:
    archive = ZipStream()
    for image in images:  # compressed already
        yield from archive.add(image.path, [_bytes(runtime, image.row)])
    yield from archive.add(TABLE, [table_of(images, with_origins=with_origins)])
    yield from archive.close()


def _bytes(runtime: Runtime, row: Image) -> bytes:
    located = runtime.stores.locate(row.url)
    data = located.store.get(located.key)
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise DigestMismatch(
            _(
                "The image %(file)s was changed in the store or is gone since it was imported. Leave "
                "it out: ecluse plants exclude SET %(key)s",
                file=row.origin.rpartition("/")[2],
                key=row.id,
            )
        )
    return data


def _folders(labels: set[str]) -> dict[str, str]:
    """Return a folder for each label; two that would be the same, also where a file system knows no capitals, are
    numbered.
    """
    folders: dict[str, str] = {}
    used: set[str] = set()
    for label in sorted(labels):
        plain, number = safe_filename(label), 1
        name = plain
        while name.casefold() in used:
            number += 1
            name = f"{plain}_{number}"
        used.add(name.casefold())
        folders[label] = name
    return folders


def _name(row: Image) -> str:
    """Return the name the image came with, and the beginning of its digest, so that no two are the same."""
    stem = safe_filename(row.origin.rpartition("/")[2]).rsplit(".", 1)[0][:60] or "image"
    ending = row.url.rpartition(".")[2]
    return f"{stem}_{row.sha256[:_DIGITS]}.{ending}"
