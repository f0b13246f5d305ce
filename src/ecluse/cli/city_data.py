"""Get raw data of a city: the sample, or the open data."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecluse.cli.output import Record, progress, reports
from ecluse.cli.session import home_option, opened
from ecluse.errors import SettingsError
from ecluse.settings import store_or_folder

if TYPE_CHECKING:
    from ecluse.city.fetch import Fetched, Source
    from ecluse.runtime import Runtime
    from ecluse.storage import ObjectStore

_day = click.DateTime(["%Y-%m-%d"])
_raw = click.option("--raw", help="Store or folder of the raw data. Default: ECLUSE_RAW_URL.")


@click.command("demo")
@click.option("--days", type=click.IntRange(1), help="How many days.  [default: 63]")
@click.option("--from", "first", type=_day, metavar="DATE", help="The first day.  [default: 2025-09-01]")
@click.option("--arcs", type=click.IntRange(1), help="How many road sensors, 3348 at most.  [default: 400]")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the same seed: the same bytes."
)
@_raw
@click.option("--remove", is_flag=True, help="Remove the sample instead, and nothing else.")
@home_option
@reports
def demo(
    days: int | None,
    first: datetime | None,
    arcs: int | None,
    seed: int,
    raw: str | None,
    remove: bool,
    home: Path | None,
) -> Record:
    """Write invented raw data of the true schema, so that everything works without a network.

    The default period has the day of 25 hours. A raw store that holds other data is left as it is.
    """
    from ecluse.city import demo as invented
    from ecluse.city import sample

    if remove:
        with opened(home) as runtime:
            store = open_raw(runtime, raw)
            count = invented.remove_demo(store)
        text = (
            f"{count:,} files of the sample removed from {store.url}. Days that were computed from it stay;"
            " remove them: ecluse city remove DATE"
        )
        return Record({"removed": count, "url": store.url}, text)
    with opened(home) as runtime, progress("Writing the sample") as report:
        written = invented.write_demo(
            open_raw(runtime, raw),
            sample.FIRST if first is None else first.date(),
            sample.DAYS if days is None else days,
            seed=seed,
            arcs=sample.ARCS if arcs is None else arcs,
            report=report,
        )
    following = run_command(written.first, written.last, raw)
    text = (
        f"{(written.last - written.first).days + 1} invented days of {written.arcs} arcs in {written.url}: "
        f"{written.files:,} files, {written.size / 1e6:,.0f} MB.\nNext: {following}"
    )
    fields = asdict(written) | {name: getattr(written, name).isoformat() for name in ("first", "last")}
    return Record(fields | {"next": following}, text)


@click.command("fetch")
@click.option("--date", "day", type=_day, metavar="DATE", help="The day to fetch.  [default: yesterday]")
@click.option("--from", "first", type=_day, metavar="DATE", help="The first of many days.")
@click.option("--to", "last", type=_day, metavar="DATE", help="The last of many days.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    type=click.Choice(["roads", "bikes", "disruptions", "weather", "works", "arcs", "zones"]),
    help="Only this source; may be given several times.",
)
@click.option("--portal", help="Another portal of the same kind.  [default: https://opendata.paris.fr]")
@click.option("--again", is_flag=True, help="Ask also for what is there already.")
@_raw
@home_option
@reports
def fetch(
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    sources: tuple[Source, ...],
    portal: str | None,
    again: bool,
    raw: str | None,
    home: Path | None,
) -> Record:
    """Download open data into the raw layout; what is there already is not asked for again.

    Disruptions are those known now, and need a key of prim.iledefrance-mobilites.fr in IDFM_API_KEY.
    """
    from zoneinfo import ZoneInfo

    from ecluse.city import fetch as open_data
    from ecluse.city.download import checked_address

    if (first is None) != (last is None) or (day is not None and first is not None):
        raise click.UsageError("Give --date, or --from and --to.")
    with opened(home) as runtime, runtime.scratch() as scratch:
        settings = runtime.settings.city
        zone = ZoneInfo(settings.zone)
        given = (day or first, day or last)
        yesterday = datetime.now(zone).date() - timedelta(days=1)
        begin, end = (yesterday if one is None else one.date() for one in given)
        if "disruptions" in sources and settings.idfm_api_key is None:
            raise SettingsError("Disruptions need a key of prim.iledefrance-mobilites.fr: set IDFM_API_KEY.")
        portals = open_data.Portals()
        if portal is not None:
            checked_address(portal)
            portals = open_data.Portals(portal)
        with progress("Fetching") as report:
            found = open_data.fetch_data(
                open_raw(runtime, raw),
                begin,
                end,
                scratch,
                sources=sources or open_data.SOURCES,
                portals=portals,
                zone=zone,
                key=settings.idfm_api_key,
                again=again,
                report=report,
            )
    return _told(found, run_command(begin, end, raw))


def _told(found: Sequence[Fetched], following: str) -> Record:
    counts = Counter(one.outcome for one in found)
    lines = [", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + "."]
    lines += [f"  {one.source}, {one.what}: {one.reason}" for one in found if one.reason]
    is_failed = counts["failed"] > 0
    lines.append("The same command goes on where this one stopped." if is_failed else f"Next: {following}")
    fields = {"fetched": [asdict(one) for one in found], "next": following}
    return Record(fields, "\n".join(lines), failed=is_failed)


def open_raw(runtime: Runtime, raw: str | None) -> ObjectStore:
    """The raw store of the settings, or the store or folder that `--raw` names; a folder is made."""
    from ecluse.storage import open_store

    if raw is None:
        return runtime.stores.area("raw")
    return open_store(store_or_folder("--raw", raw), runtime.settings.access)


def run_command(first: date, last: date, raw: str | None) -> str:
    """The command that computes these days."""
    place = f" --raw {shlex.quote(raw)}" if raw else ""
    return f"ecluse city run --from {first.isoformat()} --to {last.isoformat()}{place}"
