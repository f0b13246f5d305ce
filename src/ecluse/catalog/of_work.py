"""Keep how work stands in one table, and let the rows that were made for it read it from there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    String,
    case,
    event,
    func,
    literal,
    select,
    text,
)
from sqlalchemy import inspect as state_of
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Mapper, column_property, mapped_column
from sqlalchemy.orm.attributes import set_committed_value

from ecluse.catalog.columns import Base, SentenceText
from ecluse.sentences import _

#: What is said of work whose job, or whose own record, is gone.
JOB_GONE: Final = _("Its job is gone. Ask for it again.")
#: What a row says of its work, and how that begins.
BEGINNING: Final[Mapping[str, Any]] = {
    "status": "queued",
    "job_id": None,
    "error": None,
    "started_at": None,
    "finished_at": None,
}


class Work(Base):
    """A piece of work that a person asked for. It has the id of the row it serves, or of the rows.

    `status`: queued, running, done, failed, cancelled. `job_id` is the job that does it; none where a program at a
    terminal does. `final`: what it makes is being published, or is: it can no longer be cancelled. `catalog.work`
    alone writes it.
    """

    __tablename__ = "work"
    __table_args__ = (
        Index(
            "ix_work_active",
            "status",
            sqlite_where=text("status IN ('queued', 'running')"),
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    status: Mapped[str] = mapped_column(String(16), default="queued")
    job_id: Mapped[str | None] = mapped_column(String(100), index=True)
    final: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str | None] = mapped_column(SentenceText)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


#: Whether a row has a row of work at all: these values are read over all that it has, which is one or none.
HAS_WORK: Final = func.count(Work.id) > 0
#: How work stands by its row; without one it has failed, and may be asked for again.
STATUS: Final = case((HAS_WORK, func.max(Work.status)), else_="failed")
ERROR: Final = case((HAS_WORK, func.max(Work.error)), else_=literal(JOB_GONE, Work.error.type))


class OfWork:
    """A row that was made for a piece of work; how that stands is read from the row of `work` with the same id.

    Its class is `class Order(OfWork, Base)`, of any application, and has the columns `id` and `user_id`. What a
    constructor is given of its work is how that begins. From then on `catalog.work` changes it.
    """

    if TYPE_CHECKING:
        id: Mapped[str]
        status: Mapped[str]
        job_id: Mapped[str | None]
        error: Mapped[str | None]
        started_at: Mapped[datetime | None]
        finished_at: Mapped[datetime | None]

    #: Another name under which rows of a class give the beginning of their work, and the status for each of its values.
    STATE: ClassVar[tuple[str, Mapping[str, str]] | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, value in cls.work_values().items():
            _read_from_work(cls, name, value)
        event.listen(cls, "after_insert", _begin_work)

    @classmethod
    def work_values(cls) -> dict[str, ColumnElement[Any]]:
        """Return what rows of the class read of their work, by the name under which they do."""
        as_they_are = {name: func.max(getattr(Work, name)) for name in BEGINNING}
        return {**as_they_are, "status": STATUS, "error": ERROR}


def _read_from_work(kind: Any, name: str, value: Any) -> None:
    """Let rows of a class read `value` of their work under this name; a stored row does not take another."""
    query = select(value).where(Work.id == kind.id).correlate_except(Work).scalar_subquery()
    setattr(kind, name, column_property(query, expire_on_flush=False))

    @event.listens_for(getattr(kind, name), "set")
    def refuse(row: Any, *_: Any) -> None:
        if state_of(row).persistent:
            raise TypeError(f"{kind.__name__}.{name} is that of its work; use catalog.work")


def _begin_work(mapper: Mapper[Any], connection: Connection, row: Any) -> None:
    """Give a row that is inserted its row of work, as its constructor was given it."""
    if row.STATE is not None:
        name, statuses = row.STATE
        if name in row.__dict__:
            set_committed_value(row, "status", statuses[getattr(row, name)])
        else:
            set_committed_value(row, name, next(iter(statuses)))
    for name, value in BEGINNING.items():
        if name not in row.__dict__:
            set_committed_value(row, name, value)
    values = {name: getattr(row, name) for name in ("id", "user_id", *BEGINNING)}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    # Several rows may be made for one piece of work, such as a run and what was learned in it.
    connection.execute(
        dialect.insert(Work).values(**values, final=False).on_conflict_do_nothing(index_elements=["id"])
    )
