"""Check a table in a process of its own, as `confined` runs it: what `files.expect_table` asks for.

No other process imports this module: it brings along, once and before readers are forked, all that they need.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

import ecluse.tabular.reading as tabular_reading  # noqa: F401 (with what workbooks and encodings need)
from ecluse.app.reading import expect_table
from ecluse.confined import Heard


def check(tell: Heard, data: bytes, *, path: str, filename: str, layout: dict[str, Any]) -> Any:
    """Check the whole table. Raises UnreadableTable."""
    expect_table(Path(path), filename)
    return {"polars": pl.__version__}
