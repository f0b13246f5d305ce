"""Let programs act for an organisation: service accounts, which are no persons, and their tokens.

A service account has no address and no password, so nobody signs in to it, and it is no row of `users`: it joins
nothing, owns nothing and is counted nowhere. Its token acts as the organisation, so that what it makes is the
organisation's, within its role and the scopes of the token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ecluse.accounts.access import AccountCatalog, SignedIn, digest, expect_proved
from ecluse.accounts.organisations import owned
from ecluse.accounts.scopes import Scope, as_text, scopes_of
from ecluse.accounts.tokens import NewToken, new_secret
from ecluse.catalog import audit, organisations, services, users
from ecluse.catalog.of_services import SERVICE
from ecluse.catalog.tables import ApiToken, ServiceAccount, User, now
from ecluse.errors import InvalidCredentials, InvalidInput, NotFound
from ecluse.roles import SERVICE_ROLES
from ecluse.sentences import _

#: How long a token is good that was exchanged for another, and how many of these a service account has at a time.
SHORT_LIFETIME: Final = timedelta(hours=1)
MOST_SHORT: Final = 100
#: Scopes that the token of a viewer may have.
OF_VIEWERS: Final = frozenset({Scope.READ, Scope.PREDICT})
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Exchanged:
    """A token that is good for `seconds`, with these scopes as words; `secret` is shown this once."""

    secret: str
    seconds: int
    scopes: str


class Services(AccountCatalog):
    """Service accounts. Owners of an organisation make and end them and their tokens; its members see them."""

    def add_service(self, user_id: str, handle: str, name: str, role: str = "viewer") -> ServiceAccount:
        """Make a service account of an organisation.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: it cannot be called so, or there is no such role.
            HandleTaken: the organisation has one of this name.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                _(
                    "%(value)s is no name of a service account. Use small letters, digits and hyphens, 40 at most.",
                    value=repr(name)[:60],
                )
            )
        _expect_role(role)
        with self._catalog.write() as transaction:
            organisation = owned(transaction, user_id, handle)
            row = ServiceAccount(organisation_id=organisation.id, name=name, role=role, created_by=user_id)
            services.add(transaction, row)
            audit.record(
                transaction, user_id, "organisation.service_add", f"@{handle}/{name}", id=row.id, role=role
            )
        return row

    def services(self, user_id: str, handle: str) -> list[ServiceAccount]:
        """List the service accounts of an organisation, by their names; for whoever belongs to it.

        Raises:
            NotFound: there is none, or the person does not belong to it.
        """
        with self._catalog.read() as transaction:
            organisation, _role = organisations.find(transaction, user_id, handle)
            return services.list_of(transaction, organisation.id)

    def service(self, user_id: str, handle: str, service_id: str) -> tuple[ServiceAccount, list[ApiToken]]:
        """Return a service account and its tokens, the newest first; for owners. Raises as `set_service_role`."""
        with self._catalog.read() as transaction:
            organisation = owned(transaction, user_id, handle, held=False)
            row = services.find(transaction, organisation.id, service_id)
            return row, services.list_tokens(transaction, row.id)

    def set_service_role(self, user_id: str, handle: str, service_id: str, role: str) -> ServiceAccount:
        """Change the role of a service account; it counts from the next request on. Raises as `add_service`."""
        _expect_role(role)
        with self._catalog.write() as transaction:
            row = services.find(transaction, owned(transaction, user_id, handle).id, service_id)
            before, row.role = row.role, role
            transaction.add(row)
            audit.record(
                transaction,
                user_id,
                "organisation.service_role",
                f"@{handle}/{row.name}",
                before=before,
                role=role,
            )
        return row

    def remove_service(self, user_id: str, handle: str, service_id: str) -> None:
        """Remove a service account: its tokens end at once, and what it made stays. Raises as `set_service_role`."""
        with self._catalog.write() as transaction:
            row = services.find(transaction, owned(transaction, user_id, handle).id, service_id)
            services.remove(transaction, row)
            audit.record(
                transaction, user_id, "organisation.service_remove", f"@{handle}/{row.name}", id=row.id
            )

    def create_service_token(
        self, user_id: str, handle: str, service_id: str, new: NewToken, *, proved: SignedIn | None = None
    ) -> tuple[str, ApiToken]:
        """Return a token of a service account: its secret, shown this once, and its row. Owners alone make one.

        `proved`: who has just proved to be this person, see `Proofs.prove`; None at a terminal.

        Raises:
            NotFound, Forbidden: the person does not belong to the organisation, or does not own it.
            InvalidInput: it has no name; the days or a scope are none that are offered, or none of the account's role.
            InvalidCredentials: the person's account was changed meanwhile.
        """
        allowed = new.checked()
        secret = new_secret()
        with self._catalog.write() as transaction:
            if proved is not None:
                expect_proved(transaction, proved)
            row = services.find(transaction, owned(transaction, user_id, handle).id, service_id)
            _expect_scopes(row, allowed)
            token = ApiToken(
                secret_hash=digest(secret),
                user_id=row.organisation_id,
                name=new.name.strip(),
                prefix=secret[:12],
                purpose=SERVICE,
                expires_at=new.expires_at,
                scopes=allowed,
                model=new.model,
                service_account_id=row.id,
            )
            users.add_token(transaction, token)
            audit.record(
                transaction,
                user_id,
                "organisation.service_token",
                f"@{handle}/{row.name}",
                id=token.id,
                name=token.name,
                days=new.days,
                scopes=allowed,
                model=new.model,
            )
        return secret, token

    def revoke_service_token(self, user_id: str, handle: str, service_id: str, token_id: str) -> None:
        """End a token of a service account, and those that it was exchanged for. Raises as `set_service_role`."""
        with self._catalog.write() as transaction:
            row = services.find(transaction, owned(transaction, user_id, handle).id, service_id)
            if not services.remove_token(transaction, row.id, token_id):
                raise NotFound(_("No token %(value)s.", value=token_id))
            audit.record(
                transaction, user_id, "organisation.service_token_end", f"@{handle}/{row.name}", id=token_id
            )

    def exchange(self, service_id: str, secret: str, scopes: Iterable[str] | None = None) -> Exchanged:
        """Return a token that is good for an hour, for a service account and one of its tokens.

        `scopes`: some of those of the token, None: all that the account's role has of them. It ends with that token.

        Raises:
            InvalidCredentials: it is no token of this account, or is over.
            InvalidInput: a scope is not known, or not among those of the token.
        """
        with self._catalog.read() as transaction:  # a guess takes no turn at writing
            _expect_found(services.by_token(transaction, digest(secret)), service_id)
        short = new_secret()
        with self._catalog.write() as transaction:
            organisation, row, parent = _expect_found(
                services.by_token(transaction, digest(secret), held=True), service_id
            )
            allowed = _narrowed(row, parent, scopes)
            moment = now()
            ends = min(moment + SHORT_LIFETIME, parent.expires_at or moment + SHORT_LIFETIME)
            token = ApiToken(
                secret_hash=digest(short),
                user_id=organisation.id,
                name=parent.name,
                prefix=short[:12],
                purpose=SERVICE,
                expires_at=ends,
                scopes=allowed,
                model=parent.model,
                service_account_id=row.id,
                parent_id=parent.id,
            )
            users.add_token(transaction, token)
            services.keep_latest(transaction, parent.id, MOST_SHORT)
        return Exchanged(short, int((ends - moment).total_seconds()), allowed)


