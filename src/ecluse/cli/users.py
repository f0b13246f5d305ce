"""List and add accounts, and make sign-in links."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ecluse.catalog.tables import User
from ecluse.cli.output import Record, Rows, reports, say
from ecluse.cli.session import home_option, last_address, opened
from ecluse.runtime import Runtime


@click.group()
def users() -> None:
    """List and add accounts, and make sign-in links."""


@users.command("list")
@home_option
@reports
def list_users(home: Path | None) -> Rows:
    """Every account."""
    with opened(home) as runtime:
        return Rows(
            [_row(user) for user in runtime.accounts.everyone()], ("email", "role", "created_at", "id")
        )


@users.command("add")
@click.argument("email")
@click.option("--admin", is_flag=True, help="Make it an administrator.")
@click.option("--name", default="", help="What to call the person.")
@home_option
@reports
def add_user(email: str, admin: bool, name: str, home: Path | None) -> Record:
    """Make an account and a one-time link with which its owner signs in and sets a password."""
    with opened(home) as runtime:
        user = runtime.accounts.add(email, name, admin=admin)
        return _with_link(runtime, user)


@users.command("link")
@click.argument("email")
@home_option
@reports
def sign_in_link(email: str, home: Path | None) -> Record:
    """Make a link that signs this account in once, within 24 hours."""
    with opened(home) as runtime:
        return _with_link(runtime, runtime.accounts.by_email(email))


def _with_link(runtime: Runtime, user: User) -> Record:
    base = runtime.settings.public_url or last_address(runtime.settings.home)
    if base is None:
        say("Open the link at the address that `ecluse up` printed.")
    elif runtime.settings.public_url is None:
        say("The link leads to where Écluse was last started here.")
    link = f"{base or ''}/sign-in/link/{runtime.accounts.sign_in_link(user.id)}"
    return Record(_row(user) | {"sign_in_link": link})


def _row(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "created_at": user.created_at,
    }
