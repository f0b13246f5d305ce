"""Find and keep the published model versions of each user."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import ModelVersion, Publication, ReferenceModel, now
from ecluse.errors import ModelNotFound, VersionNotFound


def begin_publication(transaction: Transaction, publication: Publication) -> None:
    """Note that a version is about to be committed; noting it again changes nothing."""
    if transaction.get(Publication, (publication.user_id, publication.name, publication.version)) is None:
        transaction.add(publication)


def end_publication(transaction: Transaction, user_id: str, name: str, version: str) -> None:
    """Forget that a version was about to be committed."""
    transaction.execute(
        delete(Publication).where(
            Publication.user_id == user_id, Publication.name == name, Publication.version == version
        )
    )


def publication_of(transaction: Transaction, user_id: str, name: str, version: str) -> Publication | None:
    """What was noted of a version that was about to be committed and has no row yet."""
    return transaction.get(Publication, (user_id, name, version))


def open_publications(transaction: Transaction, before: datetime) -> list[Publication]:
    """What was about to be committed before that moment, by anyone, and has no row yet."""
    found = select(Publication).where(Publication.created_at < before).order_by(Publication.created_at)
    return list(transaction.scalars(found))


def add_version(transaction: Transaction, version: ModelVersion) -> ModelVersion:
    """Record a published version; recording it again changes nothing. The row that is kept."""
    known = transaction.scalar(_row(version.user_id, version.name, version.version))
    if known is not None:
        return known
    transaction.add(version)
    transaction.flush()
    return version


def find_version(transaction: Transaction, user_id: str, name: str, version: str) -> ModelVersion | None:
    """A version of the user; None where there is none."""
    return transaction.scalar(_row(user_id, name, version))


def set_verified(transaction: Transaction, version_id: str) -> None:
    """Note that every file of a version was found as published."""
    _set(transaction, version_id, verified_at=now(), damaged_at=None, damage=None)


def set_damaged(transaction: Transaction, version_id: str, damage: str) -> None:
    """Note what is wrong with a version; it keeps the moment when that was first seen."""
    since = func.coalesce(ModelVersion.damaged_at, now())
    _set(transaction, version_id, damaged_at=since, damage=damage)


def hold_versions(transaction: Transaction, user_id: str, name: str) -> list[ModelVersion]:
    """`list_versions`; no one else changes the versions and aliases of this model until the transaction ends.

    Raises:
        ModelNotFound: the user has no model of this name.
    """
    return list_versions(transaction, user_id, name, hold=True)


def list_latest(
    transaction: Transaction, user_id: str, *, limit: int | None = None, offset: int = 0
) -> list[ModelVersion]:
    """The newest version of each of the user's models, most recent first; no older one is read."""
    place = func.row_number().over(partition_by=ModelVersion.name, order_by=_NEWEST_FIRST)
    ranked = select(ModelVersion.id, place.label("place")).where(ModelVersion.user_id == user_id).subquery()
    latest = select(ranked.c.id).where(ranked.c.place == 1)
    wanted = _of_user(user_id).where(ModelVersion.id.in_(latest)).limit(limit).offset(offset)
    return list(transaction.scalars(wanted))


def count_models(transaction: Transaction, user_id: str) -> int:
    """How many models a user has, each with one version or more."""
    names = func.count(ModelVersion.name.distinct())
    return transaction.scalar(select(names).where(ModelVersion.user_id == user_id)) or 0


def list_all(transaction: Transaction, user_id: str, name: str | None = None) -> list[ModelVersion]:
    """Every version of every model of the user, or of one; newest first, none where there is none."""
    wanted = _of_user(user_id)
    return list(transaction.scalars(wanted if name is None else wanted.where(ModelVersion.name == name)))


def list_versions(
    transaction: Transaction, user_id: str, name: str, *, hold: bool = False
) -> list[ModelVersion]:
    """Every version of one model, newest first. With `hold`, see `hold_versions`.

    Raises:
        ModelNotFound: the user has no model of this name.
    """
    wanted = _of_user(user_id).where(ModelVersion.name == name)
    versions = list(transaction.scalars(wanted.with_for_update() if hold else wanted))
    if not versions:
        raise ModelNotFound(f'No model "{name}". See: ecluse models list')
    return versions


def versions_page(
    transaction: Transaction, user_id: str, name: str, *, limit: int, offset: int = 0
) -> list[ModelVersion]:
    """Some versions of one model, newest first; none where it has fewer."""
    page = _of_user(user_id).where(ModelVersion.name == name).limit(limit).offset(offset)
    return list(transaction.scalars(page))


def count_versions(transaction: Transaction, user_id: str, name: str) -> int:
    """How many versions a model has.

    Raises:
        ModelNotFound: the user has no model of this name.
    """
    mine = (ModelVersion.user_id == user_id, ModelVersion.name == name)
    count = transaction.scalar(select(func.count()).where(*mine))
    if not count:
        raise ModelNotFound(f'No model "{name}". See: ecluse models list')
    return count


def version_of(transaction: Transaction, user_id: str, name: str, version: str | None = None) -> ModelVersion:
    """One version of a model of the user; the latest when none is named.

    Raises:
        ModelNotFound: the user has no model of this name.
        VersionNotFound: the model has no such version.
    """
    versions = list_versions(transaction, user_id, name)
    if version is None:
        return versions[0]
    for candidate in versions:
        if candidate.version == version:
            return candidate
    raise VersionNotFound(
        f'No version {version} of "{name}"; the latest is {versions[0].version}. '
        f"See: ecluse models show {name}"
    )


def remove_version(transaction: Transaction, row: ModelVersion) -> ModelVersion | None:
    """Forget a version that points where `row` does. One that points elsewhere by now stays, and is returned."""
    transaction.execute(delete(ModelVersion).where(ModelVersion.id == row.id, ModelVersion.url == row.url))
    return transaction.get(ModelVersion, row.id)


def keep_reference(transaction: Transaction, reference: ReferenceModel) -> None:
    """Record a reference model, in place of the one that had its name."""
    known = transaction.scalar(select(ReferenceModel).where(ReferenceModel.name == reference.name))
    if known is None:
        transaction.add(reference)
        return
    for column in ("domain", "columns", "performance", "storage_type", "bucket", "prefix", "url"):
        setattr(known, column, getattr(reference, column))


def list_references(transaction: Transaction) -> list[ReferenceModel]:
    """Every reference model, by name."""
    return list(transaction.scalars(select(ReferenceModel).order_by(ReferenceModel.name)))


def _row(user_id: str, name: str, version: str) -> Select[ModelVersion]:
    return select(ModelVersion).where(
        ModelVersion.user_id == user_id, ModelVersion.name == name, ModelVersion.version == version
    )


def _set(transaction: Transaction, version_id: str, **values: object) -> None:
    transaction.execute(update(ModelVersion).where(ModelVersion.id == version_id).values(**values))


#: Within a second the number counts: v20251121_000000_10 comes after _9.
_NEWEST_FIRST: Final = (
    func.substr(ModelVersion.version, 1, 16).desc(),
    func.length(ModelVersion.version).desc(),
    ModelVersion.version.desc(),
    ModelVersion.created_at.desc(),
)


def _of_user(user_id: str) -> Select[ModelVersion]:
    """Newest first."""
    return select(ModelVersion).where(ModelVersion.user_id == user_id).order_by(*_NEWEST_FIRST)
