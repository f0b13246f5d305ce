"""Write the log of a process: one setup, lines for people or JSON, each with what it is about.

A line has its time (UTC), level, process and logger; within a request also the request, within a job the job, and the
owner as soon as it is known. `about` says so for a block, in every function that is called there and in threads that
copy the context; `note` adds to it. A record's `fields` (`extra={"fields": {…}}`) are in its JSON alone.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, get_args

#: How lines are written: for people, or one JSON object each for what collects them.
Form = Literal["people", "json"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
Level = Literal["debug", "info", "warning", "error"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

_about: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)
#: Libraries whose lines of less than a warning say nothing to who runs this.
TALKATIVE: Final = (
    "alembic",
    "httpcore",
    "httpx",
    "matplotlib",
    "numba",
    "onnxscript",
    "PIL",
    "urllib3",
)
#: What lets someone in, wherever it may come from: our tokens, passwords of addresses (up to the last @ of the word, as
#: one may hold an @ or a slash; a port is none) and signatures of addresses that a store has signed.
_SECRETS: Final = re.compile(
    r"""(?P<token>\becluse_)[A-Za-z0-9_-]{40,}
    |(?P<user>(?<=://)[^/\s:@]*:)(?!\d{1,5}[/?\#,;)\]"'\s])[^\s"'<>]+(?=@)
    |(?P<name>(?i:(?<![\w-])(?:x-(?:amz|goog)-(?:signature|security-token)|signature|(?<=[?&])sig)=))[^&\s"'<>,]+""",
    re.VERBOSE,
)
#: What would begin another line, or steer a terminal.
_STEERING: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def set_up(
    process: str, form: Form = "people", level: Level = "info", *, stream: TextIO | None = None
) -> None:
    """Let every logger of this process write to standard error; `process` is its role, such as web."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json(process) if form == "json" else _ForPeople(process))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    quiet = max(logging.WARNING, root.level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(quiet)
    logging.captureWarnings(True)


@contextmanager
def about(**values: str) -> Iterator[None]:
    """Say in every line of this block what it is about, such as `job="…"`, besides what was said around it."""
    token = _about.set({**(_about.get() or {}), **values})
    try:
        yield
    finally:
        _about.reset(token)


def note(**values: str) -> None:
    """Add to what the lines of the block around are about, also for who called this function."""
    current = _about.get()
    if current is not None:
        current.update(values)


def noted() -> dict[str, str]:
    """Return what lines are about here."""
    return dict(_about.get() or {})


class _Formatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = f"{process} {os.getpid()}"

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        moment = datetime.fromtimestamp(record.created, UTC)
        return {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            **_scrubbed(noted()),
        }

    def trace(self, record: logging.LogRecord) -> str:
        if not record.exc_info:
            return ""
        return without_secrets(self.formatException(record.exc_info))


class _Json(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        if trace := self.trace(record):
            fields["trace"] = trace
        more = _scrubbed(getattr(record, "fields", {}))
        return json.dumps(
            {**fields, **{name: more[name] for name in more if name not in fields}}, ensure_ascii=False
        )


class _ForPeople(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        said = [fields.pop(name) for name in ("time", "level", "process", "logger", "message")]
        time, level, process, _logger, message = said
        more = " ".join(f"{name}={value}" for name, value in fields.items())
        line = f"{time} {level:<7} {process}: {message}{f'  [{more}]' if more else ''}"
        trace = self.trace(record)
        lines = [line, *trace.splitlines()] if trace else [line]
        return "\n    ".join(_STEERING.sub(_written_out, each) for each in lines)


def without_secrets(text: str) -> str:
    """Return a text without what lets someone in: tokens of ours, passwords and signatures in addresses."""
    return _SECRETS.sub(lambda match: f"{match[match.lastgroup or 0]}…", text)


def _scrubbed(value: Any) -> Any:
    """Return a value as JSON has it, without what lets someone in; what JSON has not is text."""
    if isinstance(value, Mapping):
        return {str(name): _scrubbed(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(inner) for inner in value]
    return value if isinstance(value, bool | int | float | None) else without_secrets(str(value))


def _written_out(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
