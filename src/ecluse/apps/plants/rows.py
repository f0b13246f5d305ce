"""Find and keep sets of labelled images and their splits. Every query names the owner, but those by a set of theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.apps.plants.tables import Image, ImageSet, ImageSplit
from ecluse.catalog import files, sharing
from ecluse.catalog.tables import File, now
from ecluse.errors import InvalidInput, NotFound
from ecluse.sentences import _

State = Literal["valid", "rejected", "excluded"]
STATES: Final[tuple[State, ...]] = ("valid", "excluded", "rejected")
Order = Literal["origin", "suspicion", "group"]
#: The kind of a set among what is shared (see `sharing.SETS`).
SETS: Final = "plants_sets"
#: How many ids one query names.
MANY: Final = 500


@dataclass(frozen=True)
class Filter:
    """Which images of a set; what is left out does not matter.

    `duplicates`: those with others that look nearly the same. `contested`: the same or nearly the same came under
    another label too. `suspects`: another label is suggested. `text`: part of the label or the digest, and `by_origin`
    of the origin too.
    """

    label: str | None = None
    states: tuple[State, ...] = ("valid", "excluded")
    duplicates: bool = False
    contested: bool = False
    suspects: bool = False
    group: str | None = None
    text: str = ""
    by_origin: bool = True


@dataclass(frozen=True)
class Counts:
    """How many images of a set there are: {label: number} of each state."""

    valid: Mapping[str, int] = field(default_factory=dict)
    excluded: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Count those that are stored: valid or excluded."""
        return sum(self.valid.values()) + sum(self.excluded.values())

    @property
    def labels(self) -> list[str]:
        """List those of the images that are stored, in their order."""
        return sorted({*self.valid, *self.excluded})


# Sets


def add_set(transaction: Transaction, row: ImageSet) -> ImageSet:
    transaction.add(row)
    transaction.flush()
    return row


def set_of(transaction: Transaction, user_id: str, set_id: str) -> ImageSet:
    """Return a set of images of the user.

    Raises:
        NotFound: there is none, or the user may not see it.
        Forbidden: it is someone else's, and shared with the user to be read.
    """
    row = find_set(transaction, user_id, set_id)
    if row is None:
        other = readable_set(transaction, user_id, set_id)
        raise sharing.refusal(transaction, other.user_id, other.name)
    return row


def no_set(name: str) -> str:
    """Return what is said of a set that is not there."""
    return _("No set of images %(name)s. See: ecluse plants sets", name=name)


def readable_set(transaction: Transaction, reader_id: str, set_id: str) -> ImageSet:
    """Return a set that this person may see: theirs, or one that is shared with them.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    row = sharing.readable_row(transaction, SETS, ImageSet, reader_id, set_id)
    if row is None:
        raise NotFound(no_set(set_id))
    return row


def find_set(transaction: Transaction, user_id: str, set_id: str) -> ImageSet | None:
    return transaction.scalar(select(ImageSet).where(ImageSet.id == set_id, ImageSet.user_id == user_id))


def set_named(transaction: Transaction, user_id: str, name: str) -> ImageSet | None:
    return transaction.scalar(select(ImageSet).where(ImageSet.user_id == user_id, ImageSet.name == name))


def list_sets(transaction: Transaction, user_id: str, *, limit: int = 200, offset: int = 0) -> list[ImageSet]:
    """Return the user's sets, that which was imported last first."""
    return list(transaction.scalars(_newest(user_id).limit(limit).offset(offset)))


def count_sets(transaction: Transaction, user_id: str) -> int:
    return transaction.scalar(select(func.count()).where(ImageSet.user_id == user_id)) or 0


def newest_set(transaction: Transaction, user_id: str) -> ImageSet | None:
    """Return the set that images were imported into last."""
    return transaction.scalar(_newest(user_id).where(ImageSet.imported_at.is_not(None)).limit(1))


