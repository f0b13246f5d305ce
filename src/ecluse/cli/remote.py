"""Do at a server what commands do in the folder of this machine, and say at which of them a command works.

The first that holds: `--local`, `--home` and `--user` mean this machine; ECLUSE_URL a server; ECLUSE_HOME this machine;
then the server that was signed in to last; without one, this machine.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ecluse.cli.output import say, transfer
from ecluse.client import credentials
from ecluse.client.backend import Publication, Version
from ecluse.client.http import HttpBackend
from ecluse.errors import InvalidInput
from ecluse.sentences import _

F = TypeVar("F", bound=Any)
_DATES: Final = ("created_at", "started_at", "finished_at", "verified_at", "damaged_at")


def local_option(command: F) -> F:
    """`--local`: the folder of this machine, also where a server was signed in to."""
    return click.option(
        "--local",
        is_flag=True,
        help="In the folder of this machine, not at the server that was signed in to; so do --home and --user.",
    )(command)


@contextmanager
def at_server(home: Path | None, email: str | None, local: bool) -> Iterator[HttpBackend | None]:
    """Yield the server that a command works at, and say so; None where that is the folder of this machine."""
    server = None if local or home is not None or email is not None else credentials.chosen()
    if server is None:
        yield None
        return
    say(f"At {server.address}. For the folder of this machine: --local")
    backend = HttpBackend(server)
    try:
        yield backend
    finally:
        backend.close()


def publish_there(
    server: HttpBackend,
    name: str,
    paths: tuple[Path, ...],
    metadata: Mapping[str, Any],
    aliases: Sequence[str],
    total: int,
) -> dict[str, Any]:
    """Publish files at a server; return the version as the API describes it, with all of its aliases."""
    first, *others = aliases or (None,)
    publication = Publication(name, uuid.uuid4().hex, paths, metadata, alias=first)
    with transfer(f"Publishing {name} at {server.address}", total) as progress:
        version = server.publish(publication, progress)
    for alias in others:
        server.set_alias(name, str(alias), version.version)
    return server.described(version.reference)


def download_there(server: HttpBackend, reference: str, folder: Path) -> Version:
    """Write every file of a version of a server below a folder, verified."""
    version = server.version(reference)
    with transfer(f"Fetching {version.reference} from {server.address}", version.size_bytes) as progress:
        server.fetch(version, folder, progress)
    return version


def list_runs_there(
    server: HttpBackend, conditions: Mapping[str, str | None], limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Return runs of a server as it lists them, the first `limit`, and how many there are."""
    items, total = server.list_runs({k: v for k, v in conditions.items() if v is not None}, limit)
    return [with_dates(item) for item in items], total


def one_pair(pairs: Sequence[tuple[str, str]], option: str) -> str | None:
    """Return the one NAME=VALUE that a server takes; None where there is none.

    Raises:
        InvalidInput: there are several.
    """
    if len(pairs) > 1:
        raise InvalidInput(_("A server takes %(option)s once. Leave the others out.", option=option))
    return "=".join(pairs[0]) if pairs else None


def with_dates(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of the API with moments in the place of their texts, as local commands have them."""
    return {
        name: datetime.fromisoformat(value) if name in _DATES and value is not None else value
        for name, value in body.items()
    }
