"""Keep any files as they are; nothing of them is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ecluse.client.kinds import Kind


def save(model: Any, folder: Path, example: Any = None) -> Mapping[str, Any]:
    """Write nothing: the files are published from where they lie."""
    return {}


def load(folder: Path, details: Mapping[str, Any]) -> Path:
    """Return the folder of the files."""
    return folder


KIND: Final = Kind("folder", (), save, load, None)
