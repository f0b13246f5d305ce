"""Read files to import out of a folder, an archive, a list of URLs or a store: `File` is what all of them give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.formats import MAX_BYTES
from ecluse.sentences import _, num

#: Files that one import takes.
MOST_FILES: Final = 200_000
#: What other systems put beside files, which nobody means.
_HIDDEN: Final = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class File:
    """A file of a source. `label` is what its folder or list says, None where that says nothing.

    `read` gives its bytes, or raises `UnreadableImage`; it may be called in any thread. `fraction` of the source,
    0 to 1, is behind it.
    """

    origin: str
    label: str | None
    read: Callable[[], bytes]
    fraction: float


def is_hidden(path: str) -> bool:
    """Return whether a part of a path begins with a dot, or is what other systems leave in folders."""
    parts = path.split("/")
    return any((part.startswith(".") and part not in (".", "..")) or part in _HIDDEN for part in parts)


def folder_label(path: str) -> str | None:
    """Return the first folder of a relative path; None of a file that is in none."""
    first, slash, _rest = path.partition("/")
    return first if slash else None


def refused(reason: str) -> Callable[[], bytes]:
    """Return the `read` of a file that is not read."""

    def read() -> bytes:
        raise UnreadableImage(reason)

    return read


def too_large(size: int) -> str:
    return _(
        "The file has %(count)s bytes; %(total)s are the most. Make the image smaller.",
        count=num(size, ","),
        total=num(MAX_BYTES, ","),
    )
