"""Describe every table of the catalog; rows are plain records once their session is closed.

Identifiers are opaque random strings, so one person's cannot be guessed from another's. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Select,
    String,
    Text,
    UniqueConstraint,
    and_,
    case,
    literal,
    null,
    select,
    text,
)
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from ecluse.catalog.base import Base as Base
from ecluse.catalog.base import SentenceText as SentenceText
from ecluse.catalog.base import UtcDateTime as UtcDateTime
from ecluse.catalog.base import by_bytes
from ecluse.catalog.base import new_id as new_id
from ecluse.catalog.base import now as now
from ecluse.catalog.filed import LONGEST_NAME, FileKind, HasFile, of_file
from ecluse.catalog.filed import File as File
from ecluse.catalog.of_work import ERROR, HAS_WORK, STATUS
from ecluse.catalog.of_work import OfWork as OfWork
from ecluse.catalog.of_work import Work as Work
from ecluse.sentences import _

#: What a row without a file says of its address and its bytes.
NOWHERE: Final[str | None] = None
UNKNOWN_SIZE: Final[int | None] = None
#: A run points at the version it made: that is the file of another row, or was, until the version was deleted.
RUN_VERSIONS: Final = FileKind(
    "runs", kind="runs", application="", form="version", area="models", owned=False
)


class User(Base):
    __tablename__ = "users"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(200), default="")
    password_hash: Mapped[str | None] = mapped_column(String(300))
    role: Mapped[str] = mapped_column(String(16), default="member")
    created_at: Mapped[datetime] = mapped_column(default=now)
    #: Since when nobody may sign in to it; None while one may.
    disabled_at: Mapped[datetime | None]


class FirstAccountSecret(Base):
    """A secret that a terminal showed, with which the first account may be made; only its hash is kept."""

    __tablename__ = "first_account_secrets"
    secret_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime]


class Session(Base):
    """A signed-in browser. `id` names it to its owner; only the hash of its secret is kept.

    `by_link`: a sign-in link began it, and no password.
    """

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    user_agent: Mapped[str] = mapped_column(String(300), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    by_link: Mapped[bool] = mapped_column(default=False)


class ApiToken(Base):
    """A token for programs, or (`purpose` "sign_in_link") a link that signs in once, or ("browser") the mark of a
    browser that has signed in before, which lets no one in.

    `administers`: it may do what an administrator may, if its owner is one; else what a member may.
    """

    __tablename__ = "api_tokens"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    purpose: Mapped[str] = mapped_column(String(16), default="api")
    prefix: Mapped[str] = mapped_column(String(16), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    administers: Mapped[bool] = mapped_column(default=False)


class Attempt(Base):
    """When nothing is held against a subject any more that tries to sign in; see `catalog.attempts`.

    In seconds since 1970 by the database's clock, as it is counted with; double precision is exact to a microsecond.
    """

    __tablename__ = "attempts"
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    free_at: Mapped[float] = mapped_column(Float(53), index=True)


#: What is said of a table whose reading a person stopped.
READING_STOPPED: Final = _("Reading it was stopped on request. Upload it again.")


class Dataset(OfWork, HasFile, Base):
    """An uploaded table. `state` is profiling, ready or failed; `profile` is what was found in it.

    Its work is to be read: a table that was read and is read in another way stays ready if that fails.
    `layout` is which sheet and row its columns begin in, as a person chose it; None where no one did.
    """

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    filename: Mapped[str] = mapped_column(String(300))
    rows: Mapped[int | None]
    profile: Mapped[dict[str, Any] | None]
    layout: Mapped[dict[str, Any] | None]
    if TYPE_CHECKING:
        state: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime] = mapped_column(default=now)

    STATE = "state", {"profiling": "queued", "ready": "done", "failed": "failed"}
    FILE = FileKind("datasets", kind="uploads", application="fraud", counted=True, place=1)
    key = of_file("key", "")
    url = of_file("url", "")
    size_bytes = of_file("size_bytes", 0)
    sha256 = of_file("sha256", "")

    @classmethod
    def work_values(cls) -> dict[str, ColumnElement[Any]]:
        """Say of a table that was read that it is ready, whatever became of reading it once more."""
        was_read = cls.rows.is_not(None)
        state = case(
            (STATUS.in_(("queued", "running")), "profiling"),
            (STATUS == "done", "ready"),
            (was_read, "ready"),
            else_="failed",
        )
        error = case(
            (STATUS == "cancelled", literal(READING_STOPPED, Work.error.type)),
            (and_(~HAS_WORK, was_read), None),
            else_=ERROR,
        )
        return {**super().work_values(), "state": state, "error": error}

    @classmethod
    def names(cls) -> Select[*tuple[Any, ...]]:
        return select(cls.id, cls.filename, null())


class ModelVersion(HasFile, Base):
    """A published version. `prefix` is the key its folder was published under, `url` where that is; `details` is what
    its manifest says of it, `report` the performance.json of a fraud model. `damage` says what a verification found.
    """

    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("user_id", "name", "version"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(32))
    application: Mapped[str] = mapped_column(String(16), default="", server_default="fraud")
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"))
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    details: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    verified_at: Mapped[datetime | None]
    damaged_at: Mapped[datetime | None]
    damage: Mapped[str | None] = mapped_column(SentenceText)
    created_at: Mapped[datetime] = mapped_column(default=now)

    FILE = FileKind(
        "model_versions", kind="models", application="", form="version", area="models", counted=True, place=3
    )
    prefix = of_file("key", "")
    url = of_file("url", "")
    size_bytes = of_file("size_bytes", 0)
    manifest_digest = of_file("sha256", "")

    @classmethod
    def names(cls) -> Select[*tuple[Any, ...]]:
        return select(cls.id, cls.name, cls.version)


class ModelAlias(Base):
    """A name that points at one version of a model and can be moved, such as `production`."""

    __tablename__ = "model_aliases"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[str] = mapped_column(String(32))
    updated_at: Mapped[datetime] = mapped_column(default=now)


class Publication(HasFile, Base):
    """A version that is about to be committed in the registry; gone once the version has its row.

    It holds what the row needs and the manifest does not say, so that a commit whose publisher died before
    it could write the row is not lost. A migration that brings the version elsewhere points `url` there.
    """

    __tablename__ = "publications"
    id: Mapped[str] = mapped_column(String(32), default=new_id, unique=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[str] = mapped_column(String(32), primary_key=True)
    nonce: Mapped[str] = mapped_column(String(200))
    application: Mapped[str] = mapped_column(String(16), default="")
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"))
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)

    #: What is announced and not committed yet lies nowhere.
    FILE = FileKind(
        "publications", kind="publications", application="", form="version", area="models", owned=False
    )
    url = of_file("url", "")


class Prediction(OfWork, HasFile, Base):
    """One scoring, from the moment it was asked for. It has a file once its result is complete."""

    __tablename__ = "predictions"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    model_name: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(32))
    format: Mapped[str] = mapped_column(String(16), default="csv")
    rows: Mapped[int | None]
    flagged: Mapped[int | None]
    summary: Mapped[dict[str, Any] | None]
    #: `fraud.ranking.Ranking` of the scores; up to a megabyte, so it is read by `ranking_of` alone.
    ranking: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    created_at: Mapped[datetime] = mapped_column(default=now)

    FILE = FileKind("predictions", kind="results", application="fraud", counted=True, place=2)
    key = of_file("key", NOWHERE)
    url = of_file("url", NOWHERE)
    size_bytes = of_file("size_bytes", UNKNOWN_SIZE)
    sha256 = of_file("sha256", NOWHERE)

    @classmethod
    def names(cls) -> Select[*tuple[Any, ...]]:
        return select(cls.id, Dataset.filename, null()).outerjoin(Dataset, Dataset.id == cls.dataset_id)


class ReferenceModel(HasFile, Base):
    """A model of the shared library that unlabelled tables are matched against."""

    __tablename__ = "reference_models"
    __table_args__ = (
        # Whether a library has changed is asked at each match, and answered without reading its rows.
        Index("ix_reference_models_changes", "name", "updated_at", "created_at"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    domain: Mapped[str] = mapped_column(String(100), index=True)
    columns: Mapped[list[Any]]
    performance: Mapped[dict[str, Any]]
    version: Mapped[str] = mapped_column(String(32), default="", server_default="")
    target: Mapped[str] = mapped_column(String(300), default="", server_default="")
    rows: Mapped[int | None]
    fraud_rate: Mapped[float | None]
    sketches: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    transfer: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    created_by: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime | None] = mapped_column(default=now, onupdate=now)

    FILE = FileKind("reference_models", kind="references", application="fraud", form="version", area="models")
    prefix = of_file("key", "")
    url = of_file("url", "")
    manifest_digest = of_file("sha256", "")
    size_bytes = of_file("size_bytes", 0)


class ColumnMapping(Base):
    """A person's corrections of how a table's columns meet a reference's: {ours: theirs, or None for "no column"}."""

    __tablename__ = "column_mappings"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    reference: Mapped[str] = mapped_column(String(100), primary_key=True)
    columns: Mapped[dict[str, Any]]
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class Label(Base):
    """What a person says of one row of a table: fraud (1) or legitimate (0). `row` counts from 1."""

    __tablename__ = "labels"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    label: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Inspection(OfWork, Base):
    """A model looked at beside a table. `kind` is questions, learning, monitor, comparison or
    transfer; `result` what was found.

    `other_version` is the second of two that are compared.
    """

    __tablename__ = "inspections"
    __table_args__ = (Index("ix_inspections_model", "user_id", "model_name", "version"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    model_name: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(32))
    other_version: Mapped[str | None] = mapped_column(String(32))
    request: Mapped[dict[str, Any]] = mapped_column(default=dict)
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Migration(Base):
    """Objects moved from one store to another; with `switches_rows`, and the rows that point at them.

    `state` is planned, running, stopped, done, rolling_back or rolled_back. `user_id` is who planned it, or
    started its last job. `held_by` is the process at work on it, which says so in `beat_at` every few seconds;
    `seconds_at_work` are those that there was one. `move_id`: the move of the whole home that this is a part of.
    """

    __tablename__ = "migrations"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str | None] = mapped_column(String(32))
    source: Mapped[str] = mapped_column(String(1200))
    destination: Mapped[str] = mapped_column(String(1200))
    prefix: Mapped[str] = mapped_column(String(1024), default="")
    switches_rows: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(16), default="planned", index=True)
    job_id: Mapped[str | None] = mapped_column(String(64), index=True)
    held_by: Mapped[str | None] = mapped_column(String(300))
    beat_at: Mapped[datetime | None]
    seconds_at_work: Mapped[float] = mapped_column(default=0.0)
    rows_switched: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(SentenceText)
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    move_id: Mapped[str | None] = mapped_column(String(32))


