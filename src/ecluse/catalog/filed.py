"""Give a class of rows a file: a row of the table of files that belongs to each, read and written as its attributes.

    class Dataset(HasFile, Base):
        FILE = FileKind("datasets", kind="uploads", application="fraud", counted=True)
        url = of_file("url", "")

`dataset.url` is then the address in the table of files, in Python and in a query. The row of the file is made when one
of these attributes is set, read together with its row, and deleted with it by `transaction.delete(dataset)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Final, Literal, TypeVar

from sqlalchemy import ColumnElement, ForeignKey, Index, Select, String, and_, func, literal, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, declared_attr, foreign, mapped_column, relationship

from ecluse.catalog.columns import Base, now
from ecluse.settings import Area

T = TypeVar("T")
#: What lies at the address of a file: one object; a version of the registry, which is a folder with a manifest that
#: names every object in it; or a folder of which everything below it is meant.
Form = Literal["object", "version", "folder"]
#: Lengths that a row of the table of files can keep.
LONGEST_NAME: Final = 255
#: What a row without a file says of its address and its bytes.
NOWHERE: Final[str | None] = None
UNKNOWN_SIZE: Final[int | None] = None


class File(Base):
    """What lies in a store for a row: at one address, for the row `row_id` of `table_name`, under a name of its own
    where a row has several.

    `user_id` is its owner, None where it belongs to everyone. `kind` is what a person calls such files: bytes are added
    up by it if they are `counted`. `owned`: it ends with its row; else its row points at another row's file, or at one
    that is not there yet or any more, and nobody misses it.

    `url` is empty while nothing lies there, or (`key` says then under which key of the store of its area) where the
    row is from before addresses were kept. `key` is the one it was first stored under; a migration does not change it.
    `sha256` is the digest of the object, of a version that of its manifest; `size_bytes` its bytes, of a version those
    of all its files. Both are None where they are not known.
    """

    __tablename__ = "files"
    __table_args__ = (
        Index("ix_files_owner", "user_id", "kind"),
        Index("ix_files_largest", "user_id", "table_name", "size_bytes"),
    )
    table_name: Mapped[str] = mapped_column(String(40), primary_key=True)
    row_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST_NAME), primary_key=True, default="")
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    application: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(32))
    form: Mapped[Form] = mapped_column(String(16), default="object")
    area: Mapped[Area] = mapped_column(String(16), default="data")
    url: Mapped[str] = mapped_column(String(1200), default="", index=True)
    key: Mapped[str | None] = mapped_column(String(1024))
    sha256: Mapped[str | None] = mapped_column(String(64))
    size_bytes: Mapped[int | None]
    counted: Mapped[bool] = mapped_column(default=False)
    owned: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def row(self) -> str:
        """Name the row that it serves to a person: its table, its id, and which of its files this is."""
        return " ".join(filter(None, (self.table_name, self.row_id, self.name)))

    @property
    def is_version(self) -> bool:
        return self.form == "version"


@dataclass(frozen=True)
class FileKind:
    """What files of a class of rows have in common; the fields are the columns of the table of files.

    `table` is that of the row which a file serves: `id_column` holds that row's id, and `name_column` what tells its
    files apart, where it has several. `place`: where its kind stands among those that are listed even where nothing is
    stored, the smallest first; None: it is listed only where there is something.
    """

    table: str
    kind: str
    application: str
    form: Form = "object"
    area: Area = "data"
    counted: bool = False
    owned: bool = True
    id_column: str = "id"
    name_column: str = ""
    place: int | None = None


class HasFile:
    """A row with a file. A subclass says in `FILE` of what kind, and by `of_file` what of it is its attribute."""

    FILE: ClassVar[FileKind]

    def __init__(self, **values: Any) -> None:
        # SQLAlchemy looks each name up in the class, where one of a file makes a query.
        rows: Any = type(self)
        of_file = {name: values.pop(name) for name in _names_of_file(rows) & values.keys()}
        for name, value in of_file.items():
            setattr(self, name, value)
        super().__init__(**values)
        if self.file is not None:
            self._complete(self.file)

    @declared_attr
    def file(cls) -> Mapped[File | None]:  # noqa: N805 (SQLAlchemy calls it with the class)
        def joined() -> ColumnElement[bool]:
            kind = cls.FILE
            name = getattr(cls, kind.name_column) if kind.name_column else None
            return and_(
                File.table_name == kind.table,
                foreign(File.row_id) == getattr(cls, kind.id_column),
                File.name == "" if name is None else foreign(File.name) == name,
            )

        return relationship(
            "File",
            primaryjoin=joined,
            uselist=False,
            lazy="joined",
            cascade="all",
            overlaps="file",
        )

    @classmethod
    def names(cls) -> Select[*tuple[Any, ...]] | None:
        """Query of each row its id, what a person calls it and its version, if any; None: its address names it."""
        return None

    @classmethod
    def file_column(cls, name: str) -> ColumnElement[Any]:
        """Return a column of the file of a row, for a query of these rows."""
        kind = cls.FILE
        return (
            select(getattr(File, name))
            .where(
                File.table_name == kind.table,
                File.row_id == getattr(cls, kind.id_column),
                File.name == (getattr(cls, kind.name_column) if kind.name_column else ""),
            )
            .correlate(cls)
            .scalar_subquery()
        )

    def put_in_file(self, name: str, value: Any) -> None:
        """Set a column of this row's file, which is made where there is none yet."""
        if self.file is None:
            if value is None:
                return
            kind = self.FILE
            self.file = File(
                table_name=kind.table,
                kind=kind.kind,
                application=kind.application,
                form=kind.form,
                area=kind.area,
                counted=kind.counted,
                owned=kind.owned,
            )
            self._complete(self.file)
        setattr(self.file, name, "" if value is None and name == "url" else value)

    def _complete(self, file: File) -> None:
        """Give a file the owner, the application and the time of its row, as far as that has them."""
        file.user_id = getattr(self, "user_id", None)
        file.application = getattr(self, "application", None) or self.FILE.application
        if (made := getattr(self, "created_at", None)) is not None and file.created_at is None:
            file.created_at = made


def of_file(name: str, empty: T) -> hybrid_property[T]:
    """Make an attribute of rows that is a column of their file; `empty` where there is no file, or no value."""

    def get(row: HasFile) -> T:
        value: T | None = None if row.file is None else getattr(row.file, name)
        return empty if value is None or value == "" else value

    def put(row: HasFile, value: T) -> None:
        row.put_in_file(name, value)

    def expression(rows: type[HasFile]) -> ColumnElement[Any]:
        column = rows.file_column(name)
        return func.nullif(column, "") if empty is None else func.coalesce(column, literal(empty))

    return hybrid_property(get, put, expr=expression)


@cache
def _names_of_file(rows: Any) -> frozenset[str]:
    """Return the attributes of a class of rows that their files keep."""
    return frozenset(name for name, value in vars(rows).items() if isinstance(value, hybrid_property))


def file_classes() -> list[type[HasFile]]:
    """Return every class of rows with a file; those of applications are imported when a catalog is opened."""
    return [mapper.class_ for mapper in Base.registry.mappers if issubclass(mapper.class_, HasFile)]
