"""Describe mail that is still to be sent, and proofs that an address is a person's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base, new_id, now


class Letter(Base):
    """A mail that is still to be sent; the row is gone once it is.

    `body` has `{link}` where the link stands, whose secret is made when it is sent: none is in the catalog. `kind` says
    which: reset, verify, sign_up, invitation or notice. `user_id`: whom it is about; None where only the address is
    known, which may have no account. It is tried at `due_at`, by one process at a time.
    """

    __tablename__ = "letters"
    __table_args__ = (Index("ix_letters_due_at", "due_at"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    kind: Mapped[str] = mapped_column(String(16))
    recipient: Mapped[str] = mapped_column(String(320))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    subject: Mapped[str] = mapped_column(String(300))
    body: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)
    due_at: Mapped[datetime] = mapped_column(default=now)
    tries: Mapped[int] = mapped_column(default=0)


class EmailProof(Base):
    """A link that was sent to an address, by which the owner of an account shows that it is theirs."""

    __tablename__ = "email_proofs"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(String(320))
    expires_at: Mapped[datetime]
