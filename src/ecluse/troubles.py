"""Say what stands in the way of a part when that begins or changes, and when it is over: not each time it is met."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from ecluse.errors import CatalogTooSlow, CatalogUnavailable, EcluseError


class Troubles:
    """What stands in the way now, by the part that it keeps from going on."""

    def __init__(self, logger: logging.Logger, begins: str, ends: str) -> None:
        """`begins`: the line that names a part and the reason, each as %s; `ends`: that of a part that goes on."""
        self._logger = logger
        self._begins = begins
        self._ends = ends
        self._reasons: dict[str, str] = {}

    def met(self, part: str, error: Exception) -> None:
        """Note the error that stands in the way; one that is a fault of ours is written with its trace."""
        if isinstance(error, EcluseError):
            self.note(part, str(error))
        else:
            reason = f"a fault of ours ({type(error).__name__}); the log of this process has it"
            self.note(part, reason, error)

    def note(self, part: str, reason: str, fault: Exception | None = None) -> None:
        """Note what stands in the way, and the fault that it comes of."""
        if self._reasons.get(part) != reason:
            self._reasons[part] = reason
            level = logging.WARNING if fault is None else logging.ERROR
            self._logger.log(level, self._begins, part, reason, exc_info=fault)

    def over(self, part: str) -> None:
        """Note that nothing stands in the way of a part."""
        if self._reasons.pop(part, None) is not None:
            self._logger.info(self._ends, part)

    def keep(self, parts: Collection[str]) -> None:
        """Note that nothing stands in the way of any part but these."""
        for part in self._reasons.keys() - set(parts):
            self.over(part)

    def reasons(self) -> dict[str, str]:
        """Return what stands in the way, by part."""
        return dict(self._reasons)

    @contextmanager
    def guarded(self, part: str, *, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Keep what this block raises, other than `passing`, from what comes behind it."""
        try:
            yield
        except passing:
            raise
        except Exception as error:  # noqa: BLE001 (it is written, with its trace where it is a fault)
            self.met(part, error)
        else:
            self.over(part)


class CatalogOutage:
    """Say once that the catalog is away, whichever parts of a process meet it, and once that all are answered."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._meeting: set[str] = set()
        self._began = 0.0

    def covers(self, error: Exception) -> bool:
        """Return whether an error comes of an outage that has been said, of what asks too seldom to tell its end."""
        with self._lock:
            return _is_away(error) and bool(self._meeting)

    def met(self, part: str, error: Exception) -> bool:
        """Note what a part met, which asks again in some seconds; false where it is no outage, and is to be said."""
        if not _is_away(error):
            return False
        with self._lock:
            begins = not self._meeting
            self._meeting.add(part)
            if begins:
                self._began = time.monotonic()
        if begins:
            self._logger.warning("Away: catalog: %s", error)
        return True

    def over(self, part: str) -> None:
        """Note that the catalog answers a part."""
        with self._lock:
            ends = self._meeting == {part}
            self._meeting.discard(part)
        if ends:
            self._logger.info("Answers again: catalog, after %.0f s", time.monotonic() - self._began)


def _is_away(error: Exception) -> bool:
    """Return whether the catalog answers nobody; one that is too slow for one part answers others."""
    return isinstance(error, CatalogUnavailable) and not isinstance(error, CatalogTooSlow)
