"""Say who may see what, as conditions of SQL: what reads things that may be shared goes by these, and by nothing else.

A condition lists as well as it decides: of ten thousand models that a person may see, a page is one query.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    union,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, aliased
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import audit
from ecluse.catalog.of_organisations import ORGANISATION
from ecluse.catalog.tables import Membership, ModelAlias, ModelVersion, Run, Share, User, UserTable, now
from ecluse.errors import Forbidden, NotFound, NotSignedIn, OrganisationClosed
from ecluse.roles import MAKING_ROLES
from ecluse.sentences import _

#: The kinds of things that are shared, as `shares.kind` has them. A model is shared by its name, all else by its id.
MODELS: Final = "models"
TABLES: Final = "tables"
RUNS: Final = "runs"
Column = ColumnElement[str] | InstrumentedAttribute[str]
#: A class of rows with `id`, `user_id` and `created_at`.
Thing = TypeVar("Thing")


def is_for(reader_id: str) -> ColumnElement[bool]:
    """Hold of a share that this person reads by now: it is with the person or an organisation of theirs, and lasts."""
    return and_(
        or_(Share.reader_id == reader_id, Share.reader_id.in_(_organisations_of(reader_id))),
        or_(Share.expires_at.is_(None), Share.expires_at > now()),
    )


def belongs_to(owner: Column, person_id: str) -> ColumnElement[bool]:
    """Hold of the owner of a thing that is this person, or an organisation of theirs in whichever role."""
    return or_(owner == person_id, owner.in_(_organisations_of(person_id)))


def changeable(owner: Column, person_id: str) -> ColumnElement[bool]:
    """Hold of the owner of a thing that this person may change, and of whose they may make new ones.

    It is the person, or an organisation in which the person is owner or member; viewers are told no. Of one that is
    being ended nobody is told yes.
    """
    making = (
        _organisations_of(person_id)
        .join(User, User.id == Membership.organisation_id)
        .where(Membership.role.in_(MAKING_ROLES), User.disabled_at.is_(None))
    )
    return or_(owner == person_id, owner.in_(making))


def visible(kind: str, owner: Column, name: Column, reader_id: str) -> ColumnElement[bool]:
    """Hold of a thing that this person may see, by the columns of its owner and of its name or id.

    It is theirs, of an organisation of theirs, or shared with them or one. Every read that may reach what is another's
    goes by this, whatever the kind.
    """
    shared = exists().where(
        Share.owner_id == owner, Share.kind == kind, Share.name == name, is_for(reader_id)
    )
    return or_(belongs_to(owner, reader_id), shared)


def of_others(kind: str, owner: Column, name: Column, reader_id: str) -> CompoundSelect[str, str]:
    """Select `owner_id` and `name` of each thing that this person may see and that is not their own, each once.

    It holds what `visible` does, written for lists: from the few organisations and shares to the things.
    """
    shared = select(Share.owner_id.label("owner_id"), Share.name.label("name")).where(
        Share.kind == kind, Share.owner_id != reader_id, is_for(reader_id)
    )
    return union(shared, select(owner, name).where(owner.in_(_organisations_of(reader_id))))


def visible_models(reader_id: str) -> ColumnElement[bool]:
    """Hold of a version of a model that this person may see."""
    return visible(MODELS, ModelVersion.user_id, ModelVersion.name, reader_id)


def visible_tables(reader_id: str) -> ColumnElement[bool]:
    """Hold of a table that this person may see."""
    return visible(TABLES, UserTable.user_id, UserTable.id, reader_id)


def visible_runs(reader_id: str) -> ColumnElement[bool]:
    """Hold of a run that this person may see."""
    return visible(RUNS, Run.user_id, Run.id, reader_id)


def owner_of(transaction: Transaction, reader_id: str, handle: str, name: str) -> tuple[str, bool] | None:
    """Return the id of the owner of a model, by the owner's handle, and whether this person may change the model.

    None where the person may not see such a model.
    """
    query = (
        select(User.id, changeable(User.id, reader_id))
        .join(ModelVersion, ModelVersion.user_id == User.id)
        .where(User.handle == handle, ModelVersion.name == name, visible_models(reader_id))
    )
    row = transaction.execute(query.limit(1)).first()
    return None if row is None else (row[0], bool(row[1]))


def maker_of(transaction: Transaction, person_id: str, handle: str) -> tuple[str, bool] | None:
    """Return the id of an owner by its handle, and whether this person may make things of its.

    None where it is neither the person nor an organisation of theirs.
    """
    query = select(User.id, changeable(User.id, person_id)).where(
        User.handle == handle, belongs_to(User.id, person_id)
    )
    row = transaction.execute(query).first()
    return None if row is None else (row[0], bool(row[1]))


def makers_of(transaction: Transaction, person_id: str) -> set[str]:
    """Return the ids of the owners whose things this person may make and change."""
    return set(transaction.scalars(select(User.id).where(changeable(User.id, person_id))))


def expect_maker(transaction: Transaction, owner_id: str) -> None:
    """Make sure that things may still be made for an owner by who asks, as they are written down.

    A request that brings much begins long before: its sender may have been removed or locked since, or have left the
    organisation. Who asks and the owner stay as they are until the transaction ends.

    Raises:
        NotSignedIn: the account of who asks was removed or locked.
        NotFound: the owner is gone, or who asks belongs to the organisation no longer.
        Forbidden: who asks only reads what the organisation has by now, or it is being ended.
    """
    person_id = audit.who_asks() or owner_id
    # The person first, then what is the person's: whoever closes an account holds them in this order, too.
    person = _unchanged(transaction, person_id)
    if person is None or (person.disabled_at is not None and person.kind != ORGANISATION):
        raise NotSignedIn(_("This account was closed meanwhile. Nothing was kept. Sign in with another one."))
    owner = person if owner_id == person_id else _unchanged(transaction, owner_id)
    if owner is None:
        raise NotFound(_("The organisation was removed meanwhile. Nothing was kept. Send it for yourself."))
    if owner.disabled_at is not None:
        raise refusal(transaction, owner_id, f"@{owner.handle}")
    if owner.kind == ORGANISATION and owner_id != person_id:
        _expect_to_belong(transaction, person_id, owner)


def _unchanged(transaction: Transaction, user_id: str) -> User | None:
    """Return a person or an organisation, which nobody changes until the transaction ends; None where it is gone."""
    query = select(User).where(User.id == user_id).with_for_update(read=True)
    return transaction.scalar(query.execution_options(populate_existing=True))


def _expect_to_belong(transaction: Transaction, person_id: str, organisation: User) -> None:
    belonging = transaction.get(Membership, (organisation.id, person_id), populate_existing=True)
    if belonging is None:
        raise NotFound(
            _(
                'You belong to no organisation "@%(handle)s". See: ecluse orgs list',
                handle=organisation.handle,
            )
        )
    if belonging.role not in MAKING_ROLES:
        raise refusal(transaction, organisation.id, f"@{organisation.handle}")


def refusal(transaction: Transaction, owner_id: str, called: str) -> Forbidden:
    """Return what is said to who may read a thing, by what it is called, and wants to change it."""
    owner = transaction.get(User, owner_id)
    if owner is not None and owner.kind == ORGANISATION and owner.disabled_at is not None:
        return OrganisationClosed(
            _(
                "@%(handle)s is being ended: nothing of it is changed any more. An owner goes on with: "
                "ecluse orgs end %(handle)s --with-everything",
                handle=owner.handle,
            )
        )
    return Forbidden(_("%(name)s is shared with you to be read. Ask its owner to change it.", name=called))


def aliases_of(transaction: Transaction, versions: list[ModelVersion]) -> list[ModelAlias]:
    """List the aliases of the models of versions that a person was found to see."""
    models = {(row.user_id, row.name) for row in versions}
    if not models:
        return []
    query = select(ModelAlias).where(tuple_(ModelAlias.user_id, ModelAlias.name).in_(sorted(models)))
    return list(transaction.scalars(query.order_by(ModelAlias.alias)))


def tables_of_others(
    transaction: Transaction, reader_id: str, *, limit: int, offset: int = 0
) -> tuple[list[tuple[UserTable, User]], int]:
    """List the tables of a person's organisations and those that others share, newest first, with owners; and count."""
    return things_of_others(transaction, TABLES, UserTable, reader_id, limit=limit, offset=offset)


