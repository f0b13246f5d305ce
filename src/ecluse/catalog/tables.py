"""Describe every table of the catalog; rows are plain records once their session is closed.

Identifiers are opaque random strings, so one person's cannot be guessed from another's. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Select,
    String,
    Text,
    UniqueConstraint,
    null,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column

from ecluse.catalog.columns import Base as Base
from ecluse.catalog.columns import SentenceText as SentenceText
from ecluse.catalog.columns import UtcDateTime as UtcDateTime
from ecluse.catalog.columns import by_bytes
from ecluse.catalog.columns import new_id as new_id
from ecluse.catalog.columns import now as now
from ecluse.catalog.filed import LONGEST_NAME, NOWHERE, FileKind, HasFile, of_file
from ecluse.catalog.filed import File as File
from ecluse.catalog.of_backups import BackupMade as BackupMade
from ecluse.catalog.of_backups import BackupSchedule as BackupSchedule
from ecluse.catalog.of_identities import Identity as Identity
from ecluse.catalog.of_jobs import JobLine as JobLine
from ecluse.catalog.of_jobs import JobRow as JobRow
from ecluse.catalog.of_jobs import JobStep as JobStep
from ecluse.catalog.of_letters import EmailProof as EmailProof
from ecluse.catalog.of_letters import Letter as Letter
from ecluse.catalog.of_organisations import LONGEST_HANDLE
from ecluse.catalog.of_organisations import FormerHandle as FormerHandle
from ecluse.catalog.of_organisations import Invitation as Invitation
from ecluse.catalog.of_organisations import Membership as Membership
from ecluse.catalog.of_organisations import Share as Share
from ecluse.catalog.of_second_factors import RecoveryCode as RecoveryCode
from ecluse.catalog.of_second_factors import SecondFactor as SecondFactor
from ecluse.catalog.of_services import ServiceAccount as ServiceAccount
from ecluse.catalog.of_sign_ups import SignUpInvitation as SignUpInvitation
from ecluse.catalog.of_work import OfWork as OfWork
from ecluse.catalog.of_work import Work as Work
from ecluse.catalog.plan_tables import DailyUse as DailyUse
from ecluse.catalog.plan_tables import Plan as Plan
from ecluse.catalog.plan_tables import Reservation as Reservation
from ecluse.catalog.plan_tables import Stored as Stored
from ecluse.catalog.plan_tables import UserPlan as UserPlan

#: A run points at the version it made: that is the file of another row, or was, until the version was deleted.
RUN_VERSIONS: Final = FileKind(
    "runs", kind="runs", application="", form="version", area="models", owned=False
)


class User(Base):
    """An owner: a person, or (`kind`) an organisation, which has an `email` that is none, "@" and its handle, and to
    which nobody signs in.

    `handle` stands before the names of what is shared: @anna/fraud.
    """

    __tablename__ = "users"
    __table_args__ = (Index("uq_users_handle", "handle", unique=True),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(200), default="")
    password_hash: Mapped[str | None] = mapped_column(String(300))
    role: Mapped[str] = mapped_column(String(16), default="member")
    created_at: Mapped[datetime] = mapped_column(default=now)
    #: Since when nobody may sign in to it; None while one may.
    disabled_at: Mapped[datetime | None]
    kind: Mapped[str] = mapped_column(String(16), default="person", server_default="person")
    handle: Mapped[str | None] = mapped_column(String(LONGEST_HANDLE))
    #: Since when the address is known to be the owner's, by a link that was sent to it.
    verified_at: Mapped[datetime | None]


class FirstAccountSecret(Base):
    """A secret that a terminal showed, with which the first account may be made; only its hash is kept."""

    __tablename__ = "first_account_secrets"
    secret_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[datetime]


class Session(Base):
    """A signed-in browser. `id` names it to its owner; only the hash of its secret is kept.

    `by_link`: a sign-in link began it, and no password; `provider`: the name of the one by which it began.
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
    provider: Mapped[str | None] = mapped_column(String(30))


