"""A scheme of storage that the code has never heard of: shelf:///folder, a folder whose objects have a label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ecluse.errors import SettingsError
from ecluse.settings import Access, Detected, Scheme, Section
from ecluse.storage import ObjectStore
from ecluse.storage.posix import PosixBackend


@dataclass(frozen=True)
class ShelfSettings:
    label: str = ""


def _read(env: Mapping[str, str]) -> ShelfSettings:
    return ShelfSettings(env.get("SHELF_LABEL", ""))


def _detect(access: Access, _env: Mapping[str, str]) -> Iterator[Detected]:
    yield Detected("shelf", access.of(ShelfSettings).label, "SHELF_LABEL")


def _folder(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _open(url: str, access: Access, _patience: timedelta) -> ObjectStore:
    if not access.of(ShelfSettings).label:
        raise SettingsError("A shelf needs a label: set SHELF_LABEL.")
    return ObjectStore(PosixBackend(_folder(url), f"{url.rstrip('/')}/"))


SCHEME = Scheme(
    "shelf",
    "shelf:///folder",
    "A shelf with a label",
    _open,
    section=Section(ShelfSettings, {"SHELF_LABEL": "Label of the shelf"}, _read),
    detect=_detect,
    keys="SHELF_LABEL",
    folder=_folder,
    has_buckets=False,
    offer=lambda _url, _access: "s3-standard",
)
