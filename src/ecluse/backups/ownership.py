"""Tell the backups of a home from those of other homes in the same place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ecluse.backups.places import Backup, Place
from ecluse.catalog import Transaction, backup_schedules
from ecluse.errors import BackupError
from ecluse.moving.routes import PLACES, is_described
from ecluse.runtime import Runtime
from ecluse.settings import Settings

#: How many homes are named where a place has backups of several.
_NAMED = 5


@dataclass(frozen=True)
class Owner:
    """A home, by its settings and the ids of the backups that its catalog has noted."""

    settings: Settings
    made: frozenset[str] = frozenset()

    @classmethod
    def of(cls, transaction: Transaction, settings: Settings) -> Owner:
        """Return the home of a catalog."""
        return cls(settings, backup_schedules.ids_made(transaction))

    def owns(self, backup: Backup) -> bool:
        """Return whether a backup is of this home: its catalog noted it, or it lay then where it lies now.

        What the catalog noted stays its own after its address or that of a store changed.
        """
        return backup.id in self.made or is_described(self.settings, backup.home)


def owner_of(runtime: Runtime) -> Owner:
    """Return the home that is open."""
    with runtime.catalog.read() as transaction:
        return Owner.of(transaction, runtime.settings)


def choose(place: Place, backup_id: str, owner: Owner) -> Backup:
    """Return a backup; `latest` is the newest of this home, or of the place where that has those of one home alone.

    Raises:
        BackupNotFound: there is none, or it was not finished.
        BackupError: it is damaged, or of a newer Écluse; or nobody knows of which home the latest is meant.
    """
    if backup_id != "latest":
        return place.open(backup_id)
    finished = place.look().finished
    for backup in finished:
        if owner.owns(backup):
            return backup
    _expect_one_home(place, finished)
    return place.open("latest")


def _expect_one_home(place: Place, finished: Sequence[Backup]) -> None:
    """Make sure that all are of one home, as far as their addresses say.

    Raises:
        BackupError: they are not.
    """
    newest: dict[str, Backup] = {}
    for backup in finished:
        newest.setdefault(json.dumps([backup.home.get(name) for name in PLACES], sort_keys=True), backup)
    if len(newest) > 1:
        each = "; ".join(
            f"{backup.id} of {backup.home['database']}" for backup in list(newest.values())[:_NAMED]
        )
        raise BackupError(
            f"{place.store.url} has backups of {len(newest)} homes, and none of this one. Name the one that you mean "
            f"in place of latest; the newest of each: {each}"
        )
