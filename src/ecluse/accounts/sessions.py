"""Sign people in and out, and say whose a session is."""

from __future__ import annotations

import secrets
from typing import Final

from ecluse.accounts.access import (
    SESSION_IDLE,
    AccountCatalog,
    SignedIn,
    add_session,
    ask_second_factor,
    begin_second_step,
    digest,
    end_links,
    end_other_access,
    expect_unchanged,
)
from ecluse.catalog import Transaction, attempts, audit, second_factors, users
from ecluse.catalog.tables import Session, User, now
from ecluse.errors import Forbidden, InvalidCredentials
from ecluse.hashing import is_password
from ecluse.sentences import _

MAX_EMAIL: Final = 320


class Sessions(AccountCatalog):
    """What begins and ends a session."""

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
            InvalidCredentials: no such account, or not its password; the message does not say which.
            Forbidden: the account is disabled; only who knows the password learns it.
            SecondFactorNeeded: the password is right, and the account has a second factor.
            TooManyAttempts: too many have failed of late, or too many are tried at once.
        """
        address = email.strip().lower()[:MAX_EMAIL]
        with self._catalog.read() as transaction:
            user = users.user_by_email(transaction, address)
            is_known_browser = browser and user and users.knows_browser(transaction, user.id, digest(browser))
        subjects = attempts.of_sign_in(
            address, client, digest(browser) if browser and is_known_browser else None
        )
        with self._counted(subjects):
            right = is_password(password, user.password_hash if user else None)
        if user is None or not right:
            self._note_failure(user, client or "")
            raise InvalidCredentials(
                _("No account has this address and password. Check both, or make an account.")
            )
        if user.disabled_at is not None:  # said to who knows the password alone
            self._note_failure(user, client or "", disabled=True)
            raise Forbidden(_("This account is disabled. Ask an administrator."))
        with self._catalog.write() as transaction:
            expect_unchanged(transaction, user)
            attempts.give_back(transaction, subjects)
            step = begin_second_step(transaction, user, "user.sign_in", client or "")
            if step is None:
                audit.record(transaction, user.id, "user.sign_in", user.email, client=client or "")
                return user, add_session(transaction, user.id, user_agent)
        raise ask_second_factor(step)

    def remember_browser(self, user_id: str, browser: str | None) -> str:
        """Return the secret by which a browser is known that has signed in: that of its cookie, or a new one.

        It lets no one in. Guesses of strangers do not hold it back (`ecluse.catalog.attempts`).
        """
        if browser is not None:
            with self._catalog.read() as transaction:
                if users.knows_browser(transaction, user_id, digest(browser)):
                    return browser
        secret = secrets.token_urlsafe(32)
        with self._catalog.write() as transaction:
            users.add_browser(
                transaction,
                user_id,
                digest(secret),
                expires_at=now() + attempts.BROWSER_LIFETIME,
                most=attempts.MOST_BROWSERS,
            )
        return secret

    def open_session(self, user_id: str, user_agent: str = "", *, action: str = "", client: str = "") -> str:
        """Start a session and return its secret, for the cookie; `action` writes down how its owner entered.

        Raises:
            Forbidden: the account is disabled.
        """
        with self._catalog.write() as transaction:
            user = users.user_by_id(transaction, user_id)
            if action and user.disabled_at is not None:
                raise Forbidden(_("This account is disabled. Ask an administrator."))
            if action:
                audit.record(transaction, user_id, action, user.email, client=client)
            return add_session(transaction, user_id, user_agent)

    def _note_failure(self, user: User | None, client: str, **detail: bool) -> None:
        """Write down that nobody was let in.

        Nothing is kept of an address without an account: people type their password into the wrong field.
        """
        subject = user.email if user else "unknown"
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
        with self._catalog.look() as transaction:
            row = users.user_by_session(transaction, digest(secret), used_after=now() - SESSION_IDLE)
            # after a provider the second factor is its matter
            is_own = row is not None and row[1].provider is None
            lacks = row is not None and is_own and self._lacks_second_factor(transaction, row[0])
        if row is None:
            return None
        user, session = row
        self._last_uses.note(session.id, session.last_used_at, users.touch_session)
        return SignedIn(user, session, lacks_second_factor=lacks)

    def _lacks_second_factor(self, transaction: Transaction, user: User) -> bool:
        """Return whether the settings ask this account for a second factor, and it has none."""
        obliged = self._settings.second_factor
        is_obliged = obliged == "everyone" or (obliged == "administrators" and user.role == "admin")
        return is_obliged and not second_factors.is_asked_of(transaction, user.id)

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
            end_other_access(transaction, signed_in, tokens=tokens)

    def end_all_sessions(self, email: str, *, tokens: bool, by: str | None = None) -> tuple[User, int, int]:
        """End every session of an account, every unused sign-in link and, with `tokens`, every token.

        `by`: who does it, None at a terminal. Return the account, and how many sessions and tokens ended.

        Raises:
            NotFound: no account has this address.
        """
        user = self.by_email(email)
        with self._catalog.write() as transaction:
            users.held_user(transaction, user.id)  # who is about to make a token has made it, or makes none
            end_links(transaction, user.id)
            ended = users.remove_other_sessions(transaction, user.id, None)
            ended_tokens = users.remove_tokens(transaction, user.id) if tokens else 0
            audit.record(transaction, by, "session.end_all", user.email, sessions=ended, tokens=ended_tokens)
        return user, ended, ended_tokens

    def sessions(self, user_id: str) -> list[Session]:
        with self._catalog.read() as transaction:
            return users.list_sessions(transaction, user_id, used_after=now() - SESSION_IDLE)
