"""Publish a version part by part, from another machine, with a token alone.

An upload begins with all that is to be published: the paths, bytes and digests of its files, and the metadata. A
version is claimed for it, parts of its files arrive in any order, and the commit makes them files of a visible version.
Whatever is sent twice changes nothing, so a publisher that was killed begins again by its nonce, and sends what lacks.
Keys are made of what stands in the row of the upload, which is its owner's; a request names a file by its place alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ecluse.catalog import models as rows
from ecluse.catalog import quotas, runs, uploads
from ecluse.catalog.tables import ModelUpload, ModelVersion, Publication, new_id
from ecluse.errors import (
    InvalidInput,
    LimitReached,
    NonceTaken,
    NotFound,
    ObjectNotFound,
    RunClosed,
    SettingsError,
    StorageError,
    UploadCommitted,
    UploadIncomplete,
    UploadTooLarge,
)
from ecluse.models.versions import ABANDONED, commit
from ecluse.registry import (
    PART_BYTES,
    Arrived,
    Incoming,
    ManifestFile,
    checked_alias,
    checked_metadata,
    checked_name,
    checked_path,
    expect_apart,
    media_type_of,
)
from ecluse.runtime import Runtime
from ecluse.sentences import _, num
from ecluse.storage.side_by_side import side_by_side
from ecluse.troubles import Troubles

#: Files of one upload, and uploads of one person that are not committed.
MOST_FILES: Final = 2_000
MOST_OPEN: Final = 50
#: Bytes of a path: with the folder of its version it still is a key.
LONGEST_PATH: Final = 800
#: Files up to this size (bytes) are put together several at a time.
SMALL: Final = 1024 * 1024
#: What the import of folders keeps in the metadata of a version; of no one else they would be true.
RESERVED: Final = ("imported", "pickles", "converted")
logger = logging.getLogger(__name__)
_left: Final = Troubles(
    logger, "Upload %s is not cleaned up yet: %s", "Nothing stands in the way of upload %s any more"
)


@dataclass(frozen=True)
class AnnouncedFile:
    """A file that is to come: its path within the version, its bytes, its SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class UploadRequest:
    """What is to be published. `nonce` names the upload to its sender; `run_id` and `alias`: what the version gets."""

    nonce: str
    files: tuple[AnnouncedFile, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    run_id: str | None = None
    alias: str | None = None


@dataclass(frozen=True)
class FileState:
    """A file of an upload: how many parts it has, and the numbers of those that have arrived."""

    file: AnnouncedFile
    parts: int
    received: tuple[int, ...]


@dataclass(frozen=True)
class UploadState:
    """An upload with what has arrived of it."""

    id: str
    name: str
    version: str
    part_bytes: int
    committed: bool
    files: tuple[FileState, ...]


@dataclass(frozen=True)
class Part:
    """A part that may be sent: its place, its bytes, and its SHA-256 where the file has no other part."""

    upload: ModelUpload
    index: int
    number: int
    size: int
    sha256: str | None


# Begin


def begin(runtime: Runtime, user_id: str, name: str, request: UploadRequest) -> UploadState:
    """Begin an upload; where its nonce has begun it already, go on with that.

    Raises:
        InvalidInput, InvalidKey: the name, a path, the metadata or the alias cannot be used, or too much is announced.
        UploadTooLarge: the files have more bytes than an upload may have.
        PlanEnded, LimitReached: the plan of the user allows no more; UploadTooLarge: none of this size.
        NonceTaken: the nonce has begun an upload of something else.
        NotFound, RunClosed: the run is not there, is not one of a program, or cannot have this version.
    """
    request = _checked(runtime, checked_name(name), request)
    with runtime.catalog.read() as transaction:
        upload = uploads.find(transaction, user_id, name, request.nonce)
    if upload is None:
        upload = _begin(runtime, user_id, name, request)
    if _announcement(upload) != _announcement_of(request):
        raise NonceTaken(
            _(
                "The nonce %(value)s has begun an upload of other files or metadata. Take a new one, such as a UUID.",
                value=repr(request.nonce),
            )
        )
    return _state(runtime, upload)


def show(runtime: Runtime, user_id: str, name: str, upload_id: str) -> UploadState:
    """Return an upload with what has arrived; `NotFound` where the user has none of this id."""
    return _state(runtime, _upload_of(runtime, user_id, name, upload_id))


def _begin(runtime: Runtime, user_id: str, name: str, request: UploadRequest) -> ModelUpload:
    """Claim a version and note the upload; the first one, where two begin at once."""
    with runtime.catalog.read() as transaction:
        if uploads.count_open(transaction, user_id) >= MOST_OPEN:
            raise InvalidInput(
                _(
                    "You have %(count)s uploads that are not committed. Commit or give up one: DELETE "
                    "/api/models/NAME/uploads/ID",
                    count=MOST_OPEN,
                )
            )
        if request.run_id is not None:
            _expect_run(runs.run_of(transaction, user_id, request.run_id), name)
    runtime.catalog.expect_open()
    registry, upload_id = runtime.registry(user_id), new_id()
    version = registry.claim(name, upload_id)
    upload = ModelUpload(
        id=upload_id,
        user_id=user_id,
        name=name,
        version=version,
        nonce=request.nonce,
        files=[asdict(file) for file in request.files],
        details=dict(request.metadata),
        part_bytes=PART_BYTES,
        alias=request.alias,
        run_id=request.run_id,
        url=registry.url_of(name, version),
    )
    try:
        with runtime.catalog.write() as transaction:
            size = sum(file.size for file in request.files)
            quotas.reserve(transaction, user_id, size, upload_id=upload_id, model=name)
            if uploads.add(transaction, upload):
                return upload
            quotas.give_back(transaction, upload_id)
    except (LimitReached, UploadTooLarge):
        registry.abandon(name, version, upload_id)
        raise
    registry.abandon(name, version, upload_id)
    with runtime.catalog.read() as transaction:
        first = uploads.find(transaction, user_id, name, request.nonce)
    if first is None:
        raise NotFound(_("The upload was given up at this moment. Begin it again."))
    return first


def _expect_run(run: Any, name: str) -> None:
    """Raise unless this run, which is the user's, may have a version of this model."""
    if run.nonce is None or run.status not in (*runs.ACTIVE, "done"):
        raise RunClosed(
            _("Run %(name)s takes no version: it has failed, or belongs to an application.", name=run.id)
        )
    if run.name != name:
        raise RunClosed(
            _(
                "Run %(name)s is one of %(value)s, not of %(model)s. Publish under that name, or leave the run out.",
                name=run.id,
                value=repr(run.name),
                model=repr(name),
            )
        )


def _checked(runtime: Runtime, name: str, request: UploadRequest) -> UploadRequest:
    if not request.files:
        raise InvalidInput(_("There is no file to publish. Name at least one."))
    if len(request.files) > MOST_FILES:
        raise InvalidInput(
            _(
                "%(count)s files are too many for one upload. Publish at most %(most)s: put small ones into an "
                "archive.",
                count=num(len(request.files), ","),
                most=num(MOST_FILES, ","),
            )
        )
    for file in request.files:
        if len(file.path.encode(errors="replace")) > LONGEST_PATH:
            raise InvalidInput(
                _(
                    "The path %(file)s… is too long. Use at most %(most)s bytes.",
                    file=file.path[:60],
                    most=LONGEST_PATH,
                )
            )
        checked_path(file.path)
    expect_apart([file.path for file in request.files])
    most = runtime.settings.upload_max_bytes
    if (size := sum(file.size for file in request.files)) > most:
        raise UploadTooLarge(
            _(
                "The files have %(count)s MB together; this server accepts %(most)s MB. Publish less, or raise "
                "ECLUSE_UPLOAD_MAX_BYTES.",
                count=num(size / 1000000.0, ",.0f"),
                most=num(most / 1000000.0, ",.0f"),
            )
        )
    if request.alias is not None:
        checked_alias(request.alias)
    metadata = own_metadata(request.metadata)
    return UploadRequest(request.nonce, request.files, metadata, request.run_id, request.alias)


def own_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a publisher says of a version.

    Raises:
        InvalidInput: it is not plain JSON, too much, or bears a name under which an import says what it has done.
    """
    if reserved := [name for name in RESERVED if name in metadata]:
        raise InvalidInput(
            _(
                "The metadata %(name)s are those of imported folders, and are taken from no one else. Call them "
                "otherwise.",
                name=repr(reserved[0]),
            )
        )
    return checked_metadata(metadata)


def _announcement(upload: ModelUpload) -> tuple[Any, ...]:
    return upload.files, upload.details, upload.alias, upload.run_id


def _announcement_of(request: UploadRequest) -> tuple[Any, ...]:
    return [asdict(file) for file in request.files], dict(request.metadata), request.alias, request.run_id


# Parts


def part_of(runtime: Runtime, user_id: str, name: str, upload_id: str, index: int, number: int) -> Part:
    """Return what part `number` of the file at `index` is to be.

    Raises:
        NotFound: the user has no such upload.
        InvalidInput: it has no such file, or that no such part.
    """
    upload = _upload_of(runtime, user_id, name, upload_id)
    files = _files(upload)
    if not 0 <= index < len(files):
        raise InvalidInput(
            _(
                "There is no file %(value)s: this upload has %(count)s, counted from 0.",
                value=index,
                count=len(files),
            )
        )
    file, count = files[index], _parts(upload, files[index])
    if not 1 <= number <= count:
        raise InvalidInput(
            _(
                "%(file)s has no part %(value)s: it has %(count)s, counted from 1.",
                file=file.path,
                value=number,
                count=count,
            )
        )
    return Part(upload, index, number, _part_size(upload, file, number), file.sha256 if count == 1 else None)


def keep_part(runtime: Runtime, part: Part, data: bytes) -> None:
    """Store a part; of a version that is committed already nothing is stored.

    Raises:
        NotFound: the upload was given up meanwhile.
    """
    upload = part.upload
    if upload.committed_at is not None:
        return
    incoming = _incoming(runtime, upload)
    incoming.keep(part.index, part.number, data)
    try:
        upload = _upload_of(runtime, upload.user_id, upload.name, upload.id)
    except NotFound:
        incoming.drop(part.index, part.number)
        raise
    if upload.committed_at is not None:
        incoming.drop(part.index, part.number)


# Commit and give up


def commit_upload(runtime: Runtime, user_id: str, name: str, upload_id: str) -> ModelVersion:
    """Make an upload a version; one that is a version already stays as it is.

    Interrupted, it goes on when it is asked for again: files that are together stay so.

    Raises:
        NotFound: the user has no such upload.
        UploadIncomplete: parts are lacking.
        DigestMismatch: names the file that is not what was announced.
        ObjectExists: the upload was cleaned up meanwhile.
    """
    upload = _upload_of(runtime, user_id, name, upload_id)
    row = _version_of(runtime, upload)
    if row is None:
        try:
            row = _commit(runtime, upload)
        except ObjectNotFound as gone:  # another commit of it has ended, or it was given up
            upload = _upload_of(runtime, user_id, name, upload_id)
            row = _version_of(runtime, upload)
            if row is None:
                raise UploadIncomplete(
                    _("Parts went while they were put together. Ask what is there, and send the rest.")
                ) from gone
    _tidy(runtime, upload)
    return row


def give_up(runtime: Runtime, user_id: str, name: str, upload_id: str) -> None:
    """End an upload and remove what has arrived.

    Raises:
        NotFound: the user has no such upload.
        UploadCommitted: its version is there.
    """
    upload = _upload_of(runtime, user_id, name, upload_id)
    if upload.committed_at is not None or not _remove(runtime, upload):
        raise UploadCommitted(
            _(
                "%(name)s is committed. To delete it: DELETE /api/models/%(model)s",
                name=f"{upload.name} {upload.version}",
                model=f"{upload.name}/{upload.version}",
            )
        )


def clean_uploads(runtime: Runtime, older_than: timedelta = ABANDONED) -> int:
    """Remove uploads to which nothing has come for so long, and parts that a commit has left; how many uploads.

    One whose store does not answer is told in the log once, and left for the next time.
    """
    limit, cleaned = datetime.now(UTC) - older_than, 0
    with runtime.catalog.read() as transaction:
        open_uploads = uploads.unsettled(transaction, limit)
    left = []
    for upload in open_uploads:
        try:
            cleaned += _clean(runtime, upload, limit)
        except (StorageError, SettingsError) as error:
            left.append(upload.id)
            _left.met(upload.id, error)
    _left.keep(left)
    return cleaned


def forget(runtime: Runtime, upload_id: str | None) -> None:
    """Forget the upload whose claim was cleaned up, if it was one."""
    if upload_id is not None:
        with runtime.catalog.write() as transaction:
            uploads.remove(transaction, upload_id)


def _clean(runtime: Runtime, upload: ModelUpload, limit: datetime) -> bool:
    if upload.committed_at is not None:
        _tidy(runtime, upload)
        return True
    if not runtime.stores.is_own(upload.url):
        return _remove(runtime, upload)
    newest = _incoming(runtime, upload).arrived().newest
    return (newest is None or newest < limit) and _remove(runtime, upload)


def _remove(runtime: Runtime, upload: ModelUpload) -> bool:
    """Remove what has arrived of an upload, then its row; False where it was committed meanwhile."""
    registry = runtime.registry_to_clear(upload.url)
    if registry is not None and not registry.abandon(upload.name, upload.version, upload.id):
        return False
    with runtime.catalog.write() as transaction:
        rows.end_publication(transaction, upload.user_id, upload.name, upload.version)
        return uploads.remove(transaction, upload.id)


def _commit(runtime: Runtime, upload: ModelUpload) -> ModelVersion:
    incoming = _incoming(runtime, upload)
    arrived = incoming.arrived()
    files = _files(upload)
    _expect_all(upload, files, arrived)
    manifest_files = tuple(
        ManifestFile(file.path, file.size, file.sha256, media_type_of(file.path)) for file in files
    )
    lacking = [index for index, file in enumerate(files) if not _is_together(file, arrived)]
    small = [index for index in lacking if files[index].size <= SMALL]

    def put_together(index: int) -> None:
        incoming.put_together(index, manifest_files[index], _parts(upload, files[index]))

    side_by_side(lambda index, _tick: put_together(index), small)
    for index in lacking:
        if index not in small:
            put_together(index)
    publication = Publication(
        user_id=upload.user_id,
        name=upload.name,
        version=upload.version,
        url=upload.url,
        nonce=upload.id,
        application="",
        report={},
    )
    return commit(runtime, publication, manifest_files, upload.details)


def _expect_all(upload: ModelUpload, files: Sequence[AnnouncedFile], arrived: Arrived) -> None:
    """Raise unless every file is together, or has all its parts."""
    for index, file in enumerate(files):
        if _is_together(file, arrived):
            continue
        received = _received(upload, index, file, arrived)
        lacking = [number for number in range(1, _parts(upload, file) + 1) if number not in received]
        if lacking:
            raise UploadIncomplete(
                _(
                    "%(file)s lacks %(count)s of its %(total)s parts, the first is %(number)s. Send them, then commit "
                    "again.",
                    file=file.path,
                    count=len(lacking),
                    total=_parts(upload, file),
                    number=lacking[0],
                )
            )


def _tidy(runtime: Runtime, upload: ModelUpload) -> None:
    """Remove the parts of a committed version."""
    if not upload.url:
        return
    if (registry := runtime.registry_to_clear(upload.url)) is not None:
        registry.incoming(upload.name, upload.version).remove_parts()
    with runtime.catalog.write() as transaction:
        uploads.forget_parts(transaction, upload.id)


# What is known of an upload


def _upload_of(runtime: Runtime, user_id: str, name: str, upload_id: str) -> ModelUpload:
    with runtime.catalog.read() as transaction:
        return uploads.upload_of(transaction, user_id, name, upload_id)


def _version_of(runtime: Runtime, upload: ModelUpload) -> ModelVersion | None:
    with runtime.catalog.read() as transaction:
        return rows.find_version(transaction, upload.user_id, upload.name, upload.version)


def _state(runtime: Runtime, upload: ModelUpload) -> UploadState:
    committed = upload.committed_at is not None
    arrived = Arrived({}, {}, None) if committed else _incoming(runtime, upload).arrived()
    states = []
    for index, file in enumerate(_files(upload)):
        count = _parts(upload, file)
        is_there = committed or _is_together(file, arrived)
        received = range(1, count + 1) if is_there else _received(upload, index, file, arrived)
        states.append(FileState(file, count, tuple(received)))
    return UploadState(upload.id, upload.name, upload.version, upload.part_bytes, committed, tuple(states))


def _received(upload: ModelUpload, index: int, file: AnnouncedFile, arrived: Arrived) -> list[int]:
    """Return the numbers of the parts of a file that are there, in order."""
    sizes = arrived.parts.get(index, {})
    return [
        number
        for number in range(1, _parts(upload, file) + 1)
        if sizes.get(number) == _part_size(upload, file, number)
    ]


def _is_together(file: AnnouncedFile, arrived: Arrived) -> bool:
    """Return whether a file lies under its own name, where nothing else than what was announced is ever written."""
    return arrived.files.get(file.path) == file.size


def _incoming(runtime: Runtime, upload: ModelUpload) -> Incoming:
    return runtime.registry_at(upload.url).incoming(upload.name, upload.version)


def _files(upload: ModelUpload) -> list[AnnouncedFile]:
    return [AnnouncedFile(**file) for file in upload.files]


def _parts(upload: ModelUpload, file: AnnouncedFile) -> int:
    return -(-file.size // upload.part_bytes)


def _part_size(upload: ModelUpload, file: AnnouncedFile, number: int) -> int:
    return min(upload.part_bytes, file.size - (number - 1) * upload.part_bytes)
