"""Show at a terminal what a job of an application returned, and write its figures, tables and files to a folder."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecluse.catalog.tables import new_id

#: Returns the content of a stored file, by its id.
Content = Callable[[str], bytes]


def as_text(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return the parts that can be read at a terminal: Markdown as it is, figures by name, tables in columns."""
    drawn = [_drawn(part) for part in parts]
    return "\n\n".join(text for text in drawn if text)


def _drawn(part: Mapping[str, Any]) -> str:
    if part["kind"] == "text":
        return str(part["text"]).strip()
    if part["kind"] == "figures":
        return "\n".join(
            f"{name}: {_cell(value)}" if name else _cell(value) for name, value in part["figures"].items()
        )
    if part["kind"] == "table":
        left = part["count"] - len(part["rows"])
        more = f"\n… {left:,} more rows" if left else ""
        title = f"{part['title']}\n" if part.get("title") else ""
        return f"{title}{_columns(part['columns'], part['rows'])}{more}"
    return ""


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [list(names), *([_cell(value) for value in row] for row in rows)]
    wide = [max(len(line[number]) for line in lines) for number in range(len(names))]
    are_numbers = [
        bool(rows) and all(isinstance(row[number], int | float | None) for row in rows)
        for number in range(len(names))
    ]
    return "\n".join(
        "  ".join(
            text.rjust(width) if is_number else text.ljust(width)
            for text, width, is_number in zip(line, wide, are_numbers, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write(parts: Sequence[Mapping[str, Any]], folder: Path, content: Content) -> list[Path]:
    """Write the text, the figures, the tables and the files of a report below a folder; return where each lies."""
    files: dict[str, bytes] = {}
    for number, part in enumerate(parts, 1):
        name, data = _file(part, number, content)
        if name:
            files[name if name not in files else f"{number}_{name}"] = data
    texts = [str(part["text"]).strip() for part in parts if part["kind"] == "text"]
    if texts:
        files["report.md"] = ("\n\n".join(texts) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    return [_put(folder / name, data) for name, data in files.items()]


def _file(part: Mapping[str, Any], number: int, content: Content) -> tuple[str, bytes]:
    """Return the file of a part by its name; an empty name: it has none."""
    if part["kind"] == "image":
        return f"figure_{number}.png", base64.b64decode(part["png"])
    if part.get("file_id"):
        return Path(str(part.get("name") or f"file_{number}")).name, content(str(part["file_id"]))
    if part["kind"] == "table":
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows([part["columns"], *part["rows"]])
        return f"table_{number}.csv", table.getvalue().encode()
    return "", b""


def _put(file: Path, data: bytes) -> Path:
    hidden = file.with_name(f".{file.name}.{new_id()}")
    hidden.write_bytes(data)
    hidden.replace(file)
    return file
