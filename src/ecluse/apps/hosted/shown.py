"""Turn what a job or a page returns into parts that a page shows: Markdown, tables, figures, images. Plain JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: Rows of a table that a page shows; the whole one is a file.
MOST_ROWS: Final = 200
MOST_PARTS: Final = 100
_LONGEST: Final = 200_000
_LARGEST_IMAGE: Final = 4 * 1024**2


def shown(value: Any, folder: Path) -> list[dict[str, Any]]:
    """Return the parts of a value: text is Markdown, a mapping figures by name, a path a file to fetch.

    Raises:
        InvalidInput: something is none of these, or too large.
    """
    values = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
    if len(values) > MOST_PARTS:
        raise InvalidInput(_("%(count)s parts are too many for a page. Return fewer.", count=len(values)))
    return [_part(each, number, folder) for number, each in enumerate(values)]


def _part(value: Any, number: int, folder: Path) -> dict[str, Any]:
    if isinstance(value, str):
        return {"kind": "text", "text": value[:_LONGEST]}
    if isinstance(value, Path):
        return {"kind": "file", "file": str(value), "name": value.name}
    if isinstance(value, Mapping):
        return {"kind": "figures", "figures": {str(name): _figure(figure) for name, figure in value.items()}}
    if isinstance(value, int | float):
        return {"kind": "figures", "figures": {"": _figure(value)}}
    if hasattr(value, "savefig"):
        return {"kind": "image", "png": _drawn(value), "title": _title_of(value)}
    if hasattr(value, "write_csv") or hasattr(value, "to_csv"):
        return _table(value, number, folder)
    raise InvalidInput(
        _("A %(what)s cannot be shown. Return Markdown, a data frame, a figure of matplotlib, a dict of figures or a "
          "Path.", what=type(value).__name__)
    )  # fmt: skip


def _figure(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _table(value: Any, number: int, folder: Path) -> dict[str, Any]:
    import polars as pl

    frame: Any = value if isinstance(value, pl.DataFrame) else pl.from_dataframe(value)
    part: dict[str, Any] = {"kind": "table", "columns": frame.columns, "count": frame.height}
    part["rows"] = [list(row.values()) for row in json.loads(frame.head(MOST_ROWS).write_json())]
    if frame.height > MOST_ROWS:
        file = folder / f"table_{number + 1}.csv"
        frame.write_csv(file)
        part |= {"file": str(file), "name": file.name}
    return part


def _title_of(figure: Any) -> str:
    """Return the titles of a figure and of its axes, for those who cannot see it."""
    whole = figure.get_suptitle() if hasattr(figure, "get_suptitle") else ""
    every = [whole, *(axes.get_title() for axes in getattr(figure, "axes", []))]
    return ", ".join(dict.fromkeys(title for title in every if title))[:300]


def _drawn(figure: Any) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, bbox_inches="tight")
    if file.tell() > _LARGEST_IMAGE:
        raise InvalidInput(_("A figure is larger than 4 MB. Draw it smaller."))
    return base64.b64encode(file.getvalue()).decode()
