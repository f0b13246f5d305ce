"""Add messages to the translations of a language, or a language to those that there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ecluse.web import i18n
from tests.locales import languages_in

HEADER = (
    'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=utf-8\\n"\n'
    '"Plural-Forms: nplurals=2; plural=(n != 1);\\n"\n'
)


@contextmanager
def translated(folder: Path, language: str, messages: Mapping[str, str]) -> Iterator[None]:
    """Translate `messages`, with the languages of the package in `folder` beside the new file."""
    for path in i18n.FOLDER.rglob("*"):
        if (
            path.is_file() and language not in path.relative_to(i18n.FOLDER).parts
        ):  # ours of that language, once there is one
            (folder / path.relative_to(i18n.FOLDER)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(i18n.FOLDER)).symlink_to(path)
    path = folder / language / "LC_MESSAGES" / "added.po"
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = [f'msgid "{message}"\nmsgstr "{text}"\n' for message, text in messages.items()]
    path.write_text("\n".join([HEADER, *blocks]), encoding="utf-8")
    with languages_in(folder):
        yield
