"""Describe by which providers people are known, and as whom."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base, new_id, now


class Identity(Base):
    """An account of a provider by which a person signs in: `issuer` and `subject` are who that is, for ever.

    `provider` is the name that the settings gave to the issuer when it was last used, `email` the address that the
    provider told then; neither lets anyone in.
    """

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    issuer: Mapped[str] = mapped_column(String(300))
    subject: Mapped[str] = mapped_column(String(255))
    provider: Mapped[str] = mapped_column(String(30))
    email: Mapped[str | None] = mapped_column(String(320))
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime] = mapped_column(default=now)
    #: The groups of this identity let the person administer.
    administers: Mapped[bool] = mapped_column(default=False, server_default=false())
