"""Find the files that are to be published."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from ecluse.errors import (
    InvalidInput,
)
from ecluse.registry.manifest import CLAIM, MANIFEST, PARTS, SIGNATURE
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


#: Names in the folder of a version that the registry keeps for itself, and how those of a store of folders begin.
OWN: Final = frozenset({CLAIM, MANIFEST, SIGNATURE, PARTS})
OWN_BEGINNING: Final = ".ecluse-"


def gathered(paths: Sequence[Path]) -> dict[str, Path]:
    """Local files by their paths within a version: a file under its name, a folder's files by theirs.

    Raises:
        InvalidInput: a path leads nowhere, two files have one name, or there is none at all.
    """
    files: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise InvalidInput(_("%(file)s does not exist.", file=path))
        if not path.is_file() and not path.is_dir():
            raise InvalidInput(
                _("%(file)s is neither a file nor a folder. Name a file, or a folder of files.", file=path)
            )
        for name, file in (files_below(path) if path.is_dir() else {path.name: path}).items():
            if name in files:
                raise InvalidInput(
                    _(
                        "%(file)s and %(name)s would both be %(value)s. Rename one of them.",
                        file=files[name],
                        name=file,
                        value=repr(name),
                    )
                )
            files[name] = file
    if not files:
        raise InvalidInput(_("There is no file to publish. Name at least one."))
    return files


def checked_files(files: Mapping[str, Path]) -> Mapping[str, Path]:
    if not files:
        raise InvalidInput(_("There is no file to publish. Name at least one."))
    for path in files:
        checked_path(path)
    return files


def checked_path(path: str) -> str:
    """Return the path of a file within its version.

    Raises:
        InvalidKey: it leads out of the folder of its version, or cannot be stored.
        InvalidInput: it lies where the registry or a store keeps something of its own.
    """
    names = checked_key(path).split("/")
    if names[0].casefold() in OWN or any(name.startswith(OWN_BEGINNING) for name in names):
        raise InvalidInput(_("%(file)s is a name of the registry's own. Rename the file.", file=repr(path)))
    return path


def expect_apart(paths: Collection[str]) -> None:
    """Make sure that all files can be stored below one folder.

    Raises:
        InvalidInput: two have one path, or one has that of a folder of another.
    """
    given = set[str]()
    for path in paths:
        if path in given:
            raise InvalidInput(_("%(file)s is named twice. Name each file once.", file=repr(path)))
        given.add(path)
    folders = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}
    if both := given & folders:
        raise InvalidInput(
            _("%(file)s is a file and the folder of another. Rename one of the two.", file=repr(min(both)))
        )
