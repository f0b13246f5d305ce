"""A portal of open data that behaves as the real ones do, on this machine, and fails as they do when told to.

It speaks the parts that are used of Opendatasoft's Explore API 2.1 (exports of data sets, `where` on a time, labels,
message and code of an error), of Open-Meteo (hours of a period) and of PRIM (disruptions for who has a key).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

KEY = "a-key-of-prim-8371"
_WHERE = re.compile(r"(\w+) >= date'([^']+)' AND (\w+) < date'([^']+)'")
_LABELS = {
    "iu_ac": "Identifiant arc", "libelle": "Libelle", "t_1h": "Date et heure de comptage", "q": "Débit horaire",
    "k": "Taux d'occupation", "etat_trafic": "Etat trafic",
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What was asked."""

    path: str
    query: dict[str, str]
    headers: Mapping[str, str]


@dataclass
class Trouble:
    """How an answer fails; `path` is a part of the path that it concerns, `times` how often."""

    path: str
    kind: str
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


class Portal:
    """What it has, what it was asked, and what goes wrong next."""

    def __init__(self) -> None:
        self.url = ""
        self.roads: list[dict[str, Any]] = []
        self.bikes: list[dict[str, Any]] = []
        self.files: dict[str, tuple[str, bytes]] = {}  # data set → content type and content
        self.disruptions: dict[str, Any] = {"disruptions": [], "lines": []}
        self.unmeasured: set[str] = set()  # days without weather
        self.requests: list[Request] = []
        self.troubles: list[Trouble] = []
        self.is_packed = False
        self.has_etags = True
        self.lock = threading.Lock()

    def asked(self, part: str) -> list[Request]:
        return [request for request in self.requests if part in request.path]

    def trouble(self, path: str, kind: str, times: int = 1, **headers: str) -> None:
        self.troubles.append(
            Trouble(path, kind, times, {name.replace("_", "-"): value for name, value in headers.items()})
        )

    def next_trouble(self, path: str) -> Trouble | None:
        with self.lock:
            for trouble in self.troubles:
                if trouble.path in path and trouble.times > 0:
                    trouble.times -= 1
                    return trouble
        return None

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if "/api/explore/v2.1/catalog/datasets/" in request.path:
            return self._export(request)
        if request.path in ("/v1/archive", "/v1/forecast"):
            return 200, "application/json; charset=utf-8", self._weather(request)
        if request.path == "/marketplace/disruptions_bulk/disruptions/v2":
            if request.headers.get("apikey") != KEY:
                return 401, "application/json", b'{"message": "No API key found in request"}'
            return 200, "application/json", json.dumps(self.disruptions).encode()
        return 404, "text/html", b"<h1>Not found</h1>"

    def _export(self, request: Request) -> tuple[int, str, bytes]:
        dataset, form = request.path.split("/datasets/")[1].split("/exports/")
        if dataset == "comptages-routiers-permanents":
            rows = self._where(self.roads, "t_1h", request)
            return 200, "text/csv; charset=utf-8", _csv(rows, request)
        if dataset == "comptage-velo-donnees-compteurs":
            rows = self._where(self.bikes, "date", request)
            return 200, "application/json; charset=utf-8", json.dumps(rows).encode()
        if dataset in self.files:
            kind, body = self.files[dataset]
            return 200, kind, body
        fields = {"error_code": "UnknownDataset", "message": f"Unknown dataset: {dataset} ({form})."}
        return 404, "application/json", json.dumps(fields).encode()

    def _where(self, rows: list[dict[str, Any]], column: str, request: Request) -> list[dict[str, Any]]:
        result = _WHERE.fullmatch(request.query["where"])
        assert result is not None, request.query["where"]
        assert result[1] == result[3] == column
        begin, end = datetime.fromisoformat(result[2]), datetime.fromisoformat(result[4])
        return [row for row in rows if begin <= datetime.fromisoformat(row[column]) < end]

    def _weather(self, request: Request) -> bytes:
        assert request.query["timezone"] == "GMT"
        first, last = (date.fromisoformat(request.query[name]) for name in ("start_date", "end_date"))
        hours = [
            datetime(first.year, first.month, first.day) + timedelta(hours=n)
            for n in range(24 * ((last - first).days + 1))
        ]
        values = [
            None if hour.date().isoformat() in self.unmeasured else 10.0 + hour.hour / 10 for hour in hours
        ]
        hourly: dict[str, Any] = {"time": [hour.strftime("%Y-%m-%dT%H:%M") for hour in hours]}
        hourly |= dict.fromkeys(request.query["hourly"].split(","), values)
        units = dict.fromkeys(hourly, "°C") | {
            "time": "iso8601",
            "precipitation": "mm",
            "wind_speed_10m": "km/h",
        }
        fields = {
            "latitude": 48.86,
            "longitude": 2.36,
            "generationtime_ms": float(len(self.requests)),
            "utc_offset_seconds": 0,
        }
        return json.dumps(fields | {"timezone": "GMT", "hourly_units": units, "hourly": hourly}).encode()


