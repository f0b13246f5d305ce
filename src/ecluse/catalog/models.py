"""Find and keep the published model versions of each user."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.orm import aliased

from ecluse.catalog import files
from ecluse.catalog.tables import ModelAlias, ModelVersion, Publication, Share, now
from ecluse.errors import ModelNotFound, VersionNotFound
from ecluse.sentences import _


def begin_publication(transaction: Transaction, publication: Publication) -> None:
    """Note that a version is about to be committed; noting it again changes nothing."""
    if transaction.get(Publication, (publication.user_id, publication.name, publication.version)) is None:
        transaction.add(publication)


def end_publication(transaction: Transaction, user_id: str, name: str, version: str) -> None:
    """Forget that a version was about to be committed."""
    ended = transaction.scalars(
        delete(Publication)
        .where(Publication.user_id == user_id, Publication.name == name, Publication.version == version)
        .returning(Publication.id)
    ).all()
    files.remove(transaction, Publication.FILE.table, ended)


def publication_of(transaction: Transaction, user_id: str, name: str, version: str) -> Publication | None:
    """Return what was noted of a version that was about to be committed and has no row yet."""
    return transaction.get(Publication, (user_id, name, version))


def open_publications(transaction: Transaction, before: datetime) -> list[Publication]:
    """Return what was about to be committed before that moment, by anyone, and has no row yet."""
    query = select(Publication).where(Publication.created_at < before).order_by(Publication.created_at)
    return list(transaction.scalars(query))


def add_version(transaction: Transaction, version: ModelVersion) -> ModelVersion:
    """Record a published version; recording it again changes nothing. The row that is kept."""
    existing = transaction.scalar(_row(version.user_id, version.name, version.version))
    if existing is not None:
        return existing
    transaction.add(version)
    transaction.flush()
    return version


def find_version(transaction: Transaction, user_id: str, name: str, version: str) -> ModelVersion | None:
    """Return a version of the user; None where there is none."""
    return transaction.scalar(_row(user_id, name, version))


def version_at(transaction: Transaction, user_id: str, name: str, alias: str) -> ModelVersion | None:
    """Return the version that an alias points at; None where there is none."""
    query = select(ModelVersion).join(
        ModelAlias,
        and_(
            ModelAlias.user_id == ModelVersion.user_id,
            ModelAlias.name == ModelVersion.name,
            ModelAlias.version == ModelVersion.version,
        ),
    )
    at = (ModelAlias.user_id == user_id, ModelAlias.name == name, ModelAlias.alias == alias)
    return transaction.scalar(query.where(*at))


def set_verified(transaction: Transaction, version_id: str) -> None:
    """Note that every file of a version was found as published."""
    _set(transaction, version_id, verified_at=now(), damaged_at=None, damage=None)


def set_damaged(transaction: Transaction, version_id: str, damage: str) -> None:
    """Note what is wrong with a version; it keeps the moment when that was first seen."""
    since = func.coalesce(ModelVersion.damaged_at, now())
    _set(transaction, version_id, damaged_at=since, damage=damage)


def hold_versions(transaction: Transaction, user_id: str, name: str) -> None:
    """Let no one else change the versions and aliases of this model until the transaction ends.

    Raises:
        ModelNotFound: the user has no model of this name.
    """
    held = select(ModelVersion.id).where(*_of_model(user_id, name)).order_by(ModelVersion.id)
    if not transaction.scalars(held.with_for_update()).all():
        raise _no_model(name)


def list_latest(
    transaction: Transaction,
    user_id: str,
    *,
    application: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[ModelVersion]:
    """Return the newest version of each of the user's models, or those of an application, most recent first.

    No older one is read.
    """
    if application is None and limit is not None:
        values = {"owner": user_id, "rows": limit, "before": offset}
        return list(transaction.scalars(_latest_page(), values))
    return list(transaction.scalars(_latest(user_id, application, limit, offset)))


@cache  # to put it together takes longer than what it is asked for
def _latest_page() -> Select[ModelVersion]:
    return _latest(bindparam("owner"), None, bindparam("rows"), bindparam("before"))


def _latest(
    user_id: str | BindParameter[str],
    application: str | None,
    limit: int | BindParameter[int] | None,
    offset: int | BindParameter[int],
) -> Select[ModelVersion]:
    place = func.row_number().over(partition_by=ModelVersion.name, order_by=_HIGHEST_FIRST)
    ranked = (
        select(
            ModelVersion.id,
            ModelVersion.application,
            ModelVersion.version,
            ModelVersion.created_at,
            place.label("place"),
        )
        .where(ModelVersion.user_id == user_id)
        .subquery()
    )
    latest = select(ranked.c.id).where(ranked.c.place == 1)
    if application is not None:
        latest = latest.where(ranked.c.application == application)
    # The page is cut before any row is read whole.
    page = latest.order_by(*_highest_first(ranked.c), ranked.c.created_at.desc()).limit(limit).offset(offset)
    return select(ModelVersion).where(ModelVersion.id.in_(page)).order_by(*_NEWEST_FIRST)


def newest_of(transaction: Transaction, user_id: str, application: str) -> ModelVersion | None:
    """Return the version of an application that the user published last; None where there is none."""
    query = select(ModelVersion).where(
        ModelVersion.user_id == user_id, ModelVersion.application == application
    )
    return transaction.scalar(query.order_by(ModelVersion.created_at.desc(), *_HIGHEST_FIRST).limit(1))


def count_models(transaction: Transaction, user_id: str) -> int:
    """Count the models of a user, each with one version or more."""
    names = func.count(ModelVersion.name.distinct())
    return transaction.scalar(select(names).where(ModelVersion.user_id == user_id)) or 0


def list_all(transaction: Transaction, user_id: str, name: str | None = None) -> list[ModelVersion]:
    """Return every version of every model of the user, or of one; newest first, none where there is none."""
    query = _of_user(user_id)
    return list(transaction.scalars(query if name is None else query.where(ModelVersion.name == name)))


def list_versions(transaction: Transaction, user_id: str, name: str) -> list[ModelVersion]:
    """Return every version of one model, newest first.

    Raises:
        ModelNotFound: the user has no model of this name.
    """
    query = _of_user(user_id).where(ModelVersion.name == name)
    versions = list(transaction.scalars(query))
    if not versions:
        raise _no_model(name)
    return versions


def versions_page(
    transaction: Transaction, user_id: str, name: str, *, limit: int, offset: int = 0
) -> list[ModelVersion]:
    """Return some versions of one model, newest first; none where it has fewer."""
    page = _highest(user_id, name).limit(limit).offset(offset).subquery()
    query = _of_user(user_id).where(ModelVersion.name == name, ModelVersion.version.in_(select(page)))
    return list(transaction.scalars(query))


def count_versions(transaction: Transaction, user_id: str, name: str) -> int:
    """Count the versions of a model.

    Raises:
        ModelNotFound: the user has no model of this name.
    """
    count = transaction.scalar(select(func.count()).where(*_of_model(user_id, name)))
    if not count:
        raise _no_model(name)
    return count


def version_of(transaction: Transaction, user_id: str, name: str, version: str | None = None) -> ModelVersion:
    """One version of a model of the user; the latest when none is named. No other is read.

    Raises:
        ModelNotFound: the user has no model of this name.
        VersionNotFound: the model has no such version.
    """
    if version is not None and (row := find_version(transaction, user_id, name, version)):
        return row
    latest = transaction.scalar(_highest(user_id, name).limit(1))
    if latest is None:
        raise _no_model(name)
    if version is None:
        return transaction.scalars(_row(user_id, name, latest)).one()
    raise VersionNotFound(
        _(
            'No version %(value)s of "%(name)s"; the latest is %(word)s. See: ecluse models show %(model)s',
            value=version,
            name=name,
            word=latest,
            model=name,
        )
    )


def remove_version(transaction: Transaction, row: ModelVersion) -> ModelVersion | None:
    """Forget a version that points where `row` does. One that points elsewhere by now stays, and is returned.

    With the last version of a model, what it was shared by goes, too.
    """
    there = transaction.scalar(_row(row.user_id, row.name, row.version).with_for_update(of=ModelVersion))
    if there is None or there.url != row.url:
        return there
    transaction.delete(there)
    transaction.flush()
    if transaction.scalar(select(ModelVersion.id).where(*_of_model(row.user_id, row.name)).limit(1)) is None:
        # another model of this name, made later, is not the one that was shared
        shares = (Share.owner_id == row.user_id, Share.kind == "models", Share.name == row.name)
        # Whoever opens a link at this moment is seen by the deletion, or finds the link gone.
        transaction.execute(select(Share.id).where(*shares).with_for_update())
        transaction.execute(delete(Share).where(*shares))
    return None


def _row(user_id: str, name: str, version: str) -> Select[ModelVersion]:
    return select(ModelVersion).where(
        ModelVersion.user_id == user_id, ModelVersion.name == name, ModelVersion.version == version
    )


def _of_model(user_id: str, name: str) -> tuple[ColumnElement[bool], ...]:
    return ModelVersion.user_id == user_id, ModelVersion.name == name


def _no_model(name: str) -> ModelNotFound:
    return ModelNotFound(_('No model "%(name)s". See: ecluse models list', name=name))


def _set(transaction: Transaction, version_id: str, **values: object) -> None:
    transaction.execute(update(ModelVersion).where(ModelVersion.id == version_id).values(**values))


#: Within a second the number counts: v20251121_000000_10 comes after _9.
def _highest_first(row: Any) -> tuple[ColumnElement[Any], ...]:
    """Order rows with a version, of a class or a subquery, the newest first."""
    return (
        func.substr(row.version, 1, 16).desc(),
        func.length(row.version).desc(),
        row.version.desc(),
    )


_HIGHEST_FIRST: Final = _highest_first(ModelVersion)
_NEWEST_FIRST: Final = (*_HIGHEST_FIRST, ModelVersion.created_at.desc())


def _highest(user_id: str, name: str) -> Select[str]:
    """Select the versions of one model by name, newest first: an index has them, so no row with its report is read."""
    return select(ModelVersion.version).where(*_of_model(user_id, name)).order_by(*_HIGHEST_FIRST)


def highest_version(user_id: ColumnElement[str], name: ColumnElement[str]) -> ScalarSelect[str]:
    """Select the newest version of the model that two columns of another query name."""
    row = aliased(ModelVersion)
    query = select(row.version).where(row.user_id == user_id, row.name == name)
    return query.order_by(*_highest_first(row)).limit(1).scalar_subquery()


def _of_user(user_id: str) -> Select[ModelVersion]:
    """Newest first."""
    return select(ModelVersion).where(ModelVersion.user_id == user_id).order_by(*_NEWEST_FIRST)
