"""Import what a form uploads into a set of images: keep its files for the job, name the set, queue the import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.formats import ENDINGS
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage.to_the_end import to_the_end
from ecluse.web.file_forms import FileForm, open_file_form
from ecluse.web.receiving import Receiving

#: Files of one upload: images, or an archive of them; more images come in an archive.
MOST_FILES: Final = 2_000
#: What the names of files that are imported end with.
ARCHIVES: Final = (".tar.gz", ".tgz", ".tar", ".zip")
TAKEN: Final = (*ARCHIVES, *ENDINGS)


@dataclass(frozen=True)
class Queued:
    """An import that waits: the ids of the set and of the job."""

    set_id: str
    job: str


async def open_import(arrival: Receiving) -> FileForm:
    """Return the form of an import, read up to its first file; raises as `open_file_form` does."""
    return await open_file_form(arrival.request, arrival.most, MOST_FILES, arrival.refusal)


async def import_form(runtime: Runtime, user_id: str, form: FileForm, set_field: str) -> Queued:
    """Stage the files of a form and queue their import. Of an upload that breaks off, or is cancelled, nothing is kept.

    `set_field` names the set, which is made unless it is there; left empty, it is called after the first file. The
    field `label` is that of images which no folder or list gives one.

    Raises:
        InvalidInput: there is no file, or the set, the label or the upload cannot be used.
        UploadTooLarge: as `FileForm.files`.
    """
    staging, names = workflows.new_staging(runtime, user_id), list[str]()
    try:
        async for upload in form.files():
            await workflows.stage(runtime, staging, upload.filename, upload.chunks, number=len(names))
            names.append(upload.filename)
    except BaseException:
        await to_the_end(workflows.remove_staged, runtime, staging)
        raise
    name, label = form.fields.get(set_field, "").strip(), form.fields.get("label") or None
    return await to_the_end(_queue_staged, runtime, user_id, staging, names, name, label)


def set_name_of(filename: str) -> str:
    """Return what to call a set after the file it came in: `/tmp/Roses and lilies.tar.gz` is `Roses and lilies`."""
    name = PurePath(filename.replace("\\", "/")).name
    ending = next((end for end in TAKEN if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)].strip() or "images"


def _queue_staged(
    runtime: Runtime, user_id: str, staging: str, names: list[str], name: str, label: str | None
) -> Queued:
    """Queue the import of what was staged, which goes where it is not queued."""
    try:
        return _queue(runtime, user_id, staging, names, name, label)
    except Exception:
        workflows.remove_staged(runtime, staging)
        raise


def _queue(
    runtime: Runtime, user_id: str, staging: str, names: list[str], name: str, label: str | None
) -> Queued:
    if not names:
        raise InvalidInput(_("The request carries no file. Choose an archive or images."))
    _expect_some_to_be_taken(runtime, staging, names, label)
    row = workflows.make_set(runtime, user_id, name or set_name_of(names[0]))
    source = workflows.Source(staging, names[0] if len(names) == 1 else row.name, staged=True)
    return Queued(row.id, workflows.start_import(runtime, user_id, row.id, source, label=label))


def _expect_some_to_be_taken(runtime: Runtime, staging: str, names: list[str], label: str | None) -> None:
    """Refuse what would leave an empty set: one file that is no image, or images that no folder and no one labels."""
    from ecluse.apps.plants.pictures import read_picture
    from ecluse.apps.plants.sources.archives import is_archive_name
    from ecluse.apps.plants.sources.lists import is_list_name

    if any(is_archive_name(name) or is_list_name(name) for name in names):
        return
    if len(names) == 1:
        [info] = runtime.stores.folder(staging).list()
        try:
            read_picture(runtime.stores.folder(staging).get(info.key), side=1)
        except UnreadableImage as error:
            raise InvalidInput(
                _("%(file)s was not taken: %(reason)s", file=names[0], reason=str(error))
            ) from error
    if label is None or not label.strip():
        raise InvalidInput(
            _(
                "Images by themselves have no label. Name one for them, or import an archive with a folder for each "
                "label."
            )
        )
