"""Know who is asking, refuse requests that another site sent, and set the headers that protect a page.

A browser is known by a session cookie, a program by `Authorization: Bearer`. An operation of the API declares the scope
that a token needs for it by the type of its parameter: `MayRead`, `MayPredict`, `MayPublish` or `MayManage`.

A request that could change something is refused when the browser says that another origin sent it; the rule is that of
Go's `http.CrossOriginProtection`: trust `Sec-Fetch-Site`, else compare `Origin` with `Host`, else it is no browser.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, MutableMapping
from ipaddress import ip_address
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecluse.accounts import (
    BROWSER_COOKIE,
    SESSION_COOKIE,
    SESSION_LIFETIME,
    Admission,
    SignedIn,
    comes_from_elsewhere,
    expect_scope,
    ways,
)
from ecluse.accounts.scopes import Scope as TokenScope
from ecluse.addresses import NO_PROXIES, SENDER_IS_KNOWN
from ecluse.application import applications, remembered
from ecluse.catalog.attempts import BROWSER_LIFETIME
from ecluse.errors import EcluseError, Forbidden, NotSignedIn
from ecluse.runtime import Runtime
from ecluse.sentences import _

COOKIE: Final = SESSION_COOKIE
#: The largest body of a request (bytes), except at addresses where applications accept files.
MAX_BODY: Final = 1_000_000
#: The largest body of a request from someone who is not signed in (bytes): room for an email address, a password, a
#: name and a secret, with three bytes for each character.
STRANGERS_BODY: Final = 16_384
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CONTENT_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)

HEADERS: Final = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
#: Sent where a request came by https: browsers then ask this host by nothing else for a year. Other hosts of the domain
#: are not ours to bind.
STRICT_TRANSPORT: Final = "max-age=31536000"


def runtime_of(request: Request) -> Runtime:
    """Return what this process holds open."""
    runtime = request.app.state.runtime
    assert isinstance(runtime, Runtime)  # noqa: S101 (set where the app is made)
    return runtime


RuntimeDep = Annotated[Runtime, Depends(runtime_of)]


def signed_in_or_none(request: Request, runtime: RuntimeDep) -> SignedIn | None:
    """Return who is asking, by the first way in `accounts.ways` that knows it; None for a visitor."""
    sender = ways.who_asks(runtime.accounts, _credentials(request))
    if sender is None:
        return None
    request.scope.setdefault("state", {})[SENDER_IS_KNOWN] = True
    return sender[0]


def sessions_alone(request: Request) -> None:
    """Keep pages to people: a token is for programs, which have the API."""
    if any(way.is_for_programs and way.reads(_credentials(request)) is not None for way in ways.WAYS):
        raise Forbidden(
            _(
                "Pages are for people who signed in, and take no API token. A program asks the API: "
                "its addresses begin with /api/. A person leaves the Authorization header out and "
                "signs in."
            )
        )


def _credentials(request: Request) -> ways.Credentials:
    return ways.Credentials(request.headers, request.cookies)


Visitor = Annotated[SignedIn | None, Depends(signed_in_or_none)]


def signed_in(visitor: Visitor) -> SignedIn:
    """Who is asking; `NotSignedIn` for a visitor."""
    if visitor is None:
        raise NotSignedIn("Sign in first, or send an API token: Authorization: Bearer ecluse_…")
    return visitor


#: Who is asking, a token of any scope: for what says no more than whose it is.
AnyToken = Annotated[SignedIn, Depends(signed_in)]
#: For the description of the API alone, which names the scope of each operation by it; who asks is found by `ways`.
Bearer = Annotated[
    object,
    Depends(
        HTTPBearer(scheme_name="token", description="An API token; a session does as well", auto_error=False)
    ),
]
#: The scope that a dependency asks for.
SCOPES: Final[dict[Callable[..., SignedIn], TokenScope]] = {}
_OF_A_MODEL: Final = re.compile(r"/(?:api|v2)/models/([^/@]+)(?:[/@].*)?")


def _who_may(scope: TokenScope) -> Callable[..., SignedIn]:
    """Return a dependency that says who is asking; `OutOfScope` for a token without the scope, or for another model."""

    def in_scope(request: Request, user: AnyToken, _described: Bearer) -> SignedIn:
        about = _OF_A_MODEL.fullmatch(request.scope["path"])
        expect_scope(user, scope, about and about[1])
        return user

    SCOPES[in_scope] = scope
    return in_scope


MayRead = Annotated[SignedIn, Security(_who_may(TokenScope.READ), scopes=["read"])]
MayPredict = Annotated[SignedIn, Security(_who_may(TokenScope.PREDICT), scopes=["predict"])]
MayPublish = Annotated[SignedIn, Security(_who_may(TokenScope.PUBLISH), scopes=["publish"])]
MayManage = Annotated[SignedIn, Security(_who_may(TokenScope.MANAGE), scopes=["manage"])]
#: Who is asking. Pages are for sessions; an operation that declares nothing else takes a token for all of the API.
CurrentUser = MayManage


def administrator(user: MayManage) -> SignedIn:
    """Who is asking; `Forbidden` for anyone who does not administer."""
    if user.user.role == "admin":
        return user
    if user.token is not None and not user.token.administers:
        raise Forbidden(
            _("This API token does not administer. An administrator makes one that does on the account page.")
        )
    raise Forbidden(_("Only administrators can see this. Ask one of yours."))


Administrator = Annotated[SignedIn, Depends(administrator)]


def is_from_here(request: Request) -> bool:
    """Say whether a request comes from the machine that the pages run on, and nobody else could have sent it.

    The process listens for this machine alone, no proxy is known to stand in front, and none has sent the request on.
    Its Host is this machine's too: a page of another site whose name was made to lead here has a name of its own.
    """
    settings = request.app.state.runtime.settings
    if not request.app.state.listens_here or settings.public_url or settings.proxies != NO_PROXIES:
        return False
    if any(name in request.headers for name in _SENT_ON):
        return False
    return _is_loopback(request.client.host if request.client else "") and _is_loopback(
        request.url.hostname or ""
    )


def admission(request: Request) -> Admission:
    """Who may make an account by the page, see `ECLUSE_OPEN_SIGN_UP`."""
    open_sign_up = request.app.state.runtime.settings.open_sign_up
    if open_sign_up is False:
        return "closed"
    if is_from_here(request):
        return "open"
    return "guarded" if open_sign_up else "first"


#: Headers by which a proxy says whom it speaks for.
_SENT_ON: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def _is_loopback(host: str) -> bool:
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def set_session(request: Request, response: Response, secret: str) -> None:
    """Give the browser its session."""
    response.set_cookie(
        COOKIE,
        secret,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=is_secure(request),
    )


def remember_browser(request: Request, response: Response, secret: str) -> None:
    """Mark a browser that has signed in; the mark lets no one in, and stays when the session ends."""
    response.set_cookie(
        BROWSER_COOKIE,
        secret,
        max_age=int(BROWSER_LIFETIME.total_seconds()),
        path="/sign-in",
        httponly=True,
        samesite="lax",
        secure=is_secure(request),
    )


def client_of(request: Request) -> str:
    """Return the address a request comes from: of the connection, or what a proxy that the settings name says of it."""
    return request.client.host if request.client else ""


def address_of(request: Request) -> str:
    """Return where the pages are for whoever asks, without a stroke at the end: what links begin with."""
    public: str | None = request.app.state.runtime.settings.public_url
    return public or str(request.base_url).rstrip("/")


def clear_session(request: Request, response: Response) -> None:
    response.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=is_secure(request))


class Protection:
    """Refuse cross-site requests that could change something, and add the protecting headers.

    It stands outside of everything that answers, the handler of faults as well; `refuse` makes its own answer.
    """

    def __init__(
        self, app: ASGIApp, refuse: Callable[[Request], Response], public_url: str | None = None
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._public_host = urlsplit(public_url).netloc if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                _protect(message, scope)
            await send(message)

        if is_cross_site(scope["method"], Headers(scope=scope), self._public_host):
            await self._refuse(Request(scope))(scope, receive, protected)
            return
        await self._app(scope, receive, protected)


class BodyLimit:
    """Refuse a request body larger than a form or a JSON document needs, before it fills the memory.

    Of a stranger that is what signing in and making an account take; who sends more has to be known first. Where files
    are uploaded, the sender is known before they are read, and the reader counts for itself; JSON is limited there too.
    """

    def __init__(
        self,
        app: ASGIApp,
        refuse: Callable[[Request], Response],
        refuse_for: Callable[[Request, EcluseError], Response],
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._refuse_for = refuse_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or _may_be_files(scope):
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > MAX_BODY:  # whoever sends it, and before any of it is read
            await self._refuse(Request(scope))(scope, receive, send)
            return
        body, is_known = bytearray(), False
        while True:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get(
                "body", b""
            )  # one piece: a list of single bytes takes hundreds of times their size
            if len(body) > STRANGERS_BODY and not is_known:
                try:
                    await run_in_threadpool(_expect_known, Request(scope))
                except EcluseError as error:
                    await self._refuse_for(Request(scope), error)(scope, receive, send)
                    return
                is_known = True
            if len(body) > MAX_BODY:
                await self._refuse(Request(scope))(scope, receive, send)
                return
            if not message.get("more_body", False):
                message = {"type": "http.request", "body": bytes(body), "more_body": False}
                break
        waiting = [message]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)


def _expect_known(request: Request) -> None:
    signed_in(signed_in_or_none(request, runtime_of(request)))


#: Where tables for any model are sent to.
_TABLES: Final = ("/api/tables", "/tables/upload")


@remembered
def upload_addresses() -> frozenset[str]:
    return frozenset(
        [*_TABLES, *(address for application in applications() for address in application.uploads)]
    )


#: Where the parts of files of models are sent to; whoever takes them counts for itself.
_PARTS: Final = re.compile(r"/api/models/[^/]+/uploads/[^/]+/files/\d+/parts/\d+")


def _may_be_files(scope: Scope) -> bool:
    if scope["method"] == "PUT" and _PARTS.fullmatch(scope["path"]):
        return True
    kind = Headers(scope=scope).get("content-type", "")
    return scope["path"] in upload_addresses() and not is_json(kind)


def is_json(content_type: str) -> bool:
    """Say whether a body of this type is read as JSON."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def policy_with_tiles(url: str) -> str:
    """Return the content policy of a page whose map may ask for the tiles at `url`."""
    parts = urlsplit(url)
    host = f"{parts.scheme}://{parts.netloc}"
    return f"{CONTENT_POLICY}; connect-src 'self' {host}".replace("img-src 'self'", f"img-src 'self' {host}")


