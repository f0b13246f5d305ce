"""One trace leads from a request through the job that it queued to the store and the database."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ecluse import tracing
from ecluse.errors import SettingsError
from ecluse.jobs import JobRunner
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from ecluse.work import kinds
from tests.support.wait import wait_until
from tests.test_rooms import ask, token_of


@contextmanager
def collector(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A collector of traces; its address, and the spans that it was sent."""
    spans: list[Any] = []

    class Collects(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            assert self.path == "/v1/traces"
            for of_process in request.resource_spans:
                for scope in of_process.scope_spans:
                    spans.extend((of_process.resource, span) for span in scope.spans)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collects)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def kept() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.begin_with("test", "1", SimpleSpanProcessor(exporter))
    yield exporter
    tracing.end()


def test_one_trace_leads_from_a_request_to_the_store_of_its_job(opened: Runtime) -> None:
    with collector() as (address, spans):
        tracing.begin("web", address, "1.2.3")
        try:
            app = make_app(opened)
            headers = {"authorization": f"Bearer {token_of(opened)}"}
            table = {"file": ("secret name.csv", b"amount,is_fraud\n1,0\n2,1\n")}
            sent = ask(app, "POST", "/api/upload", files=table, headers=headers)
            assert sent.status_code == 201, sent.text
            runner = JobRunner(opened.catalog, "a worker", kinds(), opened)
            runner.start()
            wait_until(lambda: not opened.jobs.active(), "the end of the job")
            runner.close()
        finally:
            tracing.end()
    request = next(span for _, span in spans if span.name == "POST /api/upload")
    traced = [span for _, span in spans if span.trace_id == request.trace_id]
    job = next(span for span in traced if span.name.startswith("job "))
    by_id = {span.span_id: span for span in traced}
    assert job.parent_span_id == request.span_id or by_id[job.parent_span_id].trace_id == request.trace_id
    of_job = [span for span in traced if under(span, job, by_id)]
    assert {"store put", "store put_stream"} & {span.name for span in traced}
    assert any(span.name.startswith("store ") for span in of_job), "the job reads the table"
    assert any(span.name.startswith("sql ") for span in of_job)
    services = {value.value.string_value for resource, _ in spans for value in resource.attributes if value.key == "service.name"}  # fmt: skip
    assert services == {"ecluse-web"}
    said = " ".join(str(span) for _, span in spans)
    for secret in ("secret name", "user_data", headers["authorization"].split()[1], "is_fraud"):
        assert secret not in said, secret


def under(span: Any, above: Any, by_id: dict[bytes, Any]) -> bool:
    while span.parent_span_id in by_id:
        span = by_id[span.parent_span_id]
        if span is above:
            return True
    return False


def test_a_look_for_jobs_is_no_trace(opened: Runtime, kept: InMemorySpanExporter) -> None:
    runner = JobRunner(opened.catalog, "a worker", kinds(), opened)
    runner._take()
    opened.jobs.active()
    assert kept.get_finished_spans() == ()


def test_a_request_begins_a_trace_of_its_own_whatever_it_claims(
    opened: Runtime, kept: InMemorySpanExporter
) -> None:
    app = make_app(opened)
    claimed = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{claimed}-b7ad6b7169203331-01", "x-request-id": "request-from-proxy"}
    ask(app, "GET", "/api/me", headers=headers)
    (span,) = [span for span in kept.get_finished_spans() if span.name == "GET /api/me"]
    assert f"{span.context.trace_id:032x}" != claimed
    assert span.attributes is not None
    assert span.attributes["ecluse.request"] == "request-from-proxy"
    assert span.attributes["http.response.status_code"] == 401


def test_the_framework_says_nothing_of_requests_by_itself(
    opened: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would tell a provider that some library sets up of addresses as they were asked, with what is in them."""
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    app = make_app(opened)
    assert not any(app._telemetry.get(name) for name in ("tracing", "metrics", "logs", "auto_configure"))
    assert not app._native_telemetry.enabled()


def test_a_failure_is_a_code_and_no_text(opened: Runtime, kept: InMemorySpanExporter) -> None:
    with tracing.root("test", "consumer"), pytest.raises(FileNotFoundError):
        opened.data.get("user_data/anna/secret.csv")
    (store,) = [span for span in kept.get_finished_spans() if span.name == "store get"]
    assert "anna" not in store.to_json()
    assert store.status.is_ok or store.status.status_code.name == "UNSET", "what is not there is an answer"


@pytest.mark.parametrize("written", ["", "garbage", "00-zz-1-01", "00-" + "0" * 31 + "-" + "0" * 16 + "-01"])
def test_a_trace_that_cannot_be_read_begins_a_new_one(written: str, kept: InMemorySpanExporter) -> None:
    with tracing.root("job", "consumer", written):
        assert tracing.current()


@pytest.mark.nightly
def test_nothing_is_followed_unless_it_is_asked_for(opened: Runtime) -> None:
    with tracing.root("request", "server") as span:
        span.note({"anything": "1"})
        assert tracing.current() is None
        assert tracing.begin_part("sql")._inner is None
    assert Settings.from_environment({}, home=opened.settings.home).traces is None
    script = "import ecluse.web.app, ecluse.work, sys; ecluse.work.kinds(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "opentelemetry.sdk" not in done.stdout.split()


def test_an_address_without_the_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(SettingsError, match=r"ecluse\[tracing\]"):
        tracing.begin("web", "http://127.0.0.1:4318", "1")
    tracing.begin("web", None, "1")


def test_a_collector_that_is_away_is_said_once_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with collector(status=400) as (address, _):
        tracing.begin("web", address, "1")
        for _ in range(3):
            with tracing.root("request", "server"):
                pass
            tracing._provider.force_flush()
        tracing.end()
    assert [record.message for record in caplog.records] == ["Traces are not sent for now."]
