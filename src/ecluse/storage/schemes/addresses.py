"""Split the addresses that begin with a bucket."""

from __future__ import annotations

from urllib.parse import urlsplit

from ecluse.errors import SettingsError
from ecluse.sentences import _


def split_bucket(url: str) -> tuple[str, str]:
    """Return the bucket of an address, and the prefix behind it."""
    parts = urlsplit(url)
    if not parts.netloc:
        raise SettingsError(
            _(
                "Store address %(value)s names no bucket; use %(word)s.",
                value=repr(url),
                word=f"{parts.scheme}://bucket/prefix",
            )
        )
    return parts.netloc, parts.path.strip("/")
