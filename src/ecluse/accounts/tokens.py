"""Make tokens for programs, say whose one is, and end them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from ecluse.accounts.access import AccountCatalog, SignedIn, digest, expect_proved
from ecluse.accounts.scopes import Scope, as_text
from ecluse.catalog import Transaction, audit, services, users
from ecluse.catalog.tables import ApiToken, now
from ecluse.errors import InvalidInput, NotFound
from ecluse.sentences import _

#: Days that a token for programs lasts, as the page offers them; None: until it is ended.
TOKEN_DAYS: Final[tuple[int | None, ...]] = (30, 90, 365, None)


@dataclass(frozen=True)
class NewToken:
    """What a token is to be: its name, how many days it lasts (None: until it is ended), its scopes, and the one model
    that it is for (None: all).
    """

    name: str
    days: int | None = None
    scopes: tuple[str, ...] = (Scope.READ,)
    model: str | None = None

    def checked(self) -> str:
        """Return its scopes as they are kept.

        Raises:
            InvalidInput: it has no name, or the days or a scope are none that are offered.
        """
        if not self.name.strip():
            raise InvalidInput(_("A token needs a name, such as the program that will use it."))
        if self.days not in TOKEN_DAYS:
            raise InvalidInput(
                _(
                    "A token lasts 30, 90 or 365 days, or until it is ended; not %(days)s days.",
                    days=self.days,
                )
            )
        return as_text(self.scopes)

    @property
    def expires_at(self) -> datetime | None:
        """Return when it ends, were it made now."""
        return None if self.days is None else now() + timedelta(days=self.days)


class Tokens(AccountCatalog):
    """Tokens for programs."""

    def create_token(
        self,
        user_id: str,
        name: str,
        *,
        days: int | None = None,
        administers: bool = False,
        scopes: Iterable[str] = (Scope.MANAGE,),
        model: str | None = None,
        proved: SignedIn | None = None,
    ) -> tuple[str, ApiToken]:
        """Return an API token: its secret, shown this once, and its row.

        It ends after `days`, None: when it is ended. It may do what its `scopes` say, with `model` alone where that is
        named; with `administers`, which takes all of the API, what its owner may as an administrator. `proved`: who has
        just proved to be its owner, see `Proofs.prove`; None at a terminal.

        Raises:
            InvalidInput: it has no name; the days or a scope are none that are offered; or it is to administer, and is
                for less than all of the API.
            InvalidCredentials: the account was changed meanwhile.
        """
        new = NewToken(name, days, tuple(scopes), model)
        allowed = new.checked()
        if administers and (allowed != Scope.MANAGE or model is not None):
            raise InvalidInput(
                _(
                    "A token that administers is for all of the API. Choose %(scope)s and no model.",
                    scope=Scope.MANAGE,
                )
            )
        secret = new_secret()
        with self._catalog.write() as transaction:
            if proved is not None:
                expect_proved(transaction, proved)
            row = ApiToken(
                secret_hash=digest(secret),
                user_id=user_id,
                name=name.strip(),
                prefix=secret[:12],
                expires_at=new.expires_at,
                administers=administers,
                scopes=allowed,
                model=model,
            )
            token = users.add_token(transaction, row)
            audit.record(
                transaction,
                user_id,
                "token.create",
                token.name,
                id=token.id,
                days=days,
                administers=administers,
                scopes=allowed,
                model=model,
            )
        return secret, token

    def who_has_token(self, secret: str) -> SignedIn | None:
        """Return the owner of a token, in the role in which the token acts; of a service account its organisation."""
        with self._catalog.look() as transaction:
            row = users.user_by_token(transaction, digest(secret))
            of_service = None if row is not None else services.by_token(transaction, digest(secret))
        if of_service is not None:
            organisation, service, token = of_service
            self._last_uses.note(token.id, token.last_used_at, partial(_note_use, service=service.name))
            return SignedIn(organisation, None, token, service=service)
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


def new_secret() -> str:
    """Return the secret of a new token."""
    return f"ecluse_{secrets.token_urlsafe(32)}"


def _note_use(transaction: Transaction, token_id: str, service: str | None = None) -> None:
    """Note that a token, of a `service` account where it is one, is used; the first time it is written down."""
    first = users.touch_token(transaction, token_id)
    if first is not None:
        user_id, name = first
        detail = {} if service is None else {"service_account": service}
        audit.record(transaction, user_id, "token.first_use", name, id=token_id, **detail)
