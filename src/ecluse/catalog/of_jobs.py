"""Describe the tables of jobs: what waits and runs, its parts, its steps, and what there is to say of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base, SentenceText


class JobRow(Base):
    """A piece of work in the background, in the order of `number`. `status`: queued, running, done, failed, cancelled.

    `worker` runs it until `lease_until`, and longer as long as it renews that, by the database's clock. `fence` grows
    each time that the job changes hands: what is written for a fence of before is refused. `losses` counts the deaths
    of workers that this job may have caused, one after the other without getting further than `lost_at`.

    A part of a job (`catalog.job_parts`) is a row of its own with the id of its job as `parent_id`. It is the one at
    `place`, from 0, of what its job maps under `map_name`, and `share` is how much of its job it is, 0 to 1.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_status_queue", "status", "queue"),
        Index("ix_jobs_user_number", "user_id", "number"),
        Index("ix_jobs_parts", "parent_id", "map_name", "place"),
        Index(
            "ix_jobs_queued",
            "queue",
            "number",
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
    )
    number: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    id: Mapped[str] = mapped_column(String(100), unique=True)
    kind: Mapped[str] = mapped_column(String(64))
    queue: Mapped[str] = mapped_column(String(32))
    user_id: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(Text)
    subject: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16), default="queued")
    stage: Mapped[str | None] = mapped_column(String(64))
    fraction: Mapped[float] = mapped_column(default=0.0)
    message: Mapped[str] = mapped_column(SentenceText, default="")
    error: Mapped[str | None] = mapped_column(SentenceText)
    #: The code of that error, by which jobs that fail are counted.
    error_code: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    not_before: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(64), index=True)
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    alone: Mapped[bool] = mapped_column(default=False)
    losses: Mapped[int] = mapped_column(default=0)
    lost_at: Mapped[float] = mapped_column(default=0.0)
    lost_by: Mapped[str | None] = mapped_column(String(64))
    put_off: Mapped[int] = mapped_column(default=0)
    #: Asked for by another job, or due by itself, so that it counts against no plan. Not what `Task.map` makes: that
    #: has a `parent_id`.
    part: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: Of its kind, as who asked for it had it: a worker of an older release leaves it to a newer one.
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    #: The trace that the job belongs to, as the header `traceparent` writes it; None where nothing is traced.
    trace: Mapped[str | None] = mapped_column(String(64))
    #: Those of a queue are taken in the order of their turns, of one turn by `number`: parts of one owner take one
    #: turn each, so that they do not stand before the jobs of others.
    turn: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    #: How many parts it has, for which it waits outside of any worker; 0 for a job without.
    parts: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    #: No reference: the record of a part ends as that of its job does, with its owner or after its time.
    parent_id: Mapped[str | None] = mapped_column(String(100))
    map_name: Mapped[str] = mapped_column(String(120), default="", server_default="")
    place: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    share: Mapped[float] = mapped_column(default=0.0, server_default=text("0"))


class JobStep(Base):
    """What a step of a job returned, as JSON. `position` counts the steps of one name, from 0."""

    __tablename__ = "job_steps"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    result: Mapped[str] = mapped_column(Text)


class JobLine(Base):
    """A sentence on a job, in the order of `number`; `level`: info or warning. See `catalog.job_lines`."""

    __tablename__ = "job_lines"
    __table_args__ = (Index("ix_job_lines_job_number", "job_id", "number"),)
    number: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(8), default="info")
    said: Mapped[str] = mapped_column(SentenceText)
