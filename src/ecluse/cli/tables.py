"""Store the local tables that commands are given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ecluse.catalog.tables import User
from ecluse.cli.output import progress
from ecluse.cli.session import finish
from ecluse.errors import InvalidInput, JobFailed
from ecluse.fraud import workflows
from ecluse.runtime import Runtime
from ecluse.storage import read_chunks


def add_table(runtime: Runtime, user: User, file: Path) -> str:
    """Store a local file, unless the same is stored already, and wait for its profile; the dataset's id."""
    known = workflows.find_same_table(runtime, user.id, file.name, _sha256(file))
    if known is not None:
        return known.id
    dataset = workflows.add_table(runtime, user.id, file.name, _counted(file))
    try:
        finish(runtime, user, dataset.job_id or "", f"Reading {file.name}")
    except JobFailed:
        workflows.remove_dataset(runtime, user.id, dataset.id)
        raise
    return dataset.id


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _counted(file: Path) -> Iterator[bytes]:
    size, done = max(file.stat().st_size, 1), 0
    with progress(f"Storing {file.name}") as report:
        for chunk in read_chunks(file):
            yield chunk
            done += len(chunk)
            report(done / size, f"Storing {file.name}")
    if done == 0:
        raise InvalidInput(f"{file} is empty.")
