"""Make service accounts of organisations and their tokens, list and end them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ecluse.accounts import Scope
from ecluse.cli.output import Record, Rows, reports, say
from ecluse.cli.session import acting, home_option, user_option
from ecluse.errors import NotFound
from ecluse.registry import checked_address
from ecluse.roles import SERVICE_ROLES

if TYPE_CHECKING:
    from ecluse.catalog.tables import ServiceAccount
    from ecluse.runtime import Runtime

_role = click.Choice(SERVICE_ROLES)
_COLUMNS: Final = ("name", "role", "created_at", "id")


@click.command("services")
@click.argument("handle")
@home_option
@user_option
@reports
def list_services(handle: str, home: Path | None, email: str | None) -> Rows:
    """List the service accounts of an organisation of yours: programs that act for it."""
    handle = handle.removeprefix("@")
    with acting(home, email, reads=True) as (runtime, user):
        rows = [_row(each) for each in runtime.accounts.services(user.id, handle)]
    return Rows(rows, _COLUMNS, f"@{handle} has no service account.")


@click.command("add-service")
@click.argument("handle")
@click.argument("name")
@click.option("--role", type=_role, default="viewer", show_default=True)
@home_option
@user_option
@reports
def add_service(handle: str, name: str, role: str, home: Path | None, email: str | None) -> Record:
    """Make a service account. A member makes and changes what the organisation has; a viewer reads and asks models."""
    with acting(home, email) as (runtime, user):
        return Record(_row(runtime.accounts.add_service(user.id, handle.removeprefix("@"), name, role)))


@click.command("service-role")
@click.argument("handle")
@click.argument("name")
@click.argument("role", type=_role)
@home_option
@user_option
@reports
def set_service_role(handle: str, name: str, role: str, home: Path | None, email: str | None) -> Record:
    """Change the role of a service account, by its NAME."""
    handle = handle.removeprefix("@")
    with acting(home, email) as (runtime, user):
        service = _service(runtime, user.id, handle, name)
        return Record(_row(runtime.accounts.set_service_role(user.id, handle, service.id, role)))


@click.command("remove-service")
@click.argument("handle")
@click.argument("name")
@home_option
@user_option
@reports
def remove_service(handle: str, name: str, home: Path | None, email: str | None) -> Record:
    """Remove a service account, by its NAME. Its tokens end at once; what it made stays."""
    handle = handle.removeprefix("@")
    with acting(home, email) as (runtime, user):
        runtime.accounts.remove_service(user.id, handle, _service(runtime, user.id, handle, name).id)
    return Record({"removed": name, "organisation": handle})


@click.command("service-token")
@click.argument("handle")
@click.argument("name")
@click.option("--program", default="terminal", show_default=True, help="What to call the token.")
@click.option(
    "--days",
    type=click.Choice(["30", "90", "365", "never"]),
    default="90",
    show_default=True,
    help="After how many days it ends.",
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    help="What it may do; again for more. Default: read.",
)
@click.option("--model", help="The name of the one model that it is for. Default: all.")
@home_option
@user_option
@reports
def make_token(
    handle: str,
    name: str,
    program: str,
    days: str,
    scopes: tuple[str, ...],
    model: str | None,
    home: Path | None,
    email: str | None,
) -> Record:
    """Make a token of a service account, by its NAME, and print it, this once."""
    from ecluse.accounts.tokens import NewToken

    handle = handle.removeprefix("@")
    new = NewToken(
        program,
        None if days == "never" else int(days),
        scopes or (Scope.READ,),
        None if model is None else checked_address(model),
    )
    with acting(home, email) as (runtime, user):
        service = _service(runtime, user.id, handle, name)
        secret, row = runtime.accounts.create_service_token(user.id, handle, service.id, new)
    say(f"A token of @{handle}/{name}: {row.scopes.replace(' ', ', ')}. It is shown this once.")
    fields = {
        "token": secret,
        "id": row.id,
        "name": row.name,
        "client_id": service.id,
        "scopes": row.scopes.split(),
        "model": row.model,
        "expires_at": row.expires_at,
    }
    return Record(fields, secret)


@click.command("service-tokens")
@click.argument("handle")
@click.argument("name")
@click.option("--end", "token_id", multiple=True, metavar="ID", help="End this token; again for more.")
@home_option
@user_option
@reports
def list_tokens(
    handle: str, name: str, token_id: tuple[str, ...], home: Path | None, email: str | None
) -> Rows:
    """List the tokens of a service account, by its NAME: what they may do, when they were used and when they end."""
    handle = handle.removeprefix("@")
    columns = ("id", "name", "prefix", "scopes", "model", "created_at", "last_used_at", "expires_at")
    with acting(home, email) as (runtime, user):
        service = _service(runtime, user.id, handle, name)
        for each in token_id:
            runtime.accounts.revoke_service_token(user.id, handle, service.id, each)
        _same, tokens = runtime.accounts.service(user.id, handle, service.id)
    rows = [{column: getattr(token, column) for column in columns} for token in tokens]
    return Rows(rows, columns, f"@{handle}/{name} has no tokens.")


COMMANDS: Final = (list_services, add_service, set_service_role, remove_service, make_token, list_tokens)


def _service(runtime: Runtime, user_id: str, handle: str, name: str) -> ServiceAccount:
    """Return the service account with a name; `NotFound` where there is none."""
    for each in runtime.accounts.services(user_id, handle):
        if each.name == name:
            return each
    raise NotFound(f"@{handle} has no service account {name}. See: ecluse orgs services {handle}")


def _row(each: ServiceAccount) -> dict[str, Any]:
    return {name: getattr(each, name) for name in _COLUMNS}