class ApiToken(Base):
    """A token for programs, or (`purpose` "sign_in_link") a link that signs in once, ("browser") the mark of a
    browser that has signed in before, which lets no one in, or ("second_step") the proof of a browser that the password
    was right, which is good for asking the second factor alone,
    or ("password_reset") a link of a mail that sets a new password once, or ("service") a token of a service account.

    `administers`: it may do what an administrator may, if its owner is one; else what a member may. `scopes` are words
    with spaces between (`ecluse.accounts.scopes`); `model` is the name of the one model that it is for.
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
    scopes: Mapped[str] = mapped_column(String(64), default="manage", server_default="manage")
    model: Mapped[str | None] = mapped_column(String(100))
    #: Of which service account of its owner, an organisation, it is ("service"); and which token it stands for an hour.
    service_account_id: Mapped[str | None] = mapped_column(String(32), index=True)
    parent_id: Mapped[str | None] = mapped_column(String(32))


class Attempt(Base):
    """When nothing is held against a subject any more that tries to sign in; see `catalog.attempts`.

    In seconds since 1970 by the database's clock, as it is counted with; double precision is exact to a microsecond.
    """

    __tablename__ = "attempts"
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    free_at: Mapped[float] = mapped_column(Float(53), index=True)


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


class ModelUpload(HasFile, Base):
    """A version that a program publishes in parts over the network: what it announced, and the name it has claimed.

    `nonce` names it to its sender, who goes on by it. `files` are {path, size, sha256} in the order that parts name
    them by; `details` the metadata, `alias` and `run_id` what the version is to get. `url` is the folder in which parts
    lie that are not removed yet. `committed_at`: since when the version has its row.
    """

    __tablename__ = "model_uploads"
    __table_args__ = (
        UniqueConstraint("user_id", "name", "nonce"),
        Index("ix_model_uploads_version", "user_id", "name", "version"),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(32))
    nonce: Mapped[str] = mapped_column(String(200))
    files: Mapped[list[Any]] = mapped_column(default=list)
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    part_bytes: Mapped[int]
    alias: Mapped[str | None] = mapped_column(String(64))
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    committed_at: Mapped[datetime | None]

    FILE = FileKind("model_uploads", kind="unfinished", application="", form="folder", area="models")
    url = of_file("url", "")


class UserTable(HasFile, Base):
    """A table of a person, for any model: one that was uploaded, or what a scoring made, with its job and its version.

    `columns` are {name, type}, as Polars calls types; `notes` what was noted when it was made.
    """

    __tablename__ = "user_tables"
    __table_args__ = (Index("ix_user_tables_owner", "user_id", "created_at"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    rows: Mapped[int] = mapped_column(BigInteger)
    columns: Mapped[list[Any]] = mapped_column(default=list)
    notes: Mapped[list[Any]] = mapped_column(default=list)
    job_id: Mapped[str | None] = mapped_column(String(100), index=True)
    model: Mapped[str | None] = mapped_column(String(100))
    version: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(default=now)

    FILE = FileKind("user_tables", kind="tables", application="", counted=True)
    url = of_file("url", "")
    key = of_file("key", "")
    size_bytes = of_file("size_bytes", 0)
    sha256 = of_file("sha256", "")

    @classmethod
    def names(cls) -> Select[*tuple[Any, ...]]:
        return select(cls.id, cls.name, null())


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


class Compatibility(Base):
    """One row: the oldest revision whose release can still work with these tables, written by each upgrade."""

    __tablename__ = "compatibility"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    oldest: Mapped[str] = mapped_column(String(16))


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


class ObjectNote(Base):
    """An object that no row points at yet, or any more; by `due_at`, a row does or the object goes."""

    __tablename__ = "object_notes"
    url: Mapped[str] = mapped_column(String(1200), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(index=True)


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
    #: Kind of job → the newest version of it that this worker can run; none of a release that did not say so.
    versions: Mapped[dict[str, Any] | None]
    release: Mapped[str | None] = mapped_column(String(32))
    #: The newest migration that the release of this worker has.
    revision: Mapped[str | None] = mapped_column(String(16))
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]


class JobCheckpoints(Base):
    """A job that keeps checkpoints, and when it saved one last. Its owner may be gone before they are."""

    __tablename__ = "job_checkpoints"
    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(64))
    saved_at: Mapped[datetime] = mapped_column(default=now)


class Run(OfWork, HasFile, Base):
    """One training of any application, as it is tracked.

    `kind` is the recipe or search; `parameters`, `tags` and `metrics` (the last or best of each) are flat. An
    artifact is {name, url, sha256, size}. `subject` says what it learned from: {"dataset_id"}, or {"set_id",
    "split_id"}. `exports`: where else it is known, by name, such as {"mlflow": {…}}. `nonce` is that of the program of
    its owner which writes it; None: code of ours does.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_user_time", "user_id", "created_at"),
        Index("ix_runs_user_name", "user_id", "application", "name"),
        Index("ix_runs_user_nonce", "user_id", "nonce", unique=True),
    )
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
    nonce: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)

    FILE = RUN_VERSIONS
    url = of_file("url", NOWHERE)

    @property
    def artifacts(self) -> list[dict[str, Any]]:
        """Return what it left: {name, url, sha256, size} of each file of the version that it made."""
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


class RunMetric(Base):
    """A metric of a run at a step (an epoch, a trial); written again, it is replaced."""

    __tablename__ = "run_metrics"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]
    at: Mapped[datetime] = mapped_column(default=now)
