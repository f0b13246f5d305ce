"""Keep who is invited to make an account."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, delete, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import SignUpInvitation, User, now


def add(transaction: Transaction, invitation: SignUpInvitation) -> SignUpInvitation:
    """Keep an invitation; those whose time is over go."""
    transaction.execute(delete(SignUpInvitation).where(SignUpInvitation.expires_at <= now()))
    transaction.add(invitation)
    transaction.flush()
    return invitation


def list_open(transaction: Transaction) -> list[tuple[SignUpInvitation, str]]:
    """List the invitations that are good, each with the address of who made it, the newest first."""
    query = select(SignUpInvitation, User.email).join(User, User.id == SignUpInvitation.created_by)
    query = query.where(_is_good()).order_by(SignUpInvitation.created_at.desc(), SignUpInvitation.id)
    return [(row[0], row[1]) for row in transaction.execute(query)]


def by_secret(transaction: Transaction, secret_hash: str) -> SignUpInvitation | None:
    """Return the good invitation with this secret; None where there is none."""
    query = select(SignUpInvitation).join(User, User.id == SignUpInvitation.created_by)
    return transaction.scalar(query.where(SignUpInvitation.secret_hash == secret_hash, _is_good()))


def remove(transaction: Transaction, invitation_id: str) -> bool:
    """Remove an invitation; False where there is none, or it was used."""
    statement = delete(SignUpInvitation).where(SignUpInvitation.id == invitation_id)
    return bool(transaction.execute(statement.returning(SignUpInvitation.id)).all())


def _is_good() -> ColumnElement[bool]:
    """Return the condition of an invitation whose time is not over and whose maker administers; join both tables."""
    return and_(SignUpInvitation.expires_at > now(), User.role == "admin", User.disabled_at.is_(None))
