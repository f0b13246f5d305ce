"""Add up what the table of files says is stored: by kind, by user, by day, and the largest things.

Bytes and counts are those of files that are there now and are counted: a model version counts as one, an image too, and
what was deleted counts nowhere, in no day of the past either. Nothing here asks a store. The kinds are those of the
files that there are, and those with a `place`, which are listed even with 0 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy import String as Text
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.filed import File, file_classes
from ecluse.catalog.sums import Sum, kept
from ecluse.catalog.tables import Stored, User
from ecluse.settings import Area

#: A file that is shown to a person as stored: it lies somewhere, and its bytes are known.
_STORED: Final = and_(File.counted, or_(File.url != "", File.key.is_not(None)), File.size_bytes.is_not(None))


@dataclass(frozen=True)
class KindUsage:
    """How much of one kind is stored: bytes, and how many files."""

    kind: str
    size: int
    count: int
    area: Area


@dataclass(frozen=True)
class UserUsage:
    """What one user has stored, in bytes by kind."""

    user_id: str
    email: str
    name: str
    sizes: dict[str, int]
    count: int

    @property
    def size(self) -> int:
        return sum(self.sizes.values())


@dataclass(frozen=True)
class DayUsage:
    """What was stored by the end of a day, of what is there now; bytes by kind."""

    day: date
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(self.sizes.values())


@dataclass(frozen=True)
class LargeItem:
    """The files of one kind of a row: a table, a result, a version, a set of images. `id` is that of the row.

    `name` is what a person calls it; of a kind without names the last part of its address.
    """

    kind: str
    id: str
    name: str | None
    version: str | None
    size: int
    created_at: datetime


@dataclass(frozen=True)
class OwnUsage:
    """What one user has stored: by kind, by day, and the largest things."""

    kinds: list[KindUsage]
    points: list[DayUsage]
    largest: list[LargeItem]


def own_usage(transaction: Transaction, user_id: str, *, since: date, limit: int = 10) -> OwnUsage:
    """Add up what one user has stored, by day from `since`, with the `limit` largest things."""

    def add_up() -> Sum[OwnUsage]:
        kinds = usage_by_kind(transaction, user_id)
        points = growth(transaction, since=since, user_id=user_id)
        items = largest(transaction, user_id, limit=limit)
        return Sum(OwnUsage(kinds, points, items), rows=sum(kind.count for kind in kinds))

    return kept(transaction, ("usage", user_id, since, limit), add_up)


def standing_kinds() -> dict[str, Area]:
    """List the kinds that are shown even where nothing is stored, and the area that each lies in."""
    kinds = [kind.FILE for kind in file_classes() if kind.FILE.place is not None]
    return {kind.kind: kind.area for kind in sorted(kinds, key=lambda kind: kind.place or 0)}


def usage_by_kind(transaction: Transaction, user_id: str | None = None) -> list[KindUsage]:
    """Add up the bytes and count of every kind, of one user or of all."""
    if user_id is not None:
        stored = _kept_sums(transaction, user_id)
    else:
        rows = transaction.execute(
            select(File.kind, func.min(File.area), func.sum(File.size_bytes), func.count())
            .where(_STORED)
            .group_by(File.kind)
        )
        stored = {kind: KindUsage(kind, int(size or 0), count, area) for kind, area, size, count in rows}
    nothing = {kind: KindUsage(kind, 0, 0, area) for kind, area in standing_kinds().items()}
    return [(nothing | stored)[kind] for kind in _kinds(stored)]


def _kept_sums(transaction: Transaction, user_id: str) -> dict[str, KindUsage]:
    """Return what the database keeps of the sums of one user, so that no file is read."""
    areas = {kind.FILE.kind: kind.FILE.area for kind in file_classes()}
    rows = transaction.scalars(select(Stored).where(Stored.user_id == user_id, Stored.files > 0)).all()
    if {row.kind for row in rows} - areas.keys():  # of an application that is not installed here
        kinds = select(File.kind, func.min(File.area)).where(*_of(user_id)).group_by(File.kind)
        areas.update((kind, area) for kind, area in transaction.execute(kinds))
    return {
        row.kind: KindUsage(row.kind, row.size_bytes, row.files, areas.get(row.kind, "data")) for row in rows
    }


def usage_by_user(transaction: Transaction, *, limit: int = 50, offset: int = 0) -> list[UserUsage]:
    """Users with what each has stored, the most first; those with nothing, too."""
    size, count = func.sum(File.size_bytes), func.count(File.kind)
    page = (
        select(User.id, User.email, User.name, count)
        .outerjoin(File, and_(File.user_id == User.id, _STORED))
        .group_by(User.id, User.email, User.name)
        .order_by(func.coalesce(size, 0).desc(), User.email)
        .limit(limit)
        .offset(offset)
    )
    users = transaction.execute(page).all()
    sizes: dict[str, dict[str, int]] = {user[0]: {} for user in users}
    by_kind = (
        select(File.user_id, File.kind, size)
        .where(_STORED, File.user_id.in_(list(sizes)))
        .group_by(File.user_id, File.kind)
    )
    for user_id, kind, bytes_ in transaction.execute(by_kind):
        sizes[user_id or ""][kind] = int(bytes_ or 0)
    return [UserUsage(user[0], user[1], user[2], _complete(sizes[user[0]]), user[3]) for user in users]


def growth(transaction: Transaction, *, since: date, user_id: str | None = None) -> list[DayUsage]:
    """Add up what is there now by the day it was made: one point for each day from `since` that added something.

    What was made before `since` is in the first point, which is that of `since` if there is any. Days are UTC.
    """
    start = datetime.combine(since, time(), UTC)
    day = case(
        (File.created_at < start, literal(since.isoformat())),
        else_=_day_of(transaction, File.created_at),
    ).label("day")
    stored = select(day, File.kind, File.size_bytes).where(*_of(user_id)).subquery()
    rows = transaction.execute(
        select(stored.c.day, stored.c.kind, func.sum(stored.c.size_bytes))
        .group_by(stored.c.day, stored.c.kind)
        .order_by(stored.c.day)
    )
    points: dict[date, dict[str, int]] = {}
    sizes = _complete({})
    for written, kind, size in rows:
        sizes = sizes | {kind: sizes.get(kind, 0) + int(size or 0)}
        points[date.fromisoformat(str(written))] = sizes
    return [DayUsage(day, sizes) for day, sizes in points.items()]


def largest(transaction: Transaction, user_id: str, *, limit: int = 10) -> list[LargeItem]:
    """Return the rows of the user whose files of a kind are the largest, the largest first."""
    kinds = [kind.FILE for kind in file_classes()]
    single = {kind.table for kind in kinds} - {kind.table for kind in kinds if kind.name_column}
    rows = transaction.execute(_largest(frozenset(single)), {"owner": user_id, "most": limit}).all()
    names = _names(transaction, [(row.table_name, row.row_id) for row in rows])
    items = []
    for row in rows:
        name, version = names.get((row.table_name, row.row_id), (row.url.rpartition("/")[2], None))
        items.append(LargeItem(row.kind, row.row_id, name, version, int(row.size), row.made))
    return items


@cache  # to put it together takes longer than what it is asked for
def _largest(single: frozenset[str]) -> Select[*tuple[Any, ...]]:
    """Select the `most` rows of an `owner` with the largest files; in `single` tables each row has one file."""
    columns = (File.kind, File.table_name, File.row_id)
    mine = (_STORED, File.user_id == bindparam("owner"))
    parts = [
        # Of rows with one file each an index has the order.
        select(*columns, File.size_bytes.label("size"), File.created_at.label("made"), File.url.label("url"))
        .where(*mine, File.table_name == table)
        .order_by(File.size_bytes.desc())
        .limit(bindparam("most"))
        for table in sorted(single)
    ]
    added_up = (
        select(
            *columns,
            func.sum(File.size_bytes).label("size"),
            func.min(File.created_at).label("made"),
            func.min(File.url).label("url"),
        )
        .where(*mine, File.table_name.not_in(sorted(single)))
        .group_by(*columns)
    )
    every = union_all(*(select(part.subquery()) for part in (*parts, added_up))).subquery()
    return select(every).order_by(every.c.size.desc(), every.c.row_id).limit(bindparam("most"))


def _of(user_id: str | None) -> tuple[ColumnElement[bool], ...]:
    return (_STORED,) if user_id is None else (_STORED, File.user_id == user_id)


def _kinds(stored: Iterable[str]) -> list[str]:
    """List the kinds that are always shown, then the others by name."""
    standing = standing_kinds()
    return [*standing, *sorted(set(stored) - standing.keys())]


def _complete(sizes: dict[str, int]) -> dict[str, int]:
    return {kind: sizes.get(kind, 0) for kind in _kinds(sizes)}


def _names(
    transaction: Transaction, rows: list[tuple[str, str]]
) -> dict[tuple[str, str], tuple[str | None, str | None]]:
    """Return what a person calls these rows, and of which version they are: {(table, id): (name, version)}."""
    named: dict[tuple[str, str], tuple[str | None, str | None]] = {}
    for kind in file_classes():
        table = kind.FILE.table
        ids = [row_id for other, row_id in rows if other == table]
        if ids and (query := kind.names()) is not None:
            rows_named = transaction.execute(query.where(query.selected_columns[0].in_(ids)))
            named |= {(table, row_id): (name, version) for row_id, name, version in rows_named}
    return named


def _day_of(transaction: Transaction, moment: Any) -> ColumnElement[str]:
    """Return the day of a moment in UTC as YYYY-MM-DD."""
    if transaction.get_bind().dialect.name == "postgresql":
        return cast(cast(func.timezone("UTC", moment), Date), Text)
    return func.date(moment)
