"""Find what rows of the catalog point at in the stores: every object they know, and the rows of one address.

`POINTING` is the one list of tables with an address; usage, verification, migration and rollback go by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import (
    Dataset,
    Image,
    ImageSplit,
    ModelVersion,
    Prediction,
    Publication,
    ReferenceModel,
    Run,
    TrainingRun,
)


@dataclass(frozen=True)
class Pointer:
    """A row and the address it points at: an object with this digest, or a folder whose manifest has it.

    `sha256` and `size` (bytes; of a folder, of all its files) are None where the row does not know them.
    """

    table: str
    row_id: str
    url: str
    sha256: str | None
    size: int | None
    is_folder: bool

    @property
    def row(self) -> str:
        """The row as it is named to a person: its table and id."""
        return f"{self.table} {self.row_id}"


@dataclass(frozen=True)
class Pointing:
    """A table with an address: its columns, and whether the address is that of a folder, a model version."""

    kind: type[Any]
    address: str
    digest: str | None
    size: str | None
    is_folder: bool


#: A version is a publication until it has its row; what is announced and not committed yet lies nowhere.
POINTING: Final[dict[str, Pointing]] = {
    "datasets": Pointing(Dataset, "url", "sha256", "size_bytes", is_folder=False),
    "predictions": Pointing(Prediction, "url", "sha256", "size_bytes", is_folder=False),
    "images": Pointing(Image, "url", "sha256", "size_bytes", is_folder=False),
    "image_splits": Pointing(ImageSplit, "url", "sha256", "size_bytes", is_folder=False),
    "model_versions": Pointing(ModelVersion, "url", "manifest_digest", "size_bytes", is_folder=True),
    "publications": Pointing(Publication, "url", None, None, is_folder=True),
    "training_history": Pointing(TrainingRun, "model_path", None, None, is_folder=True),
    "runs": Pointing(Run, "url", None, None, is_folder=True),
    "reference_models": Pointing(ReferenceModel, "url", None, None, is_folder=True),
}


def pointers(transaction: Transaction) -> Iterator[Pointer]:
    """Every row, of anyone, that points somewhere."""
    for table, columns in POINTING.items():
        yield from _found(transaction, table, getattr(columns.kind, columns.address) != "")


def pointers_near(transaction: Transaction, url: str) -> Iterator[Pointer]:
    """Every row that needs what is at `url` or below it: it points at it, into it, or at a folder it is in."""
    inside, folders = f"{url.rstrip('/')}/", _folders(url)
    for table, columns in POINTING.items():
        address = getattr(columns.kind, columns.address)
        wanted = or_(address.in_(folders), address.startswith(inside, autoescape=True))
        for found in _found(transaction, table, wanted):
            # SQLite compares without regard to case.
            if found.url in folders or found.url.startswith(inside):
                yield found


def pointing_at(transaction: Transaction, url: str, *, limit: int = 10) -> list[Pointer]:
    """The first rows of `pointers_near`."""
    return list(islice(pointers_near(transaction, url), limit))


def addresses_of(transaction: Transaction, user_id: str) -> Iterator[str]:
    """The addresses in all rows of a user."""
    for columns in POINTING.values():
        address = getattr(columns.kind, columns.address)
        if hasattr(columns.kind, "user_id"):
            yield from transaction.scalars(
                select(address).where(columns.kind.user_id == user_id, address != "").distinct()
            )


def _found(transaction: Transaction, table: str, wanted: ColumnElement[bool]) -> Iterator[Pointer]:
    columns = POINTING[table]
    kind = columns.kind
    names = (columns.address, columns.digest, columns.size)
    # What a table does not have is asked for as its id, and not looked at.
    query = select(kind.id, *(getattr(kind, name or "id") for name in names)).where(wanted).order_by(kind.id)
    for row_id, url, sha256, size in transaction.execute(query).yield_per(1000):
        yield Pointer(
            table=table,
            row_id=row_id,
            url=url,
            sha256=sha256 if columns.digest else None,
            size=size if columns.size else None,
            is_folder=columns.is_folder,
        )


def _folders(url: str) -> list[str]:
    """The address itself and those of the folders it is in."""
    scheme, _, path = url.rstrip("/").partition("://")
    parts = path.split("/")
    return [f"{scheme}://{'/'.join(parts[:end])}" for end in range(len(parts), 0, -1)]
