"""Get raw data of a city: the sample, or the open data."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ecluse.apps.city.errors import NoRawData
from ecluse.apps.city.settings import CitySettings
from ecluse.cli.output import Record, counted, progress, reports
from ecluse.cli.session import acting, home_option, opened, user_option
from ecluse.errors import SettingsError
from ecluse.settings import store_or_folder

if TYPE_CHECKING:
    from ecluse.apps.city.check import Checked, CheckedFile, CheckedSource, Outcome
    from ecluse.apps.city.fetch import Fetched
    from ecluse.runtime import Runtime
    from ecluse.storage import ObjectStore

#: How many files of a kind are shown to people.
SHOWN: Final = 20
_day = click.DateTime(["%Y-%m-%d"])
_raw = click.option("--raw", help="Store or folder of the raw data. Default: ECLUSE_RAW_URL.")


class SourceName(click.Choice[str]):
    """The name of a source that can be fetched."""

    def __init__(self) -> None:
        super().__init__(())

    def __getattribute__(self, name: str) -> Any:
        """Look the sources up when they are needed: they are heavy to import."""
        if name == "choices":
            from ecluse.apps.city.fetch import fetched_sources

            return fetched_sources()
        return super().__getattribute__(name)


@click.command("demo")
@click.option("--days", type=click.IntRange(1), help="How many days.  [default: 63]")
@click.option("--from", "first", type=_day, metavar="DATE", help="The first day.  [default: 2025-09-01]")
@click.option("--arcs", type=click.IntRange(1), help="How many road sensors, 3348 at most.  [default: 400]")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the same seed: the same bytes."
)
@_raw
@click.option(
    "--remove", is_flag=True, help="Remove the sample instead, with the days that were computed from it."
)
@user_option
@home_option
@reports
def demo(
    days: int | None,
    first: datetime | None,
    arcs: int | None,
    seed: int,
    raw: str | None,
    remove: bool,
    email: str | None,
    home: Path | None,
) -> Record:
    """Write the invented raw data of a city that does not exist, so that everything works without a network.

    The default period has the day of 25 hours. A raw store that holds other data is left as it is. Everything that is
    computed from it says that it is invented, and is not mixed with measured days.
    """
    from ecluse.apps.city import demo as invented
    from ecluse.apps.city import sample
    from ecluse.apps.city.provenance import NAME

    if remove:
        return _remove(raw, email, home)
    with opened(home) as runtime, progress("Writing the sample") as report:
        runtime.catalog.expect_open()
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
        f"{(written.last - written.first).days + 1} invented days of {NAME}, with {written.arcs} arcs, in "
        f"{written.url}: "
        f"{written.files:,} files, {written.size / 1e6:,.0f} MB.\nNext: {following}"
    )
    fields = asdict(written) | {name: getattr(written, name).isoformat() for name in ("first", "last")}
    return Record(fields | {"next": following}, text)


def _remove(raw: str | None, email: str | None, home: Path | None) -> Record:
    from ecluse.apps.city import jobs as work
    from ecluse.apps.city.provenance import is_invented

    with acting(home, email) as (runtime, user), progress("Removing the sample") as report:
        runtime.catalog.expect_open()
        store = open_raw(runtime, raw)
        is_sample = is_invented(store)
        files = sum(1 for _ in store.list()) if is_sample else 0
        days = work.remove_sample(runtime, user, store, report)
        count = files - sum(1 for _ in store.list()) if is_sample else 0
    text = f"{count:,} files of the sample removed from {store.url}, and {len(days):,} days made of invented data."
    return Record({"removed": count, "url": store.url, "days": [day.isoformat() for day in days]}, text)


@click.command("fetch")
@click.option("--date", "day", type=_day, metavar="DATE", help="The day to fetch.  [default: yesterday]")
@click.option("--from", "first", type=_day, metavar="DATE", help="The first of many days.")
@click.option("--to", "last", type=_day, metavar="DATE", help="The last of many days.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    type=SourceName(),
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
    sources: tuple[str, ...],
    portal: str | None,
    again: bool,
    raw: str | None,
    home: Path | None,
) -> Record:
    """Download open data into the raw layout; what is there already is not asked for again.

    Disruptions are those known now, and need a key of prim.iledefrance-mobilites.fr in IDFM_API_KEY.
    """
    from zoneinfo import ZoneInfo

    from ecluse.apps.city import fetch as open_data
    from ecluse.apps.city.download import checked_address

    if (first is None) != (last is None) or (day is not None and first is not None):
        raise click.UsageError("Give --date, or --from and --to.")
    with opened(home) as runtime, runtime.scratch() as scratch:
        runtime.catalog.expect_open()
        settings = runtime.settings.of(CitySettings)
        zone = ZoneInfo(settings.zone)
        limits = (day or first, day or last)
        yesterday = datetime.now(zone).date() - timedelta(days=1)
        begin, end = (yesterday if limit is None else limit.date() for limit in limits)
        if "disruptions" in sources and settings.idfm_api_key is None:
            raise SettingsError("Disruptions need a key of prim.iledefrance-mobilites.fr: set IDFM_API_KEY.")
        portals = open_data.Portals()
        if portal is not None:
            checked_address(portal)
            portals = open_data.Portals(portal)
        place = open_data.FetchPlace(
            open_raw(runtime, raw), scratch, zone, portals, key=settings.idfm_api_key
        )
        with progress("Fetching") as report:
            results = open_data.fetch_data(place, begin, end, sources=sources, again=again, report=report)
    return _fetched_record(results, run_command(begin, end, raw))


@click.command("check")
@click.argument("place", metavar="FOLDER", required=False)
@home_option
@reports
def check(place: str | None, home: Path | None) -> Record:
    """Say what of raw data can be read, with rows and days, what is missing, and what is not taken.

    FOLDER is a folder or the address of a store; without it, that of the settings is checked. Nothing is kept.
    Exits with 1 where nothing in it was measured on any day.
    """
    from zoneinfo import ZoneInfo

    from ecluse.apps.city.check import check_raw

    if place is not None and "://" not in place and not Path(place).expanduser().is_dir():
        raise NoRawData(f"There is no folder {place}. Name the folder that holds the raw data.")
    with opened(home) as runtime, runtime.scratch() as scratch, progress("Looking") as report:
        zone = ZoneInfo(runtime.settings.of(CitySettings).zone)
        checked = check_raw(open_raw(runtime, place), zone, scratch, report)
    fields = {
        "url": checked.url,
        "usable": checked.is_usable,
        "invented": checked.invented,
        "sources": [_of_source(source) for source in checked.sources],
        # The files of feeds are one for each hour; those that are readable are counted among the sources.
        "files": [
            _of_file(file)
            for file in checked.files
            if file.outcome != "readable" or not file.key.startswith("api/")
        ],
    }
    return Record(fields, _checked_text(checked), failed=not checked.is_usable)


def _of_source(source: CheckedSource) -> dict[str, Any]:
    days = {name: day and day.isoformat() for name, day in (("first", source.first), ("last", source.last))}
    return asdict(source) | days


def _of_file(file: CheckedFile) -> dict[str, Any]:
    contents = file.contents
    return {
        "file": file.key,
        "outcome": file.outcome,
        "source": file.source,
        "rows": contents.rows,
        "first": contents.first and contents.first.isoformat(),
        "last": contents.last and contents.last.isoformat(),
        "rejected": dict(contents.rejected),
        "reason": file.reason,
        "advice": file.advice,
    }


def _checked_text(checked: Checked) -> str:
    from ecluse.apps.city.provenance import INVENTED

    lines = [checked.url, *([INVENTED] if checked.invented else []), ""]
    for source in checked.sources:
        if source.lacks is not None:
            lines.append(f"  {source.source:<12} missing: {source.lacks}")
            continue
        days = "" if source.first is None else f", {source.first} to {source.last}"
        lines.append(f"  {source.source:<12} {counted(source.files, 'file')}, {source.rows:,} rows{days}")
        rejected = [f"{count:,} {reason}" for reason, count in sorted(source.rejected.items())]
        lines += [f"  {'':<12} set aside: {'; '.join(rejected)}"] if rejected else []
    titles: dict[Outcome, str] = {"unreadable": "Cannot be read:", "not taken": "Not taken:"}
    for outcome, title in titles.items():
        files = checked.of(outcome)
        lines += ["", title] if files else []
        for file in files[:SHOWN]:
            lines.append(f"  {file.key}")
            lines += [f"    {text}" for text in (file.reason, file.advice) if text]
        lines += [f"  and {len(files) - SHOWN:,} more; --json has all"] if len(files) > SHOWN else []
    if not checked.is_usable:
        lines += [
            "",
            "Nothing here was measured on any day. The forms that are read: docs/guides/city-data.md",
        ]
    return "\n".join(lines)


def _fetched_record(results: Sequence[Fetched], following: str) -> Record:
    counts = Counter(result.outcome for result in results)
    lines = [", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + "."]
    lines += [f"  {result.source}, {result.what}: {result.reason}" for result in results if result.reason]
    is_failed = counts["failed"] > 0
    lines.append("The same command goes on where this one stopped." if is_failed else f"Next: {following}")
    fields = {"fetched": [asdict(result) for result in results], "next": following}
    return Record(fields, "\n".join(lines), failed=is_failed)


def open_raw(runtime: Runtime, raw: str | None) -> ObjectStore:
    """Return the raw store of the settings, or the store or folder that `--raw` names; a folder is made."""
    from ecluse.storage import open_store

    if raw is None:
        return runtime.stores.area("raw")
    return open_store(store_or_folder("--raw", raw), runtime.settings.access)


def run_command(first: date, last: date, raw: str | None) -> str:
    """Return the command that computes these days."""
    place = f" --raw {shlex.quote(raw)}" if raw else ""
    return f"ecluse city run --from {first.isoformat()} --to {last.isoformat()}{place}"
