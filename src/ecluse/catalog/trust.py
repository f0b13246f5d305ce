"""Keep who trusted which file that holds objects, and which of their types, in the log of who did what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import audit
from ecluse.catalog.tables import AuditEntry

ACTION: Final = "models.trust"


def record(transaction: Transaction, user_id: str, sha256: str, types: Iterable[str], **detail: Any) -> None:
    """Note that this user trusts the file with this digest, and in it objects of these types."""
    audit.record(transaction, user_id, ACTION, sha256, types=sorted(types), **detail)


def types_of(transaction: Transaction, sha256: str) -> frozenset[str] | None:
    """Return the types in the file with this digest that someone trusted; None where no one trusted the file."""
    query = select(AuditEntry.detail).where(AuditEntry.action == ACTION, AuditEntry.subject == sha256)
    details = list(transaction.scalars(query))
    return frozenset(str(name) for detail in details for name in detail["types"]) if details else None
