"""Keep organisations, who belongs to them and who is invited. What a person may see of them is decided here."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import handles, services, sharing
from ecluse.catalog.of_organisations import ORGANISATION
from ecluse.catalog.tables import Invitation, Membership, User, now
from ecluse.errors import HandleTaken, LastOwner, NotFound
from ecluse.sentences import _


def add(transaction: Transaction, handle: str, name: str, owner_id: str) -> User:
    """Make an organisation whose one member, an owner, is this person.

    Raises:
        HandleTaken: a person or an organisation has the handle, or one that has ended had it.
    """
    if handles.was_used(transaction, handle):
        raise HandleTaken(
            _(
                "@%(handle)s was another's before, and names of models contain it. Choose another handle.",
                handle=handle,
            )
        )
    row = User(
        kind=ORGANISATION, handle=handle, email=f"@{handle}", name=name, password_hash=None, role="member"
    )
    transaction.add(row)
    try:
        transaction.flush()
    except IntegrityError as error:
        raise HandleTaken(_("@%(handle)s is in use. Choose another handle.", handle=handle)) from error
    transaction.add(Membership(organisation_id=row.id, user_id=owner_id, role="owner"))
    transaction.flush()
    return row


def called(transaction: Transaction, handle: str) -> User | None:
    """Return the organisation of a handle, whoever belongs to it; None where there is none."""
    return transaction.scalar(select(User).where(User.handle == handle, User.kind == ORGANISATION))


def list_of(transaction: Transaction, user_id: str) -> list[tuple[User, str, int]]:
    """List the organisations of a person by their handles: each with the person's role and the number of members."""
    members = (
        select(func.count())
        .select_from(Membership)
        .where(Membership.organisation_id == User.id)
        .correlate(User)
        .scalar_subquery()
    )
    mine = select(Membership.organisation_id, Membership.role).where(Membership.user_id == user_id).subquery()
    query = select(User, mine.c.role, members).join(mine, mine.c.organisation_id == User.id)
    return [(row[0], row[1], row[2]) for row in transaction.execute(query.order_by(User.handle))]


@dataclass(frozen=True)
class OfAll:
    """An organisation with the number of its members, the addresses of its owners, and how many service accounts."""

    organisation: User
    members: int
    owners: list[str]
    services: int = 0


def list_all(
    transaction: Transaction, search: str = "", *, limit: int, offset: int = 0, after: str = ""
) -> list[OfAll]:
    """List every organisation by its handle; `search`: what a handle or a name holds. `after`: a handle, behind which
    they begin.
    """
    query = select(User).where(User.kind == ORGANISATION, User.handle > after).order_by(User.handle)
    query = query.limit(limit).offset(offset)
    if search:
        places = (User.handle, User.name)
        query = query.where(or_(*(place.icontains(search, autoescape=True) for place in places)))
    rows = list(transaction.scalars(query))
    members: dict[str, list[tuple[str, str]]] = {row.id: [] for row in rows}
    belonging = (
        select(Membership.organisation_id, Membership.role, User.email)
        .join(User, User.id == Membership.user_id)
        .where(Membership.organisation_id.in_(list(members)))
        .order_by(User.email)
    )
    for organisation_id, role, email in transaction.execute(belonging):
        members[organisation_id].append((role, email))
    programs = services.count_of(transaction, list(members))
    return [
        OfAll(
            row,
            len(members[row.id]),
            [email for role, email in members[row.id] if role == "owner"],
            programs.get(row.id, 0),
        )
        for row in rows
    ]


def find(transaction: Transaction, user_id: str, handle: str, *, held: bool = False) -> tuple[User, str]:
    """Return an organisation of a person, and the person's role in it.

    `held`: no one else changes who belongs to it until the transaction ends.

    Raises:
        NotFound: there is none of this handle, or the person does not belong to it.
    """
    query = (
        select(User, Membership.role)
        .join(Membership, Membership.organisation_id == User.id)
        .where(User.handle == handle, User.kind == ORGANISATION, Membership.user_id == user_id)
    )
    if held:
        transaction.execute(
            select(User.id).where(User.handle == handle, User.kind == ORGANISATION).with_for_update()
        )
    row = transaction.execute(query).first()
    if row is None:
        raise NotFound(_('You belong to no organisation "@%(handle)s". See: ecluse orgs list', handle=handle))
    return row[0], row[1]


