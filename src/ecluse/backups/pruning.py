"""Remove old backups, and the bytes of objects that no other backup needs.

A backup may begin at any time, and takes what lies below `contents/` for its own. So what lies there is listed before
the backups are, and before each few that are removed a look is taken whether another backup has begun: then the rest
stays until the next time. A backup looks again in its turn before it is finished, see `creating`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ecluse.backups.ownership import Owner
from ecluse.backups.places import CONTENTS, Backup, Listed, Place, Report
from ecluse.errors import BackupError
from ecluse.sentences import _

#: An unfinished backup may be under way for so long: until then no bytes of objects are removed.
PATIENCE: Final = timedelta(hours=24)
#: So many objects are removed between two looks whether a backup has begun.
_BATCH: Final = 50


@dataclass(frozen=True)
class Pruned:
    """What was removed: backups by their names, unfinished ones among them, and objects with their bytes.

    `others`: how many backups of other homes are there, and stay. `begun`: the backup that began meanwhile, for which
    objects that none needs stay until the next time.
    """

    backups: tuple[str, ...]
    objects: int
    size: int
    others: int = 0
    begun: str | None = None


def prune(
    place: Place,
    keep: int,
    *,
    days: int | None = None,
    owner: Owner | None = None,
    report: Report = lambda *_: None,
) -> Pruned:
    """Remove all backups but the `keep` newest, and what is unfinished for a day.

    A damaged one stays, with the bytes that it needs.

    `days`: those that are not so old stay as well. `owner`: those of other homes stay, too.

    Raises:
        BackupError: `keep` is less than 1; or a backup is under way.
    """
    if keep < 1:
        raise BackupError("At least one backup is kept. Choose 1 or more.")
    present = place.contents()
    listed, now = place.look(), datetime.now(UTC)
    _expect_none_under_way(listed, now)
    own = [each for each in listed.finished if owner is None or owner.owns(each)]
    old = _old(own, keep, days, now)
    gone = [*old, *(each.id for each in listed.unfinished)]
    needed = _needed(place, [each for each in listed.finished if each.id not in old], listed)
    _remove_backups(place, gone, report)
    superfluous = {} if needed is None else {key: size for key, size in present.items() if key not in needed}
    removed, begun = _remove_contents(place, [*superfluous], listed.names, report)
    return Pruned(
        backups=tuple(gone),
        objects=len(removed),
        size=sum(superfluous[key] for key in removed),
        others=len(listed.finished) - len(own),
        begun=begun,
    )


def _expect_none_under_way(listed: Listed, now: datetime) -> None:
    under_way = [each.id for each in listed.unfinished if now - each.begun_at < PATIENCE]
    if under_way:
        raise BackupError(
            _(
                "Backup %(name)s is under way, or ended early less than a day ago. Prune when it has ended.",
                name=under_way[0],
            )
        )


def _old(own: Sequence[Backup], keep: int, days: int | None, now: datetime) -> list[str]:
    """Return the ids of those that go; `own`: the newest first."""
    recent = [each.id for each in own if days is not None and now - each.created_at < timedelta(days=days)]
    staying = {each.id for each in own[:keep]} | {*recent}
    return [each.id for each in own if each.id not in staying]


def _needed(place: Place, kept: Sequence[Backup], listed: Listed) -> set[str] | None:
    """Return the names of the contents that a backup needs; None where nobody knows what a damaged one does."""
    needed = set[str]()
    for backup in kept:
        with place.part(backup, "contents.gz") as names:
            needed |= {f"{CONTENTS}/{name}" for name in names}
    for damaged in listed.damaged:
        of_damaged = place.contents_named(damaged.id)
        if of_damaged is None:
            return None
        needed |= of_damaged
    return needed


def _remove_backups(place: Place, gone: Sequence[str], report: Report) -> None:
    for number, backup_id in enumerate(gone):
        report(0.5 * number / len(gone), f"removing {backup_id}")
        # Its manifest first: from then on it is none.
        place.store.delete(f"backups/{backup_id}/backup.json")
        place.store.delete_prefix(f"backups/{backup_id}")


def _remove_contents(
    place: Place, superfluous: Sequence[str], seen: frozenset[str], report: Report
) -> tuple[list[str], str | None]:
    """Remove contents until a backup begins that was not `seen`; those that were removed, and that backup."""
    removed = list[str]()
    for number, key in enumerate(superfluous):
        report(0.5 + 0.5 * number / len(superfluous), "removing objects")
        if number % _BATCH == 0 and (begun := place.names() - seen):
            return removed, min(begun)
        place.store.delete(key)
        removed.append(key)
    return removed, None
