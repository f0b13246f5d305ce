"""Get raw data of a city: the sample, or the open data."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecluse.cli.output import Record, progress, reports
from ecluse.cli.session import home_option, opened

if TYPE_CHECKING:
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
@home_option
@reports
def demo(
    days: int | None, first: datetime | None, arcs: int | None, seed: int, raw: str | None, home: Path | None
) -> Record:
    """Write invented raw data of the true schema, so that everything works without a network.

    The default period has the day of 25 hours. A raw store that holds other data is left as it is.
    """
    from ecluse.city import demo as sample

    with opened(home) as runtime, progress("Writing the sample") as report:
        written = sample.write_demo(
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


def open_raw(runtime: Runtime, raw: str | None) -> ObjectStore:
    """The raw store of the settings, or the store or folder that `--raw` names; a folder is made."""
    from ecluse.storage import open_store

    if raw is None:
        return runtime.stores.area("raw")
    url = raw if "://" in raw else Path(raw).absolute().as_uri()
    return open_store(url, runtime.settings.access)


def run_command(first: date, last: date, raw: str | None) -> str:
    """The command that computes these days."""
    place = f" --raw {raw}" if raw else ""
    return f"ecluse city run --from {first.isoformat()} --to {last.isoformat()}{place}"
