"""Make organisations, let people join by a link that works once, and say who may do what in them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ecluse.accounts.access import AccountCatalog, digest, remove_rows
from ecluse.catalog import Transaction, audit, organisations, plans, users
from ecluse.catalog.handles import checked_handle
from ecluse.catalog.tables import Invitation, User, now
from ecluse.errors import Forbidden, InvalidInput, LinkOver, NotFound
from ecluse.roles import ROLES
from ecluse.sentences import _

#: Days that an invitation may last, and does unless it is said otherwise.
MOST_INVITATION_DAYS: Final = 30
INVITATION_DAYS: Final = 7
NO_INVITATION: Final = _(
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
        """Make an organisation, whose owner is this person. It has the plan that the person has.

        Raises:
            InvalidInput: it cannot be a handle.
            HandleTaken: a person or an organisation has it.
            LimitReached: the person has a plan, and owns an organisation.
        """
        checked_handle(handle)
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            users.expect_person(transaction, user_id)
            row = organisations.add(transaction, handle, name.strip()[:200] or handle, user_id)
            plans.pass_on(transaction, user_id, row.id)
            audit.record(transaction, user_id, "organisation.add", f"@{handle}", id=row.id)
            return Belonging(row.id, handle, row.name, "owner", 1, row.created_at)

    def owner_called(self, address: str) -> User:
        """Return the person with an address, or the organisation with a handle, @acme; for administrators.

        Raises:
            NotFound: there is none.
        """
        with self._catalog.read() as transaction:
            row = (
                organisations.called(transaction, address[1:].strip())
                if address.startswith("@")
                else users.user_by_email(transaction, address.strip().lower())
            )
        if row is None:
            raise NotFound(_("No user %(value)s. See: ecluse users list", value=address))
        return row

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

        It is good while who made it is an owner and may sign in.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: there is no such role, or it would last too long.
        """
        _expect_invitation(role, days)
        secret = secrets.token_urlsafe(32)
        with self._catalog.write() as transaction:
            organisation = owned(transaction, user_id, handle)
            invitation = Invitation(
                organisation_id=organisation.id,
                secret_hash=digest(secret),
                role=role,
                expires_at=now() + timedelta(days=days),
                created_by=user_id,
            )
            organisations.add_invitation(transaction, invitation)
            audit.record(transaction, user_id, "organisation.invite", f"@{handle}", role=role, days=days)
        return secret, invitation

    def expect_invites(self, user_id: str, handle: str, role: str, days: int) -> str:
        """Make sure that a person may invite so; the id of the organisation. Raises as `invite`."""
        _expect_invitation(role, days)
        with self._catalog.read() as transaction:
            return owned(transaction, user_id, handle, held=False).id

    def invitations(self, user_id: str, handle: str) -> list[Invitation]:
        """List the invitations that nobody has used yet, the newest first; for owners. Raises as `invite`."""
        with self._catalog.read() as transaction:
            organisation = owned(transaction, user_id, handle, held=False)
            return organisations.list_invitations(transaction, organisation.id)

    def withdraw_invitation(self, user_id: str, handle: str, invitation_id: str) -> None:
        """Let an invitation be good no longer. Raises as `invite`; NotFound where there is none."""
        with self._catalog.write() as transaction:
            organisation = owned(transaction, user_id, handle)
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
            raise LinkOver(NO_INVITATION)
        return row[1], row[0].role

    def accept_invitation(self, user_id: str, secret: str) -> str:
        """Use an invitation up: the person belongs to the organisation, whose handle is returned.

        Who belongs to it already leaves the invitation for another.

        Raises:
            NotFound: it was used, taken back, is too old, or never was one.
            InvalidInput: the person belongs to the organisation already, or it was mailed to another address.
        """
        leads_to, _role = self.invitation(secret)  # a guess takes no turn at writing
        with self._catalog.write() as transaction:
            users.expect_person(transaction, user_id)
            person = users.user_by_id(transaction, user_id)
            organisations.held(transaction, leads_to.handle or "")  # its maker stays an owner until the end
            row = organisations.invitation_by(transaction, digest(secret))
            if row is None:
                raise LinkOver(NO_INVITATION)
            invitation, organisation = row
            if invitation.email not in (None, person.email):
                raise InvalidInput(
                    _(
                        "This invitation is for %(email)s. Sign in with that address, or ask for a link for yours.",
                        email=invitation.email,
                    )
                )
            if organisations.membership_of(transaction, organisation.id, user_id) is not None:
                raise InvalidInput(
                    _(
                        "You belong to @%(handle)s already. Leave the link to another.",
                        handle=organisation.handle,
                    )
                )
            if not organisations.remove_invitation(transaction, organisation.id, invitation.id):
                raise LinkOver(NO_INVITATION)
            organisations.join(transaction, organisation.id, user_id, invitation.role)
            audit.record(
                transaction, user_id, "organisation.join", f"@{organisation.handle}", role=invitation.role
            )
            return organisation.handle or ""

    def set_member_role(self, user_id: str, handle: str, member_id: str, role: str) -> None:
        """Change the role of a member. Owners alone do, and not their own; the last of them stays one.

        A member who has the role already keeps it as it was given: what groups gave, they still take away.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: there is no such role, or the member is who asks.
            LastOwner: nobody would own it.
        """
        _expect_role(role)
        with self._catalog.write() as transaction:
            organisation = owned(transaction, user_id, handle)
            person, before = organisations.member(transaction, organisation.id, member_id)
            if role == before.role:
                return
            if before.role == "owner":
                organisations.expect_another_owner(transaction, organisation, member_id)
            if member_id == user_id:
                raise InvalidInput(
                    _("Nobody changes their own role. Hand the organisation over, or ask another owner to.")
                )
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

        What the person shared of its things, with whomever or by a link, ends, as do their invitations.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            LastOwner: nobody would own it.
        """
        with self._catalog.write() as transaction:
            organisation, role = organisations.find(transaction, user_id, handle, held=True)
            if member_id != user_id and role != "owner":
                raise _not_owned(handle)
            person, belonging = organisations.member(transaction, organisation.id, member_id)
            if belonging.role == "owner":
                organisations.expect_another_owner(transaction, organisation, member_id)
            ended = organisations.end_membership(transaction, organisation.id, member_id)
            action = "organisation.leave" if member_id == user_id else "organisation.remove"
            audit.record(transaction, user_id, action, person.email, organisation=f"@{handle}", shares=ended)

    def hand_over(self, user_id: str, handle: str, member_id: str) -> None:
        """Make another member an owner, and this one a member.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: the other is the person, or may not sign in.
        """
        with self._catalog.write() as transaction:
            organisation = owned(transaction, user_id, handle)
            if member_id == user_id:
                raise InvalidInput(_("You own it already. Name the member who is to own it."))
            person, _rest = organisations.member(transaction, organisation.id, member_id)
            if person.disabled_at is not None:
                raise InvalidInput(
                    _(
                        "The account of %(email)s is disabled, and would own nothing. Name another member.",
                        email=person.email,
                    )
                )
            organisations.set_role(transaction, organisation.id, member_id, "owner")
            organisations.set_role(transaction, organisation.id, user_id, "member")
            audit.record(
                transaction, user_id, "organisation.hand_over", person.email, organisation=f"@{handle}"
            )

    def without_owner(self, email: str) -> list[str]:
        """List the handles of the organisations of a person that nobody owns who may sign in. Raises NotFound."""
        user = self.by_email(email)
        with self._catalog.read() as transaction:
            return organisations.without_owner(transaction, user.id)

    def owned_organisation(self, user_id: str, handle: str) -> User:
        """Return an organisation that a person owns. Raises NotFound and Forbidden where it is none of these."""
        with self._catalog.read() as transaction:
            return owned(transaction, user_id, handle, held=False)

    def close_organisation(self, user_id: str, handle: str) -> bool:
        """Let nothing of an organisation be changed any more, and nothing come to it; False where that was so already.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
        """
        return self._set_closed(user_id, handle, closed=True)

    def reopen_organisation(self, user_id: str, handle: str) -> bool:
        """Let things of an organisation be changed again; False where they may be. Raises as `close_organisation`."""
        return self._set_closed(user_id, handle, closed=False)

    def _set_closed(self, user_id: str, handle: str, *, closed: bool) -> bool:
        with self._catalog.write() as transaction:
            organisation = owned(transaction, user_id, handle)
            if (organisation.disabled_at is not None) is closed:
                return False
            users.set_disabled(transaction, organisation, now() if closed else None)
            audit.record(
                transaction, user_id, "organisation.close" if closed else "organisation.reopen", f"@{handle}"
            )
            return True

    def end_organisation(self, user_id: str, handle: str, *, everything: bool = False) -> None:
        """Remove an organisation, with what is shared with it; with `everything` the rows of what it has, too.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: something is the organisation's own.
            NotAllRemoved: a table has still a row of it; then all rows stay.
        """
        with self._catalog.write() as transaction:
            organisation = owned(transaction, user_id, handle)
            if not everything and (there := users.count_owned(transaction, organisation.id)):
                raise InvalidInput(
                    _(
                        "@%(handle)s has %(values)s. Remove these first.",
                        handle=handle,
                        values=", ".join(
                            f"{kind.replace('_', ' ')}: {number}" for kind, number in there.items()
                        ),
                    )
                )
            remove_rows(transaction, organisation)
            audit.record(transaction, user_id, "organisation.end", f"@{handle}", id=organisation.id)


def owned(transaction: Transaction, user_id: str, handle: str, *, held: bool = True) -> User:
    """Return an organisation that a person owns; until the transaction ends no one else changes who belongs to it."""
    organisation, role = organisations.find(transaction, user_id, handle, held=held)
    if role != "owner":
        raise _not_owned(handle)
    return organisation


def _not_owned(handle: str) -> Forbidden:
    return Forbidden(_("Only owners of @%(handle)s may do this. Ask one of them.", handle=handle))


def _expect_invitation(role: str, days: int) -> None:
    _expect_role(role)
    expect_days(days)


def expect_days(days: int) -> None:
    """Make sure that an invitation may last so long. Raises InvalidInput."""
    if not 1 <= days <= MOST_INVITATION_DAYS:
        raise InvalidInput(
            _("An invitation lasts 1 to %(most)s days, not %(days)s.", most=MOST_INVITATION_DAYS, days=days)
        )


def _expect_role(role: str) -> None:
    if role not in ROLES:
        raise InvalidInput(
            _("%(value)s is no role. Use one of %(names)s.", value=repr(role), names=", ".join(ROLES))
        )
