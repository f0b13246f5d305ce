"""Share the report of a day by a link, see such links and take them back, here or at a server."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Final

import click

from ecluse.apps.city.commands.dates import Day
from ecluse.cli.output import Record, Rows, reports, say
from ecluse.cli.remote import at_server, local_option, with_dates
from ecluse.cli.session import acting, home_option, last_address, user_option
from ecluse.client.server import part_of
from ecluse.shares import LINK_DAYS, MOST_DAYS

COLUMNS: Final = ("id", "maker", "created_at", "expires_at")


@click.command("share")
@click.argument("day", type=Day())
@click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), default=LINK_DAYS, show_default=True, help="How long."
)
@local_option
@user_option
@home_option
@reports
def share(day: date, days: int, local: bool, email: str | None, home: Path | None) -> Record:
    """Make a link to the report of DAY, shown this once: whoever has it reads the report without an account."""
    with at_server(home, email, local) as server:
        if server is not None:
            made = server.server.json("POST", _place(day), json={"days": days})
            return _made(day, with_dates(made), made["url"])
    from ecluse.apps.city import shared_days

    with acting(home, email) as (runtime, user):
        link, secret = shared_days.share(runtime, user, day, days)
        base = runtime.settings.public_url or last_address(runtime.settings.home) or ""
    if not base:
        say("Open the link at the address that `ecluse up` printed.")
    return _made(day, _fields(asdict(link)), f"{base}/city/link/{secret}")


@click.command("shares")
@click.argument("day", type=Day())
@local_option
@user_option
@home_option
@reports
def shares(day: date, local: bool, email: str | None, home: Path | None) -> Rows:
    """List the links to the report of DAY that you made; to an administrator everyone's."""
    none = f"There is no link of yours to the report of {day}."
    with at_server(home, email, local) as server:
        if server is not None:
            return Rows([with_dates(row) for row in server.server.json("GET", _place(day))], COLUMNS, none)
    from ecluse.apps.city import shared_days

    with acting(home, email, reads=True) as (runtime, user):
        listed = shared_days.links(runtime, user, day)
    return Rows([_fields(asdict(each)) for each in listed], COLUMNS, none)


@click.command("unshare")
@click.argument("day", type=Day())
@click.argument("link")
@local_option
@user_option
@home_option
@reports
def unshare(day: date, link: str, local: bool, email: str | None, home: Path | None) -> Record:
    """Take a link to the report of DAY back, by its id."""
    done = Record({"unshared": link}, f"The report of {day} is not read by {link} any more.")
    with at_server(home, email, local) as server:
        if server is not None:
            server.server.call("DELETE", f"{_place(day)}/{part_of(link)}")
            return done
    from ecluse.apps.city import shared_days

    with acting(home, email) as (runtime, user):
        shared_days.unshare(runtime, user, day, link)
    return done


def _made(day: date, link: dict[str, Any], url: str) -> Record:
    text = (
        f"Whoever has this link reads the report of {day} until {link['expires_at']:%Y-%m-%d %H:%M}.\n{url}"
    )
    return Record({**link, "url": url}, text)


def _fields(link: dict[str, Any]) -> dict[str, Any]:
    return {name: link[name] for name in COLUMNS}


def _place(day: date) -> str:
    return f"city/report/{day}/links"