def lock_set(transaction: Transaction, set_id: str) -> bool:
    """Keep others from adding images to this set until the transaction ends; whether it is still there."""
    locked_id = transaction.scalar(select(ImageSet.id).where(ImageSet.id == set_id).with_for_update())
    return locked_id is not None


def set_job(transaction: Transaction, set_id: str, job_id: str | None, *, staged: str | None = None) -> None:
    """Say which job is at work on a set, and the address of what was uploaded for it."""
    row = transaction.get(ImageSet, set_id)
    if row is None:
        return
    row.job_id = job_id
    transaction.flush()
    if staged is None:
        files.remove(transaction, ImageSet.FILE.table, [set_id], names=[""])
    elif staged != row.staged_url:
        row.staged_url = staged


def set_imported(transaction: Transaction, set_id: str, done: Mapping[str, int]) -> None:
    """Say that an import has ended, and what became of its files."""
    ended = {"imported_at": now(), "last_import": dict(done)}
    transaction.execute(update(ImageSet).where(ImageSet.id == set_id).values(**ended))


def set_audited(transaction: Transaction, set_id: str) -> None:
    transaction.execute(update(ImageSet).where(ImageSet.id == set_id).values(audited_at=now()))


def sets_with_staged(transaction: Transaction) -> list[ImageSet]:
    """Return every set, of anyone, for which something is uploaded and not removed yet."""
    staged = select(File.row_id).where(File.kind == ImageSet.FILE.kind, File.url != "")
    return list(transaction.scalars(select(ImageSet).where(ImageSet.id.in_(staged))))


def forget_staged(transaction: Transaction, set_id: str, url: str) -> None:
    row = transaction.get(ImageSet, set_id)
    if row is not None and row.staged_url == url:
        files.remove(transaction, ImageSet.FILE.table, [set_id], names=[""])


def remove_set(transaction: Transaction, user_id: str, set_id: str) -> list[str]:
    """Forget a set, its images and its splits; the addresses of the objects that nothing points at then."""
    row = set_of(transaction, user_id, set_id)
    sharing.remove_of(transaction, row.user_id, SETS, row.id)
    files.remove(transaction, ImageSet.FILE.table, [set_id], names=[""])
    splits = transaction.scalars(select(ImageSplit.id).where(ImageSplit.set_id == set_id)).all()
    urls = files.remove(transaction, ImageSet.FILE.table, [set_id])
    urls += files.remove(transaction, ImageSplit.FILE.table, splits)
    transaction.execute(delete(Image).where(Image.set_id == set_id))
    transaction.execute(delete(ImageSplit).where(ImageSplit.set_id == set_id))
    transaction.execute(delete(ImageSet).where(ImageSet.id == row.id))
    return urls


# Images


def add_images(transaction: Transaction, rows: Iterable[Image]) -> None:
    transaction.add_all(rows)
    transaction.flush()


def images_by_digest(transaction: Transaction, set_id: str, digests: Collection[str]) -> dict[str, Image]:
    """Return those images of a set that have one of these digests, whatever their state."""
    remaining, by_digest = list(digests), dict[str, Image]()
    for start in range(0, len(remaining), MANY):
        part = Image.sha256.in_(remaining[start : start + MANY])
        rows = transaction.scalars(select(Image).where(Image.set_id == set_id, part))
        by_digest |= {row.sha256: row for row in rows}
    return by_digest


def image_of(transaction: Transaction, user_id: str, image_id: str) -> Image:
    """Return an image of the user.

    Raises:
        NotFound: there is none, or the user may not see it.
        Forbidden: it is of a set that is shared with the user to be read.
    """
    row = readable_image(transaction, user_id, image_id)
    if row.user_id != user_id:
        other = readable_set(transaction, user_id, row.set_id)
        raise sharing.refusal(transaction, other.user_id, other.name)
    return row


