"""Write down who did what, in the transaction that does it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import AuditEntry


def record(transaction: Transaction, user_id: str | None, action: str, subject: str, **detail: Any) -> None:
    """Note an action in the transaction that does it, so that neither is kept without the other."""
    transaction.add(AuditEntry(user_id=user_id, action=action, subject=subject[:300], detail=detail))
