"""Make a token for programs, by the home of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from ecluse.accounts import Scope
from ecluse.cli.output import Record, reports, say
from ecluse.cli.session import acting, home_option, user_option
from ecluse.registry import checked_address


@click.command()
@click.option("--name", default="terminal", show_default=True, help="What to call it, such as its program.")
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
    help="What it may do; again for more. Default: manage, which is all of the API.",
)
@click.option("--model", help="The name of the one model that it is for. Default: all.")
@home_option
@user_option
@reports
def token(
    name: str, days: str, scopes: tuple[str, ...], model: str | None, home: Path | None, email: str | None
) -> Record:
    """Make a token for programs of yours, and print it, this once.

    It reaches the API of the Écluse whose home this is, as its owner: export ECLUSE_TOKEN=$(ecluse token). At another
    server, make one on its page Account.
    """
    with acting(home, email) as (runtime, user):
        secret, row = runtime.accounts.create_token(
            user.id,
            name,
            days=None if days == "never" else int(days),
            scopes=scopes or (Scope.MANAGE,),
            model=None if model is None else checked_address(model),
        )
    lasts = "until it is ended" if days == "never" else f"for {days} days"
    allowed = f"{row.scopes.replace(' ', ', ')}{'' if model is None else f', the model {model} alone'}"
    say(f"A token of {user.email} {lasts}: {allowed}. It is shown this once; end it on the page Account.")
    fields = {
        "token": secret,
        "name": row.name,
        "email": user.email,
        "scopes": row.scopes.split(),
        "model": row.model,
        "expires_at": row.expires_at,
    }
    return Record(fields, secret)