class MigrationObject(Base):
    """The journal of a migration: what became of each object.

    `state` is planned, copying, verified, same (it was there already), conflict (another is there), damaged (the
    source's is), gone (from the source before it was copied) or removed (by a rollback). `times_copied` counts
    copies begun; `source_tag` and `e_tag` tell whether the object at the source or the destination was replaced.
    """

    __tablename__ = "migration_objects"
    migration_id: Mapped[str] = mapped_column(
        ForeignKey("migrations.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(String(1024), primary_key=True)
    size_bytes: Mapped[int]
    sha256: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), default="planned")
    source_tag: Mapped[str | None] = mapped_column(String(200))
    e_tag: Mapped[str | None] = mapped_column(String(200))
    times_copied: Mapped[int] = mapped_column(default=0)


class MigrationRow(Base):
    """A file that a migration pointed elsewhere, by its row and its name, with the address it had before."""

    __tablename__ = "migration_rows"
    migration_id: Mapped[str] = mapped_column(
        ForeignKey("migrations.id", ondelete="CASCADE"), primary_key=True
    )
    table_name: Mapped[str] = mapped_column(String(40), primary_key=True)
    row_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST_NAME), primary_key=True, default="")
    url: Mapped[str] = mapped_column(String(1200))


class HomeMove(Base):
    """A move of the whole home, as its source (`direction` "out") or its destination ("in") knows it.

    Both know it by one id. `state` of the source: moving, moved, undone (rolled back), released (it is open again
    beside its copy). Of the destination: arriving, done, checking and removing (a rollback), undone. `source` and
    `destination` say where each part of the two homes is, without a secret; `head` is the version of the tables on
    both sides. `counts`: {"rows": {table: rows}, "documents", "jobs", "objects", "bytes", "left": rows that keep an
    address of the source}.
    """

    __tablename__ = "home_moves"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    direction: Mapped[str] = mapped_column(String(8))
    state: Mapped[str] = mapped_column(String(16))
    source: Mapped[dict[str, Any]]
    destination: Mapped[dict[str, Any]]
    head: Mapped[str] = mapped_column(String(16))
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class HomeMovePart(Base):
    """The journal of a move at its destination: how many rows of a table have arrived, and the key of the last."""

    __tablename__ = "home_move_parts"
    move_id: Mapped[str] = mapped_column(ForeignKey("home_moves.id", ondelete="CASCADE"), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(64), primary_key=True)
    rows: Mapped[int] = mapped_column(default=0)
    last_key: Mapped[list[Any] | None]
    done: Mapped[bool] = mapped_column(default=False)


