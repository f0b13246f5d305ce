"""Leave out of a text where files lie on a machine: who reads it is told what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_QUOTED: Final = re.compile(r"(['\"`])(?:file://)?/(?:[^'\"`\n/]+/)+([^'\"`\n/]+)/?\1")
_BARE: Final = re.compile(r"(?:file://|(?<![\w:/.~-]))(?:/[^\s/'\"`<>|:;,()\[\]{}]+){2,}/?")
_OF_WINDOWS: Final = re.compile(r"\b[A-Za-z]:\\(?:[^\\\s'\"`:*?<>|]+\\)*([^\\\s'\"`:*?<>|]+)")


def without_paths(text: str, names: Mapping[str, str] | None = None) -> str:
    """Return a text in which a file is called by its name alone; `names` says what files at a path are called.

    Addresses of the web stay.
    """
    text = with_names(text, names or {})
    text = _QUOTED.sub(r"\1\2\1", text)
    text = _OF_WINDOWS.sub(r"\1", text)
    return _BARE.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], text)


def with_names(text: str, names: Mapping[str, str]) -> str:
    """Return a text with the names of files in place of these paths of theirs."""
    for path in sorted(names, key=len, reverse=True):
        text = text.replace(path, names[path])
    return text
