"""Make accounts, sign people and programs in and out, and say who a secret belongs to.

Secrets (session, token, sign-in link, first account) are random; the catalog keeps only their SHA-256, so a
copy of the database signs no one in. Passwords are hashed with Argon2id, a few at a time (`ecluse.hashing`), and who
guesses is held back (`ecluse.catalog.attempts`).

A session is a person, a token a program: what changes who may enter (address, password, tokens) is done in a session
alone, and by who proves to be the owner, see `Accounts.prove`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlsplit

from ecluse.catalog import Catalog, Transaction, attempts, audit, users
from ecluse.catalog.tables import ApiToken, AuditEntry, Session, User, now
from ecluse.errors import (
    CatalogDamaged,
    CatalogUnavailable,
    Forbidden,
    HomeClosed,
    InvalidCredentials,
    InvalidInput,
    NotFound,
    NotProven,
    PasswordsBusy,
)
from ecluse.hashing import hash_password, is_password
from ecluse.passwords import checked_password
from ecluse.sentences import _

#: The cookie with the secret of a session, and the one that marks a browser that has signed in before.
SESSION_COOKIE: Final = "ecluse_session"
BROWSER_COOKIE: Final = "ecluse_browser"
SESSION_LIFETIME: Final = timedelta(days=30)
LINK_LIFETIME: Final = timedelta(hours=24)
FIRST_SECRET_LIFETIME: Final = timedelta(hours=24)
#: How long after a sign-in link was used its session may set the account's first password.
LINK_PROVES: Final = timedelta(hours=1)
#: Days that a token for programs lasts, as the page offers them; None: until it is ended.
TOKEN_DAYS: Final[tuple[int | None, ...]] = (30, 90, 365, None)
MAX_EMAIL: Final = 320
LOCAL_EMAIL: Final = "admin@localhost"
#: The last use of a session or token is recorded at most this often, not with every request.
LAST_USE_EVERY: Final = timedelta(minutes=1)
logger = logging.getLogger(__name__)
_LINK_IS_USED: Final = _(
    "This sign-in link was used before or is too old. Sign in with your password, or make "
    "a new link: ecluse users link EMAIL"
)
_CLOSED: Final = _("Accounts are made by an administrator here. Ask one of yours.")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


#: Who may make an account by the page: anyone; anyone once there is a first; the first alone; nobody. Where "guarded"
#: and "first" stand, the first account takes a secret of the terminal, see `Accounts.first_secret`.
Admission = Literal["open", "guarded", "first", "closed"]


@dataclass(frozen=True)
class SignedIn:
    """Who is acting, and through which session or API token.

    `user.role` is what may be done: through a token that does not administer, that of a member.
    """

    user: User
    session: Session | None
    token: ApiToken | None = None


class Accounts:
    """The accounts in one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._last_uses = _LastUses(catalog)

    # People

    def sign_up(
        self,
        email: str,
        password: str,
        name: str = "",
        *,
        admission: Admission = "open",
        secret: str = "",
        client: str | None = None,
    ) -> User:
        """Make an account; the first one administers, and takes the `secret` of a terminal where it is guarded.

        `client`: the address that asks; None at the terminal.

        Raises:
            InvalidInput: the address is none, or the password is too short or one that guessers try.
            EmailTaken: the address has an account.
            Forbidden: accounts are not made so.
            InvalidCredentials: the first account needs a secret, and this is none.
            TooManyAttempts: too many accounts are asked for from there, or passwords hashed at once.
        """
        with self._catalog.read() as transaction:  # hashing costs more than this
            _expect_admitted(transaction, admission, secret)
        address = checked_email(email)
        checked_password(password, address)
        with self._counted(attempts.of_sign_up(client)):
            password_hash = hash_password(password)
        return self._add(
            address, name, password_hash, admin=False, admission=admission, secret=secret, itself=True
        )

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
        return self._add(address, name, password_hash, admin=admin, by=by)

    def first_secret(self) -> str | None:
        """Return a secret with which the first account may be made within 24 hours; None once there is an account.

        Every process that asks gets one of its own. All of them are worth nothing once one was used.
        """
        secret = secrets.token_urlsafe(16)
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            if users.count_users(transaction):
                return None
            users.add_first_secret(transaction, _digest(secret), now() + FIRST_SECRET_LIFETIME)
        return secret

    def admits(self, admission: Admission) -> Literal["anyone", "secret"] | None:
        """Return who may make an account on the page now: anyone, holders of the first secret, or (None) nobody."""
        if admission in ("open", "closed"):
            return "anyone" if admission == "open" else None
        if not self.has_any():
            return "secret"
        return "anyone" if admission == "guarded" else None

    def expect_admission(self, admission: Admission) -> None:
        """Raises:
        Forbidden: nobody may make an account by the page now.
        """
        if self.admits(admission) is None:
            raise Forbidden(_CLOSED)

    def log(
        self, email: str | None = None, *, everything: bool = False, limit: int = 100
    ) -> list[tuple[AuditEntry, str | None]]:
        """Who entered or tried to, and what was changed about accounts, the newest first; of one account, or of all.

        With `everything` whatever else was written down, too.

        Raises:
            NotFound: no account has this address.
        """
        user = None if email is None else self.by_email(email)
        with self._catalog.read() as transaction:
            actions = () if everything else audit.OF_ACCOUNTS
            return audit.entries(transaction, user=user, actions=actions, limit=limit)

    def has_any(self) -> bool:
        """Return whether there is an account."""
        with self._catalog.read() as transaction:
            return users.count_users(transaction) > 0

    def sign_in(
        self,
        email: str,
        password: str,
        user_agent: str = "",
        client: str | None = None,
        browser: str | None = None,
    ) -> tuple[User, str]:
        """Return the user and the secret of a new session.

        `client` is the address it comes from, None at the terminal; `browser` the secret of `BROWSER_COOKIE`.

        Raises:
            InvalidCredentials: no such account, or not its password; which of the two is not told.
            Forbidden: the account is disabled; who does not know the password is not told.
            TooManyAttempts: too many have failed of late, or too many are tried at once.
        """
        address = email.strip().lower()[:MAX_EMAIL]
        with self._catalog.read() as transaction:
            user = users.user_by_email(transaction, address)
            is_known_browser = (
                browser and user and users.knows_browser(transaction, user.id, _digest(browser))
            )
        subjects = attempts.of_sign_in(
            address, client, _digest(browser) if browser and is_known_browser else None
        )
        with self._counted(subjects):
            right = is_password(password, user.password_hash if user else None)
        if user is None or not right:
            self._note_failure(address, user, client or "")
            raise InvalidCredentials(
                _("No account has this address and password. Check both, or make an account.")
            )
        if user.disabled_at is not None:  # said to who knows the password alone
            self._note_failure(address, user, client or "", disabled=True)
            raise Forbidden(_("This account is disabled. Ask an administrator."))
        with self._catalog.write() as transaction:
            attempts.give_back(transaction, subjects)
            audit.record(transaction, user.id, "user.sign_in", user.email, client=client or "")
            return user, _add_session(transaction, user.id, user_agent)

    def remember_browser(self, user_id: str, browser: str | None) -> str:
        """Return the secret by which a browser is known that has signed in: that of its cookie, or a new one.

        It lets no one in. Guesses of strangers do not hold it back (`ecluse.catalog.attempts`).
        """
        if browser is not None:
            with self._catalog.read() as transaction:
                if users.knows_browser(transaction, user_id, _digest(browser)):
                    return browser
        secret = secrets.token_urlsafe(32)
        with self._catalog.write() as transaction:
            users.add_browser(
                transaction,
                user_id,
                _digest(secret),
                expires_at=now() + attempts.BROWSER_LIFETIME,
                most=attempts.MOST_BROWSERS,
            )
        return secret

    @contextlib.contextmanager
    def _counted(self, subjects: Sequence[attempts.Subject]) -> Iterator[None]:
        """Count an attempt while the block tries it; where it was not tried, it is given back.

        Raises:
            TooManyAttempts: one of the subjects has to wait.
        """
        if not subjects:
            yield
            return
        with self._catalog.read() as transaction:
            attempts.look(transaction, subjects)
        with self._catalog.write(closed=True) as transaction:
            attempts.begin(transaction, subjects)
        try:
            yield
        except PasswordsBusy:
            with self._catalog.write(closed=True) as transaction:
                attempts.give_back(transaction, subjects)
            raise

    def open_session(self, user_id: str, user_agent: str = "") -> str:
        """Start a session; its secret, for the cookie."""
        with self._catalog.write() as transaction:
            return _add_session(transaction, user_id, user_agent)

    def _note_failure(self, address: str, user: User | None, client: str, **detail: bool) -> None:
        """Write down that nobody was let in.

        Of an address without an account only a digest is kept: people type their password into the wrong field.
        """
        subject = user.email if user else f"unknown:{_digest(address)[:12]}"
        with self._catalog.write() as transaction:
            audit.record(
                transaction,
                user.id if user else None,
                "user.sign_in_failed",
                subject,
                client=client,
                **detail,
            )

    def who_has_session(self, secret: str) -> SignedIn | None:
        with self._catalog.read() as transaction:
            row = users.user_by_session(transaction, _digest(secret))
        if row is None:
            return None
        user, session = row
        self._last_uses.note(session.id, session.last_used_at, users.touch_session)
        return SignedIn(user, session)

    def sign_out(self, signed_in: SignedIn) -> None:
        if signed_in.session is not None:
            with self._catalog.write() as transaction:
                users.remove_session(transaction, signed_in.user.id, signed_in.session.id)
                audit.record(transaction, signed_in.user.id, "user.sign_out", signed_in.user.email)

    def end_session(self, user_id: str, session_id: str) -> None:
        with self._catalog.write() as transaction:
            if users.remove_session(transaction, user_id, session_id):
                audit.record(transaction, user_id, "session.end", session_id)

    def end_others(self, signed_in: SignedIn, *, tokens: bool) -> None:
        """End every session of the account but this one, every unused sign-in link and, with `tokens`, every token."""
        with self._catalog.write() as transaction:
            _end_others(transaction, signed_in, tokens=tokens)

    def sessions(self, user_id: str) -> list[Session]:
        with self._catalog.read() as transaction:
            return users.list_sessions(transaction, user_id)

    def prove(self, signed_in: SignedIn, password: str, *, here: bool = False) -> None:
        """Make sure that the owner of the account is asking, not who found a browser open or a token.

        That is by the password. Where none is set yet, by a session from the machine that the pages run on (`here`),
        or that a sign-in link began within the hour; of the administrator whom the first start made, by `here` alone.

        Raises:
            InvalidCredentials: it is not the password.
            NotProven: there is none, and nothing else proves it; or a token asks.
            TooManyAttempts: there were too many wrong ones of late.
        """
        user, session = signed_in.user, signed_in.session
        if session is None:
            raise NotProven(
                _("An API token does not do this. Sign in on the page and do it on your account page.")
            )
        if user.password_hash:
            subjects = attempts.of_confirmation(user.id)
            with self._counted(subjects):
                right = is_password(password, user.password_hash)
            with self._catalog.write() as transaction:
                if right:
                    attempts.give_back(transaction, subjects)
                    return
                audit.record(transaction, user.id, "user.proof_failed", user.email)
            raise InvalidCredentials(_("That is not your current password."))
        by_link = session.by_link and now() - session.created_at < LINK_PROVES
        if not here and (not by_link or user.email == LOCAL_EMAIL):
            raise NotProven(
                _(
                    "This account has no password yet. Set one in the terminal of this Écluse: ecluse "
                    "users password %(email)s",
                    email=user.email,
                )
            )

    def change_password(
        self, signed_in: SignedIn, current: str, new: str, *, here: bool = False, keep_tokens: bool = False
    ) -> None:
        """Set a new password; every other session and unused sign-in link ends and, unless they are kept, every token.

        Raises:
            InvalidCredentials: `current` is not the password.
            NotProven: there is none, see `prove`.
            InvalidInput: the new one is too short, or one that guessers try.
        """
        user = signed_in.user
        self.prove(signed_in, current, here=here)
        password_hash = hash_password(checked_password(new, user.email))
        with self._catalog.write() as transaction:
            users.set_password_hash(transaction, user.id, password_hash)
            audit.record(transaction, user.id, "user.change_password", user.email)
            _end_others(transaction, signed_in, tokens=not keep_tokens)

    def change_identity(
        self,
        signed_in: SignedIn,
        email: str,
        name: str,
        current: str = "",
        *,
        here: bool = False,
        end_others: bool = False,
    ) -> None:
        """Set the name to be called by, and the address to sign in with, which takes the password.

        Raises:
            InvalidInput: the address is none.
            EmailTaken: it has another account.
            InvalidCredentials: `current` is not the password.
            NotProven: there is none, see `prove`.
        """
        user, address = signed_in.user, checked_email(email)
        if address != user.email:
            self.prove(signed_in, current, here=here)
        with self._catalog.write() as transaction:
            users.set_email(transaction, user.id, address, name.strip()[:200])
            if address != user.email:
                audit.record(transaction, user.id, "user.change_email", address, before=user.email)
                users.remove_links(transaction, user.id)
            if end_others:
                _end_others(transaction, signed_in, tokens=True)

    def everyone(self) -> list[User]:
        with self._catalog.read() as transaction:
            return users.list_users(transaction)

    # What administrators do with accounts

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
            _end_everything(transaction, user.id)
        return user

    def set_role(self, email: str, role: Literal["admin", "member"], by: str | None = None) -> User:
        """Let an account administer, or no longer. Its tokens do from then on what that role may.

        Raises:
            NotFound: no account has this address.
            LastAdministrator: without it none would administer.
        """
        with self._catalog.write() as transaction:
            user = _locked_user(transaction, email)
            if role != "admin":
                users.expect_another_administrator(transaction, user)
            if user.role != role:
                audit.record(transaction, by, "user.role", user.email, before=user.role, role=role)
            users.set_role(transaction, user, role)
        return self.by_email(email)

    def disable(self, email: str, by: str | None = None) -> User:
        """Let nobody sign in to an account; its sessions, links and tokens end at once. What it owns stays.

        Raises:
            NotFound: no account has this address.
            LastAdministrator: without it none would administer.
        """
        with self._catalog.write() as transaction:
            user = _locked_user(transaction, email)
            users.expect_another_administrator(transaction, user)
            if user.disabled_at is None:
                users.set_disabled(transaction, user, now())
                audit.record(transaction, by, "user.disable", user.email)
            _end_everything(transaction, user.id)
        return self.by_email(email)

    def enable(self, email: str, by: str | None = None) -> User:
        """Let the owner of a disabled account sign in again, with the same password.

        Raises:
            NotFound: no account has this address.
        """
        with self._catalog.write() as transaction:
            user = _locked_user(transaction, email)
            if user.disabled_at is not None:
                users.set_disabled(transaction, user, None)
                audit.record(transaction, by, "user.enable", user.email)
        return self.by_email(email)

    def remove(self, email: str, by: str | None = None) -> None:
        """Remove an account, and every row that is its owner's. What its rows point at has to be gone before.

        Raises:
            NotFound: no account has this address.
            LastAdministrator: without it none would administer.
        """
        with self._catalog.write() as transaction:
            user = _locked_user(transaction, email)
            users.expect_another_administrator(transaction, user)
            audit.record(transaction, by, "user.remove", user.email, id=user.id)
            users.remove_user(transaction, user.id)

    def _add(
        self,
        address: str,
        name: str,
        password_hash: str | None,
        *,
        admin: bool,
        admission: Admission = "open",
        secret: str = "",
        by: str | None = None,
        itself: bool = False,
    ) -> User:
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            _expect_admitted(transaction, admission, secret)
            first = users.count_users(transaction) == 0
            users.remove_first_secrets(transaction)
            user = users.add_user(
                transaction,
                email=address,
                name=name.strip()[:200],
                password_hash=password_hash,
                role="admin" if first or admin else "member",
            )
            audit.record(transaction, user.id if itself else by, "user.add", address, role=user.role)
        return user

    def by_email(self, email: str) -> User:
        """Return the user with this address; `NotFound` otherwise."""
        with self._catalog.read() as transaction:
            user = users.user_by_email(transaction, email.strip().lower())
        if user is None:
            raise NotFound(_("No user %(value)s. See: ecluse users list", value=email))
        return user

    # Programs

    def create_token(
        self, user_id: str, name: str, *, days: int | None = None, administers: bool = False
    ) -> tuple[str, ApiToken]:
        """Return an API token: its secret, shown this once, and its row.

        It ends after `days`; with `administers` it may do what its owner may as an administrator.

        Raises:
            InvalidInput: it has no name, or the days are none that are offered.
        """
        if not name.strip():
            raise InvalidInput(_("A token needs a name, such as the program that will use it."))
        if days not in TOKEN_DAYS:
            raise InvalidInput(
                _("A token lasts 30, 90 or 365 days, or until it is ended; not %(days)s days.", days=days)
            )
        secret = f"ecluse_{secrets.token_urlsafe(32)}"
        with self._catalog.write() as transaction:
            token = users.add_token(
                transaction,
                secret_hash=_digest(secret),
                user_id=user_id,
                name=name.strip(),
                prefix=secret[:12],
                expires_at=None if days is None else now() + timedelta(days=days),
                administers=administers,
            )
            audit.record(
                transaction,
                user_id,
                "token.create",
                token.name,
                id=token.id,
                days=days,
                administers=administers,
            )
        return secret, token

    def who_has_token(self, secret: str) -> SignedIn | None:
        """Return the owner of a token, in the role in which the token acts."""
        with self._catalog.read() as transaction:
            row = users.user_by_token(transaction, _digest(secret))
        if row is None:
            return None
        user, token = row
        self._last_uses.note(token.id, token.last_used_at, _note_use)
        if not token.administers:
            user.role = "member"  # of this copy alone: rows are detached once they were read
        return SignedIn(user, None, token)

    def tokens(self, user_id: str) -> list[ApiToken]:
        with self._catalog.read() as transaction:
            return users.list_tokens(transaction, user_id)

    def revoke_token(self, user_id: str, token_id: str) -> None:
        with self._catalog.write() as transaction:
            if not users.remove_token(transaction, user_id, token_id):
                raise NotFound(_("No token %(value)s.", value=token_id))
            audit.record(transaction, user_id, "token.revoke", token_id)

    def revoke_tokens(self, user_id: str) -> int:
        """End every token of the user; how many those were."""
        with self._catalog.write() as transaction:
            ended = users.remove_tokens(transaction, user_id)
            if ended:
                audit.record(transaction, user_id, "token.revoke_all", str(ended))
        return ended

    # The first start, and lost passwords

    def local_administrator(self) -> User:
        """Return the administrator of an empty catalog, made without a password, or the one that is there.

        Raises:
            Forbidden: there are accounts, but none administers.
        """
        with self._catalog.read() as transaction:
            administrator = users.first_administrator(transaction)
        if administrator is not None:
            return administrator
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            administrator = users.first_administrator(transaction)
            if administrator is not None:
                return administrator
            if users.count_users(transaction):
                raise Forbidden(_("No account administers. Make one: ecluse users add EMAIL --admin"))
            users.remove_first_secrets(transaction)
            user = users.add_user(transaction, email=LOCAL_EMAIL, name="", password_hash=None, role="admin")
            audit.record(transaction, None, "user.add", user.email, role=user.role)
        return user

    def sign_in_link(self, user_id: str, by: str | None = None) -> str:
        """Return the secret of a link that signs this user in once, within 24 hours.

        `by`: who makes it, None at a terminal.
        """
        secret = secrets.token_urlsafe(32)
        with self._catalog.write() as transaction:
            users.add_token(
                transaction,
                secret_hash=_digest(secret),
                user_id=user_id,
                name="sign-in link",
                prefix="",
                purpose="sign_in_link",
                expires_at=now() + LINK_LIFETIME,
            )
            audit.record(transaction, by, "link.create", users.user_by_id(transaction, user_id).email)
        return secret

    def redeem_link(self, secret: str, user_agent: str = "", client: str = "") -> tuple[User, str]:
        """Use a sign-in link up: the user and the secret of a new session.

        Raises:
            InvalidCredentials: it was used before, is too old, or never was one.
        """
        with self._catalog.read() as transaction:  # a guess takes no turn at writing
            row = users.user_by_token(transaction, _digest(secret), purpose="sign_in_link")
        if row is None:
            raise InvalidCredentials(_LINK_IS_USED)
        with self._catalog.write() as transaction:
            if not users.remove_token(transaction, row[0].id, row[1].id):
                raise InvalidCredentials(_LINK_IS_USED)
            audit.record(transaction, row[0].id, "user.sign_in_by_link", row[0].email, client=client)
            return row[0], _add_session(transaction, row[0].id, user_agent, by_link=True)


