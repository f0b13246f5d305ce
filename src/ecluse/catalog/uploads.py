"""Keep what programs publish in parts, from the beginning of an upload until its version is deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import aliases, audit, files, models, quotas, runs
from ecluse.catalog.tables import File, ModelUpload, ModelVersion, now
from ecluse.errors import NotFound
from ecluse.sentences import _


def add(transaction: Transaction, upload: ModelUpload) -> bool:
    """Note an upload that begins; False where its owner has begun one by the same nonce."""
    try:
        with transaction.begin_nested():
            transaction.add(upload)
            transaction.flush()
    except IntegrityError:
        return False
    return True


def upload_of(transaction: Transaction, user_id: str, name: str, upload_id: str) -> ModelUpload:
    """Return an upload of a version of this model of the user.

    Raises:
        NotFound: there is none, or it is someone else's.
    """
    mine = (ModelUpload.user_id == user_id, ModelUpload.name == name, ModelUpload.id == upload_id)
    upload = transaction.scalar(select(ModelUpload).where(*mine))
    if upload is None:
        raise NotFound(
            _(
                "No upload %(value)s of a version of %(name)s; it may have been given up, or its time was over. Begin "
                "it again: POST /api/models/%(model)s/uploads",
                value=upload_id,
                name=name,
                model=name,
            )
        )
    return upload


def find(transaction: Transaction, user_id: str, name: str, nonce: str) -> ModelUpload | None:
    """Return the upload that its owner has begun by a nonce; None where there is none."""
    mine = (ModelUpload.user_id == user_id, ModelUpload.name == name, ModelUpload.nonce == nonce)
    return transaction.scalar(select(ModelUpload).where(*mine))


def count_open(transaction: Transaction, user_id: str) -> int:
    """Count the uploads of a user that are not committed."""
    is_open = (ModelUpload.user_id == user_id, ModelUpload.committed_at.is_(None))
    return transaction.scalar(select(func.count()).select_from(ModelUpload).where(*is_open)) or 0


def unsettled(transaction: Transaction, before: datetime) -> list[ModelUpload]:
    """Return the uploads, of anyone, begun before a moment, that are open or whose parts may still be there."""
    has_parts = ModelUpload.file_column("url") != ""
    query = select(ModelUpload).where(ModelUpload.created_at < before)
    return list(
        transaction.scalars(
            query.where(ModelUpload.committed_at.is_(None) | has_parts).order_by(ModelUpload.created_at)
        )
    )


def finish(transaction: Transaction, version: ModelVersion, artifacts: Sequence[Mapping[str, Any]]) -> None:
    """Give a version that has its row now what its upload asked for: the alias, and its place in the run."""
    mine = (
        ModelUpload.user_id == version.user_id,
        ModelUpload.name == version.name,
        ModelUpload.version == version.version,
        ModelUpload.committed_at.is_(None),
    )
    upload = transaction.scalar(select(ModelUpload).where(*mine).with_for_update(of=ModelUpload))
    if upload is None:
        return
    upload.committed_at = now()
    quotas.give_back(transaction, upload.id)
    if upload.alias is not None:
        models.hold_versions(transaction, version.user_id, version.name)
        aliases.point_alias(transaction, version.user_id, version.name, upload.alias, version.version)
        title = f"{version.name}@{upload.alias}"
        audit.record(transaction, version.user_id, "model.alias", title, version=version.version)
    if upload.run_id is not None:
        runs.link_version(transaction, upload.run_id, version.version, version.url, artifacts)
    transaction.flush()


def forget_parts(transaction: Transaction, upload_id: str) -> None:
    """Note that no part of an upload is left."""
    of_upload = (File.table_name == ModelUpload.FILE.table, File.row_id == upload_id)
    transaction.execute(update(File).where(*of_upload).values(url=""))


def remove(transaction: Transaction, upload_id: str) -> bool:
    """Forget an upload that is not committed; False where there is none."""
    mine = (ModelUpload.id == upload_id, ModelUpload.committed_at.is_(None))
    removed = transaction.scalars(delete(ModelUpload).where(*mine).returning(ModelUpload.id)).all()
    files.remove(transaction, ModelUpload.FILE.table, removed)
    for ended in removed:
        quotas.give_back(transaction, ended)
    return bool(removed)


def remove_of_version(transaction: Transaction, user_id: str, name: str, version: str) -> None:
    """Forget the upload by which a version came that is deleted."""
    mine = (ModelUpload.user_id == user_id, ModelUpload.name == name, ModelUpload.version == version)
    removed = transaction.scalars(delete(ModelUpload).where(*mine).returning(ModelUpload.id)).all()
    files.remove(transaction, ModelUpload.FILE.table, removed)
