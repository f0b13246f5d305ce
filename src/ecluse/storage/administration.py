"""Say what a provider does to a bucket beyond objects, and send it the few requests that obstore cannot.

obstore signs requests for objects. It cannot make a bucket, list the uploads in parts that no one will finish, or end
them; so `s3.py` and `azure.py` sign these few requests, each small and without a body, themselves.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timedelta
from http.client import HTTPException, IncompleteRead
from typing import Final, Protocol
from urllib.parse import quote

from ecluse.errors import StoreUnavailable
from ecluse.sentences import _
from ecluse.storage.backend import Method, StaleUploads

#: How long one of these requests may take.
SECONDS: Final = 30
_EXISTS: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists", "ContainerAlreadyExists"})


class Administration(Protocol):
    """What a provider does to a bucket beyond objects."""

    def sign(self, path: str, method: Method, expires: timedelta) -> str | None:
        """Return a signed address, where obstore's own would not hold."""

    def make_bucket(self) -> bool:
        """Make it; False where it is there already."""

    def unfinished(self, prefix: str, before: datetime, *, remove: bool) -> StaleUploads:
        """Count, and with `remove` abort, the uploads in parts under `prefix` that began before that moment."""


def quoted_query(parts: Mapping[str, str]) -> str:
    """Return the query of an address, its names in order, as signatures ask for them."""
    return "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(parts.items())
    )


def make_bucket_by(request: urllib.request.Request, url: str) -> bool:
    """Send a request that makes a bucket; False if the bucket exists already."""
    try:
        urllib.request.urlopen(request, timeout=SECONDS).close()  # noqa: S310 (the endpoint is checked)
    except urllib.error.HTTPError as error:
        with error:
            code_element = re.search(r"<Code>(\w+)</Code>", _body(error))
        code = code_element[1] if code_element else f"HTTP {error.code}"
        if code in _EXISTS or (error.code == 409 and code_element is None):
            return False  # one that is someone else's refuses the first write
        if error.code in (401, 403):
            raise StoreUnavailable(
                _(
                    "The store %(store)s refused access to %(key)s. Check keys and rights: ecluse doctor",
                    store=url,
                    key="'/'",
                )
            ) from None
        raise StoreUnavailable(unanswered(url, code)) from None
    except (OSError, HTTPException) as error:
        raise StoreUnavailable(unanswered(url, reason_of(error))) from None
    return True


def _body(error: urllib.error.HTTPError) -> str:
    """Read the body of an error answer, as much of it as arrives."""
    try:
        return error.read().decode("utf-8", "replace")
    except IncompleteRead as broken:
        return broken.partial.decode("utf-8", "replace")


def unanswered(url: str, reason: str) -> str:
    """Say that a store did not answer as it should."""
    return _(
        "The store %(store)s did not answer as it should for %(key)s: %(error)s. See: ecluse doctor",
        store=url,
        key="'/'",
        error=reason,
    )


def reason_of(error: Exception) -> str:
    """Return why a request failed, without the address, which may be a signed one."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or type(error).__name__)
