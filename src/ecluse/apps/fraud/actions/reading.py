"""Read a table in a process of its own: what `uploads` has a reader do (see `confined`).

No other process imports this module: it brings along, once and before readers are forked, all that they need.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import charset_normalizer as charset_normalizer
import fastexcel as fastexcel

from ecluse.apps.fraud.labelling.answers import read_labels
from ecluse.apps.fraud.profiling.profile import profile_table
from ecluse.confined import Heard
from ecluse.tabular.dataset import open_table
from ecluse.tabular.layout import Layout


def profile(tell: Heard, data: bytes, *, path: str, filename: str, layout: dict[str, Any]) -> Any:
    """Describe the table."""
    with open_table(Path(path), filename, Layout.from_dict(layout)) as table:
        table_profile = profile_table(table, progress=tell)
        return {
            "profile": table_profile.to_dict(),
            "layout": None if table.layout is None else table.layout.to_dict(),
        }


def labels(tell: Heard, data: bytes, *, path: str, filename: str, layout: dict[str, Any], most: int) -> Any:
    """Return the labels in a table, as [row, label]."""
    with open_table(Path(path), filename, Layout.from_dict(layout)) as table:
        return list(read_labels(table, most).items())
