"""Describe stores that are folders of this machine: file:///folder."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ecluse.errors import SettingsError
from ecluse.sentences import _
from ecluse.settings import Access, Scheme
from ecluse.storage.posix import PosixBackend
from ecluse.storage.store import ObjectStore


def folder_of(url: str) -> Path:
    """Return the folder that an address leads to."""
    return Path(unquote(urlsplit(url).path))


def _open(url: str, _access: Access, _patience: timedelta) -> ObjectStore:
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/"):
        raise SettingsError(
            _("Store address %(value)s is not an absolute folder; use file:///folder.", value=repr(url))
        )
    return ObjectStore(PosixBackend(folder_of(url), url if url.endswith("/") else f"{url}/"))


def open_private(url: str) -> ObjectStore:
    """Return the store in a folder, in which what is written is for the user of this process alone."""
    return ObjectStore(PosixBackend(folder_of(url), f"{url.rstrip('/')}/", private=True))


SCHEME: Final = Scheme(
    "file", "file:///folder", "A folder of this machine", _open, folder=folder_of, has_buckets=False
)
