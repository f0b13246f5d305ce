"""Fetch one image from the web, for someone who may name any address: never from where only this machine can reach.

The name of a host is looked up once, its addresses are checked, and the connection goes to the very one that was
checked; so is every place that an answer sends on to.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from ecluse import __version__
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.formats import MAX_BYTES, MEDIA_TYPES
from ecluse.apps.plants.sources import too_large
from ecluse.sentences import _, num

USER_AGENT: Final = f"ecluse/{__version__} (images that a person listed)"
#: Seconds that one image may take, and that a host may be silent.
MOST_SECONDS: Final = 30.0
SILENCE: Final = 10.0
MOST_REDIRECTS: Final = 5
#: Requests for one image whose host is busy for a moment, and the pause between them (s).
ATTEMPTS: Final = 3
PAUSE: Final = 1.0
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHUNK: Final = 256 * 1024
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch_image(url: str, *, allow_private: bool = False) -> bytes:
    """Return the bytes at `url`, at most `MAX_BYTES`.

    Raises:
        UnreadableImage: it did not come, or may not be asked for; the message says why.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _fetch(url, allow_private)
        except _Passing as passing:
            if attempt + 1 == ATTEMPTS:
                raise UnreadableImage(_("It could not be fetched: %(reason)s.", reason=passing)) from passing
            time.sleep(PAUSE * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


class _Passing(Exception):
    """What may be gone at the next attempt."""


def _fetch(url: str, allow_private: bool) -> bytes:
    until = time.monotonic() + MOST_SECONDS
    for _turn in range(MOST_REDIRECTS + 1):
        parts = _checked(url)
        address = _looked_up(parts, allow_private)
        with _answer(parts, address, until) as answer:
            if 300 <= answer.status < 400 and (place := answer.headers.get("Location")):
                url = _sent_on(url, place)
                continue
            if answer.status != 200:
                reason = _("%(key)s answers %(number)s", key=parts.hostname, number=answer.status)
                if answer.status in _PASSING:
                    raise _Passing(reason)
                raise UnreadableImage(_("It could not be fetched: %(reason)s.", reason=reason))
            return _body(answer)
    raise UnreadableImage(
        _(
            "It could not be fetched: %(reason)s.",
            reason=_("more than %(count)s redirects", count=MOST_REDIRECTS),
        )
    )


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port_is_one = parts.port != 0
    except ValueError as error:
        raise UnreadableImage(_("It is no address of the web: %(reason)s.", reason=error)) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_one:
        raise UnreadableImage(
            _("It is no address of the web: %(reason)s.", reason=_("it begins with https:// or http://"))
        )
    if "@" in parts.netloc:
        raise UnreadableImage(_("The address carries a name or a password; give it without."))
    if any(char <= " " or char == "\x7f" for char in url):
        raise UnreadableImage(
            _("It is no address of the web: %(reason)s.", reason=_("it holds blanks or control characters"))
        )
    return parts


def _looked_up(parts: SplitResult, allow_private: bool) -> tuple[str, int]:
    """Return the first address of a host and the port; none of its addresses may be private."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        answers = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreadableImage(
            _(
                "It could not be fetched: %(reason)s.",
                reason=_("there is no host %(key)s", key=parts.hostname),
            )
        ) from error
    hosts = [str(answer[4][0]).partition("%")[0] for answer in answers]
    if not allow_private and not all(is_public(ipaddress.ip_address(host)) for host in hosts):
        raise UnreadableImage(
            _("%(key)s is on a private network, which is not asked for images.", key=parts.hostname)
        )
    return str(answers[0][4][0]), port


def is_public(address: Address) -> bool:
    """Return whether an address is one of the internet at large, also where it stands for one of another kind."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved)


@contextmanager
def _answer(parts: SplitResult, address: tuple[str, int], until: float) -> Iterator[http.client.HTTPResponse]:
    """Yield the answer of the host at an address; the connection is cut when the time is over."""
    connection = http.client.HTTPConnection(parts.hostname or "", address[1])
    watch: threading.Timer | None = None
    late = threading.Event()

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError):  # it has ended meanwhile
            plain.shutdown(socket.SHUT_RDWR)

    try:
        plain = socket.create_connection(address, timeout=min(SILENCE, max(until - time.monotonic(), 0.1)))
        watch = threading.Timer(max(until - time.monotonic(), 0.1), cut)
        watch.daemon = True
        watch.start()
        connection.sock = plain
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
        connection.request(
            "GET",
            f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}",
            headers={
                "Host": parts.netloc,
                "User-Agent": USER_AGENT,
                "Accept": ", ".join(MEDIA_TYPES),
                "Accept-Encoding": "identity",
            },
        )
        yield connection.getresponse()
        if late.is_set():  # what was cut reads as if it had ended
            raise TimeoutError
    except ssl.SSLCertVerificationError as error:
        raise UnreadableImage(
            _(
                "It could not be fetched: %(reason)s.",
                reason=_("the certificate of %(key)s cannot be trusted", key=parts.hostname),
            )
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        # A length below nothing is a ValueError.
        if isinstance(error, UnreadableImage):
            raise
        if late.is_set():
            raise UnreadableImage(
                _("It could not be fetched in %(number)s s.", number=num(MOST_SECONDS, "g"))
            ) from error
        raise _Passing(_("%(key)s does not answer", key=parts.hostname)) from error
    finally:
        if watch is not None:
            watch.cancel()
        connection.close()


def _sent_on(url: str, place: str) -> str:
    try:
        after = urljoin(url, place)
    except ValueError as error:
        raise UnreadableImage(_("It is no address of the web: %(reason)s.", reason=error)) from error
    if url.startswith("https:") and not after.startswith("https:"):
        raise UnreadableImage(
            _(
                "It could not be fetched: %(reason)s.",
                reason=_("https sends on to an address without encryption"),
            )
        )
    return after


def _body(answer: http.client.HTTPResponse) -> bytes:
    length = answer.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and int(length) > MAX_BYTES:
        raise UnreadableImage(too_large(int(length)))
    if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UnreadableImage(
            _(
                "It could not be fetched: %(reason)s.",
                reason=_("the answer is packed, which was not asked for"),
            )
        )
    data = bytearray()
    while chunk := answer.read(_CHUNK):
        data += chunk
        if len(data) > MAX_BYTES:
            raise UnreadableImage(
                _(
                    "The file has more than %(count)s bytes. Make the image smaller.",
                    count=num(MAX_BYTES, ","),
                )
            )
    if length.isascii() and length.isdigit() and len(data) < int(length):
        raise _Passing(_("the answer ended early"))
    return bytes(data)
