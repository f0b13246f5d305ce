"""Ask a server by its API, and raise what it answers as the errors that it raised."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import quote

import httpx

from ecluse import __version__, errors
from ecluse.client.credentials import Credentials
from ecluse.errors import EcluseError, InvalidInput, NotSignedIn, ServerAway, ServerRefused
from ecluse.sentences import _

#: How long a connection, and an answer, may take (s).
_TIMEOUT: Final = httpx.Timeout(60, connect=10)
#: How long what can be sent again is tried, where the server is away (s), and the pauses in between.
PATIENCE = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
#: What a server that is overloaded, or a proxy before one that is away, answers with.
_AWAY: Final = (502, 503, 504)
T = TypeVar("T")


class Server:
    """A server and a connection to it. What is not answered is `ServerAway`; what it refuses, its own error."""

    def __init__(self, credentials: Credentials) -> None:
        self.address = credentials.address
        self._http = httpx.Client(
            base_url=f"{credentials.address}/api/",
            headers={"authorization": f"Bearer {credentials.token}", "user-agent": f"ecluse/{__version__}"},
            timeout=_TIMEOUT,
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def send_json(self, method: str, path: str, **request: Any) -> Any:
        """Ask for JSON, again and again while the server is away; for what changes nothing when it is sent twice."""
        return patiently(lambda: self.json(method, path, **request))

    def send(self, method: str, path: str, **request: Any) -> None:
        """Send something, again and again while the server is away; for what changes nothing when it is sent twice."""
        patiently(lambda: self.call(method, path, **request))

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Yield the answer to one request, whose body is still to be read, byte for byte.

        Raises:
            ServerAway: it does not answer, or breaks off.
        """
        try:
            with self._http.stream(
                "GET", path, headers={"accept-encoding": "identity", **headers}
            ) as response:
                if not response.is_success:
                    response.read()
                    self._raise(response, path)
                yield response
        except httpx.TransportError as error:
            raise self._away(error) from error

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send one request. Raises `ServerAway` where it is not answered."""
        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise self._away(error) from error
        if not response.is_success:
            self._raise(response, path)
        return response

    def json(self, method: str, path: str, **request: Any) -> Any:
        """Send one request, and return the JSON it is answered with."""
        response = self.call(method, path, **request)
        try:
            return response.json()
        except ValueError as error:
            raise self.strange(path) from error

    def _raise(self, response: httpx.Response, path: str) -> NoReturn:
        """Raise what an answer means, as the error that the server raised."""
        code, message = _problem(response)
        if response.status_code in _AWAY:
            raise ServerAway(
                _(
                    "%(address)s cannot answer now (%(value)s): %(reason)s",
                    address=self.address,
                    value=response.status_code,
                    reason=message or response.reason_phrase,
                )
            )
        if response.status_code == 401:
            raise NotSignedIn(
                _(
                    "%(address)s does not know this token, or not any more. Sign in again: ecluse login %(address)s",
                    address=self.address,
                )
            )
        if response.is_redirect:
            raise ServerRefused(
                _(
                    "%(address)s leads to another address: %(value)s. Sign in there.",
                    address=self.address,
                    value=response.headers.get("location", ""),
                )
            )
        if message is None:
            raise self.strange(path, response.status_code)
        raise _error(code, message)

    def _away(self, error: httpx.TransportError) -> ServerAway:
        return ServerAway(
            _(
                "%(address)s does not answer (%(reason)s). Is it running, and the address right?",
                address=self.address,
                reason=str(error) or type(error).__name__,
            )
        )

    def strange(self, path: str, status: int | None = None) -> ServerRefused:
        """Return the error that says it does not answer as Écluse does."""
        return ServerRefused(
            _(
                "%(address)s does not answer %(path)s as Écluse does (%(value)s). Check the address, and "
                "that it is not older than this client.",
                address=self.address,
                path=f"/api/{path}",
                value="" if status is None else status,
            )
        )


def patiently(ask: Callable[[], T]) -> T:
    """Ask again while the server is away, with growing pauses, for `PATIENCE`."""
    began, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        try:
            return ask()
        except ServerAway:
            if time.monotonic() - began + pause > PATIENCE:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _problem(response: httpx.Response) -> tuple[str, str | None]:
    """Return the code and the sentence of an error of Écluse; no sentence for an answer of something else."""
    try:
        detail = response.json()["error"]
        return str(detail["code"]), str(detail["message"])
    except (ValueError, KeyError, TypeError):  # a proxy, or no Écluse
        return "", None


def _error(code: str, message: str) -> EcluseError:
    """Return the error that the server raised: the class of its code, if that is made from a sentence alone."""
    classes = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, EcluseError)
    ]
    plain = [
        each
        for each in classes
        if each.__init__ is EcluseError.__init__ and each.__dict__.get("code") == code
    ]
    return plain[0](message) if plain else ServerRefused(message)


def part_of(text: str) -> str:
    """Return text as one part of an address."""
    if text in ("", ".", ".."):
        raise InvalidInput(_("%(value)s names nothing.", value=repr(text)))
    return quote(text, safe="")


def model_part(name: str) -> str:
    """Return the name of a model as one part of an address; of one that others share, @OWNER/NAME, as @OWNER~NAME."""
    return part_of(name.replace("/", "~", 1) if name.startswith("@") else name)


def split_reference(reference: str) -> tuple[str, str, str]:
    """Return the name of a reference, the @ after it, and what follows that; a name of another's begins with one."""
    if not reference.startswith("@"):
        return reference.partition("@")
    name, at, which = reference[1:].partition("@")
    return f"@{name}", at, which


def as_json(value: float) -> float | str:
    """Return a number as JSON takes it; one that is not finite as its word."""
    return value if value - value == 0 else str(value)
