"""Fetch and open the stored tables that jobs read, those of this application and those of the core."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ecluse.apps.fraud.rows import datasets
from ecluse.apps.fraud.rows.datasets import layout_of
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.errors import DigestMismatch, InvalidInput, NotFound
from ecluse.jobs import Task
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import safe_filename
from ecluse.tables import Readable

if TYPE_CHECKING:
    from ecluse.tabular.dataset import Table


def open_stored(runtime: Runtime, dataset: Dataset, folder: Path, task: Task | None = None) -> Table:
    """Open a stored table, read to its end by a process of its own; see `read_upload`. The task may end it."""
    from ecluse.apps.fraud.actions.uploads import read_upload

    return read_upload(
        fetch_table(runtime, dataset, folder),
        dataset.filename,
        layout_of(dataset),
        folder=folder,
        memory=runtime.settings.reader_max_bytes,
        heard=None if task is None else lambda fraction, message: task.report("read", 0.0),
    )


def fetch_table(runtime: Runtime, dataset: Dataset, folder: Path) -> Path:
    """Fetch the table as a local file in a scratch folder, compared with the digest taken at its upload."""
    path = folder / safe_filename(dataset.filename)
    located = runtime.stores.locate(dataset.url)
    stored = located.store.download(located.key, path)
    if stored.sha256 != dataset.sha256:
        raise DigestMismatch(
            _("%(file)s was changed in the store after its upload. Upload it again.", file=dataset.filename)
        )
    return path


def table_of(runtime: Runtime, user_id: str, dataset_id: str | None) -> Dataset:
    if dataset_id is None:
        raise NotFound(_("The table was deleted before the job ran. Upload it again."))
    with runtime.catalog.read() as transaction:
        return datasets.dataset_of(transaction, user_id, dataset_id)


def readable_table_of(runtime: Runtime, reader_id: str, dataset_id: str | None) -> Dataset:
    """Return a table that a job of this person reads: theirs, or one that is shared with them at this moment."""
    if dataset_id is None:
        raise NotFound(_("The table was deleted before the job ran. Upload it again."))
    with runtime.catalog.read() as transaction:
        return datasets.readable_dataset(transaction, reader_id, dataset_id)


def readable(runtime: Runtime, user_id: str, table_id: str) -> Readable | None:
    """Return a table that was uploaded here and this person may see, to be read by any model; None where none is.

    Raises:
        InvalidInput: it is not read yet, or could not be.
    """
    try:
        dataset = readable_table_of(runtime, user_id, table_id)
    except NotFound:
        return None
    if dataset.state != "ready":
        raise InvalidInput(
            _(
                "%(file)s is still being read, or could not be: see its page, /fraud/d/%(id)s.",
                file=dataset.filename,
                id=dataset.id,
            )
        )

    def write(path: Path) -> None:
        from ecluse.tabular.typing import write_table

        with runtime.scratch() as folder, open_stored(runtime, dataset, folder) as table:
            write_table(table, path)

    return Readable(dataset.id, dataset.filename, dataset.created_at, write)