class AuditEntry(Base):
    """Who did what to what, and when. Never changed once written."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_user_time", "user_id", "created_at"),
        Index("ix_audit_log_time", "created_at"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str | None] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(300))
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)


class StoredDocument(Base):
    """A document by kind and key; `ecluse.documents` reads and writes it. The order is that of the bytes."""

    __tablename__ = "documents"
    kind: Mapped[str] = mapped_column(by_bytes(255), primary_key=True)
    key: Mapped[str] = mapped_column(by_bytes(512), primary_key=True)
    body: Mapped[str] = mapped_column(Text)


class Worker(Base):
    """A running worker process and its last sign of life, by the database's clock; see `ecluse.processes`."""

    __tablename__ = "workers"
    executor_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    boot: Mapped[str] = mapped_column(String(64), default="")
    namespace: Mapped[str] = mapped_column(String(100), default="")
    pid: Mapped[int]
    process_started: Mapped[int] = mapped_column(default=0)
    kinds: Mapped[list[Any]] = mapped_column(default=list)
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]


class JobRow(Base):
    """A piece of work in the background, in the order of `number`. `status`: queued, running, done, failed, cancelled.

    `worker` runs it until `lease_until`, and longer as long as it renews that, by the database's clock. `fence` grows
    each time that the job changes hands: what is written for a fence of before is refused. `losses` counts the deaths
    of workers that this job may have caused, one after the other without getting further than `lost_at`.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_status_queue", "status", "queue"),
        Index("ix_jobs_user_number", "user_id", "number"),
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


class JobStep(Base):
    """What a step of a job returned, as JSON. `position` counts the steps of one name, from 0."""

    __tablename__ = "job_steps"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    result: Mapped[str] = mapped_column(Text)


class JobCheckpoints(Base):
    """A job that keeps checkpoints, and when it saved one last. Its owner may be gone before they are."""

    __tablename__ = "job_checkpoints"
    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(64))
    saved_at: Mapped[datetime] = mapped_column(default=now)


class Schedule(Base):
    """Work that is begun once a day. `at`: HH:MM on the clocks of the work; `since`: the first day it is done for."""

    __tablename__ = "schedules"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    at: Mapped[str] = mapped_column(String(5))
    since: Mapped[date]
    fetches: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class ImageSet(HasFile, Base):
    """A person's images with their labels. `job_id` is that of the last import or audit.

    `staged_url`: the folder of what was uploaded for an import, until that has ended. `last_import`: how many files
    were added, known, duplicates, contested and rejected.
    """

    __tablename__ = "image_sets"
    __table_args__ = (UniqueConstraint("user_id", "name"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    job_id: Mapped[str | None] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    imported_at: Mapped[datetime | None]
    last_import: Mapped[dict[str, Any]] = mapped_column(default=dict)
    audited_at: Mapped[datetime | None]

    FILE = FileKind("image_sets", kind="staged", application="plants", form="folder")
    staged_url = of_file("url", NOWHERE)

    @classmethod
    def names(cls) -> Select[*tuple[Any, ...]]:
        return select(cls.id, cls.name, null())


class Image(HasFile, Base):
    """A file that was imported. `state` is valid, rejected (`reason` says why; nothing is stored) or excluded.

    `origin` is where it came from, `seen_again` other places with the same bytes; `contested` says that one of these
    had another label, and that nobody chose since. Of a file that was never read, such as one that could not be
    fetched, `sha256` is the digest of its origin. `perceptual_hash`: 64 bits as 16 hex digits. `group` is the id of
    the first of those that look nearly the same. `suspicion`: how improbable its label is by models that have not
    seen it, 0 to 1; `suggested_label` what they say instead, or the label itself where a person chose or confirmed it.
    """

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("set_id", "sha256"),
        Index("ix_images_state", "set_id", "state", "label"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    set_id: Mapped[str] = mapped_column(ForeignKey("image_sets.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(8), default="")
    width: Mapped[int | None]
    height: Mapped[int | None]
    label: Mapped[str] = mapped_column(String(100))
    imported_label: Mapped[str] = mapped_column(String(100))
    origin: Mapped[str] = mapped_column(String(1200))
    seen_again: Mapped[list[Any]] = mapped_column(default=list)
    contested: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(16), default="valid")
    reason: Mapped[str | None] = mapped_column(SentenceText)
    perceptual_hash: Mapped[str | None] = mapped_column(String(16))
    group: Mapped[str | None] = mapped_column("near_group", String(32), index=True)
    suspicion: Mapped[float | None]
    suggested_label: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(default=now)

    #: Files of the set, each by the id of its image. That of a rejected image has no address: nothing is kept of it.
    FILE = FileKind(
        "image_sets",
        kind="images",
        application="plants",
        area="images",
        counted=True,
        place=4,
        id_column="set_id",
        name_column="id",
    )
    url = of_file("url", "")
    size_bytes = of_file("size_bytes", 0)


class ImageSplit(HasFile, Base):
    """Which image is learned from, chosen by, or tested on. The manifest at `url` says it of each by its digest.

    `counts`: {part: {label: images}}.
    """

    __tablename__ = "image_splits"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    set_id: Mapped[str] = mapped_column(ForeignKey("image_sets.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    seed: Mapped[int]
    shares: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    data_digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)

    FILE = FileKind("image_splits", kind="splits", application="plants")
    url = of_file("url", "")
    sha256 = of_file("sha256", "")
    size_bytes = of_file("size_bytes", 0)


class Run(OfWork, HasFile, Base):
    """One training of any application, as it is tracked.

    `kind` is the recipe or search; `parameters`, `tags` and `metrics` (the last or best of each) are flat. An
    artifact is {name, url, sha256, size}. `subject` says what it learned from: {"dataset_id"}, or {"set_id",
    "split_id"}. `exports`: where else it is known, by name, such as {"mlflow": {…}}.
    """

    __tablename__ = "runs"
    __table_args__ = (Index("ix_runs_user_time", "user_id", "created_at"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    application: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(100))
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    files: Mapped[list[Any]] = mapped_column("artifacts", default=list)
    subject: Mapped[dict[str, Any]] = mapped_column(default=dict)
    exports: Mapped[dict[str, Any]] = mapped_column(default=dict)
    version: Mapped[str | None] = mapped_column(String(32))
    parent_version: Mapped[str | None] = mapped_column(String(140))
    finish_early_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)

    FILE = RUN_VERSIONS
    url = of_file("url", NOWHERE)

    @property
    def artifacts(self) -> list[dict[str, Any]]:
        """What it left: {name, url, sha256, size} of each file of the version that it made."""
        return [{"url": self._address_of(file), **file} for file in self.files]

    @artifacts.setter
    def artifacts(self, artifacts: Sequence[Mapping[str, Any]]) -> None:
        """Keep of each file what the address of the run, which is set before, does not say."""
        self.files = [
            {
                name: value
                for name, value in artifact.items()
                if name != "url" or value != self._address_of(artifact)
            }
            for artifact in artifacts
        ]

    def _address_of(self, file: Mapping[str, Any]) -> str:
        return f"{self.url}/{file['name']}"


class FraudTraining(Base):
    """What a run of fraud keeps besides: its table, and its plan. One of kind "ensemble" makes an ensemble of
    reference models for a table without labels.
    """

    __tablename__ = "fraud_trainings"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    target_column: Mapped[str] = mapped_column(String(300))
    plan: Mapped[dict[str, Any]]
    user_id: Mapped[str] = column_property(
        select(Run.user_id).where(Run.id == run_id).correlate_except(Run).scalar_subquery()
    )
    #: In this order they are written.
    _run: Mapped[Run] = relationship(lazy="raise")
    _dataset: Mapped[Dataset | None] = relationship(lazy="raise")


class RunMetric(Base):
    """A metric of a run at a step (an epoch, a trial); written again, it is replaced."""

    __tablename__ = "run_metrics"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]
    at: Mapped[datetime] = mapped_column(default=now)
