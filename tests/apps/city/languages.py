"""Add translations to those of the applications, as a package that is installed beside them would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from ecluse.web import i18n

HEADER = (
    'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n'
    '"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n'
)


@contextmanager
def translated(folder: Path, language: str, messages: Mapping[str, str]) -> Iterator[None]:
    """Translate `messages` in `folder`, which also makes `language` one of the languages where it was none."""
    for known in i18n.LANGUAGES:
        if known != language:
            (folder / known).symlink_to(i18n.FOLDERS[0] / known)
    path = folder / language / "LC_MESSAGES" / "messages.po"
    path.parent.mkdir(parents=True)
    blocks = [f'msgid "{message}"\nmsgstr "{text}"\n' for message, text in messages.items()]
    path.write_text("\n".join([HEADER, *blocks]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        folders = [folder, *i18n.FOLDERS] if language in i18n.LANGUAGES else [folder, *i18n.FOLDERS[1:]]
        patch.setattr(i18n, "FOLDERS", folders)
        patch.setattr(i18n, "LANGUAGES", i18n.languages())
        i18n._catalogue.cache_clear()
        i18n._formats.cache_clear()
        yield
    i18n._catalogue.cache_clear()
    i18n._formats.cache_clear()
