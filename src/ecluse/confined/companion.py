"""Keep a process that has made something of files and answers calls: how models of strangers are asked.

    companion = Companion("ecluse.model_process.serving:open_model", {"folder": "…"}, limits=Limits(memory=2 << 30))
    answer = companion.call({"rows": [[1, 2]]})

It is forked by a nursery and bounded as every reader is (see `ecluse.confined`). Calls and answers are JSON, and bytes
beside it. One that does not answer in its time is ended; then, and when it ends itself, it is over for good, and who
needs it begins another.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from ecluse.confined import (
    MOST_ANSWERED,
    TRIES,
    Conversation,
    EndedFromOutside,
    Limits,
    answer_of,
    begin_reader,
    error_of,
    nursery_of,
    parse_message,
    unpacked,
    what_ended,
)
from ecluse.confined.child import FRAME, framed
from ecluse.errors import ReaderStopped

#: Seconds in which a nursery says how a process ended that has closed its connection.
_REPORTED: Final = 10.0
_PIECE: Final = 1 << 20
logger = logging.getLogger(__name__)


class Companion:
    """A process that answers calls, one at a time: `call` from a thread, or `ask` from an event loop.

    Its function returns `child.Standing`; `value` and `data` are what that said at the beginning. `limits.work` is for
    the beginning and for each call.
    """

    def __init__(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        limits: Limits,
        folder: Path | None = None,
        also: str | None = None,
    ) -> None:
        """Begin it. `also`: a module that its nursery has imported, so that it is not imported for each anew.

        Raises:
            ReaderStopped: it needed more than its limits, or died of what it read.
            EcluseError: as the function raised it.
        """
        self._limits = limits
        self._nursery = nursery_of(function.partition(":")[0], also)
        head = limits.request(function, arguments, folder, 0)
        for left in reversed(range(TRIES)):
            try:
                self._begin(head)
            except EndedFromOutside as ended:
                if not left:
                    raise ReaderStopped("ended", 0) from ended
            else:
                return

    def _begin(self, head: bytes) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        try:
            self._job, self._status = begin_reader(self._nursery, self._log)
        except BaseException:
            self._log.close()
            raise
        # When the connections are closed, the nursery kills the process; so it is where this is forgotten.
        self._finish = weakref.finalize(self, _close, self._job, self._status, self._log)
        try:
            self._job.sendall(head)
            conversation = Conversation(self._job, self._status, self._limits, None, stays=True).hold()
            if not conversation.is_whole:
                answer_of(conversation, self._limits, self._log)
            self.value, self.data = unpacked(conversation.last["answer"]), conversation.data
            self._job.setblocking(False)
        except (BrokenPipeError, ConnectionResetError) as error:
            reason = self._reason(error)
            raise reason from error
        except BaseException:
            self.close()
            raise

    def call(self, value: Any, data: bytes = b"") -> tuple[Any, bytes]:
        """Return what it answers, JSON and bytes. Only one call or question is under way at a time.

        Raises:
            ReaderStopped: it needed more than its limits, or is over.
            EcluseError: as what it calls raised it.
        """
        self._expect_open()
        coming = _Coming()
        try:
            self._job.settimeout(self._limits.wall)
            self._job.sendall(framed(value, data))
            while coming.missing:
                coming.take(self._job.recv(coming.missing))
            self._job.setblocking(False)
        except (OSError, _Unreadable) as error:
            raise self._ended(error) from error
        except BaseException:  # the answer would come to whoever calls next
            self.close()
            raise
        return self._answer(coming)

    async def ask(self, value: Any, data: bytes = b"") -> tuple[Any, bytes]:
        """Return what it answers, as `call` does, while the event loop goes on."""
        self._expect_open()
        loop, coming = asyncio.get_running_loop(), _Coming()
        try:
            async with asyncio.timeout(self._limits.wall):
                await loop.sock_sendall(self._job, framed(value, data))
                while coming.missing:
                    coming.take(await loop.sock_recv(self._job, coming.missing))
        except (OSError, _Unreadable) as error:
            raise await asyncio.to_thread(self._ended, error) from error
        except BaseException:  # the answer would come to whoever asks next
            self.close()
            raise
        return self._answer(coming)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._finish()

    @property
    def is_open(self) -> bool:
        """Say whether it may answer another call."""
        return self._finish.alive

    def _expect_open(self) -> None:
        if not self.is_open:
            raise ReaderStopped("ended", 0)

    def _answer(self, coming: _Coming) -> tuple[Any, bytes]:
        message, data = coming.message()
        if "answer" in message:
            return message["answer"], data
        if "error" in message:
            raise error_of(message, self._limits)
        self.close()
        raise ReaderStopped("crash", 0, detail="an answer that is none")

    def _ended(self, error: Exception) -> ReaderStopped:
        """End the process and return why it gave no answer."""
        reason = self._reason(error)
        if isinstance(reason, EndedFromOutside):
            reason = ReaderStopped("ended", 0)
        logger.warning(
            "A process that answers calls is over (%s, %s): %s", reason.why, reason.limit, reason.detail
        )
        return reason

    def _reason(self, error: Exception) -> ReaderStopped | EndedFromOutside:
        try:
            if isinstance(error, TimeoutError):
                return ReaderStopped("time", round(self._limits.wall))
            if isinstance(error, _Unreadable):
                return ReaderStopped("crash", 0, detail=str(error))
            self._job.close()
            ended = self._reported()
            return EndedFromOutside() if ended is None else what_ended(ended, self._limits, self._log)
        finally:
            self.close()

    def _reported(self) -> dict[str, Any] | None:
        """Return what the nursery says of its end; None where the nursery is gone, too, or does not say it in time."""
        self._status.settimeout(_REPORTED)
        try:
            text = self._status.recv(4096)
        except OSError as error:
            logger.warning("Nobody says how a process ended: %s", error)
            return None
        return dict(json.loads(text)) if text else None


def _close(job: socket.socket, status: socket.socket, log: IO[bytes]) -> None:
    job.close()
    status.close()
    log.close()


class _Unreadable(Exception):
    """What came is no answer."""


class _Coming:
    """An answer of which a part has come."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._size = FRAME.size
        self._json_size: int | None = None

    @property
    def missing(self) -> int:
        """Bytes to receive next; 0 once it is whole."""
        return min(self._size - len(self._buffer), _PIECE)

    def take(self, piece: bytes) -> None:
        if not piece:
            raise ConnectionResetError("the process has ended")
        self._buffer += piece
        if self._json_size is None and len(self._buffer) == FRAME.size:
            self._json_size, data_size = FRAME.unpack(self._buffer)
            self._size += self._json_size + data_size
            if self._size > MOST_ANSWERED:
                raise _Unreadable(f"an answer of {self._size} bytes")

    def message(self) -> tuple[dict[str, Any], bytes]:
        end = FRAME.size + (self._json_size or 0)
        return parse_message(bytes(self._buffer[FRAME.size : end])), bytes(self._buffer[end:])
