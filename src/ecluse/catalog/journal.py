"""Keep the journal of migrations: what is to be moved, what became of each object, and who is at work on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.clock import moment
from ecluse.catalog.tables import Migration, MigrationObject, now
from ecluse.catalog.workers import LEASE
from ecluse.errors import InvalidInput, MigrationHeld, NotFound
from ecluse.processes import is_gone
from ecluse.sentences import _

#: Who holds a migration and has said nothing for so long, by the database's clock, has let go of it.
SILENCE: Final = timedelta(seconds=LEASE)
#: The lock of PostgreSQL under which it is decided who may begin.
_TAKING_LOCK: Final = 7_231_964_206
#: The object is at the destination, and was read there.
SETTLED: Final = ("verified", "same")
#: Someone is at work, or was when the process ended.
ACTIVE: Final = ("running", "rolling_back")


@dataclass(frozen=True)
class Entry:
    """One object of a migration. `size` in bytes; `sha256` is None until it is known."""

    key: str
    size: int
    state: str
    sha256: str | None = None
    source_tag: str | None = None
    e_tag: str | None = None
    times_copied: int = 0


@dataclass(frozen=True)
class Amount:
    """Objects and their bytes."""

    objects: int = 0
    size: int = 0


# Migrations


def add_migration(transaction: Transaction, migration: Migration) -> Migration:
    transaction.add(migration)
    transaction.flush()
    return migration


def migration_of(transaction: Transaction, migration_id: str) -> Migration:
    migration = transaction.get(Migration, migration_id)
    if migration is None:
        raise NotFound(_("No migration %(value)s. See: ecluse migrate list", value=migration_id))
    return migration


def list_migrations(transaction: Transaction, *, limit: int = 50, offset: int = 0) -> list[Migration]:
    """List migrations, the newest first; those of moves of the whole home are not among them."""
    newest = (
        select(Migration)
        .where(Migration.move_id.is_(None))
        .order_by(Migration.created_at.desc(), Migration.id)
    )
    return list(transaction.scalars(newest.limit(limit).offset(offset)))


def count_migrations(transaction: Transaction) -> int:
    query = select(func.count()).select_from(Migration).where(Migration.move_id.is_(None))
    return transaction.scalar(query) or 0


def unfinished_migrations(transaction: Transaction) -> list[Migration]:
    """List migrations that are at work, or whose process ended without saying so; a move looks after its own."""
    unfinished = select(Migration).where(Migration.state.in_(ACTIVE), Migration.move_id.is_(None))
    return list(transaction.scalars(unfinished))


def of_move(transaction: Transaction, move_id: str) -> list[Migration]:
    """Return those that bring the objects of a move of the whole home."""
    query = select(Migration).where(Migration.move_id == move_id).order_by(Migration.id)
    return list(transaction.scalars(query))


def set_job(transaction: Transaction, migration_id: str, user_id: str, job_id: str) -> None:
    """Note the job that is to work on a migration, and whose it is."""
    transaction.execute(
        update(Migration).where(Migration.id == migration_id).values(job_id=job_id, user_id=user_id)
    )


def has_job(transaction: Transaction, job_id: str) -> bool:
    """Return whether this job moves objects: it ends at its next report, and what it has done stays."""
    return transaction.scalar(select(Migration.id).where(Migration.job_id == job_id)) is not None


def migration_by_job(transaction: Transaction, job_id: str) -> Migration | None:
    """Return the migration that this job planned, or was the last to work on."""
    return transaction.scalar(
        select(Migration).where(or_(Migration.id == job_id, Migration.job_id == job_id))
    )


def set_stopped(transaction: Transaction, migration_id: str, error: str) -> None:
    """Record why a migration that no one is at work on stopped. A rollback stays one: it has to be finished."""
    migration = migration_of(transaction, migration_id)
    if migration.held_by is None and migration.state in (*ACTIVE, "planned", "stopped"):
        migration.state = "rolling_back" if migration.state == "rolling_back" else "stopped"
        migration.error = error


def expire(transaction: Transaction, migration_id: str) -> bool:
    """Record that a migration stopped whose process ended without saying so; False where it goes on."""
    migration = migration_of(transaction, migration_id)
    if migration.state not in ACTIVE or is_at_work(transaction, migration):
        return False
    verb = "rollback" if migration.state == "rolling_back" else "run"
    migration.held_by, migration.beat_at = None, None
    set_stopped(
        transaction,
        migration_id,
        _(
            "Its process ended. %(onward)s",
            onward=_("Go on: ecluse migrate %(word)s %(value)s", word=verb, value=migration_id),
        ),
    )
    return True


# Who is at work


def expect_alone(
    transaction: Transaction,
    migration_id: str,
    meet: Callable[[Migration, Migration], bool],
) -> None:
    """Make sure that no migration is at work that `meet` says shares objects with this one, until the commit.

    One would delete what the other has verified and is about to point rows at. Who holds such a migration and
    is dead, or silent for long, loses it.

    Raises:
        MigrationHeld: one is at work.
    """
    if transaction.get_bind().dialect.name == "postgresql":  # SQLite lets one transaction write at a time
        transaction.execute(select(func.pg_advisory_xact_lock(_TAKING_LOCK)))
    migration = migration_of(transaction, migration_id)
    held = select(Migration).where(Migration.held_by.is_not(None), Migration.id != migration_id)
    for other in transaction.scalars(held.with_for_update()):
        if not meet(migration, other):
            continue
        if is_at_work(transaction, other):
            raise MigrationHeld(
                _(
                    "Migration %(value)s is at work on some of the same objects: %(what)s. Wait for it, "
                    "or stop it first. See: ecluse migrate list",
                    value=other.id,
                    what=other.held_by,
                )
            )
        other.held_by, other.beat_at = None, None
    transaction.expire(migration)  # who takes it reads it again, locked


def take(transaction: Transaction, migration_id: str, holder: str, state: str) -> None:
    """Hold a migration for `holder`, unless someone who lives does. It ends with the label of a process and a word.

    Raises:
        MigrationHeld: someone does.
        InvalidInput: it is to run, but was rolled back, or its rollback has begun.
    """
    migration = transaction.scalar(select(Migration).where(Migration.id == migration_id).with_for_update())
    if migration is None:
        raise NotFound(_("No migration %(value)s. See: ecluse migrate list", value=migration_id))
    other = migration.held_by
    if other and other != holder and is_at_work(transaction, migration):
        raise MigrationHeld(
            _(
                "Another process is at work on migration %(value)s: %(what)s. Wait for it, or stop it first.",
                value=migration_id,
                what=other,
            )
        )
    if state == "running" and migration.state in ("rolling_back", "rolled_back"):
        raise InvalidInput(
            _(
                "Migration %(value)s was rolled back and does not run again. Plan a new one: ecluse "
                "migrate plan",
                value=migration_id,
            )
        )
    migration.held_by, migration.beat_at = holder, moment()
    migration.state, migration.error, migration.finished_at = state, None, None
    migration.started_at = migration.started_at or now()


def beat(transaction: Transaction, migration_id: str, holder: str, seconds: float = 0.0) -> None:
    """Say that `holder` lives, `seconds` after it last did, and that what follows in this transaction is its doing.

    Raises:
        MigrationHeld: another process took the migration over.
    """
    still = transaction.execute(
        update(Migration)
        .where(Migration.id == migration_id, Migration.held_by == holder)
        .values(beat_at=moment(), seconds_at_work=Migration.seconds_at_work + seconds)
        .returning(Migration.id)
    )
    if still.first() is None:
        raise MigrationHeld(
            _(
                "Another process took migration %(value)s over. Follow it: ecluse migrate list",
                value=migration_id,
            )
        )


def release(transaction: Transaction, migration_id: str, holder: str, state: str, error: str | None) -> None:
    """Let go of a migration, with how it stands; nothing where another process has it."""
    transaction.execute(
        update(Migration)
        .where(Migration.id == migration_id, Migration.held_by == holder)
        .values(held_by=None, beat_at=None, state=state, error=error, finished_at=now())
    )


def is_at_work(transaction: Transaction, migration: Migration) -> bool:
    """Return whether someone holds it who is heard now and then, in a process that is not seen to have ended.

    A process may live on and have let go without being able to say so; that it is silent is then all that shows it.
    """
    if migration.held_by is None or is_gone(migration.held_by.rpartition("(")[2].partition(" ")[0]):
        return False
    heard = select(Migration.beat_at >= moment(-LEASE)).where(Migration.id == migration.id)
    return bool(transaction.scalar(heard))


# Objects


def entries(
    transaction: Transaction,
    migration_id: str,
    states: Collection[str] | None = None,
    *,
    after: str = "",
    limit: int | None = None,
) -> list[Entry]:
    """Return the objects in these states (default: all) whose key comes after `after`, in the order of their keys."""
    query = (
        select(
            MigrationObject.key,
            MigrationObject.size_bytes,
            MigrationObject.state,
            MigrationObject.sha256,
            MigrationObject.source_tag,
            MigrationObject.e_tag,
            MigrationObject.times_copied,
        )
        .where(MigrationObject.migration_id == migration_id, MigrationObject.key > after)
        .order_by(MigrationObject.key)
        .limit(limit)
    )
    if states is not None:
        query = query.where(MigrationObject.state.in_(states))
    return [Entry(*row) for row in transaction.execute(query)]


def add_entries(transaction: Transaction, migration_id: str, new: Sequence[Entry]) -> None:
    if new:
        transaction.execute(insert(MigrationObject), [_values(migration_id, entry) for entry in new])


def set_entries(transaction: Transaction, migration_id: str, entries: Sequence[Entry]) -> None:
    """Replace what is known of these objects; how often they were copied stays."""
    values = [_values(migration_id, entry) for entry in entries]
    for value in values:
        del value["times_copied"]
    if values:
        transaction.execute(update(MigrationObject), values)


def announce_copies(transaction: Transaction, migration_id: str, keys: Collection[str]) -> None:
    """Write down that copies of these objects begin, before they do."""
    transaction.execute(
        update(MigrationObject)
        .where(MigrationObject.migration_id == migration_id, MigrationObject.key.in_(keys))
        .values(state="copying", times_copied=MigrationObject.times_copied + 1)
    )


def withdraw_copies(transaction: Transaction, migration_id: str, keys: Collection[str]) -> None:
    """Take back what was announced of objects whose copy did not begin."""
    transaction.execute(
        update(MigrationObject)
        .where(MigrationObject.migration_id == migration_id, MigrationObject.key.in_(keys))
        .values(state="planned", times_copied=MigrationObject.times_copied - 1)
    )


def amounts(transaction: Transaction, migration_id: str) -> dict[str, Amount]:
    """State → how many objects are in it, and their bytes."""
    rows = transaction.execute(
        select(MigrationObject.state, func.count(), func.sum(MigrationObject.size_bytes))
        .where(MigrationObject.migration_id == migration_id)
        .group_by(MigrationObject.state)
    )
    return {state: Amount(objects, int(size)) for state, objects, size in rows}


def copied_again(transaction: Transaction, migration_id: str) -> int:
    """Count the objects that were begun to be copied more than once."""
    conditions = (MigrationObject.migration_id == migration_id, MigrationObject.times_copied > 1)
    return transaction.scalar(select(func.count()).select_from(MigrationObject).where(*conditions)) or 0


def _values(migration_id: str, entry: Entry) -> dict[str, object]:
    values = asdict(entry)
    values["size_bytes"] = values.pop("size")
    return values | {"migration_id": migration_id}
