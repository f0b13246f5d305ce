"""Stand before a DynamoDB as one that is busy does: it takes part of a batch, or nothing more.

with throttling(dynalite_url) as gate:
    documents = open_documents(...)      # at gate.url
    gate.share = 0.5                     # of each batch, the rest comes back as not processed
    gate.writes_left = 3                 # batches of writes until it refuses them
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

#: Operation → what an answer calls the part that was left.
LEFT = {"BatchWriteItem": "UnprocessedItems", "BatchGetItem": "UnprocessedKeys"}


@dataclass
class Gate:
    url: str
    share: float = 1.0
    writes_left: int | None = None
    seen: list[str] = field(default_factory=list)


@contextmanager
def throttling(endpoint: str) -> Iterator[Gate]:
    """A gate before the server at `endpoint`, open until it is told otherwise."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            gate.seen.append(operation)
            if operation == "BatchWriteItem" and gate.writes_left is not None:
                if gate.writes_left == 0:
                    refusal = {
                        "__type": "com.amazon.coral.service#AccessDeniedException",
                        "message": "no more",
                    }
                    return self._answer(400, json.dumps(refusal).encode())
                gate.writes_left -= 1
            left = _held_back(body, gate.share) if operation in LEFT else {}
            status, answer = self._forward(body)
            if left and status == 200:
                answer = json.dumps(json.loads(answer) | {LEFT[operation]: left}).encode()
            return self._answer(status, answer)

        def _forward(self, body: Any) -> tuple[int, bytes]:
            server = urlsplit(endpoint)
            connection = http.client.HTTPConnection(server.hostname or "", server.port)
            try:
                kept = {
                    name: self.headers[name]
                    for name in ("X-Amz-Target", "Content-Type", "Authorization", "X-Amz-Date")
                }
                connection.request("POST", "/", json.dumps(body), kept)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    gate = Gate(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _held_back(body: Any, share: float) -> dict[str, Any]:
    """Take what is beyond the share out of a batch; that, as it is to be sent again. One thing passes at least."""
    left: dict[str, Any] = {}
    for table, asked in body["RequestItems"].items():
        things = asked["Keys"] if isinstance(asked, dict) else asked
        passing = max(1, int(len(things) * share))
        held = things[passing:]
        del things[passing:]
        if held:
            left[table] = asked | {"Keys": held} if isinstance(asked, dict) else held
    return left