def road_row(arc: int, begin: datetime, flow: float | None = 100.0) -> dict[str, Any]:
    """The record of an hour, with the stamp that ends it, as the publisher writes it."""
    return {
        "iu_ac": arc,
        "libelle": "Lecourbe",
        "t_1h": (begin + timedelta(hours=1)).isoformat(),
        "q": flow,
        "k": 4.5,
        "etat_trafic": "Fluide",
    }


def bike_row(counter: str, at: datetime, count: int = 7) -> dict[str, Any]:
    return {"id_compteur": counter, "nom_compteur": "Quai", "sum_counts": count, "date": at.astimezone(UTC).isoformat(),
            "coordinates": {"lon": 2.3, "lat": 48.8}}  # fmt: skip


def _csv(rows: list[dict[str, Any]], request: Request) -> bytes:
    zone = ZoneInfo(request.query["timezone"])
    assert request.query["delimiter"] == ";"
    names = list(_LABELS.values()) if request.query.get("use_labels") == "true" else list(_LABELS)
    lines = [";".join(names)]
    for row in rows:
        at = datetime.fromisoformat(row["t_1h"]).astimezone(zone).isoformat()
        fields = row | {"t_1h": at}
        lines.append(";".join("" if fields[name] is None else str(fields[name]) for name in _LABELS))
    return ("\ufeff" + "".join(f"{line}\r\n" for line in lines)).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    portal: Portal

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(parts.path, query, headers)
        self.portal.requests.append(request)
        self.close_connection = True
        trouble = self.portal.next_trouble(parts.path)
        if trouble is not None and trouble.kind.isdigit():
            self._send(int(trouble.kind), "text/html", b"<h1>Later</h1>", trouble.headers)
            return
        if trouble is not None and trouble.kind == "hang up":
            self.connection.close()
            return
        if trouble is not None and trouble.kind == "send on":
            self._send(302, "text/html", b"", trouble.headers)
            return
        if trouble is not None and trouble.kind == "page":
            self._send(200, "text/html; charset=utf-8", b"<h1>Maintenance</h1>", {})
            return
        status, kind, body = self.portal.answer(request)
        self._give(status, kind, body, headers, trouble)

    def _give(
        self, status: int, kind: str, body: bytes, asked: dict[str, str], trouble: Trouble | None
    ) -> None:
        fields: dict[str, str] = {}
        if self.portal.is_packed and "gzip" in asked.get("accept-encoding", ""):
            body = gzip.compress(body, mtime=0)
            fields["Content-Encoding"] = "gzip"
        if self.portal.has_etags and status == 200:
            etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            fields |= {"ETag": etag, "Accept-Ranges": "bytes"}
            if asked.get("if-none-match") == etag:
                self._send(304, kind, b"", fields)
                return
            if "range" in asked and asked.get("if-range") == etag:
                start = int(asked["range"].removeprefix("bytes=").removesuffix("-"))
                fields["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                status, body = 206, body[start:]
        how = trouble.kind if trouble is not None else ""
        if how == "chunks that end early":
            self._send_chunks(status, kind, body[: len(body) // 2], fields, ends=False)
        elif how == "silently short":  # whole as HTTP has it, and yet a part of the file
            self._send(status, kind, body[: len(body) // 2], fields)
        elif how == "other etag in between":
            self._send(status, kind, body, fields | {"ETag": '"another"'}, cut=True)
        else:
            self._send(status, kind, body, fields, cut=how == "break")

    def _send(
        self, status: int, kind: str, body: bytes, fields: Mapping[str, str], *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def _send_chunks(
        self, status: int, kind: str, body: bytes, fields: Mapping[str, str], *, ends: bool
    ) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        if ends:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""


@contextmanager
def running_portal(prepare: Callable[[Portal], None] = lambda portal: None) -> Iterator[Portal]:
    """A portal that answers at `url` until the end."""
    portal = Portal()
    prepare(portal)
    handler = type("Handler", (_Handler,), {"portal": portal})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    portal.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield portal
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
