"""Know where backups lie, how their parts are called, and how these are packed, encrypted and read again.

    backups/ID/begun.json        written first: a backup without backup.json is unfinished, or was never finished
    backups/ID/rows/TABLE.jsonl.gz
    backups/ID/documents.jsonl.gz
    backups/ID/objects.jsonl.gz  area, key, size and SHA-256 of each object
    backups/ID/contents.gz       the names below contents/ that it needs, a line each; never encrypted
    backups/ID/backup.json       written last: what the backup is, with the digest of every part; never encrypted
    contents/AB/ABCD…            the bytes of an object, by the SHA-256 of what it holds

What is encrypted ends in `.age`, and contents in `.MARK.age`: who has another identity cannot read what was sealed to
the public key of before, so each key has contents of its own. Those of format 1 have no mark.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ecluse.errors import BackupError, BackupNotFound, DigestMismatch, ObjectNotFound, StoreUnwritable
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import ObjectStore, Stored, Stores, lacks_folder
from ecluse.storage.schemes.file import open_private

FORMAT: Final = 2
MANIFEST: Final = "backup.json"
BEGUN: Final = "begun.json"
CONTENTS: Final = "contents"
_SEALED: Final = ".age"
#: What marks what was encrypted to a public key: so many characters of its digest.
_MARK_LENGTH: Final = 16
_MARK: Final = re.compile(f"[0-9a-f]{{{_MARK_LENGTH}}}")
#: Bytes of a chunk that age encrypts, of the tag behind each, and of the shortest head for one recipient with the nonce
#: behind it (https://age-encryption.org/v1).
_AGE_CHUNK, _AGE_TAG, _AGE_HEAD = 65_536, 16, 168 + 16
_ID: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
#: Called with how far it is, from 0 to 1, and what is being done.
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Backup:
    """What a backup holds, as its `backup.json` says. `created_at` is the moment whose rows it has.

    `rows`: of each table; `parts`: {name: {"sha256", "size"}} of what was written; `home`: where everything was, as
    `moving.described` says; `head` and `applications`: the versions of the tables. `has_contents`: the bytes of the
    objects are there, and not their digests alone. `dangling` rows pointed at nothing; of `damaged` objects the bytes
    were not those that their rows say, and are not in the backup. `deleted`: (table, id) of rows that were deleted with
    their objects while it was made, and are not restored. `recipient`: the mark of the public key that it was encrypted
    to, None where none was, or of format 1.
    """

    id: str
    created_at: datetime
    finished_at: datetime
    release: str
    head: str
    applications: dict[str, str]
    encrypted: bool
    has_contents: bool
    home: dict[str, Any]
    rows: dict[str, int]
    documents: int
    objects: int
    object_bytes: int
    parts: dict[str, dict[str, Any]]
    dangling: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    deleted: tuple[tuple[str, str], ...] = ()
    recipient: str | None = None
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.recipient is not None and not _MARK.fullmatch(self.recipient):
            raise ValueError(f"recipient {self.recipient!r}")

    def to_json(self) -> bytes:
        values = asdict(self) | {
            name: getattr(self, name).isoformat() for name in ("created_at", "finished_at")
        }
        return json.dumps(values, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes, name: str = "") -> Backup:
        """Read the `backup.json` of the backup that is called `name` in what is said of it.

        Raises:
            BackupError: it is none, or of a newer Écluse.
        """
        called = f"backup {name}" if name else "a backup"
        try:
            values = json.loads(data)
            if values["format"] > FORMAT or values.keys() - {each.name for each in fields(cls)}:
                raise BackupError(
                    f"{called[0].upper()}{called[1:]} was made by Écluse {values['release']}, which is newer. Install "
                    "that one."
                )
            moments = {name: datetime.fromisoformat(values[name]) for name in ("created_at", "finished_at")}
            lists = {name: tuple(values[name]) for name in ("dangling", "damaged")}
            lists["deleted"] = tuple((table, row_id) for table, row_id in values["deleted"])
            return cls(**values | moments | lists)
        except (ValueError, TypeError, KeyError) as error:
            raise BackupError(
                f"{MANIFEST} of {called} is damaged ({error}). Choose another backup, or bring this file back from a "
                "copy."
            ) from error


@dataclass(frozen=True)
class Unfinished:
    """A backup that is being made, or whose making ended early."""

    id: str
    begun_at: datetime


@dataclass(frozen=True)
class Damaged:
    """A backup whose `backup.json` cannot be read, and why."""

    id: str
    begun_at: datetime
    reason: str


@dataclass(frozen=True)
class Listed:
    """The backups of a place, the newest first, those that are not finished, and those that are damaged."""

    finished: tuple[Backup, ...]
    unfinished: tuple[Unfinished, ...]
    damaged: tuple[Damaged, ...]

    @property
    def names(self) -> frozenset[str]:
        """Return the ids of all."""
        all_of_them: tuple[Backup | Unfinished | Damaged, ...] = (
            *self.finished,
            *self.unfinished,
            *self.damaged,
        )
        return frozenset(each.id for each in all_of_them)


@dataclass(frozen=True)
class Keys:
    """What backups are encrypted to, a public key of age (`age1…`), and the file with the identity that reads them."""

    recipient: str | None = None
    identity: Path | None = None

    def __post_init__(self) -> None:
        if self.recipient is not None:
            self.recipients()

    @property
    def mark(self) -> str | None:
        """Return what tells the public key from others; None where there is none."""
        if self.recipient is None:
            return None
        return hashlib.sha256(self.recipient.encode()).hexdigest()[:_MARK_LENGTH]

    def recipients(self) -> list[Any]:
        """Return what pyrage encrypts to. Raises BackupError: the text is no public key."""
        import pyrage

        try:
            return [pyrage.x25519.Recipient.from_str(self.recipient or "")]
        except pyrage.RecipientError as error:
            raise BackupError(
                _(
                    "%(value)s is no public key of age, age1 and 58 characters. Make a pair: ecluse backup key FILE",
                    value=repr(self.recipient),
                )
            ) from error

    def identities(self) -> list[Any]:
        """Return what pyrage decrypts with. Raises BackupError: no file is named, or it holds no identity."""
        import pyrage

        if self.identity is None:
            raise BackupError(
                "The backup is encrypted. Name the file with the identity that reads it: --identity FILE"
            )
        try:
            lines = self.identity.read_text(encoding="utf-8").splitlines()
            identities = [
                pyrage.x25519.Identity.from_str(line) for line in lines if line.startswith("AGE-SECRET-KEY-")
            ]
        except (OSError, UnicodeDecodeError, pyrage.IdentityError) as error:
            raise BackupError(f"{self.identity} cannot be read as an identity of age: {error}") from error
        if not identities:
            raise BackupError(f"{self.identity} holds no identity of age, a line AGE-SECRET-KEY-…")
        return identities


def new_identity(file: Path) -> str:
    """Write a new identity of age to a file that only its owner reads; the public key that belongs to it.

    Raises:
        BackupError: the file is there.
    """
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BackupError(f"{file} is there already. Name another file.") from error
    with os.fdopen(number, "w", encoding="utf-8") as out:
        out.write(f"# public key: {public}\n{identity}\n")
    return public


class _Cut(Exception):
    """What is encrypted ends early, or was changed behind its head."""


@dataclass(frozen=True)
class Place:
    """A store, or a part of one, that holds backups; what is packed and unpacked lies in `work` meanwhile."""

    store: ObjectStore
    work: Path
    keys: Keys = field(default_factory=Keys)

    # Backups

    def list(self) -> tuple[list[Backup], list[Unfinished]]:
        """Return the backups that can be read, the newest first, and those that are not finished."""
        listed = self.look()
        return [*listed.finished], [*listed.unfinished]

    def names(self) -> frozenset[str]:
        """Return the ids of all backups of which anything is there."""
        ids = (info.key.split("/")[1] for info in self.store.list("backups"))
        return frozenset(name for name in ids if _ID.match(name))

    def look(self) -> Listed:
        """Return all that is there; a backup that is damaged hides no other."""
        finished, unfinished, damaged = list[Backup](), list[Unfinished](), list[Damaged]()
        for name in sorted(self.names(), reverse=True):
            try:
                finished.append(self.open(name))
            except BackupNotFound:
                unfinished.append(Unfinished(name, _moment_of(name)))
            except BackupError as error:
                damaged.append(Damaged(name, _moment_of(name), str(error)))
        finished.sort(key=lambda each: each.created_at, reverse=True)
        return Listed(tuple(finished), tuple(unfinished), tuple(damaged))

    def open(self, backup_id: str) -> Backup:
        """Return a backup; `latest` is the newest.

        Raises:
            BackupNotFound: there is none, or it was not finished.
            BackupError: it is damaged, or of a newer Écluse.
        """
        if backup_id == "latest":
            listed = self.look()
            finished = listed.finished
            if not finished and listed.damaged:
                raise BackupError(listed.damaged[0].reason)
            if not finished:
                raise BackupNotFound(
                    f"No backup in {self.store.url}. Make one: ecluse backup create --to URL"
                )
            return finished[0]
        if not _ID.fullmatch(backup_id):
            raise BackupNotFound(f"{backup_id!r} is no name of a backup. See: ecluse backup list --from URL")
        try:
            return Backup.from_json(self.store.get(f"backups/{backup_id}/{MANIFEST}"), backup_id)
        except ObjectNotFound as error:
            raise BackupNotFound(
                f"No finished backup {backup_id} in {self.store.url}. See: ecluse backup list --from URL"
            ) from error

    # Parts

    def write_part(
        self, backup_id: str, name: str, lines: Iterable[str], *, plain: bool = False
    ) -> tuple[str, Stored]:
        """Pack lines into a part of a backup, encrypted where there is a key; its name, and what was stored."""
        with self.file() as packed:
            with packed.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as out:
                for line in lines:
                    out.write(f"{line}\n".encode())
            sealed = self._is_sealing and not plain
            called = f"{name}{_SEALED}" if sealed else name
            return called, self._upload(packed, f"backups/{backup_id}/{called}", sealed=sealed)

    @contextmanager
    def part(self, backup: Backup, name: str) -> Iterator[Iterator[str]]:
        """Give the lines of a part, once all its bytes are there and are those that were written.

        Raises:
            BackupError: the part is missing or damaged, or no identity opens it.
        """
        sealed = f"{name}{_SEALED}"
        called = sealed if sealed in backup.parts else name
        if called not in backup.parts:
            raise BackupError(f"Backup {backup.id} has no part {name}. Choose another backup.")
        with self.file() as file:
            self._fetch(f"backups/{backup.id}/{called}", file, sha256=str(backup.parts[called]["sha256"]))
            try:
                with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
                    yield (line.rstrip("\n") for line in lines)
            except (EOFError, gzip.BadGzipFile) as error:
                raise BackupError(
                    f"{called} of backup {backup.id} is damaged. Choose another backup."
                ) from error

    def contents_named(self, backup_id: str) -> set[str] | None:
        """Return the names of the contents that a damaged backup needs; None where its list of them is damaged too."""
        try:
            with self.file() as file:
                self._fetch(f"backups/{backup_id}/contents.gz", file)
                packed = file.read_bytes()
                names = gzip.decompress(packed).decode().split()
            return {f"{CONTENTS}/{name}" for name in names} if packed else None
        except (BackupError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError):
            return None

    # The bytes of objects

    @property
    def _is_sealing(self) -> bool:
        return self.keys.recipient is not None

    def contents(self) -> dict[str, int]:
        """Return the names of all contents that are there, and their sizes as they lie there, in bytes."""
        return {info.key: info.size for info in self.store.list(CONTENTS)}

    def is_whole(self, size: int, lying: int | None) -> bool:
        """Return whether what lies there, `lying` bytes, can be a content of `size` bytes.

        What is encrypted is as long as that, and a head and tags of age; the head has no fixed length.
        """
        if lying is None or not self._is_sealing:
            return lying == size
        chunks = max(1, -(-size // _AGE_CHUNK))
        return lying >= size + _AGE_HEAD + chunks * _AGE_TAG

    def name_of(self, sha256: str) -> str:
        """Return where the bytes with this digest lie when they are written now."""
        return _name_of(sha256, self.keys.mark, sealed=self._is_sealing)

    def write_content(self, file: Path, sha256: str) -> Stored:
        """Write the bytes of an object under their digest, in place of what lies there."""
        return self._upload(file, self.name_of(sha256), sealed=self._is_sealing)

    def fetch_content(self, backup: Backup, sha256: str, file: Path) -> None:
        """Write the bytes with this digest to a file.

        Raises:
            BackupError: they are missing or others, or no identity opens them.
        """
        name = _name_of(sha256, backup.recipient, sealed=backup.encrypted)
        self._fetch(name, file, holds=sha256)

    # Files

    @contextmanager
    def file(self) -> Iterator[Path]:
        """Give the name of a file of one's own, which is removed at the end."""
        path = self.work / secrets.token_hex(8)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _upload(self, file: Path, key: str, *, sealed: bool) -> Stored:
        if not sealed:
            return self.store.upload(file, key)
        import pyrage

        with self.file() as other:
            pyrage.encrypt_file(str(file), str(other), self.keys.recipients())
            return self.store.upload(other, key)

    def _decrypt(self, file: Path) -> None:
        import pyrage

        with self.file() as opened:
            try:
                pyrage.decrypt_file(str(file), str(opened), self.keys.identities())
            except OSError as error:
                if error.errno is not None:  # the disk's; pyrage's own has no number
                    raise
                raise _Cut from error
            opened.replace(file)

    def _fetch(self, key: str, file: Path, *, sha256: str | None = None, holds: str | None = None) -> None:
        """Write what lies at a key to a file, decrypted. `sha256`: of what lies there; `holds`: of what it holds."""
        import pyrage

        lost = "Choose another backup, or bring this file back from a copy."
        try:
            self.store.download(key, file, sha256=sha256)
            if key.endswith(_SEALED):
                self._decrypt(file)
        except ObjectNotFound as error:
            raise BackupError(f"{self.store.url_of(key)} is not there. {lost}") from error
        except (DigestMismatch, _Cut) as error:
            raise BackupError(f"{self.store.url_of(key)} is damaged. {lost}") from error
        except pyrage.DecryptError as error:
            raise BackupError(
                f"{self.store.url_of(key)} is damaged, or {self.keys.identity} does not open it ({error}). Name "
                "the identity of the public key that it was encrypted to."
            ) from error
        if holds is not None and digest_of(file) != holds:
            raise BackupError(f"{self.store.url_of(key)} is damaged. {lost}")