def checked_email(email: str) -> str:
    """Return the address in the form it is kept: trimmed, lower case."""
    address = email.strip().lower()
    if len(address) > MAX_EMAIL or not _EMAIL.fullmatch(address) or not address.isprintable():
        raise InvalidInput(
            _("%(email)s is not an e-mail address such as name@example.org.", email=repr(email))
        )
    return address


def _expect_admitted(transaction: Transaction, admission: Admission, secret: str) -> None:
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
    if is_first and not users.has_first_secret(transaction, _digest(secret.strip())):
        raise InvalidCredentials(
            _(
                "The first account administers, and needs the secret that the terminal printed when "
                "this Écluse started. Start it again for another, or make the account there: ecluse "
                "users add EMAIL --role administrator"
            )
        )


def _locked_user(transaction: Transaction, email: str) -> User:
    """Return the user with this address; until the transaction ends no other changes accounts."""
    users.hold_accounts(transaction)
    user = users.user_by_email(transaction, email.strip().lower())
    if user is None:
        raise NotFound(_("No user %(value)s. See: ecluse users list", value=email))
    return user


def _end_others(transaction: Transaction, signed_in: SignedIn, *, tokens: bool) -> None:
    user_id = signed_in.user.id
    users.remove_links(transaction, user_id)
    sessions = users.remove_other_sessions(
        transaction, user_id, signed_in.session.id if signed_in.session else None
    )
    ended = users.remove_tokens(transaction, user_id) if tokens else 0
    if sessions or ended:
        audit.record(
            transaction, user_id, "session.end_others", signed_in.user.email, sessions=sessions, tokens=ended
        )


