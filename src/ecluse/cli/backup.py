"""Back everything this home keeps up, look at backups, and restore them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from ecluse import backups
from ecluse.backups.places import check_address
from ecluse.cli.backup_schedule import place_address, schedule
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, progress, reports, say
from ecluse.cli.session import home_option
from ecluse.errors import StorageError, StoreSilent
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage import LONG_PATIENCE

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group)
def backup() -> None:
    """Back everything this home keeps up while it is in use, look at backups, restore them into an empty place.

    Rows are those of one moment. A place for backups is a folder, or an address such as s3://bucket/backups, which is
    reached with the keys of this home's settings.
    """


def place_option(*names: str, help_text: str) -> Callable[[F], F]:
    """Name where the backups are."""
    return click.option(*names, "url", required=True, metavar="URL", help=help_text)


_from = place_option("--from", help_text="Folder or address where the backups are.")
_identity = click.option(
    "--identity", type=_FILE, help="File with the identity that reads an encrypted backup."
)


@backup.command("create")
@place_option("--to", help_text="Folder or address to write the backup to.")
@click.option(
    "--objects", "contents", is_flag=True, help="The bytes of tables, models and images too, each once."
)
@click.option(
    "--encrypt-to", "recipient", metavar="KEY", help="Public key of age (age1…), see: ecluse backup key"
)
@home_option
@reports
def create(url: str, contents: bool, recipient: str | None, home: Path | None) -> Record:
    """Back everything up; exit 1 if an object was damaged. Without --objects, of objects their digests alone.

    A backup that was not finished is none: `ecluse backup list` says so.
    """
    keys = backups.Keys(recipient=recipient)
    with _opened(home, url, keys, make=True) as (runtime, place), progress("Backing up") as report:
        made = backups.create(
            runtime,
            place,
            contents=contents,  # a line for each table would bury the rest where no terminal rewrites it
            report=lambda fraction, message: report(fraction, message.partition(" of ")[0]),
        )
    lines = [
        f"Backup {made.id}: {sum(made.rows.values()):,} rows, {made.documents:,} documents, {made.objects:,} objects "
        f"({made.object_bytes / 1e6:,.1f} MB{'' if contents else ', digests alone'}).",
        *(f"points at nothing: {text}" for text in made.dangling),
        *(f"damaged, and not in the backup: {text}" for text in made.damaged),
        f"Read it again: ecluse backup verify {made.id} --from {url}",
    ]
    if not made.encrypted:
        lines.append(
            "It is not encrypted, and holds what people stored and the hashes of passwords and tokens."
        )
    return Record(_fields(made), "\n".join(lines), failed=bool(made.damaged))


@backup.command("list")
@_from
@home_option
@reports
def list_all(url: str, home: Path | None) -> Rows:
    """List the backups of a place, the newest first, those that were not finished, and those that are damaged."""
    with _opened(home, url) as (runtime, place):
        listed, owner = place.look(), backups.owner_of(runtime)
    items: list[dict[str, Any]] = [
        {
            **_fields(each),
            "state": "finished",
            "rows": sum(each.rows.values()),
            "own": owner.owns(each),
            "of": each.home["database"],
        }
        for each in listed.finished
    ]
    items += [
        {"id": each.id, "state": "unfinished", "created_at": each.begun_at} for each in listed.unfinished
    ]
    items += [
        {"id": each.id, "state": "damaged", "created_at": each.begun_at, "reason": each.reason}
        for each in listed.damaged
    ]
    for each in listed.damaged:
        say(each.reason)
    columns = (
        "id",
        "state",
        "created_at",
        "rows",
        "objects",
        "has_contents",
        "encrypted",
        "release",
        "own",
        "of",
    )
    return Rows(items, columns, f"No backup. Make one: ecluse backup create --to {url}")


@backup.command("verify")
@click.argument("backup_id", metavar="ID")
@_from
@_identity
@home_option
@reports
def verify(backup_id: str, url: str, identity: Path | None, home: Path | None) -> Record:
    """Read a backup again, every object that it holds too; exit 1 names what is wrong.

    ID may be `latest`: of this home; where it has none there, of the one home that has some.
    """
    with (
        _opened(home, url, backups.Keys(identity=identity)) as (runtime, place),
        progress("Reading the backup") as report,
    ):
        chosen = backups.choose(place, backup_id, backups.owner_of(runtime))
        result = backups.verify(place, chosen, report=report)
    if not result.passed:
        return Record(asdict(result), "\n".join(result.findings), failed=True)
    kept = f"{result.size / 1e6:,.1f} MB" if chosen.has_contents else "digests alone"
    return Record(
        asdict(result),
        f"Backup {chosen.id} is whole: {result.rows:,} rows, {result.documents:,} documents, {result.objects:,} "
        f"objects ({kept}).",
    )


@backup.command("restore")
@click.argument("backup_id", metavar="ID")
@_from
@_identity
@click.option(
    "--outside",
    metavar="URL",
    multiple=True,
    help="A folder or bucket that is none of the home's, into which rows may point. May be repeated.",
)
@home_option
@reports
def restore(
    backup_id: str, url: str, identity: Path | None, outside: tuple[str, ...], home: Path | None
) -> Record:
    """Restore a backup into this home, which is empty; exit 1 if objects are missing.

    ID may be `latest`: of the home with these settings; where none is there, of the one home that has some. Until all
    is there and compared nobody is let in. Killed, the same command begins anew. Rows that point at files or objects
    outside the stores of the home are refused.
    """
    keys = backups.Keys(identity=identity)
    with _opened(home, url, keys, moves=True) as (runtime, place), progress("Restoring") as report:
        stores = [place_address(store) for store in outside]
        chosen = backups.choose(place, backup_id, backups.owner_of(runtime))
        result = backups.restore(runtime, place, chosen, outside=stores, report=report)
    lines = [
        f"{sum(result.rows.values()):,} rows, {result.documents:,} documents and {result.objects:,} objects "
        f"({result.size / 1e6:,.1f} MB) are here and were compared. Jobs go on as soon as a worker runs: ecluse up",
        *result.notes,
    ]
    if result.missing:
        lines.append(
            f"{len(result.missing)} object(s) are not here, and the backup has their digests alone: "
            f"{', '.join(result.missing[:3])}{', …' if len(result.missing) > 3 else ''}. Bring them back from a copy "
            "of the store."
        )
    return Record(asdict(result), "\n".join(lines), failed=bool(result.missing))


@backup.command("prune")
@_from
@click.option(
    "--keep", type=click.IntRange(min=1), required=True, help="How many of the newest backups stay."
)
@click.option(
    "--all-homes", is_flag=True, help="Those of other homes in the place count, too, and are removed."
)
@home_option
@reports
def prune(url: str, keep: int, all_homes: bool, home: Path | None) -> Record:
    """Remove old backups of this home, and the bytes of objects that no other backup needs."""
    with _opened(home, url) as (runtime, place), progress("Removing") as report:
        owner = None if all_homes else backups.owner_of(runtime)
        result = backups.prune(place, keep, owner=owner, report=report)
    text = f"{len(result.backups)} backup(s) and {result.objects:,} objects ({result.size / 1e6:,.1f} MB) were removed."
    if result.begun:
        text += (
            f" Backup {result.begun} began meanwhile: run this again when it has ended, to remove the rest."
        )
    if result.others:
        text += f" {result.others} of other homes stay: ecluse backup list --from {url}"
    return Record(asdict(result), text)


@backup.command("key")
@click.argument("file", type=_FILE)
@reports
def key(file: Path) -> Record:
    """Make a pair of keys of age: FILE gets the identity that reads backups; print the public key.

    Keep the file where backups are restored from, and not on this machine. Without it no backup is read.
    """
    public = backups.new_identity(file)
    say(f"{file} holds the identity. Keep it apart from this machine: without it no backup is read.")
    return Record({"public_key": public, "file": str(file)}, public)


backup.add_command(schedule)


@contextmanager
def _opened(
    home: Path | None, url: str, keys: backups.Keys | None = None, *, moves: bool = False, make: bool = False
) -> Iterator[tuple[Runtime, backups.Place]]:
    settings = Settings.from_environment(home=home)
    with Runtime.open(settings, patience=LONG_PATIENCE, moves=moves) as runtime:
        address = place_address(url)
        _expect_answer(runtime, address)
        with backups.open_place(runtime, address, keys, make=make) as place:
            yield runtime, place


def _expect_answer(runtime: Runtime, url: str) -> None:
    """Ask a place once in a hurry, before it is tried with the patience of a backup that is under way.

    Raises:
        StoreSilent: it does not answer.
    """
    check_address(url)
    if url.startswith("file:"):
        return
    try:
        runtime.stores.hurried().folder(url).exists(".ready")
    except StoreSilent:
        raise
    except StorageError:  # who may not look there may be allowed to write: what comes next says it
        return


def _fields(made: backups.Backup) -> dict[str, Any]:
    fields = asdict(made)
    del fields["parts"], fields["home"]
    return fields
