"""Check the names of models and versions."""

from __future__ import annotations

import re
from typing import Final

from ecluse.errors import (
    InvalidInput,
    VersionNotFound,
)
from ecluse.sentences import _

#: What stands for the newest version, where an alias may.
LATEST: Final = "latest"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ALIAS: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LONG: Final = re.compile(r"(@[a-z0-9-]{1,40})[/~](.*)", re.DOTALL)
_VERSION = re.compile(r"v([0-9]{8}_[0-9]{6})(?:_([0-9]{1,9}))?")


def checked_name(name: str) -> str:
    """Return a model name that can stand in a key, a URL and a file name; `InvalidInput` otherwise."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidInput(
            _(
                "%(name)s cannot be a model name: use 1 to 64 letters, digits, dots, hyphens or "
                "underscores, beginning with a letter or digit.",
                name=repr(name),
            )
        )
    return name


def split_owner(name: str) -> tuple[str, str]:
    """Return whose model a name means, as @OWNER, and its name there: "@acme/churn"; of one's own no owner, ""."""
    match = _LONG.fullmatch(name) if isinstance(name, str) else None
    return ("", name) if match is None else (match[1], match[2])


def checked_address(name: str) -> str:
    """Return the name of a model of one's own, or of another's as @OWNER/NAME (also written @OWNER~NAME).

    Raises:
        InvalidInput: it cannot be one.
    """
    owner, own = split_owner(name)
    return f"{owner}/{checked_name(own)}" if owner else checked_name(own)


def checked_alias(alias: str) -> str:
    """Return a name that can be an alias; `InvalidInput` otherwise."""
    if alias == LATEST:
        raise InvalidInput(
            _('"latest" is always the newest version and cannot be set. Choose another alias.')
        )
    if is_version(alias):
        raise InvalidInput(
            _(
                "%(value)s would read as a version. Choose another alias, such as production.",
                value=repr(alias),
            )
        )
    if not _ALIAS.fullmatch(alias):
        raise InvalidInput(
            _(
                "%(value)s cannot be an alias: use 1 to 64 small letters, digits, dots, hyphens or "
                "underscores, beginning with a letter or digit.",
                value=repr(alias),
            )
        )
    return alias


def checked_version(version: str) -> str:
    """Return a version name such as v20251028_181858; `VersionNotFound` otherwise."""
    if not is_version(version):
        raise VersionNotFound(
            _(
                "%(value)s is not a version; one looks like %(word)s.",
                value=repr(version),
                word="v20251028_181858",
            )
        )
    return version


def is_version(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def order_of(version: str) -> tuple[str, int]:
    match = _VERSION.fullmatch(version)
    assert match  # noqa: S101 (the callers have matched it)
    return match[1], int(match[2] or 1)
