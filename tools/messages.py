"""Put each translation beside the code that its message stands in, and drop those that no message has.

    python -m tools.messages

What one application alone says is translated in its own folder `locale`, all else in that of `web`. A new translation
can be written into any of the files; this brings it to its place. A message without translation is listed.
"""

from __future__ import annotations

import io
import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

CODE = Path(__file__).parents[1] / "src" / "ecluse"
SOURCES = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
#: The place of what belongs to no application, or to several.
SHARED = Path("web/locale")
Message = str | tuple[str, ...]


@cache
def messages() -> dict[Message, Path]:
    """Return each message of the code with the folder that its translations stand in."""
    used: dict[Message, set[Path]] = defaultdict(set)
    for file, _line, message, _comments, _context in extract_from_dir(CODE, SOURCES):
        parts = Path(file).parts
        used[message].add(Path("apps", parts[1], "locale") if parts[0] == "apps" else SHARED)
    places = {message: next(iter(found)) if len(found) == 1 else SHARED for message, found in used.items()}
    return places | dict.fromkeys(_prices(), SHARED)


def translated(path: Path) -> dict[Message, str]:
    """Return the translations of a file as they are written, by their message."""
    if not path.exists():
        return {}
    blocks = re.split(r"\n\n+|(?<=\")\n(?=#|msgid )", path.read_text(encoding="utf-8").strip("\n"))
    return {message: block for block in blocks for message in _messages_in(block)}


def languages() -> list[str]:
    """Return the languages that have translations."""
    return sorted(path.parts[-3] for path in (CODE / SHARED).glob("*/LC_MESSAGES/messages.po"))


def files(language: str) -> dict[Path, Path]:
    """Return each folder of translations with its file of a language, there or not."""
    places = [SHARED, *sorted(set(messages().values()) - {SHARED})]
    return {place: CODE / place / language / "LC_MESSAGES" / "messages.po" for place in places}


def _prices() -> set[str]:
    """Return the sentences of the table of prices, which is no code."""
    from ecluse.storage.prices import load_prices

    prices = load_prices()
    return {prices.about, *(offer.note for offer in prices.offers)} - {""}


def _messages_in(block: str) -> list[Message]:
    found = read_po(io.BytesIO(block.encode()))
    return [
        message.id if isinstance(message.id, str) else tuple(message.id) for message in found if message.id
    ]


def _header(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\n\n")[0]


def main() -> int:
    missing = 0
    for language in languages():
        paths = files(language)
        header = _header(paths[SHARED])
        found = {message: block for path in paths.values() for message, block in translated(path).items()}
        for place, path in paths.items():
            own = [block for message, block in found.items() if messages().get(message) == place]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n\n".join([header, *own]) + "\n", encoding="utf-8")
        for message in messages().keys() - found.keys():
            missing += 1
            print(f"{language}: no translation of {message!r}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
