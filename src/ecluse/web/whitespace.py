"""Leave the indentation of templates out of the pages made from them.

Templates are laid out for those who read them. A page needs one line break where a template has a break and thirty
spaces: both are white space to a browser. This is done once, when a template is compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

#: What changes how white space counts: the start and the end of a tag, quotes of attributes, and white space itself.
_MARKS: Final = re.compile(r"</?[a-zA-Z]|>|[\"']|[ \t\r\n\f]+")


class WithoutIndentation(Extension):
    """Shorten white space to one line break where it has one, to one space elsewhere and between attributes.

    An attribute that only some have, `<tr {% if old %}hidden{% endif %}>`, takes its space along: it is `<tr>` without.
    Values of attributes are kept as they are. So would be no line break within `<pre>`: templates write none there.
    """

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        inside = ""  # "<" within a tag, a quotation mark within the value of an attribute
        tokens = list(stream)
        for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
            follows_block = inside == "<" and before is not None and before.type == "block_end"
            if token.type == "data":
                text, inside = _shorten(token.value, inside)
                if follows_block and text[:1].isalpha():
                    text = f" {text}"
                if inside == "<" and after is not None and after.type == "block_begin":
                    text = text.rstrip(" ")
                yield Token(token.lineno, token.type, text)
                continue
            if follows_block and token.type == "variable_begin":
                yield Token(token.lineno, "data", " ")
            yield token


def _shorten(text: str, inside: str) -> tuple[str, str]:
    """Shorten the white space of one piece of a template; what stands after it is `inside` the second value."""
    parts, copied = [], 0
    for mark in _MARKS.finditer(text):
        piece = mark[0]
        parts.append(text[copied : mark.start()])
        copied = mark.end()
        if piece.isspace():
            piece = _space(piece, inside, ends_tag=text[copied : copied + 1] == ">")
        else:
            inside = _after(piece, inside)
        parts.append(piece)
    return "".join([*parts, text[copied:]]), inside


def _space(space: str, inside: str, *, ends_tag: bool) -> str:
    if inside == "<":
        return "" if ends_tag else " "
    if inside:
        return space
    return "\n" if "\n" in space else " "


def _after(mark: str, inside: str) -> str:
    if not inside:
        return "<" if mark.startswith("<") else ""
    if inside == "<":
        return "" if mark == ">" else mark if mark in "\"'" else inside
    return "<" if mark == inside else inside
