"""Open and end access to accounts: sessions, links and tokens, and the counting of attempts to gain it."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ecluse.accounts.last_uses import LastUses
from ecluse.catalog import Catalog, Transaction, attempts, audit, users
from ecluse.catalog.tables import ApiToken, Session, User, now
from ecluse.errors import NotFound, PasswordsBusy
from ecluse.sentences import _

SESSION_LIFETIME: Final = timedelta(days=30)
#: A session that is not used for so long has ended.
SESSION_IDLE: Final = timedelta(days=14)


@dataclass(frozen=True)
class SignedIn:
    """Who is acting, and through which session or API token.

    `user.role` is what may be done: through a token that does not administer, that of a member.
    """

    user: User
    session: Session | None
    token: ApiToken | None = None


class AccountCatalog:
    """The accounts of one catalog; the classes that make up `Accounts` extend it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._last_uses = LastUses(catalog)

    def by_email(self, email: str) -> User:
        """Return the user with this address; `NotFound` otherwise."""
        with self._catalog.read() as transaction:
            user = users.user_by_email(transaction, email.strip().lower())
        if user is None:
            raise NotFound(_("No user %(value)s. See: ecluse users list", value=email))
        return user

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


def locked_user(transaction: Transaction, email: str) -> User:
    """Return the user with this address; until the transaction ends no other changes accounts."""
    users.hold_accounts(transaction)
    user = users.user_by_email(transaction, email.strip().lower())
    if user is None:
        raise NotFound(_("No user %(value)s. See: ecluse users list", value=email))
    return user


def end_other_access(transaction: Transaction, signed_in: SignedIn, *, tokens: bool) -> None:
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


def end_everything(transaction: Transaction, user_id: str) -> None:
    users.remove_links(transaction, user_id)
    users.remove_other_sessions(transaction, user_id, None)
    users.remove_tokens(transaction, user_id)


def add_session(transaction: Transaction, user_id: str, user_agent: str, *, by_link: bool = False) -> str:
    secret = secrets.token_urlsafe(32)
    for owner, name in users.remove_expired(transaction):
        audit.record(transaction, owner, "token.expire", name)
    users.add_session(
        transaction,
        secret_hash=digest(secret),
        user_id=user_id,
        user_agent=user_agent,
        expires_at=now() + SESSION_LIFETIME,
        by_link=by_link,
    )
    return secret


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
