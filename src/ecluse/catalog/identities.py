"""Keep by which accounts of providers a person signs in."""

from __future__ import annotations

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import Identity, User, now


def by_subject(transaction: Transaction, issuer: str, subject: str) -> tuple[Identity, User] | None:
    """Return whose identity this is; None where it is nobody's."""
    row = transaction.execute(
        select(Identity, User)
        .join(User, User.id == Identity.user_id)
        .where(Identity.issuer == issuer, Identity.subject == subject)
    ).first()
    return None if row is None else (row[0], row[1])


def list_of(transaction: Transaction, user_id: str) -> list[Identity]:
    """List the identities of a person, the oldest first."""
    query = select(Identity).where(Identity.user_id == user_id).order_by(Identity.created_at, Identity.id)
    return list(transaction.scalars(query))


def has_of_issuer(transaction: Transaction, user_id: str, issuer: str) -> bool:
    """Return whether a person is known to an issuer, as whomever."""
    query = select(func.count()).where(Identity.user_id == user_id, Identity.issuer == issuer)
    return bool(transaction.scalar(query))


def add(transaction: Transaction, identity: Identity) -> Identity:
    """Keep an identity; hold the accounts, so that nobody else gets it meanwhile."""
    transaction.add(identity)
    transaction.flush()
    return identity


def touch(transaction: Transaction, identity_id: str, provider: str, email: str | None) -> None:
    """Note that an identity is used, and what the provider calls its address now."""
    values = {"last_used_at": now(), "provider": provider, "email": email}
    transaction.execute(update(Identity).where(Identity.id == identity_id).values(values))


def remove(transaction: Transaction, user_id: str, identity_id: str) -> Identity | None:
    """Remove an identity of a person and return what it was; None where it is not theirs."""
    identity = transaction.scalar(
        select(Identity).where(Identity.id == identity_id, Identity.user_id == user_id)
    )
    if identity is not None:
        transaction.execute(delete(Identity).where(Identity.id == identity_id))
    return identity


def keep_role(transaction: Transaction, user_id: str) -> None:
    """Note that people say from now on whether a person administers: no groups take away what they gave before."""
    transaction.execute(update(Identity).where(Identity.user_id == user_id).values(administers=False))


def set_administers(transaction: Transaction, identity_id: str, *, administers: bool) -> None:
    """Note whether the groups of an identity let its person administer."""
    transaction.execute(update(Identity).where(Identity.id == identity_id).values(administers=administers))
