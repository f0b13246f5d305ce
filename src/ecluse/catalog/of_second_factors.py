"""Describe the tables of second factors: the secret that a telephone shares, and the codes that stand for it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base, new_id, now


class SecondFactor(Base):
    """What an account is asked for after the password: codes of RFC 6238.

    `secret` is encrypted (`ecluse.accounts.vault`). While `confirmed_at` is None it is being set up, and asked of
    nobody but in the session `session_id`, which proved the password. `last_step`: the step of 30 s since 1970 of the
    latest code that was used; none up to it is taken again.
    """

    __tablename__ = "second_factors"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    secret: Mapped[str] = mapped_column(Text)
    last_step: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    confirmed_at: Mapped[datetime | None]
    session_id: Mapped[str | None] = mapped_column(String(32))


class RecoveryCode(Base):
    """A code that stands for the telephone once; its hash alone is kept, and it is removed when it is used."""

    __tablename__ = "recovery_codes"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
