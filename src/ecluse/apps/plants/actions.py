"""Do what pages, the API and commands do with sets of images: make, find, import into, relabel, exclude, remove."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Collection
from dataclasses import asdict, dataclass
from typing import Final, Literal

from anyio import to_thread

from ecluse import unclaimed
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.rows import Counts
from ecluse.apps.plants.tables import ImageSet
from ecluse.catalog import audit, sharing
from ecluse.catalog.tables import new_id, now
from ecluse.errors import InvalidInput, JobNotFound, NotFound
from ecluse.runtime import Runtime, uploads_prefix
from ecluse.sentences import _
from ecluse.storage import Stored, join_key, safe_filename

#: The job that imports, and its queue.
IMPORT: Final = "plants_import"
QUEUE: Final = "images"
LONGEST_NAME: Final = 100


@dataclass(frozen=True)
class Source:
    """Where an import takes files from: everything that lies below `url` in a store.

    `staged`: it was uploaded for this import, and is removed when that has ended. One archive or list among what is
    staged is opened. `name` is what a person calls it. `at_terminal`: a command on a machine of this server named it.
    """

    url: str
    name: str
    staged: bool = False
    at_terminal: bool = False


@dataclass(frozen=True)
class SetSummary:
    """A set with what it holds; `size` in bytes."""

    row: ImageSet
    counts: Counts
    size: int


# Sets


def make_set(runtime: Runtime, user_id: str, name: str) -> ImageSet:
    """Return the user's set of this name, made unless it is there.

    Raises:
        InvalidInput: it cannot be a name.
    """
    checked_name = checked_set_name(name)
    with runtime.catalog.write() as transaction:
        existing = images.set_named(transaction, user_id, checked_name)
        if existing is not None:
            return existing
        sharing.expect_maker(transaction, user_id)
        row = ImageSet(id=new_id(), user_id=user_id, name=checked_name, created_at=now())
        audit.record(transaction, user_id, "images.set", checked_name)
        return images.add_set(transaction, row)


def find_set(runtime: Runtime, user_id: str, name: str | None = None) -> ImageSet:
    """Return the user's set by its name or id; without one, that which images were imported into last.

    Raises:
        NotFound: there is none, or it is not for the user.
        Forbidden: it is shared with the user to be read.
    """
    with runtime.catalog.read() as transaction:
        if name is not None:
            normalised = unicodedata.normalize("NFC", name).strip()
            row = images.set_named(transaction, user_id, normalised)
            return row or images.set_of(transaction, user_id, name)  # an id is itself and nothing like it
        newest = images.newest_set(transaction, user_id)
    if newest is None:
        raise NotFound(
            _("There are no images yet. Import some: ecluse plants import DIR, or ecluse plants demo")
        )
    return newest


def find_readable_set(runtime: Runtime, user_id: str, name: str) -> ImageSet:
    """Return a set that the user may see: theirs by its name or id, or by its id one that is shared with them.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    with runtime.catalog.read() as transaction:
        row = images.set_named(transaction, user_id, unicodedata.normalize("NFC", name).strip())
        return row or images.readable_set(transaction, user_id, name)


def list_sets(runtime: Runtime, user_id: str, *, limit: int = 200, offset: int = 0) -> list[SetSummary]:
    """Return the user's sets with what they hold, that which was imported last first."""
    with runtime.catalog.read() as transaction:
        rows = images.list_sets(transaction, user_id, limit=limit, offset=offset)
        ids = [row.id for row in rows]
        counts = images.counts(transaction, user_id, ids)
        sizes = images.stored_bytes(transaction, user_id, ids)
    return [SetSummary(row, counts[row.id], sizes[row.id]) for row in rows]


def summary_of(runtime: Runtime, user_id: str, row: ImageSet) -> SetSummary:
    with runtime.catalog.read() as transaction:
        counts = images.counts(transaction, user_id, [row.id])
        sizes = images.stored_bytes(transaction, user_id, [row.id])
    return SetSummary(row, counts[row.id], sizes[row.id])


def remove_set(runtime: Runtime, user_id: str, set_id: str) -> int:
    """Remove a set, its images and its splits; how many objects that were. Models learned from it stay.

    Raises:
        InvalidInput: images are being imported into it.
    """
    row = find_set(runtime, user_id, set_id)
    if is_importing(runtime, row):
        raise InvalidInput(
            _("Images are being imported into %(name)s. Cancel that first, or wait.", name=row.name)
        )
    with runtime.catalog.write() as transaction:
        urls = images.remove_set(transaction, user_id, row.id)
        audit.record(transaction, user_id, "images.remove", row.name, images=len(urls))
    for url in urls:
        runtime.stores.remove(url)
    # What an import that was killed stored, and did not write down.
    runtime.stores.area("images").delete_prefix(images_prefix(user_id, row.id))
    if row.staged_url is not None:
        remove_staged(runtime, row.staged_url)
    return len(urls)


# Images


def relabel(runtime: Runtime, user_id: str, set_id: str, image_ids: Collection[str], label: str) -> int:
    """Give images another label; how many changed. Which split an image is in does not change."""
    new_label = checked_label(label)
    with runtime.catalog.write() as transaction:
        row = images.set_of(transaction, user_id, set_id)
        changed = images.set_label(transaction, user_id, row.id, image_ids, new_label)
        audit.record(transaction, user_id, "images.relabel", row.name, label=new_label, images=changed)
    return changed


