"""Write down who did what, in the transaction that does it, and read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import AuditEntry, User

#: Of what is written down, what is about accounts: who entered or tried to, and what was changed about it.
OF_ACCOUNTS: Final = ("user.", "session.", "token.", "link.", "organisation.")


def record(transaction: Transaction, user_id: str | None, action: str, subject: str, **detail: Any) -> None:
    """Note an action in the transaction that does it, so that neither is kept without the other."""
    transaction.add(AuditEntry(user_id=user_id, action=action, subject=subject[:300], detail=detail))


def entries(
    transaction: Transaction,
    *,
    user: User | None = None,
    actions: Sequence[str] = (),
    search: str = "",
    limit: int = 100,
    offset: int = 0,
) -> list[tuple[AuditEntry, str | None]]:
    """List the entries, the newest first, each with the e-mail address of who did it (None: the terminal, or nobody).

    `user`: what this one did, and what was done to the account. `actions`: how those that are wanted begin.
    `search`: what an action, a subject or the address of who did it holds, whatever the case.
    """
    query = select(AuditEntry, User.email).outerjoin(User, User.id == AuditEntry.user_id)
    if user is not None:
        query = query.where(or_(AuditEntry.user_id == user.id, AuditEntry.subject == user.email))
    if actions:
        query = query.where(
            or_(*(AuditEntry.action.startswith(action, autoescape=True) for action in actions))
        )
    if search:
        places = (AuditEntry.action, AuditEntry.subject, User.email)
        query = query.where(or_(*(place.icontains(search, autoescape=True) for place in places)))
    query = query.order_by(AuditEntry.created_at.desc(), AuditEntry.id)
    rows = transaction.execute(query.limit(limit).offset(offset))
    return [(entry, email) for entry, email in rows]