def members_of(transaction: Transaction, organisation_id: str) -> list[tuple[User, Membership]]:
    """List who belongs to an organisation, by address."""
    query = (
        select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organisation_id == organisation_id)
        .order_by(User.email)
    )
    return [(row[0], row[1]) for row in transaction.execute(query)]


def membership_of(transaction: Transaction, organisation_id: str, user_id: str) -> Membership | None:
    """Return the membership of a person; None where the person does not belong to the organisation."""
    return transaction.get(Membership, (organisation_id, user_id))


def member(transaction: Transaction, organisation_id: str, user_id: str) -> tuple[User, Membership]:
    """Return a member of an organisation. Raises NotFound where the person is none."""
    row = transaction.execute(
        select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organisation_id == organisation_id, Membership.user_id == user_id)
    ).first()
    if row is None:
        raise NotFound(_("No member %(value)s of this organisation.", value=user_id))
    return row[0], row[1]


def join(
    transaction: Transaction, organisation_id: str, user_id: str, role: str, identity_id: str | None = None
) -> None:
    """Make a person a member; `identity_id` says whose groups do, None where people do."""
    membership = Membership(
        organisation_id=organisation_id, user_id=user_id, role=role, identity_id=identity_id
    )
    transaction.add(membership)
    transaction.flush()


def held(transaction: Transaction, handle: str) -> User | None:
    """Return an organisation, to which nobody else changes who belongs until the transaction ends."""
    query = select(User).where(User.handle == handle, User.kind == ORGANISATION)
    return transaction.scalar(query.with_for_update())


def given_by(transaction: Transaction, identity_id: str) -> list[tuple[Membership, str]]:
    """List what the groups of an identity gave: each membership with the handle of its organisation."""
    query = (
        select(Membership, User.handle)
        .join(User, User.id == Membership.organisation_id)
        .where(Membership.identity_id == identity_id)
        .order_by(User.handle)
    )
    return [(row[0], row[1] or "") for row in transaction.execute(query)]


def set_role(
    transaction: Transaction, organisation_id: str, user_id: str, role: str, identity_id: str | None = None
) -> None:
    """Change the role of a member; from then on it is given by who does. Hold the organisation with `find` first.

    The invitations of who is an owner no longer end.
    """
    transaction.execute(
        update(Membership)
        .where(Membership.organisation_id == organisation_id, Membership.user_id == user_id)
        .values(role=role, identity_id=identity_id)
    )
    if role != "owner":
        _end_invitations_of(transaction, organisation_id, user_id)


def end_membership(transaction: Transaction, organisation_id: str, user_id: str) -> int:
    """Let a person belong to an organisation no longer. Hold the organisation with `find` first.

    With it end the person's invitations to it, and what the person shared of its things: how many shares those were.
    """
    transaction.execute(
        delete(Membership).where(Membership.organisation_id == organisation_id, Membership.user_id == user_id)
    )
    _end_invitations_of(transaction, organisation_id, user_id)
    return sharing.end_of_leaver(transaction, organisation_id, user_id)


def _end_invitations_of(transaction: Transaction, organisation_id: str, user_id: str) -> None:
    transaction.execute(
        delete(Invitation).where(
            Invitation.organisation_id == organisation_id, Invitation.created_by == user_id
        )
    )


def owned_alone(transaction: Transaction, user_id: str) -> list[str]:
    """List the ids of the organisations that a person owns, and nobody else."""
    others = select(Membership.organisation_id).where(
        Membership.role == "owner", Membership.user_id != user_id
    )
    query = select(Membership.organisation_id).where(
        Membership.role == "owner",
        Membership.user_id == user_id,
        Membership.organisation_id.not_in(others),
    )
    return list(transaction.scalars(query))