def _expect_found(
    row: tuple[User, ServiceAccount, ApiToken] | None, service_id: str
) -> tuple[User, ServiceAccount, ApiToken]:
    """Return what was found by the token of a service account, which has to be this one, and no short token itself."""
    if row is None or row[1].id != service_id or row[2].parent_id is not None:
        raise InvalidCredentials(_("This is no token of that service account, or it has ended."))
    return row


def _narrowed(row: ServiceAccount, parent: ApiToken, scopes: Iterable[str] | None) -> str:
    """Return the scopes of a token that stands for another: those asked for, or all that the role still has."""
    given = frozenset(Scope) if Scope.MANAGE in scopes_of(parent) else scopes_of(parent)
    possible = given & OF_VIEWERS if row.role == "viewer" else given
    if scopes is None:
        return as_text(possible)
    allowed = as_text(scopes)
    if not set(allowed.split()) <= possible:
        raise InvalidInput(
            _(
                "The token may do %(scopes)s; not %(value)s.",
                scopes=", ".join(sorted(possible)),
                value=allowed,
            )
        )
    return allowed


def _expect_scopes(row: ServiceAccount, allowed: str) -> None:
    if row.role == "viewer" and not set(allowed.split()) <= OF_VIEWERS:
        raise InvalidInput(
            _(
                "%(name)s is a viewer: its tokens are for %(scopes)s. Make it a member for more.",
                name=row.name,
                scopes=", ".join(sorted(OF_VIEWERS)),
            )
        )


def _expect_role(role: str) -> None:
    if role not in SERVICE_ROLES:
        raise InvalidInput(
            _(
                "%(value)s is no role of a service account. Use one of %(names)s.",
                value=repr(role)[:60],
                names=", ".join(SERVICE_ROLES),
            )
        )
