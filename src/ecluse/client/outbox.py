"""Hand on what a run has to say, in its order; what cannot be sent waits on disk, and is sent later.

Everything is written to a file before it is sent to a server, and the file goes once all of it has arrived. Sent again
it changes nothing, so what was interrupted is simply sent from its beginning.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from ecluse.client.backend import MOST_POINTS, Backend, Beginning, End, Point
from ecluse.errors import EcluseError, NotSignedIn, RunClosed, ServerAway, UnreadableRecord
from ecluse.processes import Process, is_gone
from ecluse.sentences import _

#: Points wait at most so long before they are handed on (s), while there are more.
FLUSH_SECONDS: Final = 1.0
#: A server that was away is asked again after so long (s), and at the end of the run.
RETRY_SECONDS: Final = 30.0
#: What a run is said to have ended with, whose process ended before it.
ENDED_EARLY: Final = _("The program ended before the run did.")
logger = logging.getLogger(__name__)


class Outbox:
    """What one run has to say to a backend. Begin it, add to it, and end it; all is safe to call from any thread."""

    def __init__(self, backend: Backend, beginning: Beginning, folder: Path) -> None:
        """`folder`: where what waits for a server is kept; nothing is written for a backend that is no server."""
        self.run: str | None = None
        self._backend = backend
        self._lock = threading.RLock()
        self._waiting: list[dict[str, Any]] = []
        self._flushed = self._tried = float("-inf")
        self._is_away = self._has_ended = self._is_begun = False
        self._file = folder / f"{beginning.nonce}.jsonl" if backend.is_remote else None
        if self._file is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._add(
            {"address": backend.address, "process": Process.current().label, "begin": asdict(beginning)}
        )
        try:
            self.flush()
        except EcluseError:  # such as a name that no model can have: there is no run
            if self._file is not None:
                self._file.unlink(missing_ok=True)
            raise
        self._is_begun = True

    @property
    def is_empty(self) -> bool:
        """Return whether all of it has arrived."""
        return not self._waiting

    @property
    def has_ended(self) -> bool:
        """Return whether the run was ended; nothing is added to it then."""
        return self._has_ended

    def add_point(self, point: Point) -> None:
        """Add metrics of a step."""
        self._add({"point": {"step": point.step, "metrics": dict(point.metrics), "at": point.at.isoformat()}})
        self._flush_if_due()

    def change(self, parameters: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        """Add parameters and tags."""
        self._add({"change": {"parameters": dict(parameters), "tags": dict(tags)}})
        self._flush_if_due()

    def end(self, end: End) -> None:
        """Say how the run ended, and hand everything on; what cannot be sent stays on disk."""
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
            self._add({"end": asdict(end)})
            self.flush()
            if self._waiting and self._file is not None:
                logger.warning(
                    "The run did not arrive at %s. It is kept in %s; send it later: ecluse runs send",
                    self._backend.address,
                    self._file,
                )

    def flush(self) -> None:
        """Hand on what waits; a server that is away is said to be once, and keeps it waiting.

        So does one that does not know the token any more: no training ends for that.

        Raises:
            EcluseError: the place refuses it, such as more metrics than a run holds. It waits no longer.
        """
        with self._lock:
            self._tried = time.monotonic()
            try:
                while self._waiting:
                    self._send_first()
            except (ServerAway, NotSignedIn) as away:
                if isinstance(away, NotSignedIn) and not self._is_begun:
                    raise
                if not self._is_away:
                    logger.warning("What the run has to say waits on disk: %s", away)
                self._is_away = True
                return
            self._is_away = False
            self._flushed = time.monotonic()
            if self._has_ended and self._file is not None:
                self._file.unlink(missing_ok=True)

    def _send_first(self) -> None:
        """Send the first event, and the points behind it together with it; those refused wait no longer."""
        batch = next(batches(self._waiting))
        try:
            self.run = send(self._backend, self.run, batch)
        except (ServerAway, NotSignedIn):
            raise
        except EcluseError:
            del self._waiting[: len(batch)]
            raise
        del self._waiting[: len(batch)]

    def _flush_if_due(self) -> None:
        now = time.monotonic()
        if self._is_away and now - self._tried < RETRY_SECONDS:
            return
        if now - self._flushed >= FLUSH_SECONDS or len(self._waiting) >= MOST_POINTS:
            self.flush()

    def _add(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._waiting.append(event)
            if self._file is None:
                return
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(json.dumps(event, ensure_ascii=False) + "\n")


def batches(events: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield events in their order as they are handed on: points that follow each other together, all else alone."""
    for is_points, group in groupby(events, key=lambda event: "point" in event):
        each = list(group)
        size = MOST_POINTS if is_points else 1
        yield from (each[first : first + size] for first in range(0, len(each), size))


