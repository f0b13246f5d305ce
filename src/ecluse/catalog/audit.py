"""Write down who did what, and read it back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import AuditEntry


def record(transaction: Transaction, user_id: str | None, action: str, subject: str, **detail: Any) -> None:
    """Note an action in the transaction that does it, so that neither is kept without the other."""
    transaction.add(AuditEntry(user_id=user_id, action=action, subject=subject[:300], detail=detail))


def list_entries(transaction: Transaction, user_id: str, limit: int = 100) -> list[AuditEntry]:
    return list(
        transaction.scalars(
            select(AuditEntry)
            .where(AuditEntry.user_id == user_id)
            .order_by(AuditEntry.created_at.desc())
            .limit(limit)
        )
    )
