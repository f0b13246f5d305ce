"""Read a table in a process of its own: what `uploads` has a reader do (see `confined`).

No other process imports this module: it brings along, once and before readers are forked, all that they need.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import charset_normalizer as charset_normalizer
import fastexcel as fastexcel

from ecluse.confined import Heard
from ecluse.tabular.dataset import open_table
from ecluse.tabular.layout import Layout


def copy(tell: Heard, data: bytes, *, path: str, filename: str, layout: dict[str, Any], copy: str) -> Any:
    """Check the whole table and write its plain columns to the Parquet file `copy`."""
    with open_table(Path(path), filename, Layout.from_dict(layout)) as table:
        rows = table.row_count()
        tell(0.5, "")
        table.write_copy(Path(copy))
        return {
            "rows": rows,
            "format": asdict(table.format),
            "columns": table.columns,
            "notes": table.notes,
            "layout": None if table.layout is None else table.layout.to_dict(),
        }
