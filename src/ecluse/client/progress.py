"""Show how far bytes have come: a bar in a notebook and on a terminal, nothing elsewhere."""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ecluse.client.backend import Progress

#: How often a bar in a notebook is drawn anew (s).
_EVERY: Final = 0.2


@contextmanager
def shown(title: str, total: int | None) -> Iterator[Progress]:
    """Yield what is called with the bytes since its last call, from any thread; `total` is None where it is not known.

    On a terminal the bar is gone at the end; in a notebook one line is left in its place.
    """
    if in_notebook():
        bar = _Drawn(title, total)
        yield bar.add
        bar.end()
        return
    if not sys.stderr.isatty():
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
    with Bar(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(title, total=total)
        yield lambda size: drawn.update(task, advance=size)


class _Drawn:
    """A bar in a notebook, drawn by the browser itself, so that no extension is needed."""

    def __init__(self, title: str, total: int | None) -> None:
        from IPython.display import display

        self._title, self._total, self._done = title, total, 0
        self._drawn_at = time.monotonic()
        self._lock = threading.Lock()
        show: Any = display  # it has no types
        self._output: Any = show(self._said(), raw=True, display_id=True)

    def add(self, size: int) -> None:
        """Count bytes, and draw the bar where it is time."""
        with self._lock:
            self._done += size
            if time.monotonic() - self._drawn_at < _EVERY:
                return
            self._drawn_at = time.monotonic()
            self._output.update(self._said(), raw=True)

    def end(self) -> None:
        """Leave one line in the place of the bar."""
        self._output.update({"text/plain": f"{self._title}: {self._done / 1e6:.1f} MB"}, raw=True)

    def _said(self) -> dict[str, str]:
        of = "" if self._total is None else f" of {self._total / 1e6:.1f}"
        text = f"{self._title}: {self._done / 1e6:.1f}{of} MB"
        share = "" if self._total is None else f' value="{self._done}" max="{max(self._total, 1)}"'
        bar = f"<progress{share}></progress>"
        return {"text/plain": text, "text/html": f"{bar} {html.escape(text)}"}


def in_notebook() -> bool:
    """Return whether this runs in a notebook; nothing is imported to find out."""
    shell = sys.modules.get("IPython")
    kinds = () if shell is None else type(shell.get_ipython()).__mro__
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in kinds)  # those of others build on it
