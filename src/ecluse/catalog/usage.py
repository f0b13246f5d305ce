"""Add up what the catalog's rows say is stored: by kind, by user, by day, and the largest things.

Bytes and counts are those of rows that are there now: a model version counts as one, an image too, and what was
deleted counts nowhere, in no day of the past either. Nothing here asks a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Date,
    Select,
    Subquery,
    case,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy import String as Text
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import Dataset, Image, ImageSet, ModelVersion, Prediction, User
from ecluse.settings import Area

#: What a user has stored: uploaded tables, results of scorings, versions of models, images.
StoredKind = Literal["uploads", "results", "models", "images"]
#: Each kind, and the area its objects lie in.
KINDS: Final[dict[StoredKind, Area]] = {
    "uploads": "data",
    "results": "data",
    "models": "models",
    "images": "images",
}


@dataclass(frozen=True)
class KindUsage:
    """How much of one kind is stored: bytes, and how many things."""

    kind: StoredKind
    size: int
    count: int

    @property
    def area(self) -> Area:
        return KINDS[self.kind]


@dataclass(frozen=True)
class UserUsage:
    """What one user has stored, in bytes by kind."""

    user_id: str
    email: str
    name: str
    uploads: int
    results: int
    models: int
    images: int
    count: int

    @property
    def size(self) -> int:
        return self.uploads + self.results + self.models + self.images


@dataclass(frozen=True)
class DayUsage:
    """What was stored by the end of a day, of what is there now; bytes by kind."""

    day: date
    uploads: int
    results: int
    models: int
    images: int

    @property
    def size(self) -> int:
        return self.uploads + self.results + self.models + self.images


@dataclass(frozen=True)
class LargeItem:
    """One stored thing, of images a set. `id` is that of its row; `name` a file's, a model's or a set's."""

    kind: StoredKind
    id: str
    name: str | None
    version: str | None
    size: int
    created_at: datetime


def usage_by_kind(transaction: Transaction, user_id: str | None = None) -> list[KindUsage]:
    """Every kind with its bytes and count, of one user or of all; those with nothing, too."""
    stored = _stored(user_id).subquery()
    found = transaction.execute(
        select(stored.c.kind, func.sum(stored.c.size), func.count()).group_by(stored.c.kind)
    )
    totals = {kind: (int(size), count) for kind, size, count in found}
    return [KindUsage(kind, *totals.get(kind, (0, 0))) for kind in KINDS]


def usage_by_user(transaction: Transaction, *, limit: int = 50, offset: int = 0) -> list[UserUsage]:
    """Users with what each has stored, the most first; those with nothing, too."""
    stored = _stored().subquery()
    rows = (
        select(
            User.id,
            User.email,
            User.name,
            _sum_of(stored, "uploads"),
            _sum_of(stored, "results"),
            _sum_of(stored, "models"),
            _sum_of(stored, "images"),
            func.count(stored.c.kind),
        )
        .outerjoin(stored, stored.c.user_id == User.id)
        .group_by(User.id, User.email, User.name)
        .order_by(func.coalesce(func.sum(stored.c.size), 0).desc(), User.email)
        .limit(limit)
        .offset(offset)
    )
    return [
        UserUsage(row[0], row[1], row[2], int(row[3]), int(row[4]), int(row[5]), int(row[6]), row[7])
        for row in transaction.execute(rows)
    ]


def growth(transaction: Transaction, *, since: date, user_id: str | None = None) -> list[DayUsage]:
    """What is there now added up by the day it was made: one point for each day from `since` that added something.

    What was made before `since` is in the first point, which is that of `since` if there is any. Days are UTC.
    """
    stored = _stored(user_id).subquery()
    start = datetime.combine(since, time(), UTC)
    day = case(
        (stored.c.created_at < start, literal(since.isoformat())),
        else_=_day_of(transaction, stored.c.created_at),
    ).label("day")
    rows = transaction.execute(
        select(day, *(_sum_of(stored, kind) for kind in KINDS)).group_by(day).order_by(day)
    )
    points: list[DayUsage] = []
    for row in rows:
        before = points[-1] if points else DayUsage(since, 0, 0, 0, 0)
        uploads, results, models, images = (int(size) for size in row[1:])
        points.append(
            DayUsage(
                date.fromisoformat(str(row[0])),
                before.uploads + uploads,
                before.results + results,
                before.models + models,
                before.images + images,
            )
        )
    return points


def largest(transaction: Transaction, user_id: str, *, limit: int = 10) -> list[LargeItem]:
    """The user's largest tables, results, model versions and sets of images, the largest first."""
    stored = _stored(user_id, sets=True).subquery()
    rows = select(stored).order_by(stored.c.size.desc(), stored.c.id).limit(limit)
    return [
        LargeItem(row.kind, row.id, row.name, row.version, row.size, row.created_at)
        for row in transaction.execute(rows)
    ]


def _stored(user_id: str | None = None, *, sets: bool = False) -> CompoundSelect[Any]:
    """One row for each stored thing, or with `sets` for each set of images: kind, id, user_id, name, version, size,
    created_at.
    """
    nothing = cast(null(), Text)
    uploads = select(
        literal("uploads").label("kind"),
        Dataset.id.label("id"),
        Dataset.user_id.label("user_id"),
        Dataset.filename.label("name"),
        nothing.label("version"),
        Dataset.size_bytes.label("size"),
        Dataset.created_at.label("created_at"),
    )
    results = (
        select(
            literal("results"),
            Prediction.id,
            Prediction.user_id,
            Dataset.filename,
            nothing,
            Prediction.size_bytes,
            Prediction.created_at,
        )
        .outerjoin(Dataset, Dataset.id == Prediction.dataset_id)
        .where(Prediction.key.is_not(None), Prediction.size_bytes.is_not(None))
    )
    models = select(
        literal("models"),
        ModelVersion.id,
        ModelVersion.user_id,
        ModelVersion.name,
        ModelVersion.version,
        ModelVersion.size_bytes,
        ModelVersion.created_at,
    )
    images = _sets() if sets else _images()
    if user_id is not None:
        uploads = uploads.where(Dataset.user_id == user_id)
        results = results.where(Prediction.user_id == user_id)
        models = models.where(ModelVersion.user_id == user_id)
        images = images.where(Image.user_id == user_id)
    return union_all(uploads, results, models, images)


def _images() -> Select[Any]:
    name: list[Any] = [Image.id, Image.user_id, Image.origin, cast(null(), Text)]
    return select(literal("images"), *name, Image.size_bytes, Image.created_at).where(Image.url != "")


def _sets() -> Select[Any]:
    size = cast(func.sum(Image.size_bytes), BigInteger)
    columns = (ImageSet.id, ImageSet.user_id, ImageSet.name, ImageSet.created_at)
    return (
        select(literal("images"), *columns[:3], cast(null(), Text), size, columns[3])
        .join(Image, Image.set_id == ImageSet.id)
        .where(Image.url != "")
        .group_by(*columns)
    )


def _sum_of(stored: Subquery, kind: StoredKind) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((stored.c.kind == kind, stored.c.size), else_=0)), 0)


def _day_of(transaction: Transaction, moment: ColumnElement[datetime]) -> ColumnElement[str]:
    """The day of a moment in UTC as YYYY-MM-DD."""
    if transaction.get_bind().dialect.name == "postgresql":
        return cast(cast(func.timezone("UTC", moment), Date), Text)
    return func.date(moment)
