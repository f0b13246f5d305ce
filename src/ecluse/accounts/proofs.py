"""Let the owner of an account change who may enter it: the password, the address and the name."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from ecluse.accounts.access import (
    AccountCatalog,
    SignedIn,
    end_links,
    end_other_access,
    expect_proved,
)
from ecluse.accounts.links import LOCAL_EMAIL
from ecluse.accounts.people import checked_email
from ecluse.catalog import attempts, audit, users
from ecluse.catalog.tables import now
from ecluse.errors import InvalidCredentials, NotProven
from ecluse.hashing import hash_password, is_password
from ecluse.passwords import checked_password
from ecluse.sentences import _

#: How long after a sign-in link was used its session may set the account's first password.
LINK_PROVES: Final = timedelta(hours=1)


class Proofs(AccountCatalog):
    """What is done by who proves to be the owner."""

    def prove(self, signed_in: SignedIn, password: str, *, here: bool = False) -> None:
        """Make sure that the owner of the account is asking, not who found a browser open or a token.

        That is by the password. Where none is set yet, by a session from the machine that the pages run on (`here`),
        or that a sign-in link or a provider began within the hour; of the administrator whom the first start made, by
        `here` alone.

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
            in_session, in_all = attempts.of_confirmation(user.id, session.id)
            with self._catalog.read() as transaction:
                has_failed = attempts.is_held(transaction, in_session)
            subjects = (in_session, in_all) if has_failed else (in_session,)
            with self._counted(subjects):
                right = is_password(password, user.password_hash)
            with self._catalog.write() as transaction:
                if right:
                    attempts.give_back(transaction, subjects)
                    return
                audit.record(transaction, user.id, "user.proof_failed", user.email)
            raise InvalidCredentials(_("That is not your current password."))
        is_new = now() - session.created_at < LINK_PROVES
        if session.provider is not None:
            if is_new:
                return
            raise NotProven(
                _(
                    "This account has no password, and this session began more than an hour ago. Sign out and in "
                    "again, then do it within the hour."
                )
            )
        by_link = session.by_link and is_new
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
            expect_proved(transaction, signed_in)
            users.set_password_hash(transaction, user.id, password_hash)
            audit.record(transaction, user.id, "user.change_password", user.email)
            end_other_access(transaction, signed_in, tokens=not keep_tokens)

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
        """Set the name to be called by, and the address to sign in with; that, and ending others, takes the password.

        Nothing shows here that the address is the person's. So an account without a password keeps the one it has: by
        its address alone a provider lets people in to such an account (`Identities.sign_in_by_provider`).

        Raises:
            InvalidInput: the address is none.
            EmailTaken: it has another account.
            InvalidCredentials: `current` is not the password.
            NotProven: there is none.
        """
        user = signed_in.user
        address = user.email if email == user.email else checked_email(email)
        if address != user.email and user.password_hash is None:
            raise NotProven(
                _("This account has no password. Set one first, below on this page; then change the address.")
            )
        if address != user.email or end_others:
            self.prove(signed_in, current, here=here)
        with self._catalog.write() as transaction:
            if address != user.email or end_others:
                expect_proved(transaction, signed_in)
            users.set_email(transaction, user.id, address, name.strip()[:200])
            if address != user.email:
                audit.record(transaction, user.id, "user.change_email", address, before=user.email)
                end_links(transaction, user.id)
            if end_others:
                end_other_access(transaction, signed_in, tokens=True)
