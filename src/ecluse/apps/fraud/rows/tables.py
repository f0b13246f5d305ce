"""Describe the tables of the catalog that this application keeps; `catalog.tables` describes those of the core."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    Select,
    String,
    and_,
    case,
    literal,
    null,
    select,
)
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

from ecluse.catalog.filed import NOWHERE, UNKNOWN_SIZE, FileKind, HasFile, of_file
from ecluse.catalog.of_work import ERROR, HAS_WORK, STATUS
from ecluse.catalog.tables import Base, OfWork, Run, Work, new_id, now
from ecluse.sentences import _

#: What is said of a table whose reading a person stopped.
READING_STOPPED: Final = _("Reading it was stopped on request. Upload it again.")


class Dataset(OfWork, HasFile, Base):
    """An uploaded table. `state` is profiling, ready or failed; `profile` is what was found in it.

    Its work is to be read: a table that was read and is read in another way stays ready if that fails.
    `layout` is which sheet and row its columns begin in, as a person chose it; None where no one did.
    """

    __tablename__ = "datasets"
    __table_args__ = (Index("ix_datasets_owner_time", "user_id", "created_at"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
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


class Prediction(OfWork, HasFile, Base):
    """One scoring, from the moment it was asked for. It has a file once its result is complete."""

    __tablename__ = "predictions"
    __table_args__ = (Index("ix_predictions_owner_time", "user_id", "created_at"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
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
    """A model applied to a table, to ask, learn, monitor or compare: `kind` is questions, learning, monitor, comparison
    or transfer; `result` holds the figures.

    `other_version` is the second of two that are compared.
    """

    __tablename__ = "inspections"
    __table_args__ = (
        Index("ix_inspections_model", "user_id", "model_name", "version"),
        Index("ix_inspections_owner_time", "user_id", "created_at"),
    )
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


class FraudTraining(Base):
    """The table that a run of fraud learns from, and its plan; a plan of kind "ensemble" makes an ensemble of
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
    #: Never read: SQLAlchemy inserts the rows that these name before this one, as its foreign keys need.
    _run: Mapped[Run] = relationship(lazy="raise")
    _dataset: Mapped[Dataset | None] = relationship(lazy="raise")
