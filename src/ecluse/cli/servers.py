"""Start SeaweedFS and PostgreSQL on this machine, and make what a store and a database need."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ecluse.cli.groups import Group
from ecluse.cli.output import Record, reports, say
from ecluse.cli.session import home_option
from ecluse.settings import Settings

if TYPE_CHECKING:
    from ecluse.servers import LocalServers

F = TypeVar("F", bound=Any)
S3_PORT: Final = 8333
DATABASE_PORT: Final = 5433


def port_options(command: F) -> F:
    """`--port-s3` and `--port-database`: where the servers listen on loopback."""
    ports = click.IntRange(0, 65535)
    database = click.option(
        "--port-database", default=DATABASE_PORT, show_default=True, type=ports, help="Port of PostgreSQL."
    )
    s3 = click.option("--port-s3", default=S3_PORT, show_default=True, type=ports, help="Port of SeaweedFS.")
    return s3(database(command))


def local_servers(home: Path | None, port_s3: int, port_database: int) -> LocalServers:
    """Return the servers of the home folder, not started yet."""
    from ecluse.servers import LocalServers

    return LocalServers(_folder(home), s3_port=port_s3, database_port=port_database, tell=say)


@click.group(cls=Group)
def servers() -> None:
    """Start SeaweedFS and PostgreSQL on this machine, or stop them."""


@servers.command("start")
@home_option
@port_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output once they are ready.")
def start(home: Path | None, port_s3: int, port_database: int, as_json: bool) -> None:
    """Start both on loopback until Ctrl-C, their data and keys under the home folder.

    The variables that point Écluse at them are printed; those that hold keys are in a file to source.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), local_servers(home, port_s3, port_database) as opened:
        _announce(opened, as_json=as_json)
        while True:
            signal.pause()
    say("Stopped.")


@servers.command("status")
@home_option
@reports
def status(home: Path | None) -> Record:
    """Say whether they run, where they answer, and which file sets the environment."""
    from ecluse.servers import running

    state = running(_folder(home))
    if state is None:
        return Record({"status": "stopped"}, "None run. Start them: ecluse servers start")
    return Record({"status": "running"} | asdict(state))


@servers.command("stop")
@home_option
@reports
def stop(home: Path | None) -> Record:
    """End them, and whatever started them."""
    from ecluse.servers import stop

    stopped = stop(_folder(home))
    return Record({"stopped": stopped}, "Stopped." if stopped else "None run.")


@servers.command("prepare")
@home_option
@reports
def prepare(home: Path | None) -> Record:
    """Make the buckets and tables that the settings name, where they are missing.

    For the keys of an administrator; the application itself needs no right to make a bucket.
    """
    from ecluse.cli.session import opened
    from ecluse.settings import AREAS
    from ecluse.storage import ensure_bucket

    settings = Settings.from_environment(home=home)
    urls = {url: None for url in (settings.store_url, *map(settings.area_url, AREAS)) if url is not None}
    made = [url for url in urls if ensure_bucket(url, settings.access)]
    with opened(home) as runtime:
        version = runtime.catalog.version()
    fields = {"stores": list(urls), "made": made, "catalog": version}
    text = f"Made: {', '.join(made) or 'nothing'}. There now: {', '.join(urls)}, and a catalog at version {version}."
    return Record(fields, text)


def _folder(home: Path | None) -> Path:
    return Settings.from_environment(home=home).home / "servers"


def _announce(opened: LocalServers, *, as_json: bool) -> None:
    state = opened.running()
    if as_json:
        click.echo(json.dumps(asdict(state)))
        return
    say(f"SeaweedFS is at {state.endpoint}, PostgreSQL at {state.database}. Ctrl-C stops both.")
    say(f"In another terminal, the keys too: . {shlex.quote(state.environment)}")
    for name, value in opened.public_environment().items():
        click.echo(f"export {name}={shlex.quote(value)}")