def readable_image(transaction: Transaction, reader_id: str, image_id: str) -> Image:
    """Return an image of a set that this person may see; of one that is someone else's, only what is stored.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    stored = or_(Image.user_id == reader_id, Image.state != "rejected")
    row = transaction.scalar(select(Image).where(Image.id == image_id, stored, _seen_by(reader_id)))
    if row is None:
        raise NotFound(_("No image %(name)s. See: ecluse plants show SET", name=image_id))
    return row


def images_with(transaction: Transaction, user_id: str, image_ids: Collection[str]) -> dict[str, Image]:
    """Return those of these images that are of sets which the user may see and still there, by id."""
    by_id = dict[str, Image]()
    for part in _parts(image_ids):
        rows = transaction.scalars(select(Image).where(Image.id.in_(part), _seen_by(user_id)))
        by_id |= {row.id: row for row in rows}
    return by_id


def find_images(transaction: Transaction, user_id: str, set_id: str, names: Collection[str]) -> list[Image]:
    """Return the images of a set by their ids, the beginnings of their digests (8 or more), or their origins, in that
    order.

    Raises:
        NotFound: one is not there.
        InvalidInput: one names several.
    """
    return [_find_image(transaction, user_id, set_id, name) for name in names]


def list_images(
    transaction: Transaction,
    user_id: str,
    set_id: str,
    filter_: Filter = Filter(),
    *,
    order: Order = "origin",
    limit: int | None = 200,
    offset: int = 0,
) -> list[Image]:
    """Images of a set: by label and origin, by suspicion from the highest, or those that look alike side by side."""
    columns: dict[Order, tuple[Any, ...]] = {
        "origin": (Image.label, Image.origin, Image.id),
        "suspicion": (func.coalesce(Image.suspicion, -1.0).desc(), Image.label, Image.origin, Image.id),
        "group": (func.coalesce(Image.group, Image.id), Image.label, Image.origin, Image.id),
    }
    query = _matching(select(Image), user_id, set_id, filter_).order_by(*columns[order])
    return list(transaction.scalars(query.limit(limit).offset(offset)))


def count_images(
    transaction: Transaction,
    user_id: str,
    set_id: str,
    filter_: Filter = Filter(),
) -> int:
    return transaction.scalar(_matching(select(func.count(Image.id)), user_id, set_id, filter_)) or 0


def counts(transaction: Transaction, user_id: str, set_ids: Collection[str]) -> dict[str, Counts]:
    """Return how many images each of these sets has, by state and label."""
    totals: dict[str, dict[str, dict[str, int]]] = {
        set_id: {state: {} for state in STATES} for set_id in set_ids
    }
    rows = transaction.execute(
        select(Image.set_id, Image.state, Image.label, func.count())
        .where(Image.user_id == user_id, Image.set_id.in_(list(set_ids)))
        .group_by(Image.set_id, Image.state, Image.label)
        .order_by(Image.label)
    )
    for set_id, state, label, number in rows:
        totals[set_id][state][label] = number
    return {set_id: Counts(**states) for set_id, states in totals.items()}


def reasons(transaction: Transaction, user_id: str, set_id: str) -> list[tuple[str, int]]:
    """Return why files of a set were rejected, and how many for each reason, the most first."""
    number = func.count()
    rows = transaction.execute(
        select(Image.reason, number)
        .where(Image.user_id == user_id, Image.set_id == set_id, Image.state == "rejected")
        .group_by(Image.reason)
        .order_by(number.desc(), Image.reason)
    )
    return [(reason or "", count) for reason, count in rows]


def stored_bytes(transaction: Transaction, user_id: str, set_ids: Collection[str]) -> dict[str, int]:
    """Return the bytes of the images of each of these sets."""
    rows = transaction.execute(
        select(File.row_id, func.sum(File.size_bytes))
        .where(File.user_id == user_id, File.kind == Image.FILE.kind, File.url != "")
        .where(File.table_name == Image.FILE.table, File.row_id.in_(list(set_ids)))
        .group_by(File.row_id)
    )
    return dict.fromkeys(set_ids, 0) | {set_id: int(size or 0) for set_id, size in rows}


def set_label(
    transaction: Transaction, user_id: str, set_id: str, image_ids: Collection[str], label: str
) -> int:
    """Give stored images a label; how many had another. A person has said so: no audit doubts it from then on."""
    changed = 0
    for part in _parts(image_ids):
        mine = (Image.user_id == user_id, Image.set_id == set_id, Image.id.in_(part))
        stored = and_(*mine, Image.state != "rejected")
        # A suggestion that is the label itself: what a person chose, or confirmed.
        statement = update(Image).where(stored, Image.label == label)
        transaction.execute(statement.values(contested=False, suspicion=None, suggested_label=label))
        done = transaction.execute(
            update(Image)
            .where(stored, Image.label != label)
            .values(label=label, contested=False, suspicion=None, suggested_label=label)
            .returning(Image.id)
        )
        changed += len(done.all())
    return changed


def set_state(
    transaction: Transaction,
    user_id: str,
    set_id: str,
    image_ids: Collection[str],
    state: Literal["valid", "excluded"],
) -> int:
    """Take stored images out of use, or back in; how many changed. A rejected one stays so."""
    changed = 0
    for part in _parts(image_ids):
        done = transaction.execute(
            update(Image)
            .where(Image.user_id == user_id, Image.set_id == set_id, Image.id.in_(part))
            .where(Image.state.not_in(("rejected", state)))
            .values(state=state)
            .returning(Image.id)
        )
        changed += len(done.all())
    return changed


def set_groups(transaction: Transaction, set_id: str, groups: Mapping[str, str | None]) -> None:
    """Say of images, by their ids, which of them look nearly the same: the id of the first of its group, or None."""
    table = cast(Table, Image.__table__)
    change = update(table).where(table.c.set_id == set_id, table.c.id == bindparam("image"))
    values = [{"image": image_id, "group": group} for image_id, group in groups.items()]
    if values:
        transaction.execute(change.values(near_group=bindparam("group")), values)


def set_suspicions(
    transaction: Transaction, set_id: str, judged: Iterable[tuple[str, str, float | None, str | None]]
) -> None:
    """Keep what was found of labels: (image, label, suspicion, suggested label); one that has another label now, or
    whose label a person chose or confirmed, is left as it is."""
    table = cast(Table, Image.__table__)
    change = (
        update(table)
        .where(
            table.c.set_id == set_id,
            table.c.id == bindparam("image"),
            table.c.label == bindparam("given"),
            or_(table.c.suggested_label.is_(None), table.c.suggested_label != table.c.label),
        )
        .values(suspicion=bindparam("found"), suggested_label=bindparam("suggested"))
    )
    values = [
        dict(zip(("image", "given", "found", "suggested"), values_of_image, strict=True))
        for values_of_image in judged
    ]
    if values:
        transaction.execute(change, values)


def remove_rejected(transaction: Transaction, set_id: str, digests: Collection[str]) -> None:
    """Forget the rejections of what could be read since."""
    for part in _parts(digests):
        removed = transaction.scalars(
            delete(Image)
            .where(Image.set_id == set_id, Image.sha256.in_(part), Image.state == "rejected")
            .returning(Image.id)
        ).all()
        if removed:
            files.remove(transaction, Image.FILE.table, [set_id], names=removed)


# Splits


def add_split(transaction: Transaction, row: ImageSplit) -> ImageSplit:
    transaction.add(row)
    transaction.flush()
    return row


def split_of(transaction: Transaction, user_id: str, split_id: str) -> ImageSplit:
    """Return a split of the user's, or of a set that is shared with them by who made both.

    Raises:
        NotFound: there is none, or it is not for the user.
    """
    seen = sharing.visible(SETS, ImageSplit.user_id, ImageSplit.set_id, user_id)
    row = transaction.scalar(select(ImageSplit).where(ImageSplit.id == split_id, seen))
    if row is None:
        raise NotFound(_("No split %(name)s. See: ecluse plants show SET", name=split_id))
    return row


def find_split(transaction: Transaction, user_id: str, split_id: str) -> ImageSplit | None:
    """Return a split of the user; None once it is gone."""
    query = select(ImageSplit).where(ImageSplit.id == split_id, ImageSplit.user_id == user_id)
    return transaction.scalar(query)


def list_splits(
    transaction: Transaction, user_id: str, set_id: str, *, seed: int | None = None, limit: int = 100
) -> list[ImageSplit]:
    """Return the splits of a set, or those with one seed, the newest first."""
    query = select(ImageSplit).where(ImageSplit.user_id == user_id, ImageSplit.set_id == set_id)
    if seed is not None:
        query = query.where(ImageSplit.seed == seed)
    return list(transaction.scalars(query.order_by(ImageSplit.created_at.desc(), ImageSplit.id).limit(limit)))


def newest_split(
    transaction: Transaction, user_id: str, set_id: str, *, seed: int | None = None
) -> ImageSplit | None:
    splits = list_splits(transaction, user_id, set_id, seed=seed, limit=1)
    return splits[0] if splits else None


def _newest(user_id: str) -> Select[ImageSet]:
    latest = func.coalesce(ImageSet.imported_at, ImageSet.created_at)
    return select(ImageSet).where(ImageSet.user_id == user_id).order_by(latest.desc(), ImageSet.id)


def _find_image(transaction: Transaction, user_id: str, set_id: str, name: str) -> Image:
    mine = select(Image).where(Image.user_id == user_id, Image.set_id == set_id)
    conditions: list[ColumnElement[bool]] = [Image.id == name]
    if len(name) >= 8:
        conditions.append(Image.sha256.startswith(name.lower(), autoescape=True))
    conditions.append(Image.origin == name)
    for condition in conditions:
        rows = list(transaction.scalars(mine.where(condition).limit(2)))
        if len(rows) == 1:
            return rows[0]
        if rows:
            raise InvalidInput(_("%(name)s names several images of the set. Use their ids.", name=name))
    raise NotFound(_("The set has no image %(name)s. See: ecluse plants show SET", name=name))


def _matching(query: Select[Any], user_id: str, set_id: str, filter_: Filter) -> Select[Any]:
    query = query.where(Image.user_id == user_id, Image.set_id == set_id, Image.state.in_(filter_.states))
    if filter_.label is not None:
        query = query.where(Image.label == filter_.label)
    if filter_.duplicates:
        query = query.where(Image.group.in_(_groups(set_id, func.count() > 1)))
    if filter_.contested:
        mixed = _groups(set_id, func.count(Image.label.distinct()) > 1)
        query = query.where(or_(Image.contested, Image.group.in_(mixed)))
    if filter_.suspects:
        query = query.where(Image.suggested_label.is_not(None), Image.suggested_label != Image.label)
    if filter_.group is not None:
        query = query.where(Image.group == filter_.group)
    if text := filter_.text.strip():
        has_text = [
            Image.label.icontains(text, autoescape=True),
            Image.sha256.startswith(text.lower(), autoescape=True),
        ]
        if filter_.by_origin:
            has_text.append(Image.origin.icontains(text, autoescape=True))
        query = query.where(or_(*has_text))
    return query


def _seen_by(reader_id: str) -> ColumnElement[bool]:
    """Hold of an image of a set that this person may see."""
    return sharing.visible(SETS, Image.user_id, Image.set_id, reader_id)


def _groups(set_id: str, condition: ColumnElement[bool]) -> Select[str | None]:
    """Return the groups of images in use that meet a condition."""
    return (
        select(Image.group)
        .where(Image.set_id == set_id, Image.state == "valid", Image.group.is_not(None))
        .group_by(Image.group)
        .having(condition)
    )


def _parts(values: Collection[str]) -> Iterable[list[str]]:
    every = list(values)
    return (every[start : start + MANY] for start in range(0, len(every), MANY))
