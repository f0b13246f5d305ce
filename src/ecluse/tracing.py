"""Follow a request through what it sets off: its job, the store, the database; as spans of OpenTelemetry, if asked for.

`begin` sends spans where `OTEL_EXPORTER_OTLP_ENDPOINT` says; without it every call here does nothing. A request and a
job begin a span; stores and databases add theirs only within one. A job keeps the trace that it was queued in, so that
its worker goes on with it. A span has kinds, verbs, codes, and the ids that the log has; no key of an object, no
address, no value of a statement.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from ecluse.errors import SettingsError

logger = logging.getLogger(__name__)
Role = Literal["server", "consumer", "client"]
Value = str | int | float | bool
#: How `traceparent` writes a trace: https://www.w3.org/TR/trace-context/
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
#: Seconds that a collector may take to accept spans. They are sent by a thread of their own.
ACCEPTED_WITHIN: Final = 10.0

_NO_VALUES: Final[Mapping[str, Value]] = {}

_tracer: Any = None
_provider: Any = None


class Span:
    """Something that takes time; `note` says more of it."""

    def __init__(self, inner: Any = None) -> None:
        self._inner = inner

    def note(self, values: Mapping[str, Value], *, name: str | None = None) -> None:
        """Add to what a span says, and give it another name once that is known."""
        if self._inner is not None:
            self._inner.set_attributes(values)
            if name is not None:
                self._inner.update_name(name)

    def end(self, reason: str = "", *, at: int | None = None) -> None:
        """End a span that `begin_part` began; with the code of an error, if it failed.

        `at`: when it ended, nanoseconds since 1970, where that was before now.
        """
        if self._inner is not None:
            if reason:
                self.fail(reason)
            self._inner.end(at)

    def fail(self, reason: str) -> None:
        """Say that it failed, by the code of an error and never by its text."""
        if self._inner is not None:
            from opentelemetry.trace import Status, StatusCode

            self._inner.set_status(Status(StatusCode.ERROR))
            self._inner.set_attribute("error.type", reason)


_NOTHING: Final = Span()


def begin(process: str, endpoint: str | None, release: str) -> None:
    """Send the spans of this process (`process` is its role, such as web) to a collector; None: nowhere.

    Raises:
        SettingsError: an address is set and the packages for it are not installed.
    """
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and the packages that send traces are not installed. "
            "Install them: pip install 'ecluse[tracing]'. Or unset it."
        ) from error
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=ACCEPTED_WITHIN)
    # What it says with each batch that is not taken is said once, by `_Said`.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    begin_with(process, release, BatchSpanProcessor(_said(exporter)))


def begin_with(process: str, release: str, processor: Any) -> None:
    """Give the spans of this process to a processor of OpenTelemetry."""
    global _tracer, _provider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create({"service.name": f"ecluse-{process}", "service.version": release})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("ecluse", release)


def end() -> None:
    """Send what has not been sent yet, and follow nothing more."""
    global _tracer, _provider
    if _provider is not None:
        _provider.force_flush(int(ACCEPTED_WITHIN * 1000))
        _provider.shutdown()
    _tracer = _provider = None


@contextmanager
def root(
    name: str, role: Role, trace: str | None = None, values: Mapping[str, Value] = _NO_VALUES
) -> Iterator[Span]:
    """Begin what is followed: in a trace of its own, or (`trace`) in the one that set it off."""
    if _tracer is None:
        yield _NOTHING
        return
    from opentelemetry import trace as api
    from opentelemetry.context import Context

    parent = _context(trace) if trace is not None else Context()
    kind = api.SpanKind.SERVER if role == "server" else api.SpanKind.CONSUMER
    with _tracer.start_as_current_span(
        name, context=parent, kind=kind, record_exception=False, set_status_on_exception=False
    ) as inner:
        span = Span(inner)
        span.note(values)
        yield span


def is_followed() -> bool:
    """Return whether what is done here belongs to a trace."""
    if _tracer is None:
        return False
    from opentelemetry.trace import get_current_span

    return bool(get_current_span().get_span_context().is_valid)


def begin_part(name: str, values: Mapping[str, Value] = _NO_VALUES) -> Span:
    """Begin a part of what is followed, such as a request to a store: whoever began it ends it."""
    if not is_followed():
        return _NOTHING
    from opentelemetry.trace import SpanKind

    return Span(_tracer.start_span(name, kind=SpanKind.CLIENT, attributes=values))


def current() -> str | None:
    """Return the trace that this belongs to, as `traceparent` writes it, to be kept with what goes on elsewhere."""
    if not is_followed():
        return None
    from opentelemetry.trace import get_current_span

    context = get_current_span().get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _context(trace: str) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    match = _TRACEPARENT.fullmatch(trace)
    if match is None:
        return Context()
    identity, span, flags = (int(group, 16) for group in match.groups())
    remote = SpanContext(identity, span, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _said(exporter: Any) -> Any:
    """Return an exporter that says when spans cannot be sent, and when they can again; not with each batch."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Said(SpanExporter):
        _is_away = False

        def export(self, spans: Sequence[Any]) -> Any:
            result = exporter.export(spans)
            is_away = result is not SpanExportResult.SUCCESS
            if is_away != self._is_away:
                self._is_away = is_away
                logger.warning("Traces are not sent for now." if is_away else "Traces are sent again.")
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return bool(exporter.force_flush(timeout_millis))

    return Said()
