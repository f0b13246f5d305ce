"""Make organisations, let people join by a link that works once, and say who may do what in them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ecluse.accounts.access import AccountCatalog, digest
from ecluse.catalog import Transaction, audit, organisations, users
from ecluse.catalog.handles import checked_handle
from ecluse.catalog.of_organisations import ROLES
from ecluse.catalog.tables import Invitation, User, now
from ecluse.errors import Forbidden, InvalidInput, NotFound
from ecluse.sentences import _

#: Days that an invitation may last, and does unless it is said otherwise.
MOST_INVITATION_DAYS: Final = 30
INVITATION_DAYS: Final = 7
_NO_INVITATION: Final = _(
    "This invitation was used, taken back or is too old. Ask whoever sent it for a new one."
)


@dataclass(frozen=True)
class Belonging:
    """An organisation as one of its members sees it, and that member's `role`."""

    id: str
    handle: str
    name: str
    role: str
    members: int
    created_at: datetime


@dataclass(frozen=True)
class Member:
    """A person in an organisation."""

    id: str
    email: str
    name: str
    role: str
    joined_at: datetime


class Organisations(AccountCatalog):
    """Organisations and who belongs to them. To whom does not, they are as if they were not there."""

    def add_organisation(self, user_id: str, handle: str, name: str = "") -> Belonging:
        """Make an organisation, whose owner is this person.

        Raises:
            InvalidInput: it cannot be a handle.
            HandleTaken: a person or an organisation has it.
        """
        checked_handle(handle)
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            row = organisations.add(transaction, handle, name.strip()[:200] or handle, user_id)
            audit.record(transaction, user_id, "organisation.add", f"@{handle}", id=row.id)
            return Belonging(row.id, handle, row.name, "owner", 1, row.created_at)

    def organisations(self, user_id: str) -> list[Belonging]:
        """List the organisations of a person, by their handles."""
        with self._catalog.read() as transaction:
            return [
                Belonging(row.id, row.handle or "", row.name, role, count, row.created_at)
                for row, role, count in organisations.list_of(transaction, user_id)
            ]

    def organisation(self, user_id: str, handle: str) -> tuple[Belonging, list[Member]]:
        """Return an organisation of a person, and its members by their addresses.

        Raises:
            NotFound: there is none, or the person does not belong to it.
        """
        with self._catalog.read() as transaction:
            row, role = organisations.find(transaction, user_id, handle)
            members = [
                Member(user.id, user.email, user.name, each.role, each.created_at)
                for user, each in organisations.members_of(transaction, row.id)
            ]
        return Belonging(row.id, handle, row.name, role, len(members), row.created_at), members

    def invite(
        self, user_id: str, handle: str, role: str = "member", days: int = INVITATION_DAYS
    ) -> tuple[str, Invitation]:
        """Return the secret of a link by which one person joins, shown this once, and its row. Owners alone invite.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: there is no such role, or it would last too long.
        """
        _expect_role(role)
        if not 1 <= days <= MOST_INVITATION_DAYS:
            raise InvalidInput(
                _(
                    "An invitation lasts 1 to %(most)s days, not %(days)s.",
                    most=MOST_INVITATION_DAYS,
                    days=days,
                )
            )
        secret = secrets.token_urlsafe(32)
        with self._catalog.write() as transaction:
            organisation = _owned(transaction, user_id, handle)
            invitation = Invitation(
                organisation_id=organisation.id,
                secret_hash=digest(secret),
                role=role,
                expires_at=now() + timedelta(days=days),
            )
            organisations.add_invitation(transaction, invitation)
            audit.record(transaction, user_id, "organisation.invite", f"@{handle}", role=role, days=days)
        return secret, invitation

    def invitations(self, user_id: str, handle: str) -> list[Invitation]:
        """List the invitations that nobody has used yet, the newest first; for owners. Raises as `invite`."""
        with self._catalog.read() as transaction:
            organisation = _owned(transaction, user_id, handle, held=False)
            return organisations.list_invitations(transaction, organisation.id)

    def withdraw_invitation(self, user_id: str, handle: str, invitation_id: str) -> None:
        """Let an invitation be good no longer. Raises as `invite`; NotFound where there is none."""
        with self._catalog.write() as transaction:
            organisation = _owned(transaction, user_id, handle)
            if not organisations.remove_invitation(transaction, organisation.id, invitation_id):
                raise NotFound(_("No open invitation %(value)s.", value=invitation_id))
            audit.record(transaction, user_id, "organisation.withdraw", f"@{handle}", id=invitation_id)

    def invitation(self, secret: str) -> tuple[User, str]:
        """Return the organisation that an invitation leads to, and the role it gives; it stays as good as it was.

        Raises:
            NotFound: it was used, taken back, is too old, or never was one.
        """
        with self._catalog.read() as transaction:
            row = organisations.invitation_by(transaction, digest(secret))
        if row is None:
            raise NotFound(_NO_INVITATION)
        return row[1], row[0].role

    def accept_invitation(self, user_id: str, secret: str) -> str:
        """Use an invitation up: the person belongs to the organisation, whose handle is returned.

        Who belongs to it already leaves the invitation for another.

        Raises:
            NotFound: it was used, taken back, is too old, or never was one.
            InvalidInput: the person belongs to the organisation already.
        """
        self.invitation(secret)  # a guess takes no turn at writing
        with self._catalog.write() as transaction:
            row = organisations.invitation_by(transaction, digest(secret))
            if row is None:
                raise NotFound(_NO_INVITATION)
            invitation, organisation = row
            if organisations.membership_of(transaction, organisation.id, user_id) is not None:
                raise InvalidInput(
                    _(
                        "You belong to @%(handle)s already. Leave the link to another.",
                        handle=organisation.handle,
                    )
                )
            if not organisations.remove_invitation(transaction, organisation.id, invitation.id):
                raise NotFound(_NO_INVITATION)
            organisations.join(transaction, organisation.id, user_id, invitation.role)
            audit.record(
                transaction, user_id, "organisation.join", f"@{organisation.handle}", role=invitation.role
            )
            return organisation.handle or ""

    def set_member_role(self, user_id: str, handle: str, member_id: str, role: str) -> None:
        """Change the role of a member. Owners alone do; the last of them stays one.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: there is no such role.
            LastOwner: nobody would own it.
        """
        _expect_role(role)
        with self._catalog.write() as transaction:
            organisation = _owned(transaction, user_id, handle)
            person, before = organisations.member(transaction, organisation.id, member_id)
            if role != "owner":
                organisations.expect_another_owner(transaction, organisation, member_id)
            subject, was = person.email, before.role
            organisations.set_role(transaction, organisation.id, member_id, role)
            audit.record(
                transaction,
                user_id,
                "organisation.role",
                subject,
                organisation=f"@{handle}",
                before=was,
                role=role,
            )

    def remove_member(self, user_id: str, handle: str, member_id: str) -> None:
        """Let a person belong to an organisation no longer: its owners any, everyone themselves.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            LastOwner: nobody would own it.
        """
        with self._catalog.write() as transaction:
            organisation, role = organisations.find(transaction, user_id, handle, held=True)
            if member_id != user_id and role != "owner":
                raise _not_owned(handle)
            person, _rest = organisations.member(transaction, organisation.id, member_id)
            organisations.expect_another_owner(transaction, organisation, member_id)
            organisations.end_membership(transaction, organisation.id, member_id)
            action = "organisation.leave" if member_id == user_id else "organisation.remove"
            audit.record(transaction, user_id, action, person.email, organisation=f"@{handle}")

    def hand_over(self, user_id: str, handle: str, member_id: str) -> None:
        """Make another member an owner, and this one a member.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: the other is the person.
        """
        with self._catalog.write() as transaction:
            organisation = _owned(transaction, user_id, handle)
            if member_id == user_id:
                raise InvalidInput(_("You own it already. Name the member who is to own it."))
            person, _rest = organisations.member(transaction, organisation.id, member_id)
            organisations.set_role(transaction, organisation.id, member_id, "owner")
            organisations.set_role(transaction, organisation.id, user_id, "member")
            audit.record(
                transaction, user_id, "organisation.hand_over", person.email, organisation=f"@{handle}"
            )

    def end_organisation(self, user_id: str, handle: str) -> None:
        """Remove an organisation, with what is shared with it.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: something is the organisation's own.
        """
        with self._catalog.write() as transaction:
            organisation = _owned(transaction, user_id, handle)
            if owned := users.count_owned(transaction, organisation.id):
                raise InvalidInput(
                    _(
                        "@%(handle)s has %(values)s. Remove these first.",
                        handle=handle,
                        values=", ".join(
                            f"{kind.replace('_', ' ')}: {number}" for kind, number in owned.items()
                        ),
                    )
                )
            organisations.remove(transaction, organisation.id)
            audit.record(transaction, user_id, "organisation.end", f"@{handle}", id=organisation.id)


def _owned(transaction: Transaction, user_id: str, handle: str, *, held: bool = True) -> User:
    """Return an organisation that a person owns; until the transaction ends no one else changes who belongs to it."""
    organisation, role = organisations.find(transaction, user_id, handle, held=held)
    if role != "owner":
        raise _not_owned(handle)
    return organisation


def _not_owned(handle: str) -> Forbidden:
    return Forbidden(_("Only owners of @%(handle)s may do this. Ask one of them.", handle=handle))


def _expect_role(role: str) -> None:
    if role not in ROLES:
        raise InvalidInput(_("%(value)s is no role. Use owner, member or viewer.", value=repr(role)))
