"""Give out everything of an account as one zip: every row as JSON, every object with its digest, and what is what.

The zip is written as it is sent: in bounded memory, of any size, and nothing of it is kept here. `manifest.json` comes
last: an archive that has it is whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

from ecluse import __version__
from ecluse.catalog import audit, files, owned, users
from ecluse.catalog.tables import File, User, now
from ecluse.errors import DiskUnusable, HomeClosed, InvalidInput, ObjectNotFound
from ecluse.people.places import files_elsewhere, folders_of
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import Digest, ObjectStore
from ecluse.storage.zips import ZipStream

FORMAT: Final = "ecluse-account-1"
MANIFEST: Final = "manifest.json"
#: Objects whose recorded digests are looked up at once.
_AT_ONCE: Final = 400
#: Bytes of the list of objects that are kept in memory; beyond, in a file that nobody else can open.
_IN_MEMORY: Final = 4_000_000
README: Final = """\
Everything that an Écluse keeps of one account.

manifest.json    what is in this archive, whose it is, and what was left out, with the reason. It was written last:
                 if it is there, the archive is whole.
rows/TABLE.json  the rows of one table of the database, as a list. Moments are in UTC. Secrets and their hashes (the
                 password, tokens, sessions, links) are given to nobody and are not among them.
objects/         the files, under the names that they have in the store: uploaded tables, results, images, and
                 versions of models (user_models), each with its own manifest of digests.
objects.jsonl    one line for each of them: `path` here, `key` in the store, `size` in bytes, `sha256` of what is here,
                 `recorded` the digest that was kept when it was stored (null: none was), and `state`: "ok"; "damaged",
                 where the two differ; "gone", where it was not there any more.

rows/files.json says which row each file serves (`table_name`, `row_id`) and under which key it was first stored.
What was changed while the archive was written may be in it as it was before, or as it is since.
"""
Report = Callable[[float, str], None]
logger = logging.getLogger(__name__)


@dataclass
class Contents:
    """What has been written to an archive so far."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: int = 0
    size: int = 0
    damaged: int = 0
    gone: int = 0


@dataclass(frozen=True)
class _Place:
    """An object that is to be given out: where it is, its path in the archive and, where it is known, its digest."""

    store: ObjectStore
    key: str
    path: str
    recorded: str | None


def archive_of(runtime: Runtime, owner: User, report: Report = lambda *_: None) -> Iterator[bytes]:
    """Yield the archive of an owner, chunk by chunk. `report` is told the share of the bytes of objects that is done.

    Raises:
        StoreUnavailable, CatalogUnavailable: what came until then is no zip.
    """
    archive, contents = ZipStream(), Contents()
    with runtime.catalog.read() as transaction:
        total = max(users.size_owned(transaction, owner.id), 1)
    yield from archive.add("README.txt", [README.encode()], compressed=True)
    for table in owned.given_out():
        rows = _rows(runtime, owner.id, table, contents)
        yield from archive.add(f"rows/{table.name}.json", rows, compressed=True)
    with SpooledTemporaryFile(_IN_MEMORY) as lines:
        for place in _places(runtime, owner.id):
            yield from _add_object(archive, place, contents, lines)
            report(min(contents.size / total, 0.99), place.path)
        lines.seek(0)
        yield from archive.add("objects.jsonl", iter(lambda: lines.read(1 << 20), b""), compressed=True)
    manifest = json.dumps(_manifest(owner, contents), indent=2, ensure_ascii=False)
    yield from archive.add(MANIFEST, [manifest.encode()], compressed=True)
    yield from archive.close()
    report(1.0, "")


def note(runtime: Runtime, owner: User, by: str | None) -> None:
    """Write down that everything of an account is given out, and to whom (None: a terminal).

    Where nothing can be written, as on a full disk, people take along what is theirs; the log of the process has it.
    """
    try:
        with runtime.catalog.write() as transaction:
            audit.record(transaction, by, "account.export", owner.email)
    except (DiskUnusable, HomeClosed) as error:
        logger.warning("The export of account %s is not in the log: %s", owner.id, error)


