"""Exchange messages with a process of its own: a line of JSON, and bytes behind it. Nothing is ever unpickled."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

#: The most bytes of one message.
MOST: Final = 256 * 1024**2
_LONGEST_LINE: Final = 64 * 1024**2


class ChannelClosed(Exception):
    """The other side is gone, or says what no message is."""


class Channel:
    """Messages over a socket. Several threads may send; one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._held = bytearray()
        self._sending = threading.Lock()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any], data: bytes = b"") -> None:
        """Send a message. Raises ChannelClosed where nobody is there to take it."""
        line = json.dumps({**message, "bytes": len(data)}).encode() + b"\n"
        with self._sending:
            try:
                self._socket.settimeout(None)
                self._socket.sendall(line)
                if data:
                    self._socket.sendall(data)
            except OSError as error:
                raise ChannelClosed(str(error)) from error

    def receive(self, seconds: float | None = None) -> tuple[dict[str, Any], bytes] | None:
        """Return the next message and its bytes; None where none came within `seconds`.

        Raises:
            ChannelClosed: the other side has ended, or sends no messages.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while (message := self._whole()) is None:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._fill(left)
        return message

    def _fill(self, seconds: float | None) -> None:
        try:
            self._socket.settimeout(seconds)
            piece = self._socket.recv(1 << 20)
        except TimeoutError:  # nothing came in time
            return
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        if not piece:
            raise ChannelClosed("the other side has ended")
        self._held += piece

    def _whole(self) -> tuple[dict[str, Any], bytes] | None:
        end = self._held.find(b"\n")
        if end < 0:
            if len(self._held) > _LONGEST_LINE:
                raise ChannelClosed("a message is too long")
            return None
        try:
            message = json.loads(self._held[:end])
            size = int(message["bytes"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ChannelClosed("what was sent is no message") from error
        if not 0 <= size <= MOST:
            raise ChannelClosed("a message is too long")
        if len(self._held) < end + 1 + size:
            return None
        data = bytes(self._held[end + 1 : end + 1 + size])
        del self._held[: end + 1 + size]
        return message, data

    def close(self) -> None:
        self._socket.close()
