"""Find and keep the published model versions of each user."""

from __future__ import annotations

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import ModelVersion
from ecluse.errors import ModelNotFound, VersionNotFound


def add_version(transaction: Transaction, version: ModelVersion) -> None:
    """Record a published version; recording it again changes nothing."""
    known = transaction.scalar(
        select(ModelVersion.id).where(
            ModelVersion.user_id == version.user_id,
            ModelVersion.name == version.name,
            ModelVersion.version == version.version,
        )
    )
    if known is None:
        transaction.add(version)


def list_latest(transaction: Transaction, user_id: str) -> list[ModelVersion]:
    """The newest version of each of the user's models, most recent first."""
    newest: dict[str, ModelVersion] = {}
    for version in transaction.scalars(_of_user(user_id)):
        newest.setdefault(version.name, version)
    return list(newest.values())


def list_versions(transaction: Transaction, user_id: str, name: str) -> list[ModelVersion]:
    """Every version of one model, newest first.

    Raises:
        ModelNotFound: the user has no model of this name.
    """
    versions = list(transaction.scalars(_of_user(user_id).where(ModelVersion.name == name)))
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


def remove_version(transaction: Transaction, user_id: str, name: str, version: str) -> None:
    transaction.execute(
        delete(ModelVersion).where(
            ModelVersion.user_id == user_id, ModelVersion.name == name, ModelVersion.version == version
        )
    )


def _of_user(user_id: str) -> Select[ModelVersion]:
    return (
        select(ModelVersion)
        .where(ModelVersion.user_id == user_id)
        .order_by(ModelVersion.created_at.desc(), ModelVersion.version.desc())
    )
