"""Make accounts, sign people and programs in and out, and say who a secret belongs to.

Secrets (session, token, sign-in link) are 256 random bits; the catalog keeps only their SHA-256, so a
copy of the database signs no one in. Passwords are hashed with Argon2id.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from pwdlib import PasswordHash

from ecluse.catalog import Catalog, Transaction, audit, users
from ecluse.catalog.tables import ApiToken, Session, User, now
from ecluse.errors import (
    CatalogDamaged,
    CatalogUnavailable,
    Forbidden,
    HomeClosed,
    InvalidCredentials,
    InvalidInput,
    NotFound,
    TooManyAttempts,
)

#: The cookie with the secret of a session.
SESSION_COOKIE: Final = "ecluse_session"
SESSION_LIFETIME: Final = timedelta(days=30)
LINK_LIFETIME: Final = timedelta(hours=24)
#: NIST SP 800-63B asks for at least 8 and for no rules of composition.
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 1024
MAX_EMAIL: Final = 320
LOCAL_EMAIL: Final = "admin@localhost"
#: Failed sign-ins of one address within `ATTEMPT_WINDOW` seconds before it has to wait.
MAX_ATTEMPTS: Final = 10
ATTEMPT_WINDOW: Final = 300.0
#: A write per request would be waste.
LAST_USE_EVERY: Final = timedelta(minutes=1)
logger = logging.getLogger(__name__)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@dataclass(frozen=True)
class SignedIn:
    """Who is acting, and through which session (None for an API token)."""

    user: User
    session: Session | None


class Accounts:
    """The accounts in one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._attempts = _Attempts()
        self._last_uses = _LastUses(catalog)

    # People

    def sign_up(self, email: str, password: str, name: str = "") -> User:
        """Make an account; the first one administers.

        Raises:
            InvalidInput: the address is none or the password is too short.
            EmailTaken: the address has an account.
        """
        return self._add(checked_email(email), name, _hash(checked_password(password)), admin=False)

    def add(self, email: str, name: str = "", *, admin: bool = False) -> User:
        """Make an account without a password; its owner signs in by link and sets one.

        Raises:
            EmailTaken: the address has an account.
        """
        return self._add(checked_email(email), name, None, admin=admin)

    def sign_in(self, email: str, password: str, user_agent: str = "", client: str = "") -> tuple[User, str]:
        """The user and the secret of a new session.

        Raises:
            InvalidCredentials: no such account, or not its password; which of the two is not told.
            TooManyAttempts: this address has failed too often of late.
        """
        address = email.strip().lower()[:MAX_EMAIL]
        self._attempts.begin(address, client)
        with self._catalog.read() as transaction:
            user = users.user_by_email(transaction, address)
        stored = user.password_hash if user and user.password_hash else _hash_of_nobody()
        if not _verify(password, stored) or user is None or not user.password_hash:
            raise InvalidCredentials(
                "No account has this address and password. Check both, or make an account."
            )
        self._attempts.succeeded(address, client)
        return user, self.open_session(user.id, user_agent)

    def open_session(self, user_id: str, user_agent: str = "") -> str:
        """Start a session; its secret, for the cookie."""
        with self._catalog.write() as transaction:
            return _add_session(transaction, user_id, user_agent)

    def who_has_session(self, secret: str) -> SignedIn | None:
        with self._catalog.read() as transaction:
            found = users.user_by_session(transaction, _digest(secret))
        if found is None:
            return None
        user, session = found
        self._last_uses.note(session.id, session.last_used_at, users.touch_session)
        return SignedIn(user, session)

    def sign_out(self, signed_in: SignedIn) -> None:
        if signed_in.session is not None:
            self.end_session(signed_in.user.id, signed_in.session.id)

    def end_session(self, user_id: str, session_id: str) -> None:
        with self._catalog.write() as transaction:
            users.remove_session(transaction, user_id, session_id)

    def sessions(self, user_id: str) -> list[Session]:
        with self._catalog.read() as transaction:
            return users.list_sessions(transaction, user_id)

    def change_password(self, signed_in: SignedIn, current: str, new: str) -> None:
        """Set a new password, and end every other session and every unused sign-in link.

        Raises:
            InvalidCredentials: `current` is not the password (an account without one has none to give).
        """
        user = signed_in.user
        if user.password_hash:
            self._attempts.begin(user.email, "change")
            if not _verify(current, user.password_hash):
                raise InvalidCredentials("That is not your current password.")
            self._attempts.succeeded(user.email, "change")
        password_hash = _hash(checked_password(new))
        with self._catalog.write() as transaction:
            users.set_password_hash(transaction, user.id, password_hash)
            users.remove_links(transaction, user.id)
            users.remove_other_sessions(
                transaction, user.id, signed_in.session.id if signed_in.session else None
            )
            audit.record(transaction, user.id, "user.change_password", user.email)

    def change_email(self, user_id: str, email: str, name: str) -> None:
        """Set the address to sign in with and the name to be called by."""
        with self._catalog.write() as transaction:
            users.set_email(transaction, user_id, checked_email(email), name.strip()[:200])

    def everyone(self) -> list[User]:
        with self._catalog.read() as transaction:
            return users.list_users(transaction)

    def _add(self, address: str, name: str, password_hash: str | None, *, admin: bool) -> User:
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            first = users.count_users(transaction) == 0
            user = users.add_user(
                transaction,
                email=address,
                name=name.strip()[:200],
                password_hash=password_hash,
                role="admin" if first or admin else "member",
            )
            audit.record(transaction, user.id, "user.add", address)
        return user

    def by_email(self, email: str) -> User:
        """The user with this address; `NotFound` otherwise."""
        with self._catalog.read() as transaction:
            user = users.user_by_email(transaction, email.strip().lower())
        if user is None:
            raise NotFound(f"No user {email}. See: ecluse users list")
        return user

    # Programs

    def create_token(self, user_id: str, name: str) -> tuple[str, ApiToken]:
        """An API token: its secret, shown this once, and its row."""
        if not name.strip():
            raise InvalidInput("A token needs a name, such as the program that will use it.")
        secret = f"ecluse_{secrets.token_urlsafe(32)}"
        with self._catalog.write() as transaction:
            token = users.add_token(
                transaction,
                secret_hash=_digest(secret),
                user_id=user_id,
                name=name.strip(),
                prefix=secret[:12],
            )
            audit.record(transaction, user_id, "token.create", token.name)
        return secret, token

    def who_has_token(self, secret: str) -> SignedIn | None:
        with self._catalog.read() as transaction:
            found = users.user_by_token(transaction, _digest(secret))
        if found is None:
            return None
        user, token = found
        self._last_uses.note(token.id, token.last_used_at, users.touch_token)
        return SignedIn(user, None)

    def tokens(self, user_id: str) -> list[ApiToken]:
        with self._catalog.read() as transaction:
            return users.list_tokens(transaction, user_id)

    def revoke_token(self, user_id: str, token_id: str) -> None:
        with self._catalog.write() as transaction:
            if not users.remove_token(transaction, user_id, token_id):
                raise NotFound(f"No token {token_id}.")
            audit.record(transaction, user_id, "token.revoke", token_id)

    # The first start, and lost passwords

    def local_administrator(self) -> User:
        """The administrator of an empty catalog, made without a password, or the one that is there.

        Raises:
            Forbidden: there are accounts, but none administers.
        """
        with self._catalog.read() as transaction:
            found = users.first_administrator(transaction)
        if found is not None:
            return found
        with self._catalog.write() as transaction:
            users.hold_accounts(transaction)
            found = users.first_administrator(transaction)
            if found is not None:
                return found
            if users.count_users(transaction):
                raise Forbidden("No account administers. Make one: ecluse users add EMAIL --admin")
            return users.add_user(transaction, email=LOCAL_EMAIL, name="", password_hash=None, role="admin")

    def sign_in_link(self, user_id: str) -> str:
        """The secret of a link that signs this user in once, within 24 hours."""
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
        return secret

    def redeem_link(self, secret: str, user_agent: str = "") -> tuple[User, str]:
        """Use a sign-in link up: the user and the secret of a new session.

        Raises:
            InvalidCredentials: it was used before, is too old, or never was one.
        """
        with self._catalog.write() as transaction:
            found = users.user_by_token(transaction, _digest(secret), purpose="sign_in_link")
            if found is None or not users.remove_token(transaction, found[0].id, found[1].id):
                raise InvalidCredentials(
                    "This sign-in link was used before or is too old. Sign in with your password, "
                    "or make a new link: ecluse users link EMAIL"
                )
            return found[0], _add_session(transaction, found[0].id, user_agent)


