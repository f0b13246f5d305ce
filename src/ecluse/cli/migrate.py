"""Move what is stored to another place: plan, run, verify, roll back, list."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from ecluse import migration
from ecluse.catalog.tables import User
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, Transferred, reports, say, transfer
from ecluse.cli.session import acting, home_option, opened, user_option
from ecluse.errors import Forbidden
from ecluse.runtime import Runtime
from ecluse.storage import LONG_PATIENCE
from ecluse.storage.prices import load_prices, monthly_costs

_TITLES: Final[dict[migration.Stage, str]] = {
    "compare": "Comparing with the destination",
    "copy": "Copying",
    "switch": "Switching rows",
    "verify": "Reading everything again",
    "remove": "Removing",
}
#: Characters of an address in a table.
_SHOWN: Final = 40

_prefix = click.option("--prefix", default="", help="Only what lies under this key, such as user_models.")
_catalog = click.option(
    "--catalog", "switch_rows", is_flag=True, help="Also point the rows of the catalog at the destination."
)


@click.group(cls=Group)
def migrate() -> None:
    """Move what is stored to another place: verified, resumable, reversible.

    SOURCE and DESTINATION are addresses (file:///folder, s3://bucket/prefix, …) or the names of areas (models,
    images, data, raw). A migration copies; the source stays as it is. It acts with the keys of the settings.
    """


@migrate.command("plan")
@click.argument("source")
@click.argument("destination")
@_prefix
@_catalog
@click.option("--estimate", "with_estimate", is_flag=True, help="Add time, requests and monthly costs.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done; record nothing.")
@user_option
@home_option
@reports
def plan(
    source: str,
    destination: str,
    prefix: str,
    switch_rows: bool,
    with_estimate: bool,
    dry_run: bool,
    email: str | None,
    home: Path | None,
) -> Record:
    """Compare SOURCE with DESTINATION and say what a run would copy, skip or stop at. Nothing is copied."""
    with acting(home, email, patience=LONG_PATIENCE) as (runtime, user):
        made = _planned(runtime, user, source, destination, prefix, switch_rows, dry_run=dry_run)
        fields, lines = asdict(made), _plan_lines(made)
        if with_estimate:
            estimated = migration.estimate(runtime.catalog, made)
            costs = _costs(made)
            fields |= {"estimate": asdict(estimated), "monthly_costs": costs}
            lines += _estimate_lines(estimated, costs)
    if made.id:
        lines.append(f"Run it: ecluse migrate run {made.id}")
    return Record(fields, "\n".join(lines))


@migrate.command("run")
@click.argument("places", nargs=-1, required=True, metavar="(ID | SOURCE DESTINATION)")
@_prefix
@_catalog
@user_option
@home_option
@reports
def run(
    places: tuple[str, ...], prefix: str, switch_rows: bool, email: str | None, home: Path | None
) -> Record:
    """Run a planned or stopped migration by its ID, or plan and run one from SOURCE to DESTINATION.

    Ctrl-C stops it cleanly; started again it goes on where it was.
    """
    if len(places) > 2 or (len(places) == 1 and (prefix or switch_rows)):
        raise click.UsageError("Name a migration by its ID alone, or a SOURCE and a DESTINATION.")
    with acting(home, email, patience=LONG_PATIENCE) as (runtime, user):
        if len(places) == 2:
            made = _planned(runtime, user, places[0], places[1], prefix, switch_rows, dry_run=False)
            say("\n".join(_plan_lines(made)))
            migration_id = str(made.id)
        else:
            migration_id = places[0]
        _check_may_switch(user, migration.find(runtime.catalog, migration_id).switches_rows)
        with _resumable("run", migration_id), _shown() as progress:
            outcome = migration.run(runtime.catalog, runtime.stores, migration_id, progress=progress)
    return Record(asdict(outcome), "\n".join(_outcome_lines(outcome)))


@migrate.command("verify")
@click.argument("migration_id", metavar="ID")
@home_option
@reports
def verify(migration_id: str, home: Path | None) -> Record:
    """Read everything again at the destination; exit 1 names what is missing, different or extra."""
    with opened(home, patience=LONG_PATIENCE) as runtime, _shown() as progress:
        verification = migration.verify(runtime.catalog, runtime.stores, migration_id, progress=progress)
    if verification.passed:
        return Record(asdict(verification), f"{verification.objects} objects, all as they were recorded.")
    lines = [
        f"{what:<10}{key}"
        for what, keys in (
            ("missing", verification.missing),
            ("different", verification.different),
            ("extra", verification.extra),
        )
        for key in keys
    ]
    return Record(asdict(verification), "\n".join([*lines, migration.findings(verification)]), failed=True)


@migrate.command("rollback")
@click.argument("migration_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@user_option
@home_option
@reports
def rollback(migration_id: str, yes: bool, email: str | None, home: Path | None) -> Record:
    """Give the rows their former addresses, then delete what the migration wrote at the destination."""
    with acting(home, email, patience=LONG_PATIENCE) as (runtime, user):
        row = migration.find(runtime.catalog, migration_id)
        _check_may_switch(user, row.switches_rows)
        if not yes:
            asked = (
                f"{row.rows_switched} row(s) go back to {row.source}. What was copied to {row.destination}"
            )
            click.confirm(f"{asked} is deleted there. Go on?", abort=True, err=True)
        with _resumable("rollback", migration_id), _shown() as progress:
            back = migration.rollback(runtime.catalog, runtime.stores, migration_id, progress=progress)
    lines = [f"{back.rows_back} row(s) point at {row.source} again; {back.removed} object(s) were deleted."]
    lines += [f"stays      {name}" for name in (*back.rows_kept, *back.kept)]
    return Record(asdict(back), "\n".join(lines))


@migrate.command("list")
@home_option
@reports
def list_all(home: Path | None) -> Rows:
    """List the newest migrations, and how each stands."""
    with opened(home, reads=True) as runtime:
        rows = [
            _row(migration.summary(runtime.catalog, each.id))
            for each in migration.list_migrations(runtime.catalog)
        ]
    for row in rows:
        if row["onward"]:
            say(f"{row['id']} stopped. Go on: {row['onward']}")
    columns = ("id", "state", "objects", "done", "rows", "created_at", "from", "to")
    return Rows(rows, columns, "No migrations yet. Plan one: ecluse migrate plan SOURCE DESTINATION")


def _planned(
    runtime: Runtime,
    user: User,
    source: str,
    destination: str,
    prefix: str,
    switch_rows: bool,
    *,
    dry_run: bool,
) -> migration.Plan:
    _check_may_switch(user, switch_rows)
    with _shown() as progress:
        return migration.plan(
            runtime.catalog,
            runtime.stores,
            migration.Request(
                source=source,
                destination=destination,
                prefix=prefix,
                switch_rows=switch_rows,
                user_id=user.id,
                dry_run=dry_run,
            ),
            progress=progress,
        )


def _check_may_switch(user: User, switches_rows: bool) -> None:
    if switches_rows and user.role != "admin":
        raise Forbidden(
            f"{user.email} does not administer, and a migration of rows is about everyone's. Act for an "
            "administrator: --user EMAIL"
        )


@contextmanager
def _resumable(verb: str, migration_id: str) -> Iterator[None]:
    """Say how to go on where Ctrl-C, or whoever stops the container, ends the work."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        say(f"What is done is kept. Go on: ecluse migrate {verb} {migration_id}")
        raise


