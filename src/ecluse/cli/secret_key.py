"""Make the key with which secrets of accounts are encrypted, and change from one key to another."""

from __future__ import annotations

from pathlib import Path

import click

from ecluse.cli.output import Record, counted, reports, say
from ecluse.cli.session import home_option, opened


@click.command("secret-key")
@click.option(
    "--encrypt-again",
    is_flag=True,
    help="Make none: encrypt what is stored with the first of ECLUSE_SECRET_KEYS.",
)
@home_option
@reports
def secret_key(encrypt_again: bool, home: Path | None) -> Record:
    """Print a new key for ECLUSE_SECRET_KEYS, under which the secrets of second factors are kept.

    To change the key, write the new one before the old one, with a comma between, for every process; start them again;
    run this with --encrypt-again; then leave the old one out.
    """
    from ecluse.accounts.vault import new_key

    if not encrypt_again:
        key = new_key()
        say("A new key; nothing was changed. Set it for every process of this Écluse: ECLUSE_SECRET_KEYS")
        return Record({"key": key}, key)
    with opened(home) as runtime:
        number = runtime.accounts.encrypt_again()
        say(f"{counted(number, 'secret')} encrypted with the first key.")
        return Record({"encrypted": number})
