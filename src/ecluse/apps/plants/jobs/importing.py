"""Do the jobs of images: import what was uploaded, or what lies below an address of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.plants import links
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.actions import IMPORT, QUEUE, Source, find_set, forget_staged, summary_of
from ecluse.apps.plants.audit import queue_audit
from ecluse.apps.plants.sources import File
from ecluse.apps.plants.sources.archives import is_archive_name, open_archive
from ecluse.apps.plants.sources.lists import is_list_name, open_list
from ecluse.apps.plants.sources.stores import importable, open_prefix, reader
from ecluse.catalog import audit
from ecluse.checkpoints import checkpoints_of
from ecluse.jobs import JobKind, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _
from ecluse.storage import ObjectInfo, ObjectStore

if TYPE_CHECKING:
    from ecluse.apps.plants.importing import Imported

#: How much of a job it is to bring an archive here.
_FETCHED: Final = 0.1


def run_import(runtime: Runtime, task: Task, set_id: str, source: dict[str, Any], label: str | None) -> None:
    """Import, and remove what was uploaded for it; a job that is taken up again passes over the files behind it."""
    import_source = Source(**source)
    try:
        task.step("import", _import, runtime, task, set_id, import_source, label)
    finally:  # the engine, too, ends what is cancelled, with an error of its own
        if import_source.staged and runtime.jobs.is_cancelled(task.job_id):
            forget_staged(runtime, set_id, import_source.url)
    if import_source.staged:
        task.step("clear", forget_staged, runtime, set_id, import_source.url)
    task.step("audit", _queue_audit, runtime, task, set_id)


def reconcile(runtime: Runtime) -> int:
    """Remove what was uploaded for imports that ended without doing so, such as those cancelled before their turn."""
    with runtime.catalog.read() as transaction:
        waiting = images.sets_with_staged(transaction)
    ended = 0
    for row in waiting:
        if not runtime.jobs.goes_on(row.job_id):
            forget_staged(runtime, row.id, row.staged_url or "")
            ended += 1
    return ended


def _queue_audit(runtime: Runtime, task: Task, set_id: str) -> None:
    row = find_set(runtime, task.user_id, set_id)
    if summary_of(runtime, task.user_id, row).counts.total:
        queue_audit(runtime, row)


def _import(runtime: Runtime, task: Task, set_id: str, source: Source, label: str | None) -> dict[str, int]:
    from ecluse.apps.plants.importing import import_images

    with runtime.scratch() as scratch:
        files = (
            _staged(runtime, task, source, scratch)
            if source.staged
            else open_prefix(runtime.stores.folder(_allowed(runtime, task, source)))
        )
        done = import_images(
            runtime,
            task.user_id,
            set_id,
            files,
            label=label,
            report=lambda fraction, message: task.report("import", fraction, message),
            checkpoints=checkpoints_of(runtime, task),
        )
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "images.imported", source.name, **_plain(done))
    task.report("import", 1.0, _said(done))
    return _plain(done)


def _allowed(runtime: Runtime, task: Task, source: Source) -> str:
    """Return where the source lies, if whose job it is may read it still: roles, settings and links change while it
    waits.
    """
    return importable(runtime, task.user_id, source.url, at_terminal=source.at_terminal)


def _staged(runtime: Runtime, task: Task, source: Source, scratch: Path) -> Iterator[File]:
    """Yield the files of each archive and list that was uploaded, and the images themselves."""
    store = runtime.stores.folder(source.url)
    objects = sorted(store.list(), key=lambda info: info.key)
    for number, info in enumerate(objects):
        done, share = number / len(objects), 1 / len(objects)
        for file in _opened(runtime, task, store, info, scratch, done):
            yield File(
                file.origin, file.label, file.read, done + share * (_FETCHED + (1 - _FETCHED) * file.fraction)
            )


def _opened(
    runtime: Runtime, task: Task, store: ObjectStore, info: ObjectInfo, scratch: Path, done: float
) -> Iterator[File]:
    name = info.key.partition("_")[2]  # behind the number that it was staged with
    if is_archive_name(name):
        local = scratch / "archive"
        store.download(info.key, local, progress=_progress_of(task, done, name))
        yield from open_archive(local, name)
        local.unlink()
    elif is_list_name(name):
        yield from open_list(store.get(info.key), name, allow_private=runtime.settings.fetch_private)
    else:
        yield File(name, None, reader(store, info), 0.0)


def _progress_of(task: Task, done: float, name: str) -> Callable[[int], None]:
    return lambda size: task.report("read", done, _("reading %(what)s", what=name))


def _said(done: Imported) -> str:
    return _("%(done)s files, %(number)s rejected", done=done.files, number=done.rejected)


def _plain(done: Imported) -> dict[str, int]:
    return asdict(done)


def _failed(
    runtime: Runtime, task: Task, message: str, set_id: str, source: dict[str, Any], **_: Any
) -> None:
    import_source = Source(**source)
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "images.import_failed", import_source.name, found=message)
    if import_source.staged:
        forget_staged(runtime, set_id, import_source.url)


#: Every kind of job of images that belongs to an import; a worker is started with them.
KINDS: Final[dict[str, JobKind]] = {
    IMPORT: JobKind(
        run=run_import,
        failed=_failed,
        queue=QUEUE,
        verb=N_("Import"),
        stages={"read": N_("Read"), "import": N_("Import")},
        result=links.image_set,
        ways=links.image_set_again,
    )
}