def without_owner(transaction: Transaction, user_id: str) -> list[str]:
    """List the handles of those organisations that a person owns and that nobody who may sign in owns."""
    owning = select(Membership.organisation_id).join(User, User.id == Membership.user_id)
    cared_for = owning.where(Membership.role == "owner", User.disabled_at.is_(None))
    query = (
        select(User.handle)
        .join(Membership, Membership.organisation_id == User.id)
        .where(Membership.user_id == user_id, Membership.role == "owner", User.id.not_in(cared_for))
    )
    return [handle or "" for handle in transaction.scalars(query.order_by(User.handle))]


def expect_another_owner(transaction: Transaction, organisation: User, user_id: str) -> None:
    """Make sure that, without this person, the organisation has an owner who may sign in. It has to be held.

    Raises:
        LastOwner: it has none.
    """
    others = (
        select(func.count())
        .select_from(Membership)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.organisation_id == organisation.id,
            Membership.role == "owner",
            Membership.user_id != user_id,
            User.disabled_at.is_(None),
        )
    )
    if not transaction.scalar(others):
        raise LastOwner(
            _(
                "@%(handle)s has no other owner. Hand it over or end it first, on its page (/organisations/%(handle)s) "
                "or by: ecluse orgs hand-over %(handle)s EMAIL",
                handle=organisation.handle,
            )
        )


def expect_last_owner_of_none(transaction: Transaction, user: User, *, held: bool) -> None:
    """Make sure that every organisation of a person has another owner.

    `held`: no one else changes who belongs to them until the transaction ends.

    Raises:
        LastOwner: one has not; it says which.
    """
    owned = (
        select(User)
        .join(Membership, Membership.organisation_id == User.id)
        .where(Membership.user_id == user.id, Membership.role == "owner")
        .order_by(User.handle)
    )
    if held:
        owned = owned.with_for_update(of=User)
    for organisation in transaction.scalars(owned).all():
        expect_another_owner(transaction, organisation, user.id)


def add_invitation(transaction: Transaction, invitation: Invitation) -> Invitation:
    """Keep an invitation; those whose time is over go."""
    transaction.execute(delete(Invitation).where(Invitation.expires_at <= now()))
    transaction.add(invitation)
    transaction.flush()
    return invitation


def list_invitations(transaction: Transaction, organisation_id: str) -> list[Invitation]:
    """List the invitations that are good, the newest first."""
    query = select(Invitation).where(Invitation.organisation_id == organisation_id, _is_good())
    return list(transaction.scalars(query.order_by(Invitation.created_at.desc(), Invitation.id)))


def invitation_by(transaction: Transaction, secret_hash: str) -> tuple[Invitation, User] | None:
    """Return an open invitation and its organisation by the hash of its secret; None where there is none."""
    row = transaction.execute(
        select(Invitation, User)
        .join(User, User.id == Invitation.organisation_id)
        .where(Invitation.secret_hash == secret_hash, _is_good())
    ).first()
    return None if row is None else (row[0], row[1])


def remove_invitation(transaction: Transaction, organisation_id: str, invitation_id: str) -> bool:
    """Remove an invitation of an organisation; False where it has none, or it was used."""
    removed = transaction.execute(
        delete(Invitation)
        .where(Invitation.id == invitation_id, Invitation.organisation_id == organisation_id)
        .returning(Invitation.id)
    )
    return bool(removed.all())


def _is_good() -> ColumnElement[bool]:
    """Return the condition of an invitation whose time is not over and whose maker still owns the organisation."""
    maker = select(Membership.user_id).join(User, User.id == Membership.user_id)
    owns = maker.where(
        Membership.user_id == Invitation.created_by,
        Membership.organisation_id == Invitation.organisation_id,
        Membership.role == "owner",
        User.disabled_at.is_(None),
    )
    return and_(Invitation.expires_at > now(), owns.correlate(Invitation).exists())
