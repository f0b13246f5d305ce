"""Fetch the files of a version from a server: verified before they have their names, and going on after a break."""

from __future__ import annotations

import hashlib
import uuid
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ecluse.client.backend import Progress, Version
from ecluse.client.server import Server, model_part, part_of, patiently
from ecluse.errors import DigestMismatch, InvalidInput, ServerAway
from ecluse.sentences import _
from ecluse.storage import checked_key

#: Files that come at once.
_AT_ONCE: Final = 4
_CHUNK: Final = 1024 * 1024


def fetch_version(server: Server, version: Version, folder: Path, progress: Progress) -> None:
    """Write every file of a version below `folder`.

    Raises:
        DigestMismatch: a file is not what its digest says; it is not kept.
        ServerAway: the server does not answer. Fetched again into the same folder, it goes on.
    """
    place = f"models/{model_part(version.name)}/{part_of(version.version)}"
    files: list[Mapping[str, Any]] = server.send_json("GET", place)["files"]
    for file in files:
        checked_key(file["path"])  # a server names no file outside the folder

    def fetch(file: Mapping[str, Any]) -> None:
        target = folder / file["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_symlink() and target.is_file() and _digest(target).hexdigest() == file["sha256"]:
            progress(file["size"])
            return
        _fetch_file(server, f"{place}/files/{quote(file['path'])}", file, target, progress)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ecluse-fetch") as pool:
        tasks = [pool.submit(fetch, file) for file in files]
        try:
            for task in tasks:
                task.result()
        finally:
            for task in tasks:  # where one failed, the others need not begin
                task.cancel()


def fetch_table(server: Server, table: str, file: Path, progress: Progress, kind: str = "parquet") -> None:
    """Write a table to a new file of a kind, parquet or csv; where the server says its SHA-256, compared with that.

    Raises:
        DigestMismatch: it is not what its digest says; it is not kept.
        ServerAway: the server does not answer.
    """
    partial = file.with_name(f"{file.name}.part")
    tag = ""

    def go_on() -> None:
        nonlocal tag
        have = partial.stat().st_size if tag and partial.exists() else 0
        headers = {"range": f"bytes={have}-", "if-range": tag} if have else {}
        with server.stream(f"tables/{part_of(table)}/file?format={kind}", headers) as response:
            tag = response.headers.get("etag", "")
            with partial.open("ab" if response.status_code == 206 else "wb") as opened:
                for chunk in response.iter_bytes(_CHUNK):
                    opened.write(chunk)
                    progress(len(chunk))

    patiently(go_on)
    digest = _digest(partial).hexdigest()
    if tag and tag != f'"sha256:{digest}"':
        partial.unlink()
        raise DigestMismatch(
            _(
                "The table %(value)s is not what its digest says. It was not kept; fetch it again.",
                value=table,
            )
        )
    partial.replace(file)


def _fetch_file(
    server: Server, place: str, file: Mapping[str, Any], target: Path, progress: Progress
) -> None:
    partial = target.with_name(f".ecluse-{file['sha256'][:32]}.part")
    shown = 0

    def go_on() -> None:
        nonlocal shown
        have = partial.stat().st_size if partial.exists() else 0
        if have >= file["size"] and have:
            return
        headers = {"range": f"bytes={have}-"} if have else {}
        with server.stream(place, headers) as response:
            if response.status_code != 206:
                have = 0
            with partial.open("r+b" if have else "wb") as opened:
                opened.seek(have)
                opened.truncate()
                for chunk in response.iter_bytes(_CHUNK):
                    opened.write(chunk)
                    have += len(chunk)
                    if have > shown:
                        progress(have - shown)
                        shown = have
        if have < file["size"]:
            raise ServerAway(_("%(file)s broke off after %(count)s bytes.", file=file["path"], count=have))

    patiently(go_on)
    if partial.stat().st_size != file["size"] or _digest(partial).hexdigest() != file["sha256"]:
        partial.unlink()
        raise DigestMismatch(
            _("%(file)s is not what its digest says. It was not kept; fetch it again.", file=file["path"])
        )
    partial.replace(target)


def fetch_attachment(server: Server, place: str, target: Path, report: Callable[[float], None]) -> None:
    """Write what a server sends at an address to a file, once it is what its ETag says; told the share that is there.

    Raises:
        DigestMismatch: it is not; nothing is kept.
    """
    partial = target.with_name(f".ecluse-{uuid.uuid4().hex}.part")

    def get() -> None:
        digest, have = hashlib.sha256(), 0
        with server.stream(place, {}) as response, partial.open("wb") as opened:
            size = int(response.headers["content-length"])
            expected = response.headers.get("etag", "").strip('"').removeprefix("sha256:")
            for chunk in response.iter_bytes(_CHUNK):
                opened.write(chunk)
                digest.update(chunk)
                have += len(chunk)
                report(have / size)
        if have < size:
            raise ServerAway(_("%(file)s broke off after %(count)s bytes.", file=target.name, count=have))
        if digest.hexdigest() != expected:
            raise DigestMismatch(
                _("%(file)s is not what its digest says. It was not kept; fetch it again.", file=target.name)
            )

    try:
        patiently(get)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def fetch_archive(server: Server, place: str, target: Path, report: Progress) -> int:
    """Write a zip that a server makes as it sends it to a file, which appears when it is whole; its bytes.

    Raises:
        InvalidInput: the file is there.
        ServerAway: it broke off; nothing is kept.
    """
    if target.exists():
        raise InvalidInput(_("%(file)s is there already. Give another name: --out FILE", file=target))
    partial, have = target.with_name(f".ecluse-{uuid.uuid4().hex}.part"), 0
    try:
        with server.stream(place, {}) as response, partial.open("wb") as opened:
            for chunk in response.iter_bytes(_CHUNK):
                opened.write(chunk)
                have += len(chunk)
                report(have)
        if not zipfile.is_zipfile(partial):
            raise ServerAway(_("%(file)s broke off after %(count)s bytes.", file=target.name, count=have))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return have


def _digest(file: Path) -> Any:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256")
