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
from ecluse.accounts.vault import Vault
from ecluse.catalog import (
    Catalog,
    Transaction,
    attempts,
    audit,
    jobs,
    letters,
    owned,
    plans,
    second_factors,
    sharing,
    users,
)
from ecluse.catalog.of_organisations import ORGANISATION
from ecluse.catalog.tables import ApiToken, ServiceAccount, Session, User, now
from ecluse.errors import InvalidCredentials, NotAllRemoved, NotFound, PasswordsBusy, SecondFactorNeeded
from ecluse.sentences import _
from ecluse.settings import AccountsSettings

SESSION_LIFETIME: Final = timedelta(days=30)
#: A session that is not used for so long has ended.
SESSION_IDLE: Final = timedelta(days=14)
#: How long after the first factor the second may be proved.
STEP_LIFETIME: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class SignedIn:
    """Who is acting, and through which session or API token.

    `user.role` is what may be done: through a token that does not administer, that of a member.
    """

    user: User
    session: Session | None
    token: ApiToken | None = None
    #: The account has to have a second factor, and has none: it is set up before anything else.
    lacks_second_factor: bool = False
    #: The program that asks: then `user` is its organisation, in whose name it acts.
    service: ServiceAccount | None = None


class AccountCatalog:
    """The accounts of one catalog; the classes that make up `Accounts` extend it."""

    def __init__(self, catalog: Catalog, settings: AccountsSettings | None = None) -> None:
        self._catalog = catalog
        self._settings = settings or AccountsSettings()
        self.vault = Vault(self._settings)
        self._last_uses = LastUses(catalog)

    def by_email(self, email: str) -> User:
        """Return the user with this address; `NotFound` otherwise."""
        with self._catalog.read() as transaction:
            user = users.user_by_email(transaction, email.strip().lower())
        if user is None:
            raise NotFound(_("No user %(value)s. See: ecluse users list", value=email))
        return user

    def _give_first_plan(self, transaction: Transaction, user: User) -> None:
        """Give who made an account without an invitation the plan that the settings name. Raises NotFound."""
        if self._settings.sign_up_plan is not None:
            plans.give(transaction, user, self._settings.sign_up_plan, by=None)

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


def expect_unchanged(transaction: Transaction, user: User) -> None:
    """Make sure that an account has the password that was proved, and is open; both stay so until the transaction ends.

    Raises:
        InvalidCredentials: it was changed, disabled or removed meanwhile.
    """
    try:
        current = users.held_user(transaction, user.id)
    except NotFound:  # said like the other changes
        current = None
    if current is None or current.password_hash != user.password_hash or current.disabled_at is not None:
        raise InvalidCredentials(_("This account was changed meanwhile. Sign in again."))


def expect_proved(transaction: Transaction, signed_in: SignedIn) -> None:
    """Make sure that what was proved a moment ago holds: the account is as it was, and its session goes on.

    Both stay so until the transaction ends. Raises as `expect_unchanged`.
    """
    expect_unchanged(transaction, signed_in.user)
    if signed_in.session is None or not users.has_session(transaction, signed_in.session.id):
        raise InvalidCredentials(_("This account was changed meanwhile. Sign in again."))


def end_links(transaction: Transaction, user_id: str) -> None:
    """End every unused link of an account: those that sign in or set a password, and those that change its address."""
    users.remove_links(transaction, user_id)
    letters.end_proofs(transaction, user_id)


def end_other_access(transaction: Transaction, signed_in: SignedIn, *, tokens: bool) -> None:
    user_id = signed_in.user.id
    end_links(transaction, user_id)
    sessions = users.remove_other_sessions(
        transaction, user_id, signed_in.session.id if signed_in.session else None
    )
    ended = users.remove_tokens(transaction, user_id) if tokens else 0
    if sessions or ended:
        audit.record(
            transaction, user_id, "session.end_others", signed_in.user.email, sessions=sessions, tokens=ended
        )


def remove_rows(transaction: Transaction, owner: User) -> None:
    """Remove every row of an owner, a person or an organisation, and count in every table that none is left.

    Raises:
        NotAllRemoved: a table has one.
    """
    jobs.forget_of(transaction, owner.id)
    users.end_invitations(transaction, owner.id)
    sharing.end_made_by(transaction, owner.id)
    users.remove_user(transaction, owner.id)
    if left := owned.remaining(transaction, owner.id):
        tables = ", ".join(f"{name}: {count}" for name, count in left.items())
        if owner.kind == ORGANISATION:
            raise NotAllRemoved(
                _(
                    "Of %(name)s rows are left (%(values)s), and the organisation stays closed. Run the same command "
                    "again; report it if they are still there.",
                    name=owner.email,
                    values=tables,
                )
            )
        raise NotAllRemoved(
            _(
                "Of %(email)s rows are left (%(values)s), and the account stays closed. Run the same command again; "
                "report it if they are still there.",
                email=owner.email,
                values=tables,
            )
        )


def end_everything(transaction: Transaction, user_id: str, *, tokens: bool = True) -> None:
    end_links(transaction, user_id)
    users.remove_other_sessions(transaction, user_id, None)
    if tokens:
        users.remove_tokens(transaction, user_id)


def add_session(
    transaction: Transaction,
    user_id: str,
    user_agent: str,
    *,
    by_link: bool = False,
    provider: str | None = None,
) -> str:
    """Start a session, begun by a link or a provider where one is named; return its secret."""
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
        provider=provider,
    )
    return secret


def begin_second_step(transaction: Transaction, user: User, action: str, client: str) -> str | None:
    """Return the secret with which who proved the first factor goes on; None where no second one is asked for.

    `action`: what is written down once both are proved.
    """
    if not second_factors.is_asked_of(transaction, user.id):
        return None
    secret = secrets.token_urlsafe(32)
    proof = ApiToken(
        secret_hash=digest(secret),
        user_id=user.id,
        name=action,
        purpose="second_step",
        expires_at=now() + STEP_LIFETIME,
    )
    users.add_token(transaction, proof)
    audit.record(transaction, user.id, "user.first_step", user.email, client=client)
    return secret


def ask_second_factor(step: str | None) -> SecondFactorNeeded:
    """Return the error that leads to the second step."""
    return SecondFactorNeeded(_("Enter the code of your second factor."), step or "")


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
