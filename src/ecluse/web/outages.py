"""Say that a part does not answer when that begins, and when it ends: not with each request that meets it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ecluse import logs
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.vitals.readiness import checks_of_web

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outage:
    """What an error says is away: the part, what a visitor may know of it, and the checks that all say it is over.

    Its address and what it said are in the log. Without checks it is over with the process alone.
    """

    part: str
    words: str
    checks: tuple[str, ...]
    of_disk: bool = False


def _of_disk(part: str, *checks: str) -> Outage:
    words = _(
        "A disk of this Écluse is full, or can only be read. Nothing was recorded. Whoever "
        "runs it reads which, and the way out, with: ecluse doctor"
    )
    return Outage(part, words, ("disks", *checks), of_disk=True)


_STORE: Final = Outage(
    "store", _("The object store does not answer. Nothing was recorded; try again in a minute."), ("store",)
)
#: By the code of the error.
OUTAGES: Final[Mapping[str, Outage]] = {
    "store_unavailable": _STORE,
    "bucket_not_found": _STORE,
    "catalog_unavailable": Outage(
        "catalog",
        _("The catalog does not answer. Nothing was recorded; try again in a minute."),
        ("catalog",),
    ),
    "catalog_damaged": Outage(
        "catalog",
        _(
            "The catalog is damaged, so nothing can be shown or recorded. Whoever runs this "
            "Écluse reads which file it is, and the way out, with: ecluse doctor"
        ),
        (),  # the way out begins with an end of this process
    ),
    "jobs_unavailable": Outage(
        "jobs", _("The jobs cannot be read. Nothing was recorded; try again in a minute."), ("jobs",)
    ),
    "documents_unavailable": Outage(
        "documents",
        _("The database of the documents does not answer. Nothing was recorded; try again in a minute."),
        ("documents",),
    ),
    "catalog_unwritable": _of_disk("catalog", "catalog"),
    "documents_unwritable": _of_disk("documents", "documents"),
    "store_unwritable": _of_disk("store", "store"),
    "disk_unusable": _of_disk("disks"),
    "disk_full": _of_disk("disks"),
}
#: Seconds between two looks whether a part answers again.
LOOK_SECONDS = 2.0


class Outages:
    """What is away now, as this process has met it. It is looked at until it answers again."""

    def __init__(
        self, runtime: Runtime, checks: Mapping[str, Callable[[Runtime], None]] | None = None
    ) -> None:
        self._runtime = runtime
        self._checks = checks_of_web() if checks is None else checks
        self._lock = threading.Lock()
        #: How many requests have met what is away, by the code of the error.
        self._met: dict[str, int] = {}

    def note(self, code: str, error: Exception) -> str | None:
        """Note that a request met a part that is away; what its line in the log is known by, None for other errors."""
        outage = OUTAGES.get(code)
        if outage is None or (request := logs.noted().get("request")) is None:
            return None
        with self._lock:
            begins = code not in self._met
            self._met[code] = self._met.get(code, 0) + 1
        if begins:
            logger.warning("Away: %s: %s", outage.part, error)
        if begins and outage.checks:
            name = f"outage of {outage.part}"
            threading.Thread(target=self._watch, args=(code, outage), name=name, daemon=True).start()
        return request

    def _watch(self, code: str, outage: Outage) -> None:
        began, seen = time.monotonic(), 0
        while True:
            time.sleep(LOOK_SECONDS)
            if not self._answers(outage):
                continue
            with self._lock:
                requests = self._met[code]
                # Whatever the checks say: it is away as long as requests meet it.
                is_over = requests == seen
                seen = requests
                if is_over:
                    del self._met[code]
            if is_over:
                _say_over(outage.part, time.monotonic() - began, requests)
                return

    def _answers(self, outage: Outage) -> bool:
        try:
            for check in outage.checks:
                self._checks[check](self._runtime)
        except Exception as error:  # noqa: BLE001 (it was said when it began; it is looked at again)
            logger.debug("Still away: %s: %s", outage.part, error)
            return False
        return True


def _say_over(part: str, seconds: float, requests: int) -> None:
    logger.info(
        "Answers again: %s, after %.0f s; %d requests met it",
        part,
        seconds,
        requests,
        extra={"fields": {"part": part, "seconds": round(seconds, 1), "requests": requests}},
    )
