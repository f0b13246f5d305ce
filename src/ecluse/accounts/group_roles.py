"""Give what the groups of a provider mean here, and take it away again: who administers, who belongs where.

What people gave stays, whatever the groups say; so does what the groups of another identity gave. One administrator
and one owner of each organisation stay, too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from ecluse.catalog import Transaction, audit, identities, organisations, users
from ecluse.catalog.tables import Identity, Membership, User
from ecluse.errors import LastAdministrator, LastOwner
from ecluse.roles import ROLES
from ecluse.settings import ProviderSettings

logger = logging.getLogger(__name__)


def apply_groups(
    transaction: Transaction,
    user: User,
    identity: Identity,
    groups: Collection[str],
    settings: ProviderSettings,
) -> None:
    """Give a person what all groups of an identity mean, and take away what they no longer mean.

    The accounts have to be held. Every change is written down.
    """
    _administer(transaction, user, identity, is_meant=bool(settings.administrators & set(groups)))
    meant: dict[str, str] = {}
    for each in settings.memberships:
        if each.group in groups:
            meant[each.handle] = min(meant.get(each.handle, each.role), each.role, key=_rank)
    for membership, handle in organisations.given_by(transaction, identity.id):
        if handle not in meant:
            _end(transaction, user, identity, handle, membership)
    for handle, role in sorted(meant.items()):
        _join(transaction, user, identity, handle, role)


def withdraw_groups(transaction: Transaction, user: User, identity: Identity) -> None:
    """Take away all that the groups of an identity gave. The accounts have to be held."""
    _administer(transaction, user, identity, is_meant=False)
    for membership, handle in organisations.given_by(transaction, identity.id):
        _end(transaction, user, identity, handle, membership)


def _administer(transaction: Transaction, user: User, identity: Identity, *, is_meant: bool) -> None:
    before = user.role
    if is_meant and before != "admin":
        users.set_role(transaction, user, "admin")
        identities.set_administers(transaction, identity.id, administers=True)
        _record(transaction, user, identity, "user.role", before=before, role="admin")
    elif not is_meant and identity.administers:
        if before == "admin":
            try:
                users.expect_another_administrator(transaction, user)
            except LastAdministrator:
                _record(transaction, user, identity, "user.role_kept", role="admin")
                return
            users.set_role(transaction, user, "member")
            _record(transaction, user, identity, "user.role", before=before, role="member")
        identities.set_administers(transaction, identity.id, administers=False)


def _join(transaction: Transaction, user: User, identity: Identity, handle: str, role: str) -> None:
    organisation = organisations.held(transaction, handle)
    if organisation is None:
        logger.warning(
            "The groups of the provider %s lead to @%s, which is not there", identity.provider, handle
        )
        return
    membership = organisations.membership_of(transaction, organisation.id, user.id)
    place = f"@{handle}"
    if membership is None:
        organisations.join(transaction, organisation.id, user.id, role, identity.id)
        _record(transaction, user, identity, "organisation.join", organisation=place, role=role)
    elif membership.identity_id == identity.id and membership.role != role:
        before = membership.role
        if before == "owner" and not _may_leave(transaction, organisation, user):
            _record(transaction, user, identity, "organisation.role_kept", organisation=place, role=before)
            return
        organisations.set_role(transaction, organisation.id, user.id, role, identity.id)
        _record(
            transaction, user, identity, "organisation.role", organisation=place, before=before, role=role
        )


def _end(
    transaction: Transaction, user: User, identity: Identity, handle: str, membership: Membership
) -> None:
    organisation = organisations.held(transaction, handle)
    if organisation is None:
        return
    place = f"@{handle}"
    if membership.role == "owner" and not _may_leave(transaction, organisation, user):
        _record(transaction, user, identity, "organisation.role_kept", organisation=place, role="owner")
        return
    ended = organisations.end_membership(transaction, organisation.id, user.id)
    _record(transaction, user, identity, "organisation.remove", organisation=place, shares=ended)


def _may_leave(transaction: Transaction, organisation: User, user: User) -> bool:
    """Return whether an organisation has another owner; it has to be held."""
    try:
        organisations.expect_another_owner(transaction, organisation, user.id)
    except LastOwner:
        return False
    return True


def _record(
    transaction: Transaction, user: User, identity: Identity, action: str, **detail: str | int
) -> None:
    """Write down what a provider's groups changed; nobody here did it."""
    audit.record(transaction, None, action, user.email, by="groups", provider=identity.provider, **detail)


def _rank(role: str) -> int:
    """Return the place of a role, the most that one may first."""
    return next(number for number, each in enumerate(ROLES) if each == role)
