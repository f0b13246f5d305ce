"""Keep organisations, who belongs to them and who is invited. What a person may see of them is decided here."""

from __future__ import annotations

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.of_organisations import ORGANISATION
from ecluse.catalog.tables import Invitation, Membership, User, now
from ecluse.errors import HandleTaken, LastOwner, NotFound
from ecluse.sentences import _


def add(transaction: Transaction, handle: str, name: str, owner_id: str) -> User:
    """Make an organisation whose one member, an owner, is this person.

    Raises:
        HandleTaken: a person or an organisation has the handle.
    """
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


def join(transaction: Transaction, organisation_id: str, user_id: str, role: str) -> None:
    """Make a person a member."""
    transaction.add(Membership(organisation_id=organisation_id, user_id=user_id, role=role))
    transaction.flush()


def set_role(transaction: Transaction, organisation_id: str, user_id: str, role: str) -> None:
    """Change the role of a member. Hold the organisation with `find` first."""
    transaction.execute(
        update(Membership)
        .where(Membership.organisation_id == organisation_id, Membership.user_id == user_id)
        .values(role=role)
    )


def end_membership(transaction: Transaction, organisation_id: str, user_id: str) -> None:
    """Let a person belong to an organisation no longer. Hold the organisation with `find` first."""
    transaction.execute(
        delete(Membership).where(Membership.organisation_id == organisation_id, Membership.user_id == user_id)
    )


def expect_another_owner(transaction: Transaction, organisation: User, user_id: str) -> None:
    """Make sure that, without this person, the organisation has an owner. It has to be held.

    Raises:
        LastOwner: it has none.
    """
    others = (
        select(func.count())
        .select_from(Membership)
        .where(
            Membership.organisation_id == organisation.id,
            Membership.role == "owner",
            Membership.user_id != user_id,
        )
    )
    if not transaction.scalar(others):
        raise LastOwner(
            _(
                "@%(handle)s has no other owner. Hand it over first: ecluse orgs hand-over %(handle)s EMAIL. Or end "
                "it: ecluse orgs end %(handle)s",
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


def remove(transaction: Transaction, organisation_id: str) -> None:
    """Remove an organisation, with its memberships, invitations and shares."""
    transaction.execute(delete(User).where(User.id == organisation_id, User.kind == ORGANISATION))


def add_invitation(transaction: Transaction, invitation: Invitation) -> Invitation:
    """Keep an invitation; those whose time is over go."""
    transaction.execute(delete(Invitation).where(Invitation.expires_at <= now()))
    transaction.add(invitation)
    transaction.flush()
    return invitation


def list_invitations(transaction: Transaction, organisation_id: str) -> list[Invitation]:
    """List the invitations that nobody has used and whose time is not over, the newest first."""
    query = select(Invitation).where(
        Invitation.organisation_id == organisation_id, Invitation.expires_at > now()
    )
    return list(transaction.scalars(query.order_by(Invitation.created_at.desc(), Invitation.id)))


def invitation_by(transaction: Transaction, secret_hash: str) -> tuple[Invitation, User] | None:
    """Return an open invitation and its organisation by the hash of its secret; None where there is none."""
    row = transaction.execute(
        select(Invitation, User)
        .join(User, User.id == Invitation.organisation_id)
        .where(Invitation.secret_hash == secret_hash, Invitation.expires_at > now())
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