@contextmanager
def open_place(
    runtime: Runtime, url: str, keys: Keys | None = None, *, make: bool = False
) -> Iterator[Place]:
    """Open a place for backups at a full address: `file:///FOLDER`, `s3://BUCKET/PREFIX` and the other schemes.

    `make`: a folder that is not there is made, to write the first backup to.

    Raises:
        BackupNotFound: the folder is not there.
        BackupError: it lies in an area of the home, whose loss would take the backups along; or it carries a key.
        SettingsError: the address cannot be used.
    """
    from ecluse.migration.overlap import share_a_part

    check_address(url)
    if any(share_a_part(url, area.url) for area in runtime.stores.areas().values()):
        raise BackupError(
            _("%(place)s shares a part with what is backed up. Choose another bucket or folder.", place=url)
        )
    if make:
        runtime.stores.make_folder(url)
    elif lacks_folder(url):
        raise BackupNotFound(
            _("%(place)s is not there. Name the folder that backups were written to.", place=url)
        )
    with runtime.scratch() as work:
        place = Place(store_of(runtime.stores, url), work, keys or Keys())
        if not make:
            yield place
            return
        with _room_asked_for(url):
            yield place


def sealed_parts(backup: Backup) -> list[str]:
    """Return the names of the parts that are encrypted, as `Place.part` calls them, the smallest first."""
    sealed = [name for name in backup.parts if name.endswith(_SEALED)]
    return [
        name.removesuffix(_SEALED)
        for name in sorted(sealed, key=lambda name: int(backup.parts[name]["size"]))
    ]


