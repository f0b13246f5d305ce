"""Share things with people, organisations or by a link, see with whom, and take that back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, reports, say
from ecluse.cli.remote import at_server, local_option, with_dates
from ecluse.cli.session import acting, home_option, last_address, user_option
from ecluse.client.server import model_part, part_of

COLUMNS: Final = ("id", "kind", "with_whom", "created_at", "expires_at")
_NOBODY: Final = "It is shared with nobody."


def add_sharing(group: Group, kind: str, thing: str) -> None:
    """Give a group of commands those that share what it is about. `thing`: what the argument is called."""

    @group.command("share", help=f"Share {thing} with a person, an organisation or by a link, to be read.")
    @click.argument("thing", metavar=thing)
    @click.option("--email", "reader", help="Address of a person, who has an account by now.")
    @click.option("--organisation", help="Handle of an organisation that you belong to.")
    @click.option("--link", is_flag=True, help="By a link, shown this once: whoever opens it, signed in.")
    @click.option(
        "--days", type=click.IntRange(1, 365), help="How long; a link lasts 7 days unless it is said."
    )
    @local_option
    @user_option
    @home_option
    @reports
    def share(
        thing: str,
        reader: str | None,
        organisation: str | None,
        link: bool,
        days: int | None,
        **where: Any,
    ) -> Record:
        if bool(reader) + bool(organisation) + link != 1:
            raise click.UsageError("Name one of --email, --organisation and --link.")
        return _share(kind, thing, (reader or "", organisation or ""), days, **where)

    @group.command("shares", help=f"List with whom {thing} is shared, and until when.")
    @click.argument("thing", metavar=thing)
    @local_option
    @user_option
    @home_option
    @reports
    def shares(thing: str, local: bool, email: str | None, home: Path | None) -> Rows:
        with at_server(home, email, local) as server:
            if server is not None:
                there = server.server.json("GET", _place(kind, thing))
                return Rows([with_dates(row) for row in there], COLUMNS, _NOBODY)
        from ecluse import models
        from ecluse import shares as any_shares

        with acting(home, email, reads=True) as (runtime, user):
            if kind == "models":
                listed = models.shares(runtime, user.id, thing)
            else:
                listed = any_shares.shares_by_id(runtime.catalog, user.id, kind, thing)[1]
        return Rows([asdict(each) for each in listed], COLUMNS, _NOBODY)

    @group.command(
        "unshare", help=f"Take a share of {thing} back, by its id; of a link, from all who came by it."
    )
    @click.argument("thing", metavar=thing)
    @click.argument("share")
    @local_option
    @user_option
    @home_option
    @reports
    def unshare(thing: str, share: str, local: bool, email: str | None, home: Path | None) -> Record:
        done = Record({"unshared": share}, f"{thing} is not shared by {share} any more.")
        with at_server(home, email, local) as server:
            if server is not None:
                server.server.call("DELETE", f"{_place(kind, thing)}/{part_of(share)}")
                return done
        from ecluse import models
        from ecluse import shares as any_shares

        with acting(home, email) as (runtime, user):
            if kind == "models":
                models.unshare(runtime, user.id, thing, share)
            else:
                any_shares.unshare_by_id(runtime.catalog, user.id, kind, thing, share)
        return done


def _share(
    kind: str,
    thing: str,
    reader: tuple[str, str],
    days: int | None,
    *,
    local: bool,
    email: str | None,
    home: Path | None,
) -> Record:
    with at_server(home, email, local) as server:
        if server is not None:
            address, organisation = reader
            body = {
                "email": address or None,
                "organisation": organisation or None,
                "link": not any(reader),
                "days": days,
            }
            made = server.server.json("POST", _place(kind, thing), json=body)
            return _made(thing, with_dates(made), made["url"])
    from ecluse import models
    from ecluse import shares as any_shares

    with acting(home, email) as (runtime, user):
        whom = any_shares.Reader(*reader)
        if kind == "models":
            shown, secret = models.share(runtime, user.id, thing, whom, days)
        else:
            shown, secret = any_shares.share_by_id(runtime.catalog, user.id, kind, thing, whom, days)
        base = runtime.settings.public_url or last_address(runtime.settings.home) or ""
    if secret is not None and not base:
        say("Open the link at the address that `ecluse up` printed.")
    return _made(thing, asdict(shown), None if secret is None else f"{base}/shared/{secret}")


def _made(thing: str, shown: dict[str, Any], url: str | None) -> Record:
    whom = shown["with_whom"] or "whoever opens the link"
    until = (
        f" until {shown['expires_at']:%Y-%m-%d %H:%M}" if shown["expires_at"] else ", until it is taken back"
    )
    text = f"{thing} is shared with {whom}{until}."
    return Record({**shown, "url": url}, text if url is None else f"{text}\n{url}")


def _place(kind: str, thing: str) -> str:
    return f"models/{model_part(thing)}/shares" if kind == "models" else f"shares/{kind}/{part_of(thing)}"
