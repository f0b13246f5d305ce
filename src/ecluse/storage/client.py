"""Say how long the client of object stores waits and how often it tries again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

#: How long sending one part of 8 MiB of a person's upload to the store may take (9 kB/s). Whether the store answers
#: at all is checked separately.
SENDING: Final = timedelta(minutes=15)
#: A part that failed is sent again within this many times the patience, as sending it took some of that time.
_RETRIES: Final = 3


def open_clients(
    kind: Any, bucket: str, options: dict[str, Any], endpoint: str | None, patience: timedelta
) -> tuple[Any, Any]:
    """Return two clients of one bucket: one that is quick to give up, and one for bodies that may take their time."""
    return (
        kind(bucket, **options, **client_options(endpoint, patience)),
        kind(bucket, **options, **client_options(endpoint, _RETRIES * patience, SENDING)),
    )


def client_options(
    endpoint: str | None, patience: timedelta, silence: timedelta | None = None
) -> dict[str, Any]:
    """Return obstore's timeouts and retries. Retries end by time, not by their number.

    `timeout` covers a whole body, so it is long; a line that falls silent is noticed by `read_timeout`. That one goes
    on while a body is sent: a part that a slow store takes longer for reads as silence (hence `silence`).
    """
    silence = silence or min(max(patience, timedelta(seconds=10)), timedelta(seconds=60))
    return {
        "client_options": {
            "allow_http": (endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=3),
            "timeout": max(timedelta(seconds=300), silence),
            "read_timeout": silence,
        },
        "retry_config": {
            "max_retries": 1000,
            "backoff": {
                "init_backoff": timedelta(milliseconds=500),
                "max_backoff": timedelta(seconds=10),
                "base": 2,
            },
            "retry_timeout": patience,
        },
    }
