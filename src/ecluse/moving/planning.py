"""Plan a move: look through both homes for what would stand in its way."""

from __future__ import annotations

from typing import Any

from ecluse import migration
from ecluse.catalog import files, journal, rows, second_factors
from ecluse.migration import Part
from ecluse.moving.opening import Homes, find_obstacles
from ecluse.moving.results import NAMED, Plan, Report
from ecluse.moving.routes import Route, described
from ecluse.runtime import Runtime
from ecluse.settings import local_folder


def plan(both: Homes, *, wait: bool = False, report: Report = lambda *_: None) -> Plan:
    """Look through both homes and say what a run would do, and what it would be refused for. Nothing is changed.

    `wait`: it would wait for jobs, which are then in nobody's way.
    """
    problems, notes = list[str](), list[str]()
    _note_work(both, problems, wait=wait)
    counts = _looked_through(both, problems, report)
    problems += find_obstacles(both)
    _note_elsewhere(both, problems, notes)
    _note_secrets(both, problems)
    documents = 0 if both.documents_stay else _count_documents(both.source)
    if both.documents_stay:
        notes.append("Both homes keep documents in the same database; they stay there.")
    of_routes = [_planned(both, route, number, report) for number, route in enumerate(both.routes())]
    for planned in of_routes:
        if planned.conflicts:
            problems.append(
                f"{planned.destination} has another content under {planned.conflicting.objects} key(s) of this home: "
                f"{', '.join(planned.conflicts[:NAMED])}. Remove these there, or choose another place."
            )
    return Plan(
        source=described(both.source.settings),
        destination=described(both.destination.settings),
        rows=counts,
        documents=documents,
        jobs=counts["jobs"],
        objects=sum(planned.everything.objects for planned in of_routes),
        size=sum(planned.everything.size for planned in of_routes),
        to_copy=sum(planned.to_copy.objects for planned in of_routes),
        size_to_copy=sum(planned.to_copy.size for planned in of_routes),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _note_work(both: Homes, problems: list[str], *, wait: bool) -> None:
    active = () if wait else both.source.jobs.active()
    if active:
        problems.append(describe_jobs(active))
    with both.source.catalog.read() as transaction:
        at_work = [
            row for row in journal.unfinished_migrations(transaction) if journal.is_at_work(transaction, row)
        ]
    problems += [
        f"Migration {row.id} is at work. Wait for it, or stop it. See: ecluse migrate list" for row in at_work
    ]


def describe_jobs(active: Any) -> str:
    titles = ", ".join(f"{job.title} ({job.status})" for job in active[:NAMED])
    more = f" and {len(active) - NAMED} more" if len(active) > NAMED else ""
    return (
        f"{len(active)} job(s) wait or run here: {titles}{more}. Let them end (a worker runs them: ecluse up), cancel "
        "them (ecluse jobs cancel ID), or let the move wait: ecluse move run --wait"
    )


def _looked_through(both: Homes, problems: list[str], report: Report) -> dict[str, int]:
    """Count the rows of each table; what the destination's database could not keep becomes a problem."""
    source, dialect = both.source.catalog.engine, both.destination.catalog.engine.dialect.name
    counts: dict[str, int] = {}
    tables = rows.tables()
    for number, table in enumerate(tables):
        report(number / len(tables), "looking through rows")
        counts[table.name] = 0
        for batch in rows.batches(source, table):
            counts[table.name] += len(batch)
            for row in batch:
                reason = rows.unfit(table, row, dialect)
                if reason and len(problems) < NAMED:
                    key = " ".join(map(str, rows.key_of(table, row)))
                    problems.append(
                        f"{table.name} {key}: {reason}, which {dialect} does not keep. Delete or make it again."
                    )
    return counts


def _note_elsewhere(both: Homes, problems: list[str], notes: list[str]) -> None:
    """Note rows that point outside of the areas: a folder would be lost, a store in the network stays as it is."""
    roots = [store.url.rstrip("/") for store in both.source.stores.areas().values()]
    with both.source.catalog.read() as transaction:
        outside = [
            file
            for file in files.files(transaction)
            if not any(file.url == root or file.url.startswith(f"{root}/") for root in roots)
        ]
    folders = [file for file in outside if local_folder(file.url) is not None]
    if folders:
        problems.append(
            f"{len(folders)} row(s), such as {folders[0].row}, point at {folders[0].url}, which is in no area of this "
            "home. Bring it into one: ecluse migrate plan file:///THAT/FOLDER data --catalog"
        )
    if len(outside) > len(folders):
        notes.append(
            f"{len(outside) - len(folders)} row(s) point at a store that is no area of this home; they keep that "
            "address."
        )


def _note_secrets(both: Homes, problems: list[str]) -> None:
    """Say where second factors could not be checked at the destination: it has to have the key that they are under."""
    with both.source.catalog.read() as transaction:
        kept = second_factors.secrets(transaction)
    ours, theirs = both.source.accounts.vault, both.destination.accounts.vault
    unread = [
        owner for owner, secret in kept if ours.can_open(owner, secret) and not theirs.can_open(owner, secret)
    ]
    if unread:
        problems.append(
            f"{len(unread)} account(s) have a second factor, whose key the destination does not have: it is in "
            f"{ours.place}. Write ECLUSE_SECRET_KEYS= and that key into the file of the "
            "destination's settings; or take them off: ecluse users second-factor EMAIL --remove"
        )


def _count_documents(home: Runtime) -> int:
    return sum(len(home.documents.keys(kind)) for kind in home.documents.kinds())


def _planned(both: Homes, route: Route, number: int, report: Report) -> migration.Plan:
    """Plan what of a route's objects is to be copied, by the catalog of the source."""
    return migration.plan(
        both.source.catalog,
        both.stores,
        migration.Request(
            source=route.source.url,
            destination=route.destination.url,
            part=Part(f"plan-{number}", "plan", route.takes),
            dry_run=True,
        ),
        progress=lambda now: report(now.fraction, "comparing objects"),
    )
