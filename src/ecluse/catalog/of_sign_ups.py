"""Describe who is invited to make an account."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base, new_id, now


class SignUpInvitation(Base):
    """A link by which one person makes an account, once; only the hash of its secret is kept.

    It is good while `created_by`, who made it, administers. `email`: the only address that the account may have; it was
    sent there and shown to nobody, so who has it reads what comes to that address. None: the account may have any.
    """

    __tablename__ = "sign_up_invitations"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str | None] = mapped_column(String(320))
    created_by: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
