"""Do at a server what commands do in the folder of this machine, and say at which of them a command works.

The first that holds: `--local`, `--home` and `--user` mean this machine; ECLUSE_URL a server; ECLUSE_HOME this machine;
then the server that was signed in to last; without one, this machine.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ecluse.cli.output import Record, progress, say, transfer
from ecluse.client import credentials
from ecluse.client.backend import JobState, Publication, Version
from ecluse.client.http import HttpBackend
from ecluse.client.server import split_reference
from ecluse.errors import InvalidInput, JobFailed
from ecluse.sentences import _

F = TypeVar("F", bound=Any)
#: How often a job of a server is asked about (s).
_POLL_SECONDS: Final = 1.0
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


def alias_there(server: HttpBackend, model: str, alias: str, *, remove: bool) -> Record:
    """Point an alias of a server at a version, or forget it."""
    if remove:
        name = split_reference(model)[0]
        server.remove_alias(name, alias)
        return Record({"removed": f"{name}@{alias}"})
    version = server.version(model)
    server.set_alias(version.name, alias, version.version)
    return aliased(version.name, alias, version.version)


def aliased(name: str, alias: str, version: str) -> Record:
    """Say which version an alias points at."""
    return Record({"name": name, "alias": alias, "version": version}, f"{name}@{alias} is {version}.")


def finish_there(server: HttpBackend, job_id: str, title: str) -> JobState:
    """Follow a job of a server until it is done. Ctrl-C cancels it: nothing is published.

    Raises:
        JobFailed: the job failed or was cancelled.
    """
    try:
        with progress(title) as report:
            while not (job := server.job(job_id)).has_ended:
                report(job.fraction, job.message or ("waiting" if job.status == "queued" else ""))
                time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        server.cancel(job_id)
        say(f"Cancelled at {server.address}. Nothing was published.")
        raise
    if job.status != "done":
        raise JobFailed(job.error or f"The job {job_id} was {job.status} at {server.address}.")
    return job


def score_there(server: HttpBackend, reference: str, table: Path, out: Path) -> dict[str, Any]:
    """Score a file at a server, and write the scored table to a file of this machine; nothing of both stays there."""
    from ecluse.client.fetching import fetch_table

    ids = []
    try:
        with transfer(f"Sending {table.name} to {server.address}", table.stat().st_size) as sent:
            ids.append(server.upload(table, table.name, uuid.uuid4().hex, sent)[0])
        job = finish_there(server, server.score(reference, ids[0]), f"Scoring {table.name}")
        made = dict(job.result or {})
        ids.append(str(made["table"]))
        kind = "csv" if out.suffix == ".csv" else "parquet"
        fetch_table(server.server, ids[1], out, lambda size: None, kind)
    finally:
        for table_id in ids:
            server.remove_table(table_id)
    return made


def list_runs_there(
    server: HttpBackend, conditions: Mapping[str, str | None], limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Return runs of a server as it lists them, the first `limit`, and how many there are."""
    items, total = server.list_runs({k: v for k, v in conditions.items() if v is not None}, limit)
    return [run_there(item) for item in items], total


def one_pair(pairs: Sequence[tuple[str, str]], option: str) -> str | None:
    """Return the one NAME=VALUE that a server takes; None where there is none.

    Raises:
        InvalidInput: there are several.
    """
    if len(pairs) > 1:
        raise InvalidInput(_("A server takes %(option)s once. Leave the others out.", option=option))
    return "=".join(pairs[0]) if pairs else None


def run_there(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run of the API as local commands have it."""
    return with_dates({"job_id" if name == "job" else name: value for name, value in body.items()})


def with_dates(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of the API with moments in the place of their texts, as local commands have them."""
    return {
        name: datetime.fromisoformat(value) if name in _DATES and value is not None else value
        for name, value in body.items()
    }
