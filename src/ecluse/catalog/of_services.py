"""Describe the programs that act for an organisation."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base, new_id, now

#: What its tokens are, as `api_tokens.purpose` has it.
SERVICE: Final = "service"


class ServiceAccount(Base):
    """A program of an organisation. It is no person and has nothing: what it makes is the organisation's.

    Its tokens are rows of `api_tokens` whose owner is the organisation. `created_by`: the owner who made it. No foreign
    key: who made it may go, and the rows of a home are moved in any order.
    """

    __tablename__ = "service_accounts"
    __table_args__ = (UniqueConstraint("organisation_id", "name"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(40))
    role: Mapped[str] = mapped_column(String(16))
    created_by: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(default=now)
