"""Describe the tables of plans: what each allows, who has which, what a person stores, and what is on its way."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base, new_id, now

#: What a plan limits, as its columns are called.
LIMITS: Final = ("days", "models", "upload_bytes", "storage_bytes", "jobs", "images")


class Plan(Base):
    """What a person may have. A limit that is None does not limit.

    `days`: how long it lasts from the day it is given. `models`: names of models. `upload_bytes`: one upload;
    `storage_bytes`: all that is stored. `jobs`: that wait or run at a time. `images`: in all sets together.
    `position`: its place in lists.
    """

    __tablename__ = "plans"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    position: Mapped[int] = mapped_column(default=100)
    days: Mapped[int | None]
    models: Mapped[int | None]
    upload_bytes: Mapped[int | None]
    storage_bytes: Mapped[int | None]
    jobs: Mapped[int | None]
    images: Mapped[int | None]
    updated_at: Mapped[datetime] = mapped_column(default=now)


class UserPlan(Base):
    """The plan of a person. Who has no row here has no limits.

    The plan goes on up to `ends_at`, and for ever where that is None. The row is also what is locked while something
    is reserved for the person. `follows`: of an organisation the person by whose plan it lives, until an administrator
    gives it one of its own; an id, which leads to nobody once that account is gone.
    """

    __tablename__ = "user_plans"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    plan: Mapped[str] = mapped_column(ForeignKey("plans.name"))
    started_at: Mapped[datetime] = mapped_column(default=now)
    ends_at: Mapped[datetime | None]
    follows: Mapped[str | None] = mapped_column(String(32), index=True)


class Stored(Base):
    """What a person stores of a kind: bytes and files, as triggers of the database count the table of files."""

    __tablename__ = "stored"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(default=0)
    files: Mapped[int] = mapped_column(default=0)


class DailyUse(Base):
    """What an owner used on one day, which is one of UTC.

    `stored_bytes`, `files`: what was stored at the last count of the day; None where it was not counted. `jobs`: that
    were begun, without parts of others. `predictions`: rows that models of the owner answered online, whoever asked.
    """

    __tablename__ = "daily_use"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    stored_bytes: Mapped[int | None]
    files: Mapped[int | None]
    jobs: Mapped[int] = mapped_column(default=0)
    predictions: Mapped[int] = mapped_column(default=0)


class Reservation(Base):
    """Bytes that an upload of a person may still store. It ends with its upload.

    `model`: the name of the model that it is a version of. Of an upload that is imported by a job, `job_id` says which:
    it ends with the job. Else it ends at `expires_at`, should the process that receives the upload die; None where a
    row with the same id is its upload.
    """

    __tablename__ = "reservations"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    size_bytes: Mapped[int]
    model: Mapped[str | None] = mapped_column(String(100))
    job_id: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
