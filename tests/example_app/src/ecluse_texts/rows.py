"""Keep sets of labelled texts and the models made of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from ecluse.catalog.tables import Base, new_id, now
from ecluse.errors import NotFound


class TextSet(Base):
    """Labelled texts of a person; `model` holds the counts of their words once they are trained on."""

    __tablename__ = "texts_sets"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    examples: Mapped[list[Any]] = mapped_column(JSON)
    model: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=now)


def set_of(transaction: Session, user_id: str, set_id: str) -> TextSet:
    row = transaction.scalar(select(TextSet).where(TextSet.id == set_id, TextSet.user_id == user_id))
    if row is None:
        raise NotFound(f"No set of texts {set_id}.")
    return row


def sets_of(transaction: Session, user_id: str) -> list[TextSet]:
    newest = TextSet.created_at.desc(), TextSet.id
    return list(transaction.scalars(select(TextSet).where(TextSet.user_id == user_id).order_by(*newest)))
