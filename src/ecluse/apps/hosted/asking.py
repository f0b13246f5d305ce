"""Ask a process of an application, and say what its replies and its end mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from ecluse.apps.hosted.channel import ChannelClosed
from ecluse.apps.hosted.errors import AppAway, AppFailed
from ecluse.apps.hosted.process import AppProcess
from ecluse.sentences import _, from_json

#: Seconds between two looks whether an answer is still waited for.
LOOK: Final = 0.25
logger = logging.getLogger(__name__)
Heard = Callable[[Mapping[str, Any], bytes], None]


def ask(
    process: AppProcess,
    message: Mapping[str, Any],
    data: bytes,
    seconds: float | None,
    *,
    heard: Heard | None = None,
    look: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], bytes]:
    """Send a process a message and return its reply. `heard` takes what it says meanwhile; `look` is called now
    and then.

    Raises:
        AppFailed: the function raised an error.
        AppAway: the process has ended, or took more than `seconds`.
    """
    waited = 0.0
    try:
        process.channel.send(message, data)
        while True:
            said = process.channel.receive(LOOK)
            look()
            if said is None:
                waited += LOOK
                if seconds is not None and waited >= seconds:
                    raise AppAway(
                        _(
                            "The application took more than %(count)s s and was ended. Try less at once.",
                            count=round(seconds),
                        )
                    )
                continue
            reply, beside = said
            if not _is_progress(reply):
                return expect_well(reply, process), beside
            if heard is not None:
                heard(reply, beside)
    except ChannelClosed as gone:
        raise away_of(process) from gone


def _is_progress(reply: Mapping[str, Any]) -> bool:
    return any(name in reply for name in ("log", "report", "save"))


def expect_well(reply: dict[str, Any], process: AppProcess) -> dict[str, Any]:
    """Return a reply that says no error. Raises AppFailed."""
    match reply.get("error"):
        case None:
            return reply
        case "memory":
            raise AppFailed(
                _(
                    "The application needed more memory than it may take. Give it less data, or raise "
                    "ECLUSE_APP_MAX_BYTES."
                )
            )
        case "refused":
            raise AppFailed(_said(reply.get("message"), process))
        case _:
            logger.info("An application raised an error; its output ends: %s", process.output())
            raise AppFailed(
                _(
                    "The application raised an error: %(reason)s",
                    reason=process.hidden(str(reply.get("message")))[:1000],
                )
            )


def _said(message: Any, process: AppProcess) -> str:
    """Return what a process says, who may say anything: a sentence of ours, or the beginning of a text."""
    try:
        said = from_json(message)
    except ValueError:
        said = str(message)
    hidden = process.hidden(said)
    return said if isinstance(message, dict) and hidden == said else hidden[:2000]


def away_of(process: AppProcess) -> AppAway:
    """Return the error that says a process has ended, and log how."""
    how, output = process.how_it_ended(), process.output()
    logger.warning("The process of an application ended by itself (%s); its output ends: %s", how, output)
    is_memory = any(word in output for word in ("MemoryError", "memory allocation of", "bad_alloc"))
    if is_memory:
        return AppAway(
            _(
                "The process of the application ended: it needed more memory than it may take. Give it less "
                "data, or raise "
                "ECLUSE_APP_MAX_BYTES."
            )
        )
    return AppAway(
        _(
            "The process of the application ended (%(reason)s). It is begun again; try again in a moment.",
            reason=how,
        )
    )
