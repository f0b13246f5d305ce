"""Say who asks, and over which scheme, by the word of the proxies that the settings name and of no one else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ecluse.addresses import Proxies, read_address

logger = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class Forwarded:
    """Set the client and the scheme of each request.

    `X-Forwarded-For` and `X-Forwarded-Proto` alone are read. `Forwarded`, `X-Real-IP` and the like are not: a proxy
    that sets one header and passes another on as the visitor wrote it would make the visitor's word count.
    """

    def __init__(self, app: Application, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        peer = scope.get("client")
        if scope["type"] in ("http", "websocket") and peer:
            self._set(scope, str(peer[0]))
        await self._app(scope, receive, send)

    def _set(self, scope: Scope, peer: str) -> None:
        hops = _parts(scope, b"x-forwarded-for")
        if not self._proxies.believes(peer):
            if hops:
                self._warn(peer)
            return
        visitor = self._proxies.visitor(peer, hops)
        if visitor != peer:
            scope["client"] = (visitor, 0)
        schemes = [part for part in _parts(scope, b"x-forwarded-proto") if part in ("http", "https")]
        if schemes:
            scope["scheme"] = schemes[-1]

    def _warn(self, peer: str) -> None:
        """Say once that someone near speaks for others: a proxy that the settings should name, or one who tries."""
        address = read_address(peer)
        if self._has_warned or address is None or not address.is_private:
            return
        self._has_warned = True
        logger.warning(
            "%s names other addresses as its visitors and is not believed, so that all of them count as one. "
            "If it is your proxy, set ECLUSE_TRUSTED_PROXIES=%s",
            address,
            address,
        )


def _parts(scope: Scope, name: bytes) -> list[str]:
    """Return the parts, between commas, of all headers of this name, in their order."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return [part.strip() for value in values for part in value.split(",") if part.strip()]
