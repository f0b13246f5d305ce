"""Read images from a folder of this machine: the folder that a file is in at the first level is its label."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.formats import MAX_BYTES
from ecluse.apps.plants.sources import MOST_FILES, File, folder_label, is_hidden, refused, too_large
from ecluse.errors import InvalidInput
from ecluse.sentences import _, num


def open_folder(folder: Path) -> Iterator[File]:
    """Yield the files below `folder`, in the order of their paths; hidden ones are passed over.

    Raises:
        InvalidInput: it is no folder, cannot be read, or has too many files.
    """
    root = folder.resolve()
    paths = sorted(_below(root))
    for number, path in enumerate(paths):
        relative = path.relative_to(root).as_posix()
        yield File(relative, folder_label(relative), _reader(root, path), number / len(paths))


def _below(root: Path) -> list[Path]:
    """Return the files, links among them; no folder that is a link is gone into."""
    paths: list[Path] = []
    for place, folders, names in os.walk(root, onerror=_raise):
        folders[:] = [name for name in folders if not is_hidden(name)]
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        paths += [Path(place) / name for name in [*names, *links] if not is_hidden(name)]
        if len(paths) > MOST_FILES:
            raise InvalidInput(
                _(
                    "%(file)s has more than %(count)s files. Import its folders one by one.",
                    file=root.name,
                    count=num(MOST_FILES, ","),
                )
            )
    return paths


def _raise(error: OSError) -> None:
    raise InvalidInput(
        _("%(file)s cannot be read: %(error)s.", file=error.filename, error=error.strerror)
    ) from error


def _reader(root: Path, path: Path) -> Callable[[], bytes]:
    if path.is_symlink():
        target = path.resolve()
        if not target.is_relative_to(root):
            return refused(_("It is a link that leads out of the folder."))
        if not target.is_file():
            return refused(_("It is a link to no file."))
    elif not path.is_file():
        return refused(_("It is no plain file."))
    return partial(_read, path.resolve())


def _read(path: Path) -> bytes:
    """Return a file that may have been replaced since it was listed: no link is followed now, and no device waited
    for.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.EIO):
            raise
        raise UnreadableImage(_("The file cannot be read: %(error)s.", error=error.strerror)) from error
    if len(data) > MAX_BYTES:
        raise UnreadableImage(too_large(path.stat().st_size))
    return data
