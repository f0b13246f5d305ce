"""Find the files that are to be published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ecluse.errors import (
    InvalidInput,
)
from ecluse.registry.manifest import CLAIM, MANIFEST, SIGNATURE
from ecluse.sentences import _
from ecluse.storage import (
    checked_key,
)


def files_below(folder: Path) -> dict[str, Path]:
    """Return every file below a folder, by its path within it.

    Raises:
        InvalidInput: it holds what is neither a file nor a folder, such as a link that leads nowhere, or a link
            to what lies outside it.
    """
    files, inside = {}, folder.resolve()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and path.exists() and not path.resolve().is_relative_to(inside):
            raise InvalidInput(
                _(
                    "%(value)s is a link that leads out of %(file)s. Remove it, or put a copy of the file "
                    "there.",
                    value=path,
                    file=folder,
                )
            )
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = path
        elif path.is_symlink() or not path.is_dir():
            raise InvalidInput(
                _(
                    "%(file)s is neither a file nor a folder of its own. Remove it, or put the file there.",
                    file=path,
                )
            )
    return files


def checked_files(files: Mapping[str, Path]) -> Mapping[str, Path]:
    if not files:
        raise InvalidInput(_("There is no file to publish. Name at least one."))
    for path in files:
        if checked_key(path) in (CLAIM, MANIFEST, SIGNATURE):
            raise InvalidInput(
                _("%(file)s is a name of the registry's own. Rename the file.", file=repr(path))
            )
    return files
