"""Draw the Markdown that applications return: headings, paragraphs, lists, emphasis, code and links, and nothing else.

Every text is escaped before anything is drawn, so no application puts HTML or a script into a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from markupsafe import Markup, escape

_HEADING: Final = re.compile(r"(#{1,4}) +(.+?)#*")
_ITEM: Final = re.compile(r"(?:[-*+]|(\d+)[.)]) +(.+)")
_INLINE: Final = (
    (re.compile(r"\*\*(.+?)\*\*"), r"<b>\1</b>"),
    (re.compile(r"(?<!\w)[*_](?!\s)(.+?)(?<!\s)[*_](?!\w)"), r"<em>\1</em>"),
    (
        re.compile(r"\[([^\]]+)\]\((https?://[^\s)]+|/[^\s)/][^\s)]*)\)"),
        r'<a href="\2" rel="noreferrer">\1</a>',
    ),
)


def drawn(text: str) -> Markup:
    """Return the HTML of a text in Markdown."""
    return Markup("\n").join(_block(lines) for lines in _blocks(text))


def _blocks(text: str) -> Iterator[list[str]]:
    """Split a text into blocks of lines: a heading, a list, code between fences, or a paragraph."""
    block: list[str] = []
    is_code = False
    for line in text.splitlines():
        if line.strip().startswith("```"):
            if block or is_code:
                yield [*block, "```"] if is_code else block
            block, is_code = ([], False) if is_code else (["```"], True)
            continue
        ends = not is_code and (
            not line.strip() or bool(_HEADING.fullmatch(line.strip())) or _starts_list(block, line)
        )
        if ends and block:
            yield block
            block = []
        if is_code or line.strip():
            block.append(line if is_code else line.strip())
        if not is_code and block and _HEADING.fullmatch(block[0]):
            yield block
            block = []
    if block:
        yield block


def _starts_list(block: list[str], line: str) -> bool:
    return bool(block) and bool(_ITEM.fullmatch(line.strip())) and not _ITEM.fullmatch(block[0])


def _block(lines: list[str]) -> Markup:
    if lines[0] == "```":
        code = "\n".join(lines[1:-1] if lines[-1] == "```" else lines[1:])
        return Markup("<pre><code>%s</code></pre>") % code
    if heading := _HEADING.fullmatch(lines[0]):
        level = min(len(heading[1]) + 1, 4)
        return Markup(f"<h{level}>%s</h{level}>") % _inline(heading[2])  # noqa: S704 (a number of ours)
    if _ITEM.fullmatch(lines[0]):
        return _list(lines)
    return Markup("<p>%s</p>") % _inline(" ".join(lines))


def _list(lines: list[str]) -> Markup:
    items: list[str] = []
    for line in lines:
        if item := _ITEM.fullmatch(line):
            items.append(item[2])
        else:
            items[-1] += f" {line}"
    first = _ITEM.fullmatch(lines[0])
    tag = "ol" if first is not None and first[1] else "ul"
    inside = Markup().join(Markup("<li>%s</li>") % _inline(item) for item in items)
    return Markup(f"<{tag}>%s</{tag}>") % inside  # noqa: S704 (one of two words)


def _inline(text: str) -> Markup:
    """Return a line with emphasis and links; what stands between backticks is left as it is."""
    parts = re.split(r"(`[^`]+`)", text)
    return Markup().join(
        Markup("<code>%s</code>") % part[1:-1]
        if part.startswith("`") and len(part) > 2
        else _emphasised(part)
        for part in parts
    )


def _emphasised(text: str) -> Markup:
    kept = str(escape(text))
    for pattern, replacement in _INLINE:
        kept = pattern.sub(replacement, kept)
    return Markup(kept)  # noqa: S704 (escaped above)