@contextmanager
def _shown() -> Iterator[migration.Report]:
    """Show a bar for each stage in turn, of the bytes it has before it."""
    stage: migration.Stage | None = None
    total, done = 0, 0
    take: Transferred = _untold
    with contextlib.ExitStack() as bars:

        def report(now: migration.Progress) -> None:
            nonlocal stage, total, done, take
            if (now.stage, now.size_total) != (stage, total):
                stage, total, done = now.stage, now.size_total, now.size
                bars.close()
                if total:
                    take = bars.enter_context(transfer(_TITLES[now.stage], total - done))
            if total:
                take(now.size - done)
                done = now.size

        yield report


def _untold(_: int) -> None:
    """Nothing is shown of stages without bytes."""


def _plan_lines(plan: migration.Plan) -> list[str]:
    lines = [f"{plan.source} → {plan.destination}" + (f", only {plan.prefix}" if plan.prefix else "")]
    for what, amount in (
        ("to copy", plan.to_copy),
        ("there already", plan.same),
        ("in conflict", plan.conflicting),
    ):
        lines.append(f"  {what:<14}{amount.objects:>8} objects {_size(amount.size):>12}")
    lines += [
        f"  {group.name:<14}{group.objects:>8} objects {_size(group.size):>12}" for group in plan.groups
    ]
    lines += [
        f"  largest       {_size(object_info.size):>12}  {object_info.name}"
        for object_info in plan.largest[:1]
    ]
    what_happens = "switch with it" if plan.switches_rows else "stay as they are (--catalog switches them)"
    lines.append(f"  {plan.rows} row(s) of the catalog point there and {what_happens}")
    lines += [f"  conflict      {key}" for key in plan.conflicts]
    return lines


def _estimate_lines(estimated: migration.Estimate, costs: list[dict[str, Any]]) -> list[str]:
    rate = "at the rate of earlier migrations here" if estimated.measured else "at a careful guess"
    lines = [
        f"  {estimated.puts} write and {estimated.gets} read requests, about {estimated.seconds:.0f} s {rate}",
        f"  a month of it at list prices of {load_prices().date}, without requests and transfer:",
    ]
    return lines + [f"  {cost['monthly']:>10.2f} {cost['currency']}  {cost['title']}" for cost in costs]


def _costs(plan: migration.Plan) -> list[dict[str, Any]]:
    return [
        {"title": cost.offer.title, "kind": cost.kind, "monthly": cost.monthly, "currency": cost.currency}
        for cost in monthly_costs(plan.everything.size, objects=plan.everything.objects)
    ]


def _outcome_lines(outcome: migration.Outcome) -> list[str]:
    lines = [
        f"{outcome.copied.objects} object(s), {_size(outcome.copied.size)}, were copied; "
        f"{outcome.verified.objects} are at the destination and verified.",
        f"{outcome.rows_switched} row(s) were switched.",
    ]
    if outcome.gone:
        lines.append(f"{outcome.gone} object(s) were deleted at the source before they were copied.")
    lines += [f"stays at the source: {name}" for name in outcome.rows_left]
    return [*lines, f"Roll it back: ecluse migrate rollback {outcome.id}"]


def _row(summary: migration.Summary) -> dict[str, Any]:
    row = summary.migration
    ended = row.state in ("running", "rolling_back") and not summary.active
    state = "stopped" if ended else row.state
    verb = "rollback" if row.state == "rolling_back" else "run"
    return {
        "id": row.id,
        "state": state,
        "onward": f"ecluse migrate {verb} {row.id}" if state == "stopped" else None,
        "source": row.source,
        "destination": row.destination,
        "from": _short(row.source),
        "to": _short(row.destination),
        "prefix": row.prefix,
        "objects": summary.everything.objects,
        "bytes": summary.everything.size,
        "done": summary.settled.objects,
        "rows": row.rows_switched,
        "error": row.error,
        "created_at": row.created_at,
    }


def _short(url: str) -> str:
    """Return the end of an address, as much as fits into a table."""
    return url if len(url) <= _SHOWN else f"…{url[1 - _SHOWN :]}"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
