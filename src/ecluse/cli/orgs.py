"""Make organisations, invite people, change what members may, leave, hand over and end them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, reports, say
from ecluse.cli.services import COMMANDS
from ecluse.cli.session import acting, home_option, last_address, opened, user_option
from ecluse.errors import NotFound
from ecluse.roles import ROLES

if TYPE_CHECKING:
    from ecluse.accounts import Belonging
    from ecluse.catalog.tables import User
    from ecluse.runtime import Runtime

_role = click.Choice(ROLES)


@click.group(cls=Group)
def orgs() -> None:
    """Make organisations, invite people, change what members may, leave, hand over and end them."""


@orgs.command("list")
@home_option
@user_option
@reports
def list_organisations(home: Path | None, email: str | None) -> Rows:
    """List the organisations that you belong to."""
    with acting(home, email, reads=True) as (runtime, user):
        rows = [_row(each) for each in runtime.accounts.organisations(user.id)]
    return Rows(
        rows, ("handle", "name", "role", "members", "created_at"), "You belong to no organisation yet."
    )


@orgs.command("everyone")
@click.option("--search", default="", help="What a handle or a name holds.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@home_option
@reports
def list_of_everyone(search: str, limit: int, home: Path | None) -> Rows:
    """List every organisation of this Écluse, with its owners."""
    from ecluse.catalog import organisations

    with opened(home, reads=True) as runtime, runtime.catalog.read() as transaction:
        rows = [
            {
                "handle": each.organisation.handle,
                "name": each.organisation.name,
                "members": each.members,
                "owners": ", ".join(each.owners),
                "service_accounts": each.services,
                "created_at": each.organisation.created_at,
            }
            for each in organisations.list_all(transaction, search, limit=limit)
        ]
    return Rows(
        rows,
        ("handle", "name", "members", "owners", "service_accounts", "created_at"),
        "There is no organisation yet.",
    )


@orgs.command("add")
@click.argument("handle")
@click.option("--name", default="", help="What it is called. Default: the handle.")
@home_option
@user_option
@reports
def add_organisation(handle: str, name: str, home: Path | None, email: str | None) -> Record:
    """Make an organisation, which you own. Its handle stays: names of models contain it."""
    with acting(home, email) as (runtime, user):
        return Record(_row(runtime.accounts.add_organisation(user.id, handle.removeprefix("@"), name)))


@orgs.command("show")
@click.argument("handle")
@home_option
@user_option
@reports
def show_organisation(handle: str, home: Path | None, email: str | None) -> Rows:
    """List who belongs to an organisation of yours."""
    with acting(home, email, reads=True) as (runtime, user):
        _rest, members = runtime.accounts.organisation(user.id, handle.removeprefix("@"))
    rows = [
        {"email": each.email, "name": each.name, "role": each.role, "joined_at": each.joined_at}
        for each in members
    ]
    return Rows(rows, ("email", "name", "role", "joined_at"))


@orgs.command("invite")
@click.argument("handle")
@click.option("--role", type=_role, default="member", show_default=True)
@click.option(
    "--days", type=click.IntRange(1, 30), default=7, show_default=True, help="How long it is good for."
)
@home_option
@user_option
@reports
def invite(handle: str, role: str, days: int, home: Path | None, email: str | None) -> Record:
    """Make a link by which one person joins, once."""
    with acting(home, email) as (runtime, user):
        secret, row = runtime.accounts.invite(user.id, handle.removeprefix("@"), role, days)
        base = runtime.settings.public_url or last_address(runtime.settings.home) or ""
    if not base:
        say("Open the link at the address that `ecluse up` printed.")
    link = f"{base}/organisations/join/{secret}"
    return Record({"id": row.id, "role": row.role, "expires_at": row.expires_at, "link": link})


@orgs.command("join")
@click.argument("link")
@home_option
@user_option
@reports
def accept_invitation(link: str, home: Path | None, email: str | None) -> Record:
    """Join an organisation by the link of an invitation, which is used up."""
    with acting(home, email) as (runtime, user):
        handle = runtime.accounts.accept_invitation(user.id, link.strip().rstrip("/").rpartition("/")[2])
        return Record(_row(runtime.accounts.organisation(user.id, handle)[0]))


@orgs.command("role")
@click.argument("handle")
@click.argument("member")
@click.argument("role", type=_role)
@home_option
@user_option
@reports
def set_role(handle: str, member: str, role: str, home: Path | None, email: str | None) -> Record:
    """Change the role of a MEMBER, by address. One owner stays."""
    handle = handle.removeprefix("@")
    with acting(home, email) as (runtime, user):
        runtime.accounts.set_member_role(user.id, handle, _member(runtime, user, handle, member), role)
        return Record(_row(runtime.accounts.organisation(user.id, handle)[0]))


@orgs.command("remove")
@click.argument("handle")
@click.argument("member")
@home_option
@user_option
@reports
def remove_member(handle: str, member: str, home: Path | None, email: str | None) -> Record:
    """Remove a MEMBER, by address. What is shared with the organisation, they see no longer."""
    handle = handle.removeprefix("@")
    with acting(home, email) as (runtime, user):
        runtime.accounts.remove_member(user.id, handle, _member(runtime, user, handle, member))
    return Record({"removed": member, "organisation": handle})


@orgs.command("leave")
@click.argument("handle")
@home_option
@user_option
@reports
def leave(handle: str, home: Path | None, email: str | None) -> Record:
    """Belong to an organisation no longer. Its last owner hands it over first, or ends it."""
    with acting(home, email) as (runtime, user):
        runtime.accounts.remove_member(user.id, handle.removeprefix("@"), user.id)
    return Record({"left": handle.removeprefix("@")})


@orgs.command("hand-over")
@click.argument("handle")
@click.argument("member")
@home_option
@user_option
@reports
def hand_over(handle: str, member: str, home: Path | None, email: str | None) -> Record:
    """Make a MEMBER, by address, an owner, and yourself a member."""
    handle = handle.removeprefix("@")
    with acting(home, email) as (runtime, user):
        runtime.accounts.hand_over(user.id, handle, _member(runtime, user, handle, member))
        return Record(_row(runtime.accounts.organisation(user.id, handle)[0]))


@orgs.command("end")
@click.argument("handle")
@click.option("--with-everything", is_flag=True, help="Remove what it has, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
@user_option
@reports
def end_organisation(
    handle: str, with_everything: bool, yes: bool, home: Path | None, email: str | None
) -> Record:
    """End an organisation that you own. One that has something is left, unless that is to go --with-everything."""
    from ecluse import people

    handle = handle.removeprefix("@")
    with acting(home, email) as (runtime, user):
        if not yes:
            click.confirm(f"End @{handle}, with what is shared with it?", abort=True, err=True)
        removed = people.end_organisation(runtime, user.id, handle, everything=with_everything)
        say(f"Looked at afterwards: every table, and {', '.join(removed.places)}. Nothing of it is left.")
    return Record({"ended": handle, "removed": removed.rows, "objects": removed.objects})


for command in COMMANDS:
    orgs.add_command(command)


def _member(runtime: Runtime, user: User, handle: str, address: str) -> str:
    """Return the id of the member with an address; `NotFound` where there is none."""
    _rest, members = runtime.accounts.organisation(user.id, handle)
    for each in members:
        if each.email == address.strip().lower():
            return each.id
    raise NotFound(f"{address} does not belong to @{handle}. See: ecluse orgs show {handle}")


def _row(each: Belonging) -> dict[str, Any]:
    return {
        "handle": each.handle,
        "name": each.name,
        "role": each.role,
        "members": each.members,
        "created_at": each.created_at,
    }