@contextmanager
def _room_asked_for(url: str) -> Iterator[None]:
    """Say of a place that is full how to make room in it: to clear the cache of this home makes none."""
    try:
        yield
    except StoreUnwritable as error:
        if getattr(error.__cause__, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StoreUnwritable(
            _(
                "%(place)s has no room for the backup, which stays unfinished. Make room there, or remove old ones: "
                "ecluse backup prune --from %(place)s --keep 3",
                place=url,
            )
        ) from error


def store_of(stores: Stores, url: str) -> ObjectStore:
    """Return the store of a place. In a folder, what is written is for the user of this process alone."""
    return open_private(url) if url.startswith("file:") else stores.folder(url)


def check_address(url: str) -> None:
    """Refuse an address that carries a key or a password: it is kept, and shown.

    Raises:
        BackupError: it carries one.
    """
    try:
        parts = urlsplit(url)
        carries = "@" in parts.netloc or parts.query or parts.fragment
    except ValueError:  # what cannot be read is refused where it is opened
        return
    if carries:
        raise BackupError(
            _(
                "The address carries a name, a password or a key, and would be kept and shown. Name the place alone, "
                "such as s3://bucket/backups, and set the keys as the settings have them: ecluse doctor"
            )
        )


def _name_of(sha256: str, mark: str | None, *, sealed: bool) -> str:
    marked = sha256 if mark is None else f"{sha256}.{mark}"
    return f"{CONTENTS}/{sha256[:2]}/{marked}{_SEALED if sealed else ''}"


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file, as lower-case hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def new_id(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def _moment_of(name: str) -> datetime:
    return datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