def runs_of_others(
    transaction: Transaction, reader_id: str, *, limit: int, offset: int = 0
) -> tuple[list[tuple[Run, User]], int]:
    """List the runs of a person's organisations and those that others share, newest first, with owners; and count."""
    return things_of_others(transaction, RUNS, Run, reader_id, limit=limit, offset=offset)


# Things of any kind, by their rows, which have an `id`, a `user_id` and a `created_at`


def visible_rows(kind: str, row: Any, reader_id: str) -> ColumnElement[bool]:
    """Hold of a row of a kind, by its class, that this person may see."""
    return visible(kind, row.user_id, row.id, reader_id)


def readable_row(
    transaction: Transaction, kind: str, row: type[Thing], reader_id: str, id_: str
) -> Thing | None:
    """Return a row of a kind that this person may see; None where there is none, or it is not for them."""
    columns: Any = row
    return transaction.scalar(select(row).where(columns.id == id_, visible_rows(kind, row, reader_id)))


def row_to_change(transaction: Transaction, row: type[Thing], person_id: str, id_: str) -> Thing | None:
    """Return a row that this person may change, which does not go before the transaction ends; None where none is."""
    columns: Any = row
    query = select(row).where(columns.id == id_, changeable(columns.user_id, person_id))
    return transaction.scalar(query.with_for_update(of=row))


