"""Find what rows of the catalog point at in the stores: every object they know, and the rows of one address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import Dataset, ModelVersion, Prediction, ReferenceModel, TrainingRun


@dataclass(frozen=True)
class Pointer:
    """A row and the address it points at. `row` names it to a person: its table and id.

    `sha256` and `size` are those of the object; a row that points at a model version, a folder, has the digest of the
    version's manifest, if any.
    """

    row: str
    url: str
    sha256: str | None
    size: int | None
    is_version: bool


def pointers(transaction: Transaction) -> Iterator[Pointer]:
    """Every row that says an object or a model version is stored; a training's own note of its version is left out."""
    for query, table in _QUERIES:
        if table != TrainingRun.__tablename__:
            yield from (_pointer(table, row) for row in transaction.execute(query).yield_per(1000))


def pointing_at(transaction: Transaction, url: str, *, limit: int = 10) -> list[Pointer]:
    """Rows that need what is at `url` or below it: they point at it, into it, or at a folder it is in."""
    return list(islice(_near(transaction, url), limit))


_QUERIES: Final[tuple[tuple[Select[*tuple[Any, ...]], str], ...]] = (
    (
        select(
            Dataset.id,
            Dataset.url.label("url"),
            Dataset.sha256.label("sha256"),
            Dataset.size_bytes.label("size"),
        ),
        Dataset.__tablename__,
    ),
    (
        select(
            Prediction.id,
            Prediction.url.label("url"),
            Prediction.sha256.label("sha256"),
            Prediction.size_bytes.label("size"),
        ).where(Prediction.url.is_not(None)),
        Prediction.__tablename__,
    ),
    (
        select(
            ModelVersion.id,
            ModelVersion.url.label("url"),
            ModelVersion.manifest_digest.label("sha256"),
            ModelVersion.size_bytes.label("size"),
        ).where(ModelVersion.url != ""),
        ModelVersion.__tablename__,
    ),
    (
        select(ReferenceModel.id, ReferenceModel.url.label("url")).where(ReferenceModel.url != ""),
        ReferenceModel.__tablename__,
    ),
    (
        select(TrainingRun.id, TrainingRun.model_path.label("url")).where(
            TrainingRun.model_path.is_not(None), TrainingRun.status == "done"
        ),
        TrainingRun.__tablename__,
    ),
)


def _near(transaction: Transaction, url: str) -> Iterator[Pointer]:
    inside, folders = f"{url.rstrip('/')}/", _folders(url)
    for query, table in _QUERIES:
        column = query.selected_columns["url"]
        wanted = query.where(or_(column.in_(folders), column.startswith(inside, autoescape=True)))
        for row in transaction.execute(wanted).yield_per(100):
            if row.url in folders or row.url.startswith(
                inside
            ):  # SQLite's LIKE is blind to large and small letters
                yield _pointer(table, row)


def _pointer(table: str, row: Any) -> Pointer:
    return Pointer(
        row=f"{table} {row.id}",
        url=row.url,
        sha256=getattr(row, "sha256", None),
        size=getattr(row, "size", None),
        is_version=table not in (Dataset.__tablename__, Prediction.__tablename__),
    )


def _folders(url: str) -> list[str]:
    """The address itself and those of the folders it is in."""
    scheme, _, path = url.rstrip("/").partition("://")
    parts = path.split("/")
    return [f"{scheme}://{'/'.join(parts[:end])}" for end in range(len(parts), 0, -1)]
