"""Name the cookies by which browsers are known.

By https each has the prefix `__Host-`: a browser takes such a cookie from this very host and by https alone, so that no
other host of the domain, and nobody on the way, can plant one. Browsers refuse it by http, where the names are plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: The cookie with the secret of a session, and the one that marks a browser that has signed in before.
SESSION_COOKIE: Final = "ecluse_session"
BROWSER_COOKIE: Final = "ecluse_browser"
#: The cookie with the proof that the password was right, until the second factor is, too.
STEP_COOKIE: Final = "ecluse_step"
HOST_PREFIX: Final = "__Host-"
_OURS: Final = "ecluse_"


def cookie_named(name: str, *, secure: bool) -> str:
    """Return how a cookie is called to a browser; `secure`: it goes by https alone."""
    return f"{HOST_PREFIX}{name}" if secure else name


def own_cookies(cookies: Mapping[str, str], *, secure: bool) -> dict[str, str]:
    """Return cookies by their plain names; of ours, where they go by https alone, only those with the prefix."""
    if not secure:
        return dict(cookies)
    plain = {name: value for name, value in cookies.items() if not name.startswith(_OURS)}
    return plain | {
        name.removeprefix(HOST_PREFIX): value
        for name, value in cookies.items()
        if name.startswith(HOST_PREFIX)
    }
