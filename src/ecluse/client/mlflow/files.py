"""Bring files of an MLflow server to a folder of this machine, so that a transfer that broke off goes on."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ecluse.client.backend import Progress
from ecluse.client.mlflow.server import MlflowServer, Place, RemoteFile
from ecluse.errors import EcluseError, InvalidInput
from ecluse.registry import checked_path
from ecluse.sentences import _

#: Files that are on their way at once.
_AT_ONCE: Final = 4


def bring(server: MlflowServer, place: Place, folder: Path, progress: Progress) -> None:
    """Write the files of a place below a folder.

    A file that lies there whole, as it is written under its name at the end alone, is not fetched again. Each has as
    many bytes as the server has listed.

    Raises:
        ServerRefused: a file has other bytes than listed.
        InvalidInput: two files have one path.
    """
    listed = server.files(place)
    targets = [folder / local_path(file.path) for file in listed]
    if len({str(target).casefold() for target in targets}) < len(targets):
        raise InvalidInput(
            _("Two files of %(name)s have one name here.", name=str(place.values or place.root))
        )
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ecluse-mlflow") as pool:
        tasks = [
            pool.submit(server.fetch, place, file, target, progress)
            for file, target in zip(listed, targets, strict=True)
            if not _is_whole(file, target)
        ]
        try:
            for task in tasks:
                task.result()
        finally:
            for task in tasks:  # where one failed, the others need not begin
                task.cancel()


def _is_whole(file: RemoteFile, target: Path) -> bool:
    return target.is_file() and file.size is not None and target.stat().st_size == file.size


def local_path(path: str) -> Path:
    """Return where a file lies below a folder: where the server says, if that can be; never outside it."""
    try:
        return Path(*checked_path(f"files/{path}").split("/")[1:])
    except EcluseError:
        return Path(*(_safe(part) for part in path.split("/")))


def _safe(part: str) -> str:
    plain = re.sub(r"[^\w.\- ]+", "_", part).strip(". ")[:80] or "file"
    if plain == part and not part.startswith(".ecluse-"):
        return part
    digest = hashlib.sha256(part.encode(errors="backslashreplace"))
    return f"{plain}-{digest.hexdigest()[:6]}"