def _end_everything(transaction: Transaction, user_id: str) -> None:
    users.remove_links(transaction, user_id)
    users.remove_other_sessions(transaction, user_id, None)
    users.remove_tokens(transaction, user_id)


def _add_session(transaction: Transaction, user_id: str, user_agent: str, *, by_link: bool = False) -> str:
    secret = secrets.token_urlsafe(32)
    for owner, name in users.remove_expired(transaction):
        audit.record(transaction, owner, "token.expire", name)
    users.add_session(
        transaction,
        secret_hash=_digest(secret),
        user_id=user_id,
        user_agent=user_agent,
        expires_at=now() + SESSION_LIFETIME,
        by_link=by_link,
    )
    return secret


def _note_use(transaction: Transaction, token_id: str) -> None:
    """Note that a token is used; the first time it is written down."""
    first = users.touch_token(transaction, token_id)
    if first is not None:
        user_id, name = first
        audit.record(transaction, user_id, "token.first_use", name, id=token_id)


class _LastUses:
    """When sessions and tokens were last used: written now and then, where that is possible at once.

    Who asks is known without it. So nothing that keeps the catalog from being written keeps anyone from reading: not a
    full disk, not one who writes at the moment, not a home that has moved.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._tried_at: dict[str, float] = {}
        self._said: str | None = None

    def note(self, row_id: str, last: datetime | None, touch: Callable[[Transaction, str], None]) -> None:
        """Write that a row is used, unless that was written, or tried, less than a minute ago.

        Raises:
            CatalogDamaged: that is said whoever asks, and for whatever.
        """
        if last is not None and now() - last < LAST_USE_EVERY:
            return
        moment = time.monotonic()
        if moment - self._tried_at.get(row_id, -math.inf) < LAST_USE_EVERY.total_seconds():
            return
        self._tried_at = {
            id_: tried_at
            for id_, tried_at in self._tried_at.items()
            if moment - tried_at < LAST_USE_EVERY.total_seconds()
        } | {row_id: moment}
        try:
            with self._catalog.write(patient=False) as transaction:
                touch(transaction, row_id)
        except CatalogDamaged:
            raise
        except HomeClosed:
            return
        except CatalogUnavailable as error:
            self._say(str(error))
        else:
            self._said = None

    def _say(self, reason: str) -> None:
        """Once for each reason, until it is written again."""
        if reason != self._said:
            self._said = reason
            logger.warning("When sessions and tokens were last used is not written for now: %s", reason)


def comes_from_elsewhere(headers: Mapping[str, str], hosts: Collection[str | None]) -> bool:
    """True if the headers say that a page of an origin other than `hosts` sent the request; programs send none."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    try:
        return origin is not None and urlsplit(origin).netloc not in hosts
    except ValueError:  # it is no address at all
        return True


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
