"""Read what is in the tables that people upload or point at, each in a process of its own (see `tabular.uploads`).

profile, layout = profile_upload(path, "payments.xlsx")
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from ecluse.apps.fraud.profiling.profile import TableProfile
from ecluse.confined import Heard
from ecluse.tabular.layout import LOOK, Layout
from ecluse.tabular.uploads import Upload, read_apart, read_upload

__all__ = ["labels_of_upload", "profile_upload", "read_upload"]
#: The module that a reader runs.
READING: Final = "ecluse.apps.fraud.actions.reading"


def profile_upload(
    path: Path,
    filename: str | None = None,
    layout: Layout = LOOK,
    *,
    folder: Path | None = None,
    memory: int | None = None,
    heard: Heard | None = None,
) -> tuple[TableProfile, Layout | None]:
    """Return what is in a table, and where in its file it stands; see `read_upload`."""
    with tempfile.TemporaryDirectory(prefix="ecluse-table-", dir=folder) as work:
        upload = Upload(path, filename or path.name, layout, memory)
        content = read_apart(f"{READING}:profile", upload, Path(work), heard).value
    laid_out = None if content["layout"] is None else Layout.from_dict(content["layout"])
    return TableProfile.from_dict(content["profile"]), laid_out


def labels_of_upload(
    path: Path, filename: str, layout: Layout = LOOK, *, most: int, memory: int | None = None
) -> dict[int, int]:
    """Return the labels, `most` of them, in a table with the columns row and label; see `read_labels`."""
    with tempfile.TemporaryDirectory(prefix="ecluse-table-") as work:
        upload = Upload(path, filename, layout, memory)
        pairs = read_apart(f"{READING}:labels", upload, Path(work), most=most).value
    return {int(row): int(label) for row, label in pairs}
