"""Describe the schedule of backups that the workers keep, and the backups that were made of this installation."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base, SentenceText

#: The key of the one schedule.
ONE: Final = "installation"


class BackupSchedule(Base):
    """When and where to the workers back this installation up; no row, no schedule. Moments by the database's clock.

    `every` in seconds; `at` in minutes of the day, UTC, None where none was chosen. Backups are due at `anchor` and
    each `every` after it; `due_at` is the next, or when one that failed is tried again. `keep` backups stay, and those
    of `keep_days`; where both are None, all. `recipient`: the public key of age; no other is kept. `job_id` made the
    last one, which began at `begun_at`. `failed_at` and `error`: of the last that failed. `not_pruned`: why old ones
    could not be removed after the last.
    """

    __tablename__ = "backup_schedule"
    id: Mapped[str] = mapped_column(String(16), primary_key=True, default=ONE)
    url: Mapped[str] = mapped_column(String(1024))
    every: Mapped[int]
    at: Mapped[int | None]
    keep: Mapped[int | None]
    keep_days: Mapped[int | None]
    recipient: Mapped[str | None] = mapped_column(String(100))
    contents: Mapped[bool] = mapped_column(default=False)
    set_at: Mapped[datetime]
    anchor: Mapped[datetime]
    due_at: Mapped[datetime]
    job_id: Mapped[str | None] = mapped_column(String(32))
    begun_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(SentenceText)
    not_pruned: Mapped[str | None] = mapped_column(SentenceText)


class BackupMade(Base):
    """A backup that was finished, by a worker or at a terminal, wherever it lies. It may have been removed since.

    `size`: bytes of its parts, and of its objects where it has them. `damaged`: objects that are not in it, as their
    bytes were not what their rows say.
    """

    __tablename__ = "backups_made"
    __table_args__ = (Index("ix_backups_made_finished_at", "finished_at"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    url: Mapped[str] = mapped_column(String(1024))
    finished_at: Mapped[datetime]
    size: Mapped[int] = mapped_column(BigInteger)
    contents: Mapped[bool]
    encrypted: Mapped[bool]
    damaged: Mapped[int] = mapped_column(default=0)