def write_archive(runtime: Runtime, owner: User, target: Path, report: Report = lambda *_: None) -> int:
    """Write the archive of an owner to a file, which appears when it is whole; its bytes.

    Raises:
        InvalidInput: the file is there.
    """
    if target.exists():
        raise InvalidInput(_("%(file)s is there already. Give another name: --out FILE", file=target))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    try:
        with partial.open("wb") as file:
            for chunk in archive_of(runtime, owner, report):
                file.write(chunk)
        size = partial.stat().st_size
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return size


def filename_of(owner: User) -> str:
    """Return what the archive of an owner is called."""
    return f"ecluse-{owner.handle or owner.id}-{now():%Y%m%d}.zip"


def _rows(runtime: Runtime, owner_id: str, table: Any, contents: Contents) -> Iterator[bytes]:
    """Yield the rows of a table as a list of JSON, and count them."""
    count, after, digest = 0, None, hashlib.sha256()

    def counted(text: str) -> bytes:
        data = text.encode("utf-8", "replace")
        digest.update(data)
        return data

    yield counted("[")
    while True:
        with runtime.catalog.read() as transaction:
            rows = owned.rows_of(transaction, table, owner_id, after)
        for after, row in rows:  # noqa: B007 (the key of the last is where the next begin)
            yield counted(
                (",\n" if count else "\n") + json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
            )
            count += 1
        if len(rows) < owned.BATCH:
            break
    yield counted("\n]\n")
    contents.rows[table.name] = {"rows": count, "sha256": digest.hexdigest()}


def _places(runtime: Runtime, owner_id: str) -> Iterator[_Place]:
    """Yield every object below the folders of an owner in each store, then those that rows keep elsewhere."""
    names: dict[str, str] = {}
    for store, folder in folders_of(runtime, owner_id):
        inside = names.setdefault(store.url, f"objects/store-{len(names) + 1}" if names else "objects")
        listed = store.list(folder)
        while infos := list(islice(listed, _AT_ONCE)):
            urls = [store.url_of(info.key) for info in infos]
            with runtime.catalog.read() as transaction:
                recorded = files.digests_at(transaction, owner_id, urls)
            for info, url in zip(infos, urls, strict=True):
                path = f"{inside}/{folder.partition('/')[0]}/{info.key.removeprefix(folder + '/')}"
                yield _Place(store, info.key, path, recorded.get(url))
    for number, file in enumerate(files_elsewhere(runtime, owner_id)):
        yield from _of_file(runtime, file, f"objects/elsewhere/{number}")


def _of_file(runtime: Runtime, file: File, inside: str) -> Iterator[_Place]:
    located = runtime.stores.locate(file.url)
    if file.form == "object":
        name = PurePosixPath(located.key).name
        yield _Place(located.store, located.key, f"{inside}/{name}", file.sha256)
        return
    for info in located.store.list(located.key):
        yield _Place(located.store, info.key, f"{inside}/{info.key.removeprefix(located.key + '/')}", None)


def _add_object(archive: ZipStream, place: _Place, contents: Contents, lines: IO[bytes]) -> Iterator[bytes]:
    digest, state = Digest(), "ok"
    try:
        chunks = digest.through(place.store.stream(place.key))
        first = next(chunks, b"")
    except ObjectNotFound:
        state = "gone"
        contents.gone += 1
    else:
        yield from archive.add(place.path, _joined(first, chunks))
        contents.objects += 1
    stored = digest.stored(place.key)
    if state == "ok" and place.recorded not in (None, stored.sha256):
        state = "damaged"
        contents.damaged += 1
    contents.size += stored.size
    line = {
        "path": place.path,
        "key": place.key,
        "size": stored.size,
        "sha256": stored.sha256 if state != "gone" else None,
        "recorded": place.recorded,
        "state": state,
    }
    lines.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _manifest(owner: User, contents: Contents) -> dict[str, Any]:
    tables = {table.name: table for table in owned.given_out()}
    return {
        "format": FORMAT,
        "written_at": now().isoformat(),
        "ecluse": __version__,
        "account": {"id": owner.id, "email": owner.email, "handle": owner.handle, "kind": owner.kind},
        "rows": contents.rows,
        "objects": {
            "count": contents.objects,
            "bytes": contents.size,
            "damaged": contents.damaged,
            "gone": contents.gone,
        },
        "left_out": {
            "tables": dict(owned.LEFT_OUT),
            "columns": {
                name: left
                for name, table in tables.items()
                if (left := [c.name for c in table.columns if c.name not in owned.columns_of(table)])
            },
        },
    }
