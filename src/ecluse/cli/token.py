"""Make a token for programs, by the home of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from ecluse.cli.output import Record, reports, say
from ecluse.cli.session import acting, home_option, user_option


@click.command()
@click.option("--name", default="terminal", show_default=True, help="What to call it, such as its program.")
@click.option(
    "--days",
    type=click.Choice(["30", "90", "365"]),
    default="90",
    show_default=True,
    help="How long it lasts.",
)
@home_option
@user_option
@reports
def token(name: str, days: str, home: Path | None, email: str | None) -> Record:
    """Make a token for programs of yours, and print it, this once.

    It reaches the API of the Écluse whose home this is, as its owner: export ECLUSE_TOKEN=$(ecluse token). At another
    server, make one on its page Account.
    """
    with acting(home, email) as (runtime, user):
        secret, row = runtime.accounts.create_token(user.id, name, days=int(days))
    say(f"A token of {user.email} for {days} days. It is shown this once; end it on the page Account.")
    fields = {"token": secret, "name": row.name, "email": user.email, "expires_at": row.expires_at}
    return Record(fields, secret)
