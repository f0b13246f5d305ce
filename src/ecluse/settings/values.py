"""Read one variable of the environment, and say what it was decided to be."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from ecluse.errors import SettingsError
from ecluse.sentences import _

T = TypeVar("T", bound=str)
GIB: Final = 1024**3
#: Where a value comes from that nobody set.
DEFAULT: Final = _("default")
TRUE: Final = ("1", "true", "yes", "on")
FALSE: Final = ("0", "false", "no", "off")


class Secret(str):
    """A string that never shows itself in a representation, a log line or a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('…')"


@dataclass(frozen=True)
class Detected:
    """One setting as it was decided: its value fit to be shown, and the reason."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True)
class Section:
    """What an application or a scheme of storage reads of the environment: variables and the value made of them.

    `kind()` is the value where nothing is set. `read` is given the variables that are set, without blanks around them;
    it raises SettingsError for one that cannot be used.
    """

    kind: type
    variables: Mapping[str, str]
    read: Callable[[Mapping[str, str]], Any]


def first_set(env: Mapping[str, str], names: tuple[str, ...]) -> tuple[str | None, str]:
    """Return the value of the first of these variables that is set, and its name; else None and "default"."""
    return next(((env[name], name) for name in names if name in env), (None, DEFAULT))


def flag(env: Mapping[str, str], name: str, *, default: bool | None) -> bool | None:
    """Read a variable that is true or false. Raises SettingsError where it is neither."""
    value = env.get(name)
    if value is None:
        return default
    if value.lower() in TRUE:
        return True
    if value.lower() in FALSE:
        return False
    raise SettingsError(f"{name}={value} is neither true nor false.")


def one_of(env: Mapping[str, str], name: str, values: tuple[T, ...], default: T) -> T:
    """Read a variable that is one of some words, in any case. Raises SettingsError where it is none of them."""
    value = env.get(name)
    if value is None:
        return default
    for each in values:
        if value.lower() == each:
            return each
    raise SettingsError(f"{name}={value} is none of {', '.join(values)}.")


def number_of_bytes(env: Mapping[str, str], name: str, default: int) -> int:
    """Read a variable that is a number of bytes. Raises SettingsError where it is none."""
    value = env.get(name)
    if value is None:
        return default
    # isdigit alone also takes ², and int alone _ and digits of other scripts. Above 18 digits is a slip.
    if not (value.isascii() and value.isdigit() and len(value) <= 18) or int(value) < 1:
        raise SettingsError(f"{name}={value} is not a number of bytes, such as {default}.")
    return int(value)


def web_address(name: str, url: str) -> str:
    """Return an address that starts with http:// or https:// and carries no password. Raises SettingsError."""
    parts = split_address(name, url)
    if "@" in url:
        raise SettingsError(
            f"{name} carries a user name or a password; an address goes without: https://host:port."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{name}={url} is not an address; it starts with http:// or https://.")
    return url


def listening_address(env: Mapping[str, str], name: str) -> tuple[str, int] | None:
    """Read an address to listen on, such as 127.0.0.1:9464 or [::1]:9464; None where the variable is not set.

    Raises:
        SettingsError: it is none.
    """
    if name not in env:
        return None
    try:
        return parse_listening(env[name])
    except ValueError as error:
        raise SettingsError(
            f"{name}={env[name]} is no address to listen on: {error}. Write HOST:PORT, such as 127.0.0.1:9464; "
            "0.0.0.0:9464 for other machines."
        ) from None


def parse_listening(text: str) -> tuple[str, int]:
    """Return the host and the port of HOST:PORT; raises ValueError where it is none."""
    parts = urlsplit(f"//{text}")
    if parts.path or parts.query or parts.fragment or parts.username or not parts.hostname:
        raise ValueError("a host and a port are needed, and nothing else")
    if parts.port is None:
        raise ValueError("it has no port")
    return parts.hostname, parts.port


def fits_a_header(secret: str) -> bool:
    """Return whether a header can carry it: one that it cannot carry would stand in the message of the fault."""
    return all("!" <= character <= "~" for character in secret)


def is_base64(text: str) -> bool:
    """Return whether this is written in base64."""
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def without_password(url: str) -> str:
    """Return the address as it may be shown: its password becomes three dots."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    _, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{parts.username}:…@{host}").geturl()


def split_address(name: str, url: str) -> SplitResult:
    """Split the address in the variable `name`. Errors never show the address, as it may hold a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise SettingsError(
            f"{name} cannot be read as an address: its host or port is malformed. In a password, write "
            "[ as %5B, ] as %5D, / as %2F, : as %3A and @ as %40."
        ) from None
    return parts


def folder_at(name: str, path: Path) -> Path:
    """Return the absolute path of a folder that the variable or option `name` gives."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise SettingsError(
            f"{name}={path} names the home folder of a person who is not known here."
        ) from None
