"""Check what a publisher says of a version: plain JSON within limits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ecluse.errors import (
    InvalidInput,
)
from ecluse.sentences import _, num

#: Limits of metadata: bytes as JSON, levels of nesting, values in objects (a plain list counts as one value),
#: characters of a key.
METADATA_BYTES, LEVELS, VALUES, KEY = 64 * 1024, 20, 1_000, 200


def checked_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata that a person gives, as they come back from a manifest.

    Raises:
        InvalidInput: they are not plain JSON, or more than a page can show.
    """
    _expect_shown(metadata)
    plain = plain_metadata(metadata)
    if len(json.dumps(plain, ensure_ascii=False).encode()) > METADATA_BYTES:
        raise _not_kept(_("they are larger than %(count)s KiB", count=METADATA_BYTES // 1024))
    return plain


def _expect_shown(metadata: Mapping[str, Any]) -> None:
    count = 0
    open_: list[tuple[Any, int]] = [(metadata, 1)]
    while open_:
        item, level = open_.pop()
        if level > LEVELS:
            raise _not_kept(_("they are nested more than %(count)s levels deep", count=LEVELS))
        if isinstance(item, Mapping):
            if any(not isinstance(key, str) or len(key) > KEY for key in item):
                raise _not_kept(_("a key is no text, or longer than %(count)s characters", count=KEY))
            inner = list(item.values())
            count += len(inner)
        else:
            inner = list(item)
            count += 1
        for value in inner:
            if isinstance(value, Mapping | list | tuple):
                open_.append((value, level + 1))
            elif isinstance(value, int | float) and not fits_float(value):
                raise _not_kept(_("a number is not finite, or too large"))
        if count > VALUES:
            raise _not_kept(_("they hold more than %(count)s values", count=num(VALUES, ",")))


def fits_float(value: float) -> bool:
    """Return whether a number, such as an integer of any length, is a finite float too."""
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of more digits than a float has
        return False


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False)
        text.encode()
        return dict(json.loads(text))
    except UnicodeEncodeError as error:
        raise _not_kept(_("a text holds half a character")) from error
    except (TypeError, ValueError) as error:
        raise _not_kept(str(error)) from error


def _not_kept(error: str) -> InvalidInput:
    return InvalidInput(
        _(
            "These metadata cannot be kept: %(error)s. Use texts, finite numbers, lists and objects.",
            error=error,
        )
    )
