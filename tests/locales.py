"""Put other languages in place of those of the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecluse.web import i18n


@contextmanager
def languages_in(folder: Path) -> Iterator[None]:
    """The languages of this folder, each a folder in it, and no others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(i18n, "FOLDER", folder)
        _forget()
        yield
    _forget()


def _forget() -> None:
    for read in (i18n.languages, i18n._catalogue, i18n._formats):
        read.cache_clear()
