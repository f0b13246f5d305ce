"""Invite people to make an account, and make what an invitation allows.

An invitation to an organisation is one to make an account, too: its owner answers for whoever comes, as an
administrator does for the others.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ecluse.accounts.access import AccountCatalog, digest
from ecluse.accounts.organisations import INVITATION_DAYS, NO_INVITATION, expect_days
from ecluse.catalog import Transaction, audit, letters, organisations, sign_ups, users
from ecluse.catalog.tables import Invitation, SignUpInvitation, User, now
from ecluse.errors import Forbidden, InvalidInput, LinkOver, NotFound
from ecluse.sentences import _

#: The settings with which an invitation opens the page for making accounts.
INVITING: Final = ("open", "invitation")


@dataclass(frozen=True)
class Invited:
    """What an invitation allows: an account with the address `email`, or (None) any; and belonging to `organisation`
    in a `role`, where it is one of an organisation.
    """

    email: str | None = None
    organisation: User | None = None
    role: str = ""
    to_account: SignUpInvitation | None = None
    to_organisation: Invitation | None = None


@dataclass(frozen=True)
class OpenInvitation:
    """An invitation to make an account that nobody has used yet, and the address of who made it."""

    id: str
    email: str | None
    by: str
    created_at: datetime
    expires_at: datetime


class SignUps(AccountCatalog):
    """Who is invited to make an account."""

    @property
    def takes_invitations(self) -> bool:
        """Return whether the settings let people make an account by an invitation."""
        return self._settings.sign_up in INVITING

    def expect_invites_people(self, days: int) -> None:
        """Make sure that people may be invited to make an account, for so long.

        Raises:
            Forbidden: the settings do not let them.
            InvalidInput: it would last too long.
        """
        if not self.takes_invitations:
            raise Forbidden(
                _(
                    "Nobody makes an account by an invitation here. Whoever runs this Écluse sets "
                    "ECLUSE_SIGN_UP=invitation; or make the account: ecluse users add EMAIL"
                )
            )
        expect_days(days)

    def invite_person(
        self, by: str | None = None, days: int = INVITATION_DAYS
    ) -> tuple[str, SignUpInvitation]:
        """Return the secret of a link by which one person makes an account, shown this once, and its row.

        `by`: the administrator who makes it, None at a terminal: then it is made in the name of the first one.

        Raises:
            Forbidden: the settings do not let people be invited, or who asks does not administer.
            InvalidInput: it would last too long.
        """
        self.expect_invites_people(days)
        secret = secrets.token_urlsafe(32)
        with self._catalog.write() as transaction:
            row = add_invitation(transaction, _maker(transaction, by), secret, days)
            audit.record(transaction, by, "user.invite", row.id, days=days)
        return secret, row

    def people_invited(self) -> list[OpenInvitation]:
        """List the invitations to make an account that nobody has used yet, the newest first."""
        with self._catalog.read() as transaction:
            return [
                OpenInvitation(row.id, row.email, email, row.created_at, row.expires_at)
                for row, email in sign_ups.list_open(transaction)
            ]

    def withdraw_person(self, invitation_id: str, by: str | None = None) -> None:
        """Let an invitation to make an account be good no longer. Raises NotFound where there is none."""
        with self._catalog.write() as transaction:
            if not sign_ups.remove(transaction, invitation_id):
                raise NotFound(_("No open invitation %(value)s.", value=invitation_id))
            audit.record(transaction, by, "user.withdraw_invitation", invitation_id)

    def invited(self, secret: str) -> Invited:
        """Return what an invitation allows; it stays as good as it was.

        Raises:
            LinkOver: it was used, taken back, is too old, or never was one.
        """
        with self._catalog.read() as transaction:
            return find_invited(transaction, secret)


def add_invitation(
    transaction: Transaction, by: str, secret: str, days: int, email: str | None = None
) -> SignUpInvitation:
    """Keep an invitation to make an account, of whoever has the secret; of one address where it is sent there alone."""
    row = SignUpInvitation(
        secret_hash=digest(secret), email=email, created_by=by, expires_at=now() + timedelta(days=days)
    )
    return sign_ups.add(transaction, row)


def find_invited(transaction: Transaction, secret: str, *, held: bool = False) -> Invited:
    """Return what an invitation allows. Raises as `SignUps.invited`.

    `held`: who belongs to its organisation stays until the transaction ends. The accounts have to be held then.
    """
    row = sign_ups.by_secret(transaction, digest(secret))
    if row is not None:
        return Invited(row.email, to_account=row)
    leads = organisations.invitation_by(transaction, digest(secret))
    if leads is not None and held:
        organisations.held(transaction, leads[1].handle or "")
        leads = organisations.invitation_by(transaction, digest(secret))  # its maker owns it still
    if leads is None:
        raise LinkOver(NO_INVITATION)
    invitation, organisation = leads
    return Invited(invitation.email, organisation, invitation.role, to_organisation=invitation)


def expect_address(invited: Invited, email: str) -> None:
    """Make sure that an account with this address may be made. Raises InvalidInput where it is for another."""
    if invited.email not in (None, email):
        raise InvalidInput(
            _("This invitation is for %(email)s. Make the account with that address.", email=invited.email)
        )


def use_up(transaction: Transaction, invited: Invited, user: User) -> None:
    """Use an invitation up for an account that was just made, which belongs to its organisation from then on.

    Raises:
        LinkOver: another was faster.
    """
    if invited.to_account is not None:
        if not sign_ups.remove(transaction, invited.to_account.id):
            raise LinkOver(NO_INVITATION)
        if invited.email is not None:
            letters.set_verified(transaction, user.id)
        audit.record(
            transaction, user.id, "user.invited", user.email,
            id=invited.to_account.id, by=invited.to_account.created_by,
        )  # fmt: skip
    if invited.to_organisation is not None:
        row = invited.to_organisation
        if not organisations.remove_invitation(transaction, row.organisation_id, row.id):
            raise LinkOver(NO_INVITATION)
        organisations.join(transaction, row.organisation_id, user.id, row.role)
        if row.email is not None:
            letters.set_verified(transaction, user.id)
        handle = invited.organisation.handle if invited.organisation else ""
        audit.record(transaction, user.id, "organisation.join", f"@{handle}", role=row.role)


def _maker(transaction: Transaction, by: str | None) -> str:
    """Return the id of the administrator who answers for an invitation. Raises Forbidden where nobody does."""
    if by is None:
        first = users.first_administrator(transaction)
        if first is None:
            raise Forbidden(_("No account administers. Make one: ecluse users add EMAIL --admin"))
        return first.id
    if not users.is_administrator(transaction, by):
        raise Forbidden(_("Only administrators can see this. Ask one of yours."))
    return by
