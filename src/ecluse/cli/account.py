"""Take along everything that is kept of an account."""

from __future__ import annotations

from pathlib import Path

import click

from ecluse.cli.groups import Group
from ecluse.cli.output import Record, progress, reports, say
from ecluse.cli.remote import at_server, local_option
from ecluse.cli.session import acting, home_option, opened, user_option

_out = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write. Default: ecluse-HANDLE-DATE.zip here.",
)


@click.group(cls=Group)
def account() -> None:
    """Take along everything that is kept of your account."""


@account.command("export")
@_out
@local_option
@home_option
@user_option
@reports
def export_account(out: Path | None, local: bool, home: Path | None, email: str | None) -> Record:
    """Write everything of your account to one zip: every row as JSON, every object with its digest.

    README.txt in it says what is what. The file appears when it is whole; Ctrl-C leaves none.
    """
    with at_server(home, email, local) as server:
        if server is not None:
            target = out or Path("ecluse-account.zip")
            with progress(f"Writing {target}") as report:
                size = server.export_account(target, lambda done: report(0.0, f"{done / 1e6:,.0f} MB"))
            return _written(target, size)
    from ecluse.people import archive

    with acting(home, email) as (runtime, user):
        target = out or Path(archive.filename_of(user))
        archive.note(runtime, user, user.id)
        with progress(f"Writing {target}") as report:
            return _written(target, archive.write_archive(runtime, user, target, report))


@click.command("export")
@click.argument("email")
@_out
@home_option
@reports
def export_user(email: str, out: Path | None, home: Path | None) -> Record:
    """Write everything of an account to one zip, as `ecluse account export` does for its owner."""
    from ecluse.people import archive

    with opened(home) as runtime:
        user = runtime.accounts.by_email(email)
        target = out or Path(archive.filename_of(user))
        archive.note(runtime, user, None)
        with progress(f"Writing {target}") as report:
            return _written(target, archive.write_archive(runtime, user, target, report))


def _written(target: Path, size: int) -> Record:
    say("README.txt in it says what is what.")
    return Record({"file": str(target), "size_bytes": size})
