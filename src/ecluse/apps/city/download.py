"""Download a file from an open-data portal: politely, resumably, and whole or not at all.

One request at a time, a pause between two to the same host, waits where it asks for them, conditional requests, and
after a break the rest of the file where the host can give it. A body that ends early, is longer than it may be, or is
of another type than was asked for is never returned.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from ecluse import __version__
from ecluse.apps.city.errors import FetchFailed
from ecluse.sentences import _, num

#: Told now and then while a file comes; what it raises ends the work.
Beat = Callable[[], None]
USER_AGENT: Final = f"ecluse/{__version__} (open data, one request at a time)"
CHUNK: Final = 256 * 1024
#: Answers after which the same request may be made again, later.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_BEAT_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Pace:
    """How a host is treated: seconds between two requests, how often one is made, and how long is waited."""

    between: float = 0.5
    attempts: int = 6
    #: Of a host that cannot be reached at all.
    attempts_unreachable: int = 3
    first_wait: float = 2.0
    #: A host that asks for a longer wait is left alone.
    longest_wait: float = 120.0
    timeout: float = 60.0


@dataclass(frozen=True)
class Validators:
    """What a host said of a file when it came last, for asking whether it changed."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True)
class Download:
    """A file that came whole, unpacked, in a folder of passing files."""

    url: str
    path: Path
    size: int
    content_type: str
    validators: Validators


class Downloads:
    """Downloads into `scratch`, at a `pace`; `beat` is told while they come and while they wait."""

    def __init__(self, scratch: Path, *, pace: Pace | None = None, beat: Beat = lambda: None) -> None:
        self._scratch = scratch
        self._pace = pace or Pace()
        self._beat = beat
        self._asked: dict[str, float] = {}
        self._opener = _opener()

    @contextmanager
    def get(
        self,
        url: str,
        *,
        types: Iterable[str],
        largest: int,
        validators: Validators | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Download | None]:
        """Yield the file at `url`, there until the end of the `with`; None where it did not change since then.

        `types`: the content types that it may have; `largest`: the most bytes it may have, unpacked; `validators`:
        what the host said of it when it came last.

        Raises:
            FetchFailed: it did not come; the message says why and what to do.
        """
        host = checked_address(url).netloc
        request = _FileRequest(url, tuple(types), largest, validators or Validators(), dict(headers or {}))
        partial = _Partial(self._scratch / f"{uuid.uuid4().hex}.part")
        try:
            yield self._download(request, host, partial)
        finally:
            partial.path.unlink(missing_ok=True)
            partial.unpacked.unlink(missing_ok=True)

    def _download(self, request: _FileRequest, host: str, partial: _Partial) -> Download | None:
        attempt = 0
        while True:
            attempt += 1
            self._take_turn(host)
            try:
                return self._attempt(request, partial)
            except _Passing as passing:
                self._wait(passing, attempt, request.url, host)

    def _take_turn(self, host: str) -> None:
        self._sleep(self._asked.get(host, 0.0) + self._pace.between - time.monotonic())
        self._asked[host] = time.monotonic()

    def _wait(self, passing: _Passing, attempt: int, url: str, host: str) -> None:
        """Wait before the next attempt, or give up."""
        most = self._pace.attempts_unreachable if passing.is_unreachable else self._pace.attempts
        if attempt >= most:
            raise FetchFailed(
                _(
                    "%(name)s did not give %(file)s in %(count)s attempts: %(why)s. Look at your "
                    "connection, or whether the portal is up, and give the same command again: what was "
                    "fetched stays.",
                    name=host,
                    file=_shown(url),
                    count=attempt,
                    why=passing,
                )
            ) from passing
        wait = self._pace.first_wait * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311 (no secret)
        wait = min(wait, self._pace.longest_wait)
        if passing.wait_s is not None:
            if passing.wait_s > self._pace.longest_wait:
                raise FetchFailed(
                    _(
                        "%(name)s asks to be left alone for %(count)s s. Give the same command again after "
                        "that: what was fetched stays.",
                        name=host,
                        count=num(passing.wait_s, ".0f"),
                    )
                ) from passing
            wait = max(wait, passing.wait_s)
        self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._beat()
            time.sleep(min(left, _BEAT_SECONDS))

    def _attempt(self, file_request: _FileRequest, partial: _Partial) -> Download | None:
        url, types = file_request.url, file_request.types
        headers = {
            "User-Agent": USER_AGENT,
            "Accept": ", ".join(types),
            "Accept-Encoding": "gzip",
        } | file_request.headers
        request = Request(url, headers=headers | _conditions(file_request.validators, partial))  # noqa: S310 (checked above)
        try:
            with self._opener.open(request, timeout=self._pace.timeout) as response:
                _expect_type(response.headers, types, url)
                self._receive(response, partial, file_request)
        except HTTPError as error:
            with error:
                if error.code == 304:
                    return None
                raise _refused(error, url) from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, FetchFailed):
                raise
            raise _broken(error, url) from error
        size = _unpack(partial, file_request, self._beat)
        answered = partial.headers
        validators = Validators(answered.get("ETag"), answered.get("Last-Modified"))
        return Download(url, partial.unpacked, size, _type_of(answered), validators)

    def _receive(self, response: Any, partial: _Partial, request: _FileRequest) -> None:
        """Write the body to the partial file, behind what an earlier attempt left where the host goes on from there."""
        partial.begin(response.status, response.headers)
        expected = _length(response.headers)
        came = 0
        with partial.path.open("ab") as file:
            while chunk := _read(response):
                came += len(chunk)
                if partial.size + len(chunk) > request.largest:
                    raise FetchFailed(
                        _(
                            "%(file)s has more than %(count)s bytes; it is not what was asked for.",
                            file=_shown(request.url),
                            count=num(request.largest, ","),
                        )
                    )
                file.write(chunk)
                partial.size += len(chunk)
                self._beat()
        if expected is not None and came < expected:
            raise _Passing(
                _(
                    "the answer ended after %(done)s of %(total)s bytes",
                    done=num(came, ","),
                    total=num(expected, ","),
                )
            )


