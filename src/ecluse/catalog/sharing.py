"""Say who may see what, as conditions of SQL: what reads things that may be shared goes by these, and by nothing else.

A condition lists as well as it decides: of ten thousand models that a person may see, a page is one query.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.orm import aliased

from ecluse.catalog.models import highest_version
from ecluse.catalog.of_organisations import ORGANISATION
from ecluse.catalog.tables import Membership, ModelAlias, ModelVersion, Share, User, now
from ecluse.errors import NotFound
from ecluse.sentences import _

#: The kinds of things that are shared, as `shares.kind` has them.
MODELS: Final = "models"


def is_for(reader_id: str) -> ColumnElement[bool]:
    """Hold of a share that this person reads by now: it is with the person or an organisation of theirs, and lasts."""
    mine = select(Membership.organisation_id).where(Membership.user_id == reader_id)
    return and_(
        or_(Share.reader_id == reader_id, Share.reader_id.in_(mine)),
        or_(Share.expires_at.is_(None), Share.expires_at > now()),
    )


def visible_models(reader_id: str) -> ColumnElement[bool]:
    """Hold of a version of a model that this person may see: it is theirs, or its model is shared with them."""
    shared = exists().where(
        Share.owner_id == ModelVersion.user_id,
        Share.kind == MODELS,
        Share.name == ModelVersion.name,
        is_for(reader_id),
    )
    return or_(ModelVersion.user_id == reader_id, shared)


def owner_of(transaction: Transaction, reader_id: str, handle: str, name: str) -> str | None:
    """Return the id of the owner of a model, by the owner's handle; None where this person may not see such a model."""
    query = (
        select(User.id)
        .join(ModelVersion, ModelVersion.user_id == User.id)
        .where(User.handle == handle, ModelVersion.name == name, visible_models(reader_id))
    )
    return transaction.scalar(query.limit(1))


def shared_models(
    transaction: Transaction, reader_id: str, *, limit: int, offset: int = 0
) -> list[tuple[ModelVersion, User]]:
    """List the models that others share with a person, each at its newest version and with its owner, by names."""
    models = _models_for(reader_id).subquery()
    page = (
        select(User.id, models.c.name)
        .join(User, User.id == models.c.owner_id)
        .order_by(User.handle, models.c.name)
        .limit(limit)
        .offset(offset)
        .subquery()
    )
    latest = highest_version(page.c.id, page.c.name)
    query = (
        select(ModelVersion, User)
        .join(page, and_(ModelVersion.user_id == page.c.id, ModelVersion.name == page.c.name))
        .join(User, User.id == ModelVersion.user_id)
        .where(ModelVersion.version == latest)
        .order_by(User.handle, ModelVersion.name)
    )
    return [(row[0], row[1]) for row in transaction.execute(query)]


def count_shared_models(transaction: Transaction, reader_id: str) -> int:
    """Count the models that others share with a person."""
    query = select(func.count()).select_from(_models_for(reader_id).subquery())
    return transaction.scalar(query) or 0


def aliases_of(transaction: Transaction, versions: list[ModelVersion]) -> list[ModelAlias]:
    """List the aliases of the models of versions that a person was found to see."""
    models = {(row.user_id, row.name) for row in versions}
    if not models:
        return []
    query = select(ModelAlias).where(tuple_(ModelAlias.user_id, ModelAlias.name).in_(sorted(models)))
    return list(transaction.scalars(query.order_by(ModelAlias.alias)))


def handle_of(transaction: Transaction, owner_id: str) -> str:
    """Return the handle of an owner."""
    return transaction.scalar(select(User.handle).where(User.id == owner_id)) or ""


def owner_with(transaction: Transaction, email: str) -> User | None:
    """Return the person whose address this is, and may sign in; None where there is none."""
    return transaction.scalar(select(User).where(User.email == email, User.kind != ORGANISATION))


def organisation_of(transaction: Transaction, user_id: str, handle: str) -> User:
    """Return an organisation that a person belongs to. Raises NotFound where the person does not."""
    query = (
        select(User)
        .join(Membership, Membership.organisation_id == User.id)
        .where(User.handle == handle, User.kind == ORGANISATION, Membership.user_id == user_id)
    )
    row = transaction.scalar(query)
    if row is None:
        raise NotFound(_('You belong to no organisation "@%(handle)s". See: ecluse orgs list', handle=handle))
    return row


def add(transaction: Transaction, share: Share) -> Share:
    """Keep a share; one of the same thing with the same reader is replaced, and those whose time is over go."""
    same: list[ColumnElement[bool]] = [
        Share.owner_id == share.owner_id,
        Share.kind == share.kind,
        Share.name == share.name,
    ]
    over = and_(Share.expires_at.is_not(None), Share.expires_at <= now())
    transaction.execute(delete(Share).where(*same, over))
    if share.secret_hash is None:
        reader = Share.email == share.email if share.email is not None else Share.reader_id == share.reader_id
        by = Share.by_link_id.is_(None) if share.by_link_id is None else Share.by_link_id == share.by_link_id
        transaction.execute(delete(Share).where(*same, reader, by))
    transaction.add(share)
    transaction.flush()
    return share


def list_of(transaction: Transaction, owner_id: str, kind: str, name: str) -> list[tuple[Share, User | None]]:
    """List what a thing is shared by and has not expired, the newest first, each with its reader.

    Of an address that was given, no reader is returned: whether it has an account is not for the owner to see.
    """
    reader = aliased(User)
    query = (
        select(Share, reader)
        .outerjoin(reader, and_(reader.id == Share.reader_id, Share.email.is_(None)))
        .where(Share.owner_id == owner_id, Share.kind == kind, Share.name == name)
        .where(or_(Share.expires_at.is_(None), Share.expires_at > now()))
        .order_by(Share.created_at.desc(), Share.id)
    )
    return [(row[0], row[1]) for row in transaction.execute(query)]


def link_by(transaction: Transaction, secret_hash: str, *, held: bool = False) -> tuple[Share, User] | None:
    """Return a share by the hash of its link's secret, and its owner; None where there is none, or it is over.

    `held`: it is not taken back before the transaction ends.
    """
    query = (
        select(Share, User)
        .join(User, User.id == Share.owner_id)
        .where(Share.secret_hash == secret_hash)
        .where(or_(Share.expires_at.is_(None), Share.expires_at > now()))
    )
    row = transaction.execute(query.with_for_update(of=Share) if held else query).first()
    return None if row is None else (row[0], row[1])


def remove(transaction: Transaction, owner_id: str, kind: str, name: str, share_id: str) -> Share | None:
    """Take a share of a thing back, with what came by its link; None where there is none."""
    share = transaction.scalar(
        select(Share)
        .where(Share.id == share_id, Share.owner_id == owner_id, Share.kind == kind, Share.name == name)
        .with_for_update()  # so that whoever opens a link at this moment is seen below, or finds it gone
    )
    if share is not None:
        transaction.execute(delete(Share).where(or_(Share.id == share.id, Share.by_link_id == share.id)))
    return share


def _models_for(reader_id: str) -> Select[str, str]:
    """Select owner and name of each model that others share with a person."""
    return (
        select(Share.owner_id, Share.name)
        .where(Share.kind == MODELS, Share.owner_id != reader_id, is_for(reader_id))
        .distinct()
    )