def set_state(
    runtime: Runtime,
    user_id: str,
    set_id: str,
    image_ids: Collection[str],
    state: Literal["valid", "excluded"],
) -> int:
    """Leave images out of use, or take them back; how many changed."""
    with runtime.catalog.write() as transaction:
        row = images.set_of(transaction, user_id, set_id)
        changed = images.set_state(transaction, user_id, row.id, image_ids, state)
        audit.record(transaction, user_id, "images.state", row.name, state=state, images=changed)
    return changed


def checked_label(label: str) -> str:
    """Return a label as it is kept: trimmed, in NFC.

    Raises:
        InvalidInput: it is empty, too long, or holds a slash or a control character.
    """
    return _checked_words(label, is_label=True)


def checked_set_name(name: str) -> str:
    """Return the name of a set as it is kept; raises as `checked_label` does."""
    return _checked_words(name, is_label=False)


def _checked_words(text: str, *, is_label: bool) -> str:
    words = unicodedata.normalize("NFC", text).strip()
    hidden = any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in words)
    if not 1 <= len(words) <= LONGEST_NAME or hidden or "/" in words or "\\" in words or words in (".", ".."):
        facts = {"value": repr(words[:60]), "count": LONGEST_NAME}
        if is_label:
            raise InvalidInput(
                _(
                    "%(value)s cannot be a label: use 1 to %(count)s characters, none of them a slash.",
                    **facts,
                )
            )
        raise InvalidInput(
            _(
                "%(value)s cannot be the name of a set: use 1 to %(count)s characters, none of them a slash.",
                **facts,
            )
        )
    return words


def images_prefix(user_id: str, set_id: str) -> str:
    """Return where the images of a set lie in the store of the images."""
    return join_key("user_data", user_id, "images", set_id)


# Imports


def new_staging(runtime: Runtime, user_id: str) -> str:
    """Return the address of a new folder for files that are uploaded to be imported; give it to `stage`."""
    runtime.catalog.expect_open()  # files are kept before a row is written
    return runtime.data.url_of(join_key(uploads_prefix(user_id), f"images_{new_id()}"))


async def stage(
    runtime: Runtime, staging: str, filename: str, chunks: AsyncIterator[bytes], *, number: int = 0
) -> Stored:
    """Store an uploaded file in a staging folder; `number` tells apart files of one name."""
    located = runtime.stores.locate(staging)
    key = join_key(located.key, f"{number:06d}_{safe_filename(filename)}")
    await to_thread.run_sync(unclaimed.expect, runtime, key, located.store)
    return await located.store.put_stream_async(key, chunks)


def stage_bytes(runtime: Runtime, staging: str, filename: str, data: bytes, *, number: int = 0) -> Stored:
    """`stage` for what is at hand, such as a list of URLs from a form."""
    located = runtime.stores.locate(staging)
    key = join_key(located.key, f"{number:06d}_{safe_filename(filename)}")
    unclaimed.expect(runtime, key, located.store)
    return located.store.put(key, data)


def start_import(
    runtime: Runtime,
    user_id: str,
    set_id: str,
    source: Source,
    *,
    label: str | None = None,
) -> str:
    """Queue an import into a set; the job's id. `label` is that of files which no folder or list gives one.

    Raises:
        InvalidInput: the label cannot be used, the address is not for this user, or an import goes on.
    """
    from ecluse.apps.plants.sources.stores import importable

    row = find_set(runtime, user_id, set_id)
    chosen_label = None if label is None or not label.strip() else checked_label(label)
    if not source.staged:
        importable(runtime, user_id, source.url, at_terminal=source.at_terminal)
    if is_importing(runtime, row):
        raise InvalidInput(
            _("Images are being imported into %(name)s. Cancel that first, or wait.", name=row.name)
        )
    if row.staged_url is not None:
        remove_staged(runtime, row.staged_url)
    job_id = new_id()
    subject = {"set_id": row.id, "source": asdict(source), "label": chosen_label}
    with runtime.catalog.write() as transaction:
        images.set_job(transaction, row.id, job_id, staged=source.url if source.staged else None)
        audit.record(transaction, user_id, "images.import", row.name, source=source.name)
        runtime.jobs.enqueue(
            IMPORT, QUEUE, user_id, row.name, subject, job_id=job_id, transaction=transaction
        )
    return job_id


def is_importing(runtime: Runtime, row: ImageSet) -> bool:
    """Return whether the last job of a set is an import that goes on."""
    if row.job_id is None:
        return False
    try:
        job = runtime.jobs.get(row.user_id, row.job_id)
    except JobNotFound:
        return False  # cleaned up: it has ended
    return job.kind == IMPORT and job.active


def forget_staged(runtime: Runtime, set_id: str, url: str) -> None:
    """Remove what was uploaded for an import that has ended."""
    remove_staged(runtime, url)
    with runtime.catalog.write() as transaction:
        images.forget_staged(transaction, set_id, url)


def remove_staged(runtime: Runtime, url: str) -> None:
    """Remove what was staged in a folder, where no import of it was or is queued."""
    runtime.stores.remove_below(url)
