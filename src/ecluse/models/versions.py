"""Publish, resolve, fetch, verify, alias and remove a user's model versions.

A version is noted in the catalog before it is committed and has its row once it is: a publisher that dies
in between is finished by `reconcile`. Readers of either never see a version that is not whole.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from ecluse.catalog import Transaction, audit, quotas, runs, uploads, work
from ecluse.catalog import aliases as alias_rows
from ecluse.catalog import models as rows
from ecluse.catalog.tables import ModelAlias, ModelVersion, Publication, new_id, now
from ecluse.errors import (
    DigestMismatch,
    InvalidInput,
    ManifestInvalid,
    RegistryError,
    SettingsError,
    StorageError,
    VersionInUse,
    VersionNotFound,
)
from ecluse.registry import (
    LATEST,
    Manifest,
    ManifestFile,
    Progress,
    Registry,
    checked_alias,
    checked_metadata,
    checked_name,
    gathered,
    is_version,
)
from ecluse.runtime import Runtime, models_prefix
from ecluse.sentences import _
from ecluse.storage import join_key
from ecluse.troubles import Troubles

#: How long a publication has to write its row itself, before others do it.
GRACE: Final = timedelta(minutes=1)
#: After this long an uncommitted version counts as abandoned.
ABANDONED: Final = timedelta(hours=24)
logger = logging.getLogger(__name__)
_unknown: Final = Troubles(
    logger, "Whether %s was committed is not known: %s", "Whether %s was committed is known"
)
_DELETING: Final = _("Its deletion was not finished; delete it again.")


@dataclass(frozen=True)
class CheckedOut:
    """What was fetched: files, their bytes, and how many of the files came from the cache."""

    files: int
    bytes: int
    from_cache: int


# Find


def resolve(runtime: Runtime, user_id: str, reference: str) -> ModelVersion:
    """Return the version that NAME (its latest), NAME@VERSION, NAME@ALIAS or NAME@latest means.

    Raises:
        ModelNotFound: the user has no model of this name.
        VersionNotFound: the model has no such version; AliasNotFound where it has no such alias.
        InvalidInput: nothing stands before or after the @.
    """
    name, at, which = reference.partition("@")
    if not name or (at and not which):
        raise InvalidInput(
            _("%(value)s names no model. Write NAME, NAME@VERSION or NAME@ALIAS.", value=repr(reference))
        )
    with runtime.catalog.read() as transaction:
        if which and which != LATEST and not is_version(which):
            if (row := rows.version_at(transaction, user_id, name, which)) is not None:
                return row
            rows.count_versions(transaction, user_id, name)
            which = alias_rows.alias_of(transaction, user_id, name, which).version
        version = None if which in ("", LATEST) else which
        return rows.version_of(transaction, user_id, name, version)


def manifest_of(runtime: Runtime, row: ModelVersion) -> Manifest:
    """Return what a version holds, from the cache or the store; in either case the manifest that was published.

    Raises:
        ManifestInvalid: the stored manifest is another one now.
        VersionNotFound: it is gone from the store.
    """
    return runtime.registry_of(row).manifest(row.name, row.version, digest=row.manifest_digest)


# Publish


@dataclass(frozen=True)
class Origin:
    """Where a version comes from: the application, its table, and the report of its training.

    `nonce` names one publication: publishing again with it returns the version that was committed with it.
    """

    application: str = ""
    dataset_id: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    nonce: str | None = None


def publish(
    runtime: Runtime,
    user_id: str,
    name: str,
    paths: Sequence[Path],
    *,
    metadata: Mapping[str, Any],
    origin: Origin | None = None,
    progress: Progress | None = None,
) -> ModelVersion:
    """Publish files, and what folders hold, as a new version of a model.

    `progress` is called with the bytes uploaded since its last call, from any thread.

    Raises:
        InvalidInput: there is no file, two have one name, or the metadata are not plain JSON.
        PlanEnded, LimitReached, UploadTooLarge: the plan of the user allows no more.
        StoreUnavailable: the store does not answer. A version that was being committed then appears
            once it does, if the store has its manifest.
    """
    files, metadata, origin = gathered(paths), checked_metadata(metadata), origin or Origin()
    registry = runtime.registry(user_id)
    first = registry.published(checked_name(name), origin.nonce) if origin.nonce else None
    nonce = origin.nonce or new_id()
    with _room(runtime, user_id, name, 0 if first else sum(path.stat().st_size for path in files.values())):
        version = first.version if first else registry.claim(name, nonce)
        publication = Publication(
            user_id=user_id,
            name=name,
            version=version,
            url=registry.url_of(name, version),
            nonce=nonce,
            application=origin.application,
            dataset_id=origin.dataset_id,
            report=dict(origin.report),
        )
        uploaded = first.files if first else registry.upload(name, version, files, progress)
        return commit(runtime, publication, uploaded, metadata)


@contextmanager
def _room(runtime: Runtime, user_id: str, name: str, size: int) -> Iterator[None]:
    """Keep room for a version of so many bytes within the plan of its owner, while the block publishes it."""
    with runtime.catalog.write() as transaction:
        room = quotas.reserve(transaction, user_id, size, model=name)
    try:
        yield
    finally:
        if room.id is not None:
            with runtime.catalog.write(closed=True) as transaction:
                quotas.give_back(transaction, room.id)


def upload_claimed(registry: Registry, name: str, folder: Path, attempt: str) -> dict[str, Any]:
    """Upload a folder under a version that this attempt at a job claims: {"url", "nonce", "files"}, plain JSON.

    No reader sees the version until it is committed with that nonce.
    """
    nonce = f"{attempt} {time.time_ns()}"
    version = registry.claim(name, nonce)
    files = registry.upload(name, version, folder)
    return {
        "url": registry.url_of(name, version),
        "nonce": nonce,
        "files": [asdict(file) for file in files],
    }


def commit(
    runtime: Runtime,
    publication: Publication,
    files: tuple[ManifestFile, ...],
    metadata: Mapping[str, Any],
) -> ModelVersion:
    """Make uploaded files a version, for readers of the registry and of the catalog."""
    with runtime.catalog.write() as transaction:
        announce(transaction, publication)
    manifest = runtime.registry_at(publication.url).commit(
        publication.name,
        publication.version,
        files,
        created_by=publication.user_id,
        nonce=publication.nonce,
        metadata=metadata,
    )
    with runtime.catalog.write() as transaction:
        return record(transaction, publication, manifest)


def announce(transaction: Transaction, publication: Publication) -> None:
    """Note a version before it is committed, so that it gets its row whatever becomes of the publisher."""
    rows.begin_publication(transaction, publication)


def record(transaction: Transaction, publication: Publication, manifest: Manifest) -> ModelVersion:
    """Give a committed version its row, and end the run that publishes it; doing it again changes nothing.

    It points where the publication is noted to be: a migration may have brought it elsewhere meanwhile.
    """
    noted = rows.publication_of(transaction, publication.user_id, manifest.name, manifest.version)
    version = ModelVersion(
        user_id=publication.user_id,
        name=manifest.name,
        version=manifest.version,
        application=publication.application,
        prefix=join_key(models_prefix(publication.user_id), manifest.name, manifest.version),
        url=noted.url if noted else publication.url,
        size_bytes=manifest.size,
        manifest_digest=manifest.digest,
        dataset_id=publication.dataset_id,
        report=publication.report,
        details=manifest.metadata,
    )
    row = rows.add_version(transaction, version)
    if row is version:
        title = f"{row.name} {row.version}"
        audit.record(transaction, row.user_id, "model.publish", title, bytes=row.size_bytes)
        uploads.finish(transaction, row, artifacts_of(manifest.files))
    rows.end_publication(transaction, row.user_id, row.name, row.version)
    _end_run(transaction, row, manifest.files)
    return row


def artifacts_of(files: Sequence[ManifestFile]) -> list[dict[str, Any]]:
    """List the files of a version as the run that made it refers to them."""
    return [{"name": file.path, "sha256": file.sha256, "size": file.size} for file in files]


def _end_run(transaction: Transaction, row: ModelVersion, files: Sequence[ManifestFile]) -> None:
    """Record that the run which publishes a version is done."""
    run = runs.publishing_run(transaction, row.user_id, row.name, row.version)
    if run is not None:
        runs.set_done(transaction, run.id, url=row.url, artifacts=artifacts_of(files), final=True)


def reconcile(runtime: Runtime) -> int:
    """Give their rows to versions whose publisher committed them and then died; how many that were.

    One whose store cannot be asked is told in the log once, and is asked again next time; the others go on.
    """
    with runtime.catalog.read() as transaction:
        publications = rows.open_publications(transaction, now() - GRACE)
    settled, unknown = 0, []
    for publication in publications:
        try:
            settled += _settle(runtime, publication, now() - publication.created_at > ABANDONED) is not None
        except (StorageError, SettingsError) as error:
            unknown.append(f"{publication.name} {publication.version}")
            _unknown.met(unknown[-1], error)
    _unknown.keep(unknown)
    return settled


def settle_job(runtime: Runtime, job_id: str) -> None:
    """Find out whether what a job was publishing when it failed is published, and say so in its runs."""
    with runtime.catalog.read() as transaction:
        run_ids = work.publishing_of_job(transaction, job_id)
    _settle_runs(runtime, run_ids)


def settle_ended(runtime: Runtime) -> int:
    """Do what `settle_job` does for every job that has ended; how many runs were settled."""
    with runtime.catalog.read() as transaction:
        run_ids = work.publishing_of_ended_jobs(transaction)
    return _settle_runs(runtime, run_ids)


def _settle_runs(runtime: Runtime, run_ids: Sequence[str]) -> int:
    return sum(_settle_run(runtime, run_id) for run_id in run_ids)


def _settle_run(runtime: Runtime, run_id: str) -> bool:
    """End a run whose job has failed: as done where its version was committed all the same.

    False where that cannot be known until the store answers; `settle_ended` asks again.
    """
    with runtime.catalog.read() as transaction:
        run = runs.find_run(transaction, run_id)
    if run is None or run.version is None:
        return False
    try:
        row = settle(runtime, run.user_id, run.name, run.version)
        files = () if row is None else _files_of(runtime, row)
    except (StorageError, SettingsError) as away:
        logger.warning("The end of run %s is not known yet: %s", run.id, away)
        return False
    with runtime.catalog.write() as transaction:
        if row is None:
            runs.withdraw_version(transaction, run.id)
            work.end_lost(transaction)
        else:
            _end_run(transaction, row, files)
    return True


def _files_of(runtime: Runtime, row: ModelVersion) -> tuple[ManifestFile, ...]:
    """List the files of a version; none where its manifest is damaged, which is said when it is verified or used."""
    try:
        return manifest_of(runtime, row).files
    except RegistryError as damaged:
        logger.warning("The files of %s@%s are not known: %s", row.name, row.version, damaged)
        return ()


def settle(runtime: Runtime, user_id: str, name: str, version: str) -> ModelVersion | None:
    """Write the missing row of a version whose publisher has ended, if the version was committed; else return None."""
    with runtime.catalog.read() as transaction:
        publication = rows.publication_of(transaction, user_id, name, version)
        row = rows.find_version(transaction, user_id, name, version)
    return row if publication is None else _settle(runtime, publication, True)


def _settle(runtime: Runtime, publication: Publication, is_over: bool) -> ModelVersion | None:
    """Record what was committed; forget what was not, once its publication is over."""
    name, version = publication.name, publication.version
    try:
        manifest = runtime.registry_at(publication.url).manifest(name, version)
    except VersionNotFound:  # it was not committed
        manifest = None
    except ManifestInvalid as damaged:
        logger.warning("The version %s@%s is not recorded: %s", name, version, damaged)
        manifest = None
    with runtime.catalog.write() as transaction:
        if manifest is not None and manifest.nonce == publication.nonce:
            return record(transaction, publication, manifest)
        if is_over or manifest is not None:
            rows.end_publication(transaction, publication.user_id, name, version)
    return None


# Fetch and verify


def checkout(
    runtime: Runtime, row: ModelVersion, folder: Path, progress: Progress | None = None
) -> CheckedOut:
    """Put a version's files below `folder` for loading: hard links out of the cache, not to be changed.

    Works while the store is away when the manifest and all files are cached.

    Raises:
        DigestMismatch: a file is not what was published, or a verification has found that before.
        ManifestInvalid, VersionNotFound: the manifest is not what was published, or is gone.
    """
    return _fetch(runtime, row, folder, progress, link=True)


def download(
    runtime: Runtime, row: ModelVersion, directory: Path, progress: Progress | None = None
) -> CheckedOut:
    """Write a version's files below `directory`, copies of one's own; see `checkout` for the rest."""
    return _fetch(runtime, row, directory, progress, link=False)


def verify(runtime: Runtime, row: ModelVersion, progress: Progress | None = None) -> Manifest:
    """Read every stored file of a version again, past the cache, and note in its row what was found.

    Raises:
        DigestMismatch: names the first file that is missing or different.
        ManifestInvalid, VersionNotFound: the manifest is not what was published, or is gone.
    """
    registry = runtime.registry_of(row)
    try:
        manifest = registry.verify(row.name, row.version, progress, digest=row.manifest_digest)
    except RegistryError as error:
        with runtime.catalog.write() as transaction:
            rows.set_damaged(transaction, row.id, str(error))
        raise
    with runtime.catalog.write() as transaction:
        rows.set_verified(transaction, row.id)
    return manifest


def _fetch(
    runtime: Runtime, row: ModelVersion, folder: Path, progress: Progress | None, *, link: bool
) -> CheckedOut:
    check_intact(row)
    manifest = manifest_of(runtime, row)
    fetched = runtime.registry_of(row).fetch(manifest, folder, progress, link=link)
    return CheckedOut(len(fetched), manifest.size, sum(fetch.from_cache for fetch in fetched))


def check_intact(row: ModelVersion) -> None:
    """`DigestMismatch` for a version that a verification has found damaged."""
    if row.damaged_at is not None:
        raise DigestMismatch(
            _(
                "%(name)s is known to be damaged since %(value)s: %(error)s Verify it: ecluse models "
                "verify %(model)s",
                name=f"{row.name} {row.version}",
                value=format(row.damaged_at, "%Y-%m-%d %H:%M"),
                error=row.damage,
                model=f"{row.name}@{row.version}",
            )
        )


# Aliases


def set_alias(runtime: Runtime, user_id: str, name: str, alias: str, version: str) -> ModelAlias:
    """Make an alias of a version, or move it there from another.

    Raises:
        InvalidInput: it cannot be an alias.
        ModelNotFound, VersionNotFound: there is no such version.
        DigestMismatch: the version is known to be damaged.
    """
    checked_alias(alias)
    with runtime.catalog.write() as transaction:
        rows.hold_versions(transaction, user_id, name)
        check_intact(rows.version_of(transaction, user_id, name, version))
        row = alias_rows.point_alias(transaction, user_id, name, alias, version)
        audit.record(transaction, user_id, "model.alias", f"{name}@{alias}", version=version)
        return row


def remove_alias(runtime: Runtime, user_id: str, name: str, alias: str) -> None:
    """Forget an alias; the version it pointed at stays.

    Raises:
        ModelNotFound, AliasNotFound: there is none.
    """
    with runtime.catalog.write() as transaction:
        rows.hold_versions(transaction, user_id, name)
        alias_rows.remove_alias(transaction, user_id, name, alias)
        audit.record(transaction, user_id, "model.alias.remove", f"{name}@{alias}")


def aliases(runtime: Runtime, user_id: str, name: str | None = None) -> list[ModelAlias]:
    """Return the aliases of a model, or of all models of the user, by name; none where there is none."""
    with runtime.catalog.read() as transaction:
        return alias_rows.list_aliases(transaction, user_id, name)


# Remove


def remove(runtime: Runtime, user_id: str, name: str, version: str) -> None:
    """Delete one version, its manifest first; its name is not used again and its predictions stay.

    An interrupted deletion leaves a row that says so, and that can be deleted again.

    Raises:
        ModelNotFound, VersionNotFound: there is no such version.
        VersionInUse: an alias points at it.
    """
    with runtime.catalog.write() as transaction:
        rows.hold_versions(transaction, user_id, name)
        row = rows.version_of(transaction, user_id, name, version)
        aliases = alias_rows.list_aliases(transaction, user_id, name)
        pointing = [alias.alias for alias in aliases if alias.version == version]
        if pointing:
            raise VersionInUse(
                _(
                    "It has the alias %(value)s, which programs may ask for. Move it to another version "
                    "or remove it, then delete %(name)s.",
                    value=pointing[0],
                    name=f"{name} {version}",
                ),
                command=f"ecluse models alias {name} {pointing[0]} --remove",
                call=f"DELETE /api/models/{name}/aliases/{pointing[0]}",
            )
        rows.set_damaged(transaction, row.id, _DELETING)
    moved: ModelVersion | None = row
    while moved is not None:  # once, or again where a migration led its row elsewhere meanwhile
        if (registry := runtime.registry_to_clear(moved.url)) is not None:
            registry.delete(name, version)
        with runtime.catalog.write() as transaction:
            moved = rows.remove_version(transaction, moved)
            if moved is None:
                rows.end_publication(transaction, user_id, name, version)
                uploads.remove_of_version(transaction, user_id, name, version)
                audit.record(transaction, user_id, "model.delete", f"{name} {version}")