def checked_address(url: str) -> SplitResult:
    """Return the parts of an address that may be asked.

    Raises:
        FetchFailed: it is not http or https, or carries a name or a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchFailed(
            _("%(value)s is no address of a portal; it begins with https:// or http://.", value=_shown(url))
        )
    if "@" in parts.netloc:
        raise FetchFailed(
            _("An address at %(name)s carries a name or a password; give it without.", name=parts.hostname)
        )
    return parts


class _Passing(Exception):
    """What may be gone at the next attempt."""

    def __init__(self, reason: str, *, wait_s: float | None = None, is_unreachable: bool = False) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.is_unreachable = is_unreachable


@dataclass(frozen=True)
class _FileRequest:
    """What is asked for, and what it may be."""

    url: str
    types: tuple[str, ...]
    largest: int
    validators: Validators
    headers: dict[str, str]


class _Partial:
    """What has come of a file, packed as it came, and what the host said of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unpacked = path.with_suffix(".file")
        self.size = 0
        self.headers: Message = Message()

    @property
    def validator(self) -> str | None:
        """By what the host knows the very same bytes again; None where it cannot give the rest of them."""
        etag = self.headers.get("ETag")
        if (
            self.size == 0
            or etag is None
            or etag.startswith("W/")
            or self.headers.get("Accept-Ranges") != "bytes"
        ):
            return None
        return str(etag)

    def begin(self, status: int, headers: Message) -> None:
        """Make room for a body that comes: the rest of the file, or all of it."""
        goes_on = status == 206 and str(headers.get("Content-Range", "")).startswith(f"bytes {self.size}-")
        if goes_on and headers.get("ETag") in (None, self.headers.get("ETag")):
            return
        self.forget()
        if status == 206:
            raise _Passing(_("the answer is another part of the file than was asked for"))
        self.headers = headers

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self.size = 0
        self.headers = Message()


class _SameHost(HTTPRedirectHandler):
    """Follows a redirect within one host, never from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        before, after = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, newurl))
        is_safe = after.scheme in ("http", "https") and not (
            before.scheme == "https" and after.scheme == "http"
        )
        if not is_safe or after.hostname != before.hostname or "@" in after.netloc:
            raise _sent_on(req.full_url, newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> OpenerDirector:
    """Speaks http and https alone: no files, no FTP."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(), UnknownHandler(), HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler(), _SameHost(),
        HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _conditions(validators: Validators, partial: _Partial) -> dict[str, str]:
    if (validator := partial.validator) is not None:
        return {"Range": f"bytes={partial.size}-", "If-Range": validator}
    headers = {
        "If-None-Match": validators.etag,
        "If-Modified-Since": None if validators.etag else validators.last_modified,
    }
    return {name: value for name, value in headers.items() if value}


def _read(response: Any) -> bytes:
    try:
        data: bytes = response.read(CHUNK)
    except http.client.IncompleteRead as error:
        raise _Passing(_("the answer broke off")) from error
    return data


