"""Send the files of a version to a server, part by part; after a kill the same files go on where they were."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from ecluse.client.backend import Progress, Publication
from ecluse.client.places import uploads_folder
from ecluse.client.server import Server, model_part, part_of, patiently
from ecluse.errors import InvalidInput
from ecluse.registry import gathered
from ecluse.sentences import _
from ecluse.storage import read_chunks

#: Parts that are on their way at once.
_AT_ONCE: Final = 3
#: Seconds that a server may take to read a table that it was sent.
_READING: Final = 900.0


def send_version(server: Server, publication: Publication, progress: Progress) -> Mapping[str, Any]:
    """Send what is to be published and commit it; return the version as the API describes it.

    Raises:
        InvalidInput: a file is not there, or changed while it was sent.
        ServerAway: the server does not answer; sent again, it goes on.
    """
    files = gathered(publication.paths)
    announced = [
        {"path": path, "size": file.stat().st_size, "sha256": _sha256(file)} for path, file in files.items()
    ]
    content = {
        "files": announced,
        "metadata": dict(publication.metadata),
        "run": publication.run,
        "alias": publication.alias,
    }
    note = _note(server.address, publication.name, content)
    place = f"models/{model_part(publication.name)}/uploads"
    nonce = _nonce(note, publication.nonce)
    upload = server.send_json("POST", place, json=content | {"nonce": nonce})
    here = f"{place}/{part_of(upload['id'])}"
    sources = [files[file["path"]] for file in upload["files"]]
    _send_parts(server, here, upload, sources, progress)
    version: Mapping[str, Any] = server.send_json("POST", f"{here}/commit")
    note.unlink(missing_ok=True)
    return version


class _Counted(io.FileIO):
    """A file that says how many bytes of it were read."""

    def __init__(self, file: Path, progress: Progress) -> None:
        super().__init__(file, "rb")
        self._progress = progress

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size) or b""
        self._progress(len(data))
        return data


def send_table(
    server: Server, file: Path, name: str, nonce: str, progress: Progress, owner: str = ""
) -> Mapping[str, Any]:
    """Send a file that is to be kept as a table; return the table as the API describes it.

    `owner`: the handle of an organisation whose it is to be; empty: who sends it.

    Raises:
        UnreadableTable: the server cannot read it as one.
        ServerAway: it does not answer.
    """

    def send() -> Mapping[str, Any]:
        with _Counted(file, progress) as opened:
            asked = {"nonce": nonce} | ({"owner": owner} if owner else {})
            body: Mapping[str, Any] = server.json(
                "POST", "tables", params=asked, files={"file": (name, opened)}, timeout=_READING
            )
        return body

    return patiently(send)


def _send_parts(
    server: Server, place: str, upload: Mapping[str, Any], sources: list[Path], progress: Progress
) -> None:
    size = int(upload["part_bytes"])

    def send(index: int, number: int) -> None:
        body = _part(sources[index], number, size)
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers = {"content-digest": f"sha-256=:{digest}:", "content-type": "application/octet-stream"}
        server.send("PUT", f"{place}/files/{index}/parts/{number}", content=body, headers=headers)
        progress(len(body))

    missing = []
    for index, file in enumerate(upload["files"]):
        received = set(file["received"])
        for number in range(1, file["parts"] + 1):
            if number in received or upload["committed"]:
                progress(min(size, file["size"] - (number - 1) * size))
            else:
                missing.append((index, number))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ecluse-send") as pool:
        tasks = [pool.submit(send, index, number) for index, number in missing]
        try:
            for task in tasks:
                task.result()
        finally:
            for task in tasks:  # where one failed, the others need not begin
                task.cancel()


def _part(file: Path, number: int, size: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek((number - 1) * size)
        body = opened.read(size)
    if not body:
        raise InvalidInput(_("%(file)s changed while it was sent. Publish it again.", file=file))
    return body


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    for chunk in read_chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def _note(address: str, name: str, content: Mapping[str, Any]) -> Path:
    """Return the file that holds the nonce of what is on its way, by all that is sent."""
    text = json.dumps([address, name, content], sort_keys=True)
    return uploads_folder() / hashlib.sha256(text.encode()).hexdigest()


def _nonce(note: Path, fresh: str) -> str:
    """Return the nonce of an upload that was interrupted, else a fresh one, which is noted before anything is sent."""
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with note.open("x", encoding="ascii") as opened:
            opened.write(fresh)
    except FileExistsError:
        return note.read_text(encoding="ascii") or fresh
    return fresh
