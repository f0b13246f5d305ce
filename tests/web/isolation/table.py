"""Read the table of answers, and make a request of each of its rows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

ANSWERS: Final = Path(__file__).with_name("answers.txt")
_ROW: Final = re.compile(r"(\S{7}) (\S{5})  (\S+) +(\S+)(?:  (json|form|file|raw) (.*))?")
_PART: Final = re.compile(r"\{(\w+)(?::([\w.]+))?\}")
_NAME: Final = re.compile(r"<([\w.]+)>")


@dataclass(frozen=True)
class Row:
    """A request, and what each who asks is answered: `persons` and `tokens` in the order of `PERSONS` and `TOKENS`.

    `{name}` in `path` is a part of the route, `{name:thing}` that part where another thing stands in it; `<name>` in
    the query and in `body` is a thing. A thing whose name begins with "mine." is the stranger's.
    """

    section: str
    persons: str
    tokens: str
    method: str
    path: str
    kind: str = ""
    body: str = ""

    @property
    def id(self) -> str:
        return f"{self.method} {self.path} {self.body}".strip()

    @property
    def route(self) -> tuple[str, str]:
        return self.method, _PART.sub(r"{\1}", self.path.partition("?")[0])

    @property
    def names(self) -> list[str]:
        """Return the things that the request names."""
        return [*self.in_address, *_NAME.findall(self.body)]

    @property
    def in_address(self) -> list[str]:
        """Return the things that the address names."""
        return [*(thing or part for part, thing in _PART.findall(self.path)), *_NAME.findall(self.path)]

    def __str__(self) -> str:
        body = f"  {self.kind} {self.body}" if self.kind else ""
        return f"{self.persons} {self.tokens}  {self.method:6} {self.path}{body}"


def read_rows(path: Path = ANSWERS) -> list[Row]:
    """Read the rows of the table."""
    rows, section = [], ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if text.startswith("["):
            section = text.strip("[]")
        elif text and not text.startswith("#"):
            read = _ROW.fullmatch(text)
            assert read, f"{path.name}, line {number} is no row: {text}"
            persons, tokens, method, address, kind, body = read.groups()
            rows.append(Row(section, persons, tokens, method, address, kind or "", body or ""))
    return rows


def fill(row: Row, theirs: Mapping[str, str], mine: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the address of a row's request and what is sent with it, the things in their places."""

    def thing(name: str) -> str:
        return mine[name.removeprefix("mine.")] if name.startswith("mine.") else theirs[name]

    path = _PART.sub(lambda part: thing(part[2] or part[1]), row.path)
    path = _NAME.sub(lambda name: thing(name[1]), path)
    body = _NAME.sub(lambda name: thing(name[1]), row.body)
    if row.kind == "json":
        return path, {"json": json.loads(body)}
    if row.kind == "form":
        fields: dict[str, list[str]] = {}
        for key, value in parse_qsl(body, keep_blank_values=True):
            fields.setdefault(key, []).append(value)
        return path, {"data": fields}
    if row.kind == "file":
        name, _, text = body.partition(" ")
        return path, {"files": {"file": (name, text.replace("\\n", "\n").encode())}}
    if row.kind == "raw":
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        return path, {"content": body.encode(), "headers": {"content-digest": f"sha-256=:{digest}:"}}
    return path, {}
