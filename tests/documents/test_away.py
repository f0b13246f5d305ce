"""A database that goes away while documents are open is told as away, and used again when it is back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from ecluse.documents import open_documents
from ecluse.errors import DocumentsUnavailable
from ecluse.settings import Settings


class Line:
    """A TCP line to a server that can be cut and joined again, at one address."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server, self._cut, self._open = server, False, set[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._cut = True
        for one in list(self._open):
            _end(one)

    def join(self) -> None:
        self._cut = False

    def close(self) -> None:
        self.cut()
        _end(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                client.close()
                continue
            server = socket.create_connection(self._server)
            self._open |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # the line was cut
            while piece := source.recv(65536):
                target.sendall(piece)
        _end(target)
        self._open.discard(source)
        source.close()


def _end(one: socket.socket) -> None:
    with suppress(OSError):  # it may have ended already
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def line_to(url: str) -> Iterator[tuple[Line, str]]:
    """A line to the server of an address, and the address at its other end."""
    parts = urlsplit(url)
    line = Line((parts.hostname or "", parts.port or 0))
    with closing(line):
        yield line, parts._replace(netloc=f"127.0.0.1:{line.port}").geturl()


@pytest.mark.parametrize("database", ["mongodb", "dynamodb"])
def test_documents_that_were_away_are_read_again_when_they_are_back(
    request: pytest.FixtureRequest, database: str
) -> None:
    url = request.getfixturevalue({"mongodb": "secantus_url", "dynamodb": "dynalite_url"}[database])
    with line_to(url) as (line, address):
        environ = {
            "mongodb": {
                "DATABASE_TYPE": "mongodb",
                "MONGODB_URL": f"{address}/away?serverSelectionTimeoutMS=1000",
            },
            "dynamodb": {
                "USE_DYNAMODB": "true",
                "DYNAMODB_ENDPOINT": address,
                "DYNAMODB_METRICS_TABLE": "away_metrics",
                "DYNAMODB_REPORTS_TABLE": "away_reports",
                "AWS_ACCESS_KEY_ID": "tests",
                "AWS_SECRET_ACCESS_KEY": "tests",
            },
        }[database]
        with closing(open_documents(Settings.from_environment(environ).documents)) as documents:
            documents.create()
            documents.put("metrics/x", "k", {"n": 1})
            line.cut()
            for verb in (
                lambda: documents.get("metrics/x", "k"),
                lambda: documents.put("metrics/x", "k", {"n": 2}),
            ):
                with pytest.raises(DocumentsUnavailable, match="ecluse doctor"):
                    verb()
            line.join()
            assert documents.get("metrics/x", "k") == {"n": 1}
            documents.put("metrics/x", "k", {"n": 3})
            assert documents.latest("metrics/x").body == {"n": 3}  # type: ignore[union-attr]