def checked_email(email: str) -> str:
    """The address in the form it is kept: trimmed, lower case."""
    address = email.strip().lower()
    if len(address) > MAX_EMAIL or not _EMAIL.fullmatch(address) or not address.isprintable():
        raise InvalidInput(f"{email!r} is not an e-mail address such as name@example.org.")
    return address


def checked_password(password: str) -> str:
    if len(password) < MIN_PASSWORD:
        raise InvalidInput(f"The password has {len(password)} characters; use at least {MIN_PASSWORD}.")
    if len(password) > MAX_PASSWORD:
        raise InvalidInput(f"The password has more than {MAX_PASSWORD} characters.")
    return password


def _add_session(transaction: Transaction, user_id: str, user_agent: str) -> str:
    secret = secrets.token_urlsafe(32)
    users.remove_expired(transaction)
    users.add_session(
        transaction,
        secret_hash=_digest(secret),
        user_id=user_id,
        user_agent=user_agent,
        expires_at=now() + SESSION_LIFETIME,
    )
    return secret


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
            id_: tried
            for id_, tried in self._tried_at.items()
            if moment - tried < LAST_USE_EVERY.total_seconds()
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


class _Attempts:
    """Sign-ins that may have failed, by address and by address and client, in this process.

    One counts from the moment it begins, so that many at once are no way around the limit. The limit of an
    address alone is wider: a stranger should not easily lock its owner out.
    """

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def begin(self, address: str, client: str) -> None:
        """Count an attempt; `TooManyAttempts` when there were too many of late."""
        now_ = time.monotonic()
        with self._lock:
            for key in [k for k, times in self._times.items() if times[-1] < now_ - ATTEMPT_WINDOW]:
                del self._times[key]
            for key, limit in ((f"{address}|{client}", MAX_ATTEMPTS), (address, 10 * MAX_ATTEMPTS)):
                times = self._times.setdefault(key, deque(maxlen=10 * MAX_ATTEMPTS + 1))
                while times and times[0] < now_ - ATTEMPT_WINDOW:
                    times.popleft()
                times.append(now_)
                if len(times) > limit:
                    raise TooManyAttempts("Too many failed sign-ins for this address. Wait 5 minutes.")

    def succeeded(self, address: str, client: str) -> None:
        with self._lock:
            self._times.pop(f"{address}|{client}", None)
            self._times.pop(address, None)


def comes_from_elsewhere(headers: Mapping[str, str], hosts: Collection[str | None]) -> bool:
    """Whether a browser says that a page of another origin than `hosts` sent a request; a program says nothing."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and urlsplit(origin).netloc not in hosts


@cache
def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


@cache
def _hash_of_nobody() -> str:
    """Verified against where there is no account, so that both answers take the same time."""
    return _hash(secrets.token_urlsafe(16))


def _hash(password: str) -> str:
    return _hasher().hash(password)


def _verify(password: str, stored: str) -> bool:
    return len(password) <= MAX_PASSWORD and _hasher().verify(password, stored)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