def things_of_others(
    transaction: Transaction, kind: str, row: type[Thing], reader_id: str, *, limit: int, offset: int = 0
) -> tuple[list[tuple[Thing, User]], int]:
    """List what of a kind a person's organisations have and others share, newest first, with owners; and count."""
    columns: Any = row
    others = of_others(kind, columns.user_id, columns.id, reader_id).subquery()
    query = (
        select(row, User)
        .join(User, User.id == columns.user_id)
        .join(others, and_(others.c.owner_id == columns.user_id, others.c.name == columns.id))
    )
    total = transaction.scalar(select(func.count()).select_from(query.subquery())) or 0
    page = query.order_by(columns.created_at.desc(), columns.id).limit(limit).offset(offset)
    return [(each[0], each[1]) for each in transaction.execute(page)], total


def remove_of(transaction: Transaction, owner_id: str, kind: str, name: str) -> None:
    """Remove what a thing that goes was shared by: another of its name or id, made later, is not shared."""
    mine = (Share.owner_id == owner_id, Share.kind == kind, Share.name == name)
    # Whoever opens a link at this moment is seen by the deletion, or finds the link gone.
    transaction.execute(select(Share.id).where(*mine).with_for_update())
    transaction.execute(delete(Share).where(*mine))


def hand_over(transaction: Transaction, old_id: str, new_id: str, kind: str, name: str) -> None:
    """Let a thing that has another owner be shared as it was; with the new owner it need not be."""
    mine = (Share.owner_id == old_id, Share.kind == kind, Share.name == name)
    transaction.execute(delete(Share).where(*mine, Share.reader_id == new_id))
    made_by = func.coalesce(Share.made_by, old_id)
    transaction.execute(update(Share).where(*mine).values(owner_id=new_id, made_by=made_by))


def end_of_leaver(transaction: Transaction, organisation_id: str, person_id: str) -> int:
    """End what keeps who leaves an organisation reading its things; how many shares and links those were.

    These are the shares and links that the person made, and the shares with the person; of shares whose maker is not
    known, those with another organisation of theirs.
    """
    by_whom_is_unknown = and_(Share.made_by.is_(None), Share.reader_id.in_(_organisations_of(person_id)))
    kept_by = or_(Share.made_by == person_id, Share.reader_id == person_id, by_whom_is_unknown)
    return _end(transaction, and_(Share.owner_id == organisation_id, kept_by))


def end_made_by(transaction: Transaction, person_id: str) -> int:
    """End all that a person shared, of their own and of organisations; how many shares and links those were."""
    return _end(transaction, or_(Share.owner_id == person_id, Share.made_by == person_id))


def _end(transaction: Transaction, condition: ColumnElement[bool]) -> int:
    # Whoever opens a link at this moment is seen by the deletion, or finds the link gone.
    ended = list(transaction.scalars(select(Share.id).where(condition).with_for_update()))
    if ended:
        transaction.execute(delete(Share).where(or_(Share.id.in_(ended), Share.by_link_id.in_(ended))))
    return len(ended)


def handle_of(transaction: Transaction, owner_id: str) -> str:
    """Return the handle of an owner."""
    return transaction.scalar(select(User.handle).where(User.id == owner_id)) or ""


def owner_with(transaction: Transaction, email: str) -> User | None:
    """Return the person whose address this is; None where there is none."""
    return transaction.scalar(select(User).where(User.email == email, User.kind != ORGANISATION))


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
    """Return a share by the hash of its link's secret, and its owner; None where there is none, it is over, or who made
    it is locked.

    `held`: it is not taken back before the transaction ends.
    """
    maker = aliased(User)
    query = (
        select(Share, User)
        .join(User, User.id == Share.owner_id)
        .outerjoin(maker, maker.id == func.coalesce(Share.made_by, Share.owner_id))
        .where(Share.secret_hash == secret_hash, maker.disabled_at.is_(None))
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


def _organisations_of(person_id: str) -> Select[str]:
    return select(Membership.organisation_id).where(Membership.user_id == person_id)