def _refused(error: HTTPError, url: str) -> Exception:
    """Return what an answer that is no file means."""
    host = urlsplit(url).netloc
    if error.code in _PASSING:
        return _Passing(
            _("it answers %(number)s %(words)s", number=error.code, words=error.reason),
            wait_s=_wait_asked(error.headers),
        )
    if 300 <= error.code < 400:  # to what is no web address, or in circles
        return _sent_on(url, urljoin(url, str(error.headers.get("Location", ""))))
    if error.code == 416:
        return _Passing(_("it no longer has the part that was asked for"))
    if error.code in (401, 403):
        return FetchFailed(
            _(
                "%(name)s refuses %(file)s (%(number)s). Where it asks for a key, look at the one you set.",
                name=host,
                file=_shown(url),
                number=error.code,
            )
        )
    reason = _said(error)
    facts = {"name": host, "number": error.code, "file": _shown(url)}
    if reason:
        return FetchFailed(_("%(name)s answers %(number)s to %(file)s: %(words)s.", words=reason, **facts))
    return FetchFailed(_("%(name)s answers %(number)s to %(file)s.", **facts))


def _sent_on(url: str, place: str) -> FetchFailed:
    parts = urlsplit(place)
    return FetchFailed(
        _(
            "%(name)s sends on to %(file)s, which is not asked. If the portal moved: ecluse city "
            "fetch --portal https://its-address",
            name=urlsplit(url).hostname,
            file=f"{parts.scheme}://{parts.hostname or ''}",
        )
    )


def _said(error: HTTPError) -> str:
    """Return the message of a portal's answer, which is JSON; nothing where it is something else."""
    try:
        content = json.loads(error.read(20_000))
    except (ValueError, OSError, http.client.HTTPException):
        return ""
    message = content.get("message") if isinstance(content, dict) else None
    return message[:200].rstrip(".") if isinstance(message, str) else ""


def _broken(error: BaseException, url: str) -> Exception:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return FetchFailed(
            _(
                "The certificate of %(name)s cannot be trusted: %(error)s.",
                name=urlsplit(url).netloc,
                error=reason.verify_message,
            )
        )
    text = str(reason) or type(reason).__name__
    return _Passing(text, is_unreachable=isinstance(error, URLError))


def _wait_asked(headers: Message) -> float | None:
    """Return seconds of a Retry-After, given as such or as a date."""
    header = (headers.get("Retry-After") or "").strip()
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):  # neither seconds nor a date: as if not given
        return None


def _length(headers: Message) -> int | None:
    header = headers.get("Content-Length")
    return int(header) if header is not None and header.isdigit() else None


def _type_of(headers: Message) -> str:
    return str(headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _expect_type(headers: Message, types: tuple[str, ...], url: str) -> None:
    if (type_ := _type_of(headers)) not in types:
        raise FetchFailed(
            _(
                "%(name)s answers %(file)s with %(what)s where %(value)s was asked for. Open the "
                "address in a browser to see what it says.",
                name=urlsplit(url).netloc,
                file=_shown(url),
                what=type_ or _("something that has no type"),
                value=types[0],
            )
        )


def _unpack(partial: _Partial, request: _FileRequest, beat: Beat) -> int:
    """Write the file as it is meant; how many bytes that are."""
    coding = str(partial.headers.get("Content-Encoding", "identity")).strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise FetchFailed(
            _(
                "%(file)s comes packed as %(value)s, which was not asked for.",
                file=_shown(request.url),
                value=coding,
            )
        )
    if coding == "identity":
        partial.path.replace(partial.unpacked)
        return partial.size
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
    size = 0
    try:
        with partial.path.open("rb") as packed, partial.unpacked.open("wb") as file:
            for data in _pieces(packed, unpacking):
                size += len(data)
                if size > request.largest:
                    raise FetchFailed(
                        _(
                            "%(file)s unpacks to more than %(count)s bytes.",
                            file=_shown(request.url),
                            count=num(request.largest, ","),
                        )
                    )
                file.write(data)
                beat()
    except zlib.error as error:
        partial.forget()
        raise _Passing(_("the packed answer is damaged: %(error)s", error=error)) from error
    if not unpacking.eof:
        partial.forget()
        raise _Passing(_("the packed answer ended early"))
    return size


def _pieces(packed: IO[bytes], unpacking: Any) -> Iterator[bytes]:
    """Yield what a packed file holds, never much of it at once."""
    while chunk := packed.read(CHUNK):
        while chunk:
            yield unpacking.decompress(chunk, CHUNK)
            chunk = unpacking.unconsumed_tail


def _shown(url: str) -> str:
    """Return an address as messages show it: without its query, which is long."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
