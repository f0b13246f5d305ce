"""Sign in to a server with a token, and out again."""

from __future__ import annotations

import sys

import click

from ecluse.cli.output import Record, reports
from ecluse.client import credentials
from ecluse.client.session import sign_in
from ecluse.errors import InvalidInput


@click.command()
@click.argument("url")
@reports
def login(url: str) -> Record:
    """Sign in to the server at URL with a token: `import ecluse` uses it from then on.

    The token is asked for and not shown, or read from standard input. Make one on the page Account of the server. It is
    kept for you alone in ~/.config/ecluse/credentials.json; ECLUSE_URL and ECLUSE_TOKEN win over that.
    """
    address = credentials.checked_address(url)
    if sys.stdin.isatty():
        token = click.prompt(f"Token of {address}", hide_input=True, err=True)
    else:
        token = sys.stdin.readline()
    email = sign_in(credentials.Credentials(address, token.strip()))
    return Record({"address": address, "email": email}, f"Signed in to {address} as {email}.")


@click.command()
@click.argument("url", required=False)
@reports
def logout(url: str | None) -> Record:
    """Forget the token of the server at URL, or of the one signed in to last; it stays valid at the server."""
    address = credentials.forget(url)
    if address is None:
        raise InvalidInput("There is no token to forget. Sign in with: ecluse login URL")
    return Record(
        {"address": address}, f"Signed out of {address}. To make the token invalid, remove it there."
    )
