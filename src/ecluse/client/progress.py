"""Show how far bytes have come: a bar in a notebook and on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ecluse.client.backend import Progress


@contextmanager
def shown(title: str, total: int) -> Iterator[Progress]:
    """Yield what is called with the bytes since its last call, from any thread."""
    if not (sys.stderr.isatty() or in_notebook()):
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda size: bar.update(task, advance=size)


def in_notebook() -> bool:
    """Return whether this runs in a notebook; nothing is imported to find out."""
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
