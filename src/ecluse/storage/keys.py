"""Check, join and compare object keys, segment by segment.

A key is a relative path such as `user_data/4f2k/uploads/4f2k_20251121_041000_payments.csv`. Whatever a
caller passes, a checked key has no segment that is empty, `.` or `..`, also not after percent-decoding
or Unicode normalisation, so joining it to a prefix cannot leave that prefix on any backend.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from ecluse.errors import InvalidKey
from ecluse.sentences import _

#: S3's limit, in UTF-8 bytes.
MAX_KEY_BYTES: Final = 1024
#: The limit of a file name on the file systems we run on, in UTF-8 bytes, less room for a temporary suffix.
MAX_SEGMENT_BYTES: Final = 240
_PLAIN_SEGMENT: Final = rf"[A-Za-z0-9_=-][A-Za-z0-9_.=-]{{0,{MAX_SEGMENT_BYTES - 1}}}"
#: As nearly all keys are: every software reads them as they stand.
_PLAIN: Final = re.compile(rf"{_PLAIN_SEGMENT}(?:/{_PLAIN_SEGMENT})*")


def checked_key(key: str) -> str:
    """Return `key` itself, when it is one; raise `InvalidKey` otherwise."""
    if len(key) <= MAX_KEY_BYTES and _PLAIN.fullmatch(key):
        return key
    return _closely_checked(key)


def _closely_checked(key: str) -> str:
    if not key:
        raise InvalidKey(_("A key is empty."))
    if len(key.encode(errors="replace")) > MAX_KEY_BYTES:
        raise InvalidKey(
            _("Key %(key)s… is longer than %(count)s bytes.", key=repr(key[:60]), count=MAX_KEY_BYTES)
        )
    for segment in key.split("/"):
        _check_segment(segment, key)
    return key


def join_key(*parts: str) -> str:
    """Join parts that are each a checked key; empty parts are left out."""
    return "/".join(checked_key(part) for part in parts if part)


def is_within(key: str, prefix: str) -> bool:
    """Return whether `key` lies under `prefix`, compared by whole segments: `user_1/x` is not within `user_12`."""
    prefix_segments = prefix.split("/")
    segments = key.split("/")
    return len(segments) > len(prefix_segments) and segments[: len(prefix_segments)] == prefix_segments


def safe_filename(name: str) -> str:
    """Return a person's file name as one ASCII key segment that any S3 tool can handle; never empty."""
    last = re.split(r"[/\\]", name)[-1]
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-")
    return cleaned[-120:].lstrip("._-") or "file"


def timestamp(moment: datetime | None = None) -> str:
    """Return `YYYYMMDD_HHMMSS` in UTC, as it stands in keys and version names."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%d_%H%M%S")


def _check_segment(segment: str, key: str) -> None:
    shown = repr(key if len(key) <= 120 else key[:120] + "…")
    if len(segment.encode(errors="replace")) > MAX_SEGMENT_BYTES:
        raise InvalidKey(
            _("Key %(key)s has a part longer than %(count)s bytes.", key=shown, count=MAX_SEGMENT_BYTES)
        )
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in segment):
        raise InvalidKey(_("Key %(key)s holds a control or invisible character.", key=shown))
    for form in _readings(segment):
        if form.strip() in ("", ".", "..") or "/" in form or "\\" in form:
            raise InvalidKey(
                _("Key %(key)s has a part that is empty, . or .., or holds a slash in disguise.", key=shown)
            )


def _readings(segment: str) -> set[str]:
    """Return the segment as other software may read it: decoded and normalised, in turn, until nothing is new."""
    forms, new = {segment}, {segment}
    while (
        new := {
            read
            for form in new
            for read in (unquote(form, errors="replace"), unicodedata.normalize("NFKC", form))
        }
        - forms
    ):
        forms |= new
    return forms