def is_cross_site(method: str, headers: Headers, public_host: str | None = None) -> bool:
    """Say whether a browser says that another origin sent a request that could change something."""
    if method in SAFE_METHODS:
        return False
    return comes_from_elsewhere(headers, {headers.get("host"), public_host})


def _protect(message: MutableMapping[str, Any], scope: Scope) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if scope.get("scheme") == "https" and not is_local(Headers(scope=scope).get("host", "")):
        headers.setdefault("strict-transport-security", STRICT_TRANSPORT)
    if not scope["path"].startswith("/static/"):
        headers.setdefault("cache-control", "no-store")


def is_local(host: str) -> bool:
    """Say whether a host, as a request or a listener names it, is this very machine."""
    try:
        name = (
            urlsplit(f"//{host}" if host.count(":") < 2 or host.startswith("[") else f"//[{host}]").hostname
            or ""
        )
    except ValueError:  # it names no machine at all
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_exposed(host: str, public_url: str | None) -> bool:
    """Say whether who listens at `host` is reached from other machines without https, as far as is known.

    We speak no TLS ourselves: where a proxy does, `ECLUSE_PUBLIC_URL` says so.
    """
    return not is_local(host) and not (public_url or "").startswith("https:")


def is_secure(request: Request) -> bool:
    """Say whether cookies go by https alone: the request came by it, also by the word of a trusted proxy, or the
    address that people use is one of https."""
    public = request.app.state.runtime.settings.public_url
    return request.url.scheme == "https" or bool(public and public.startswith("https:"))
