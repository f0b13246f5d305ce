"""Keep the folder of each language in step with the code: every message in its file, none that nothing says any more.

    python -m tools.messages        what has no translation is added without one, and listed
    python -m tools.messages de     the same with a language that there was none of before

What one application alone says is in its own file, all else in `ecluse.po`. A new translation can be written into any
of the files; this brings it to its place.
"""

from __future__ import annotations

import io
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.plurals import get_plural
from babel.messages.pofile import read_po, write_po

CODE = Path(__file__).parents[1] / "src" / "ecluse"
LOCALE = CODE / "locale"
TEMPLATES = "**/templates/**.html"
SOURCES = [("**.py", "python"), (TEMPLATES, "jinja2")]
#: Templates are read as pages read them. One that cannot be read is an error: it would lose its translations.
OPTIONS = {TEMPLATES: {"extensions": "jinja2.ext.do", "silent": "false"}}
#: The file of what belongs to no application, or to several.
SHARED = "ecluse"
Message = str | tuple[str, ...]


@cache
def messages() -> dict[Message, str]:
    """Return each message of the code with the name of the file that its translations stand in."""
    used: dict[Message, set[str]] = defaultdict(set)
    for file, message in extracted(CODE):
        parts = Path(file).parts
        used[message].add(parts[1] if parts[0] == "apps" else SHARED)
    names = {message: next(iter(of)) if len(of) == 1 else SHARED for message, of in used.items()}
    return names | dict.fromkeys(_prices(), SHARED)


def extracted(folder: Path) -> Iterator[tuple[str, Message]]:
    """Yield each message of the code and templates of a folder with the file, from there, that says it.

    Raises:
        TemplateSyntaxError: a template cannot be read.
    """
    for file, _line, message, _comments, _context in extract_from_dir(folder, SOURCES, OPTIONS):
        yield file, message


def languages() -> list[str]:
    """Return the languages that have translations."""
    return sorted(path.parent.name for path in LOCALE.glob("*/LC_MESSAGES"))


def files(language: str) -> dict[str, Path]:
    """Return each file of a language by its name, there or not."""
    names = {SHARED, *messages().values()}
    return {name: LOCALE / language / "LC_MESSAGES" / f"{name}.po" for name in sorted(names)}


def translated(path: Path) -> dict[Message, str]:
    """Return the translations of a file as they are written, by their message."""
    if not path.exists():
        return {}
    blocks = re.split(r"\n\n+|(?<=\")\n(?=#|msgid )", path.read_text(encoding="utf-8").strip("\n"))
    return {message: block for block in blocks for message in _translations(block)}


def update(language: str) -> list[Message]:
    """Write the files of a language anew, and return the messages that have no translation."""
    paths = files(language)
    header = _header(language)
    blocks = {message: block for path in paths.values() for message, block in translated(path).items()}
    missing = sorted(messages().keys() - blocks.keys(), key=str)
    blocks |= {message: _block(Catalog(language), message) for message in missing}
    for name, path in paths.items():
        own = [block for message, block in blocks.items() if messages().get(message) == name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join([header, *own]) + "\n", encoding="utf-8")
    return missing


def _prices() -> set[str]:
    """Return the sentences of the table of prices, which is no code."""
    from ecluse.storage.prices import load_prices

    prices = load_prices()
    return {prices.about, *(offer.note for offer in prices.offers)} - {""}


def _translations(block: str) -> Mapping[Message, object]:
    """Return what a block of a file translates; nothing where it leaves the translation open."""
    found = read_po(io.BytesIO(block.encode()))
    return {
        message.id if isinstance(message.id, str) else tuple(message.id): message
        for message in found
        if message.id and any(message.string)
    }


def _block(catalogue: Catalog, message: Message) -> str:
    """Return the lines of a message with an empty translation."""
    catalogue.add(message)
    written = io.BytesIO()
    write_po(written, catalogue, width=0, omit_header=True)
    return written.getvalue().decode().strip("\n")


def _header(language: str) -> str:
    for path in files(language).values():
        if path.exists():
            return path.read_text(encoding="utf-8").split("\n\n")[0]
    lines = [f"Language: {language}", f"Plural-Forms: {get_plural(language).plural_forms}"]
    lines += [
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    return "\n".join(['msgid ""', 'msgstr ""', *(f'"{line}\\n"' for line in lines)])


def main(new: list[str]) -> int:
    missing = 0
    for language in sorted({*languages(), *new}):
        for message in update(language):
            missing += 1
            print(f"{language}: no translation of {message!r}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
