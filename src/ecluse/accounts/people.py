"""Make, list, change, disable and remove accounts."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from ecluse.accounts.access import AccountCatalog, digest, end_everything, locked_user, remove_rows
from ecluse.accounts.sessions import MAX_EMAIL
from ecluse.accounts.sign_ups import Invited, expect_address, find_invited, use_up
from ecluse.catalog import Transaction, attempts, audit, identities, organisations, users
from ecluse.catalog.tables import AuditEntry, User, now
from ecluse.errors import Forbidden, InvalidCredentials, InvalidInput
from ecluse.hashing import hash_password
from ecluse.passwords import checked_password
from ecluse.sentences import _

FIRST_SECRET_LIFETIME: Final = timedelta(hours=24)
_CLOSED: Final = _("Accounts are made by an administrator here. Ask one of yours.")
_BY_INVITATION: Final = _(
    "Accounts are made by invitation here. Ask an administrator, or an owner of an organisation, for a link."
)
#: Letters, digits and few signs, and a host: nothing that a program for mail shows as the link of another site.
_EMAIL = re.compile(r"[\w.!$&'*+=~-]+@[\w-]+(?:\.[\w-]+)*")


#: Who may make an account by the page: anyone; anyone once there is a first; whoever has an invitation, once there is a
#: first; the first alone; nobody. Where "guarded", "invited" and "first" stand, the first account takes a secret of the
#: terminal, see `Accounts.first_secret`.
Admission = Literal["open", "guarded", "invited", "first", "closed"]


@dataclass(frozen=True)
class _NewAccount:
    """An account to make, and who makes it: a user by id, its owner, or (None) a terminal."""

    email: str
    name: str
    password_hash: str | None
    admin: bool = False
    by: str | None = None
    by_itself: bool = False


class People(AccountCatalog):
    """The accounts, and who administers."""

    def sign_up(
        self,
        email: str,
        password: str,
        name: str = "",
        *,
        admission: Admission = "open",
        secret: str = "",
        invitation: str = "",
        client: str | None = None,
    ) -> User:
        """Make an account; the first one administers, and takes the `secret` of a terminal where it is guarded.

        `invitation`: the secret of one, which is used up. `client`: the address that asks; None at the terminal.

        Raises:
            InvalidInput: the address is none, or the password is too short or one that guessers try.
            EmailTaken: the address has an account.
            Forbidden: accounts are not made so.
            InvalidCredentials: the first account needs a secret, and this is none.
            LinkOver: the invitation was used, taken back, is too old, or never was one.
            TooManyAttempts: too many accounts are asked for from there, or passwords hashed at once.
        """
        with self._catalog.read() as transaction:  # hashing costs more than this
            _expect_admitted(transaction, admission, secret, invitation)
            invited = find_invited(transaction, invitation) if invitation else Invited()
        address = checked_email(email)
        expect_address(invited, address)
        checked_password(password, address)
        with self._counted(attempts.of_sign_up(client)):
            password_hash = hash_password(password)
        new = _NewAccount(address, name, password_hash, by_itself=True)
        return self._add(new, admission=admission, secret=secret, invitation=invitation)

    def add(
        self,
        email: str,
        name: str = "",
        *,
        admin: bool = False,
        password: str | None = None,
        by: str | None = None,
    ) -> User:
        """Make an account; without a password its owner signs in by link and sets one.

        `by`: who makes it, None at a terminal.

        Raises:
            InvalidInput: the address is none, or the password is too short or one that guessers try.
            EmailTaken: the address has an account.
        """
        address = checked_email(email)
        password_hash = None if password is None else hash_password(checked_password(password, address))
        return self._add(_NewAccount(address, name, password_hash, admin, by))

    def first_secret(self) -> str | None:
        """Return a secret with which the first account may be made within 24 hours; None once there is an account.

        Every process that asks gets one of its own. All of them are worth nothing once one was used.
        """
        secret = secrets.token_urlsafe(16)
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            if users.count_users(transaction):
                return None
            users.add_first_secret(transaction, digest(secret), now() + FIRST_SECRET_LIFETIME)
        return secret

    def admits(self, admission: Admission) -> Literal["anyone", "secret", "invited"] | None:
        """Return who may make an account on the page now: anyone, who has the first secret or an invitation, or (None)
        nobody.
        """
        if admission in ("open", "closed"):
            return "anyone" if admission == "open" else None
        if not self.has_any():
            return "secret"
        if admission == "invited":
            return "invited"
        return "anyone" if admission == "guarded" else None

    def expect_admission(self, admission: Admission, *, is_invited: bool = False) -> None:
        """Raise Forbidden where the sign-up page is closed, or open to invited people alone."""
        admitted = self.admits(admission)
        if admitted is None:
            raise Forbidden(_CLOSED)
        if admitted == "invited" and not is_invited:
            raise Forbidden(_BY_INVITATION)

    def log(
        self, email: str | None = None, *, everything: bool = False, search: str = "", limit: int = 100
    ) -> list[tuple[AuditEntry, str | None]]:
        """List who entered or tried to, and what was changed about accounts, the newest first; of one account or all.

        With `everything` whatever else was written down, too.

        Raises:
            NotFound: no account has this address.
        """
        user = None if email is None else self.by_email(email)
        with self._catalog.read() as transaction:
            actions = () if everything else audit.OF_ACCOUNTS
            return audit.entries(transaction, user=user, actions=actions, search=search, limit=limit)

    def has_any(self) -> bool:
        """Return whether there is an account."""
        with self._catalog.read() as transaction:
            return users.count_users(transaction) > 0

    def everyone(self, search: str = "", *, limit: int | None = None, offset: int = 0) -> list[User]:
        """List accounts, the oldest first; `search`: what an address or a name holds, whatever the case."""
        with self._catalog.read() as transaction:
            return users.list_users(transaction, search, limit=limit, offset=offset)

    def set_password(self, email: str, password: str, by: str | None = None) -> User:
        """Set the password of an account from the terminal; its sessions, links and tokens end.

        `by`: who does it, None at a terminal.

        Raises:
            NotFound: no account has this address.
            InvalidInput: the password is too short, or one that guessers try.
        """
        user = self.by_email(email)
        password_hash = hash_password(checked_password(password, user.email))
        with self._catalog.write() as transaction:
            users.set_password_hash(transaction, user.id, password_hash)
            audit.record(transaction, by, "user.set_password", user.email)
            end_everything(transaction, user.id)
        return user

    def set_role(self, email: str, role: Literal["admin", "member"], by: str | None = None) -> User:
        """Let an account administer, or no longer. Its tokens do from then on what that role may.

        A role that changes is people's from then on: what groups gave before, they do not take away.

        Raises:
            NotFound: no account has this address.
            LastAdministrator: without it none would administer.
        """
        with self._catalog.write() as transaction:
            user = locked_user(transaction, email)
            if role != "admin":
                users.expect_another_administrator(transaction, user)
            if user.role != role:
                audit.record(transaction, by, "user.role", user.email, before=user.role, role=role)
                identities.keep_role(transaction, user.id)
            users.set_role(transaction, user, role)
        return self.by_email(email)

    def disable(self, email: str, by: str | None = None) -> User:
        """Let nobody sign in to an account; its sessions, links and tokens end at once. What it owns stays.

        Raises:
            NotFound: no account has this address.
            LastAdministrator: without it none would administer.
        """
        return self._set_disabled(email, by, disabled=True)

    def close(self, email: str, by: str | None = None) -> User:
        """Disable an account that is to be removed: of owners who are closed at once one stays for each organisation.

        Raises:
            NotFound: no account has this address.
            LastAdministrator: without it none would administer.
            LastOwner: without it nobody would own an organisation.
        """
        with self._catalog.write() as transaction:
            close_account(transaction, email, by)
        return self.by_email(email)

    def enable(self, email: str, by: str | None = None) -> User:
        """Let the owner of a disabled account sign in again, with the same password.

        Raises:
            NotFound: no account has this address.
        """
        return self._set_disabled(email, by, disabled=False)

    def _set_disabled(self, email: str, by: str | None, *, disabled: bool) -> User:
        with self._catalog.write() as transaction:
            user = locked_user(transaction, email)
            if disabled:
                _disable(transaction, user, by)
            elif user.disabled_at is not None:
                users.set_disabled(transaction, user, None)
                audit.record(transaction, by, "user.enable", user.email)
        return self.by_email(email)

    def remove(self, email: str, by: str | None = None) -> None:
        """Remove an account, and every row that is its owner's. What its rows point at has to be gone before.

        Raises:
            NotFound: no account has this address.
            LastAdministrator: without it none would administer.
            LastOwner: without it nobody would own an organisation.
            NotAllRemoved: a table has still a row of it; then all rows stay.
        """
        with self._catalog.write() as transaction:
            user = locked_user(transaction, email)
            users.expect_another_administrator(transaction, user)
            organisations.expect_last_owner_of_none(transaction, user, held=True)
            audit.record(transaction, by, "user.remove", user.email, id=user.id)
            remove_rows(transaction, user)

    def _add(
        self, new: _NewAccount, *, admission: Admission = "open", secret: str = "", invitation: str = ""
    ) -> User:
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            _expect_admitted(transaction, admission, secret, invitation)
            invited = find_invited(transaction, invitation, held=True) if invitation else Invited()
            expect_address(invited, new.email)
            first = users.count_users(transaction) == 0
            users.remove_first_secrets(transaction)
            user = users.add_user(
                transaction,
                email=new.email,
                name=new.name.strip()[:200],
                password_hash=new.password_hash,
                role="admin" if first or new.admin else "member",
            )
            by = user.id if new.by_itself else new.by
            audit.record(transaction, by, "user.add", new.email, role=user.role)
            use_up(transaction, invited, user)
            if new.by_itself and not first and not invitation:
                self._give_first_plan(transaction, user)
        return user


def close_account(transaction: Transaction, email: str, by: str | None) -> User:
    """Disable an account that is to be removed, in the transaction that looks whether it may be. Raises as `close`."""
    user = users.held_user(transaction, locked_user(transaction, email).id)
    organisations.expect_last_owner_of_none(transaction, user, held=True)
    _disable(transaction, user, by)
    return user


def _disable(transaction: Transaction, user: User, by: str | None) -> None:
    users.expect_another_administrator(transaction, user)
    if user.disabled_at is None:
        users.set_disabled(transaction, user, now())
        audit.record(transaction, by, "user.disable", user.email)
    end_everything(transaction, user.id)


def checked_email(email: str) -> str:
    """Return the address in the form it is kept: trimmed, lower case."""
    address = email.strip().lower()
    if len(address) > MAX_EMAIL or not _EMAIL.fullmatch(address) or not address.isprintable():
        raise InvalidInput(
            _("%(email)s is not an e-mail address such as name@example.org.", email=repr(email))
        )
    return address


def _expect_admitted(
    transaction: Transaction, admission: Admission, secret: str, invitation: str = ""
) -> None:
    """Make sure that an account may be made so now.

    Raises:
        Forbidden: accounts are not made so.
        InvalidCredentials: it would be the first, which needs a secret, and this is none.
    """
    if admission == "open":
        return
    is_first = users.count_users(transaction) == 0
    if admission == "closed" or (admission == "first" and not is_first):
        raise Forbidden(_CLOSED)
    if admission == "invited" and not is_first and not invitation:
        raise Forbidden(_BY_INVITATION)
    if is_first and not users.has_first_secret(transaction, digest(secret.strip())):
        raise InvalidCredentials(
            _(
                "The first account administers, and needs the secret that the terminal printed when "
                "this Écluse started. Start it again for another, or make the account there: ecluse "
                "users add EMAIL --role administrator"
            )
        )