def send(backend: Backend, run: str | None, batch: Sequence[Mapping[str, Any]]) -> str | None:
    """Hand on a batch of events of one run; return its id, once that is known."""
    event = batch[0]
    if "point" in event:
        backend.add_points(_begun(run), [_point(each["point"]) for each in batch])
    elif "begin" in event:
        return backend.begin_run(_beginning(event))
    elif "change" in event:
        backend.change_run(_begun(run), event["change"]["parameters"], event["change"]["tags"])
    elif "end" in event:
        backend.end_run(_begun(run), End(**event["end"]))
    return run


def _beginning(event: Mapping[str, Any]) -> Beginning:
    try:
        return Beginning(**event["begin"])
    except (KeyError, TypeError) as error:
        raise UnreadableRecord(_("A run that waits on disk has no beginning. Remove its file.")) from error


def _point(stored: Mapping[str, Any]) -> Point:
    return Point(stored["step"], stored["metrics"], datetime.fromisoformat(stored["at"]))


def _begun(run: str | None) -> str:
    if run is None:
        raise UnreadableRecord(_("A run that waits on disk has no beginning. Remove its file."))
    return run


@dataclass(frozen=True)
class Sent:
    """What became of a run that waited on disk.

    `run` is None where it was refused as a whole, and its file is as it was. `refusals`: why it, or parts of it, were
    refused; the rest has arrived then, and `file` is where all of it is kept.
    """

    file: Path
    run: str | None
    refusals: tuple[str, ...] = ()


def send_waiting(backend: Backend, folder: Path) -> Iterator[Sent]:
    """Send the runs that wait for a server, oldest first: those that have ended, or whose process has.

    One that is refused stops no other.

    Raises:
        ServerAway: the server does not answer; what is left stays.
        NotSignedIn: it does not know the token any more.
    """
    for file in sorted(folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime):
        try:
            events = _events(file)
            if _waits(events, backend.address):
                yield _send_file(backend, file, events)
        except (ServerAway, NotSignedIn):
            raise
        except EcluseError as refusal:
            yield Sent(file, None, (str(refusal),))


def elsewhere(folder: Path, address: str) -> dict[str, int]:
    """Count the runs that wait for other servers, by their addresses."""
    counts: Counter[str] = Counter()
    for file in folder.glob("*.jsonl"):
        with suppress(UnreadableRecord):  # `send_waiting` says so
            counts[str(_events(file)[0].get("address"))] += 1
    del counts[address]
    return dict(counts)


def _waits(events: Sequence[Mapping[str, Any]], address: str) -> bool:
    if events[0].get("address") != address:
        return False
    return "end" in events[-1] or is_gone(str(events[0].get("process"))) is not False


def _send_file(backend: Backend, file: Path, events: Sequence[Mapping[str, Any]]) -> Sent:
    """Send the events of a file, and remove it; where a part was refused, it is set aside under another name.

    A run that did not end has failed: its process is gone.

    Raises:
        UnreadableRecord: the file is damaged.
        EcluseError: the server is away, or refuses the run; the file stays.
    """
    if not any("end" in event for event in events):
        events = [*events, {"end": asdict(End("failed", error=ENDED_EARLY))}]
    run = backend.begin_run(_beginning(events[0]))
    refusals: list[str] = []
    for batch in batches(events[1:]):
        try:
            send(backend, run, batch)
        except RunClosed:  # all of it had arrived before its file was removed
            break
        except (ServerAway, NotSignedIn, UnreadableRecord):
            raise
        except EcluseError as refusal:
            refusals.append(str(refusal))
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableRecord(_("%(file)s is damaged. Remove it.", file=file)) from error
    if not refusals:
        file.unlink()
        return Sent(file, run)
    return Sent(file.replace(file.with_suffix(".refused")), run, tuple(refusals))


def _events(file: Path) -> list[dict[str, Any]]:
    """Return the events of a file; a last line that was cut off when its process died is left out."""
    *lines, _rest = file.read_text(encoding="utf-8").split("\n")
    try:
        events = [json.loads(line) for line in lines]
    except ValueError as error:
        raise UnreadableRecord(_("%(file)s is damaged. Remove it.", file=file)) from error
    if not events or not all(isinstance(event, dict) for event in events):
        raise UnreadableRecord(_("%(file)s is damaged. Remove it.", file=file))
    return events
