"""Make tokens for programs, say whose one is, and end them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from ecluse.accounts.access import AccountCatalog, SignedIn, digest
from ecluse.accounts.scopes import Scope, as_text
from ecluse.catalog import Transaction, audit, users
from ecluse.catalog.tables import ApiToken, now
from ecluse.errors import InvalidInput, NotFound
from ecluse.sentences import _

#: Days that a token for programs lasts, as the page offers them; None: until it is ended.
TOKEN_DAYS: Final[tuple[int | None, ...]] = (30, 90, 365, None)


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
    ) -> tuple[str, ApiToken]:
        """Return an API token: its secret, shown this once, and its row.

        It ends after `days`, None: when it is ended. It may do what its `scopes` say, with `model` alone where that is
        named; with `administers`, which takes all of the API, what its owner may as an administrator.

        Raises:
            InvalidInput: it has no name; the days or a scope are none that are offered; or it is to administer, and is
                for less than all of the API.
        """
        if not name.strip():
            raise InvalidInput(_("A token needs a name, such as the program that will use it."))
        if days not in TOKEN_DAYS:
            raise InvalidInput(
                _("A token lasts 30, 90 or 365 days, or until it is ended; not %(days)s days.", days=days)
            )
        allowed = as_text(scopes)
        if administers and (allowed != Scope.MANAGE or model is not None):
            raise InvalidInput(
                _(
                    "A token that administers is for all of the API. Choose %(scope)s and no model.",
                    scope=Scope.MANAGE,
                )
            )
        secret = f"ecluse_{secrets.token_urlsafe(32)}"
        with self._catalog.write() as transaction:
            row = ApiToken(
                secret_hash=digest(secret),
                user_id=user_id,
                name=name.strip(),
                prefix=secret[:12],
                expires_at=None if days is None else now() + timedelta(days=days),
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
        """Return the owner of a token, in the role in which the token acts."""
        with self._catalog.read() as transaction:
            row = users.user_by_token(transaction, digest(secret))
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


def _note_use(transaction: Transaction, token_id: str) -> None:
    """Note that a token is used; the first time it is written down."""
    first = users.touch_token(transaction, token_id)
    if first is not None:
        user_id, name = first
        audit.record(transaction, user_id, "token.first_use", name, id=token_id)
