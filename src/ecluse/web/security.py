"""Know who is asking, refuse requests that another site sent, and set the headers that protect a page.

A browser is known by a session cookie, a program by `Authorization: Bearer`. An operation of the API declares the scope
that a token needs for it by the type of its parameter: `MayRead`, `MayPredict`, `MayPublish` or `MayManage`.

A request that could change something is refused when the browser says that another origin sent it; the rule is that of
Go's `http.CrossOriginProtection`: trust `Sec-Fetch-Site`, else compare `Origin` with `Host`, else it is no browser.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import quote, unquote, urlsplit

from fastapi import Depends, Request, Response, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecluse import logs
from ecluse.accounts import (
    BROWSER_COOKIE,
    SESSION_COOKIE,
    SESSION_LIFETIME,
    STEP_COOKIE,
    STEP_LIFETIME,
    Admission,
    SignedIn,
    comes_from_elsewhere,
    cookie_named,
    expect_scope,
    own_cookies,
    ways,
)
from ecluse.accounts.scopes import Scope as TokenScope
from ecluse.accounts.scopes import expect_service_may, model_named
from ecluse.addresses import NO_PROXIES, SENDER_IS_KNOWN, is_loopback_name
from ecluse.application import applications, remembered
from ecluse.catalog import audit
from ecluse.catalog.attempts import BROWSER_LIFETIME
from ecluse.errors import EcluseError, Forbidden, NotSignedIn
from ecluse.runtime import Runtime
from ecluse.sentences import _

COOKIE: Final = SESSION_COOKIE
#: What a visitor asked to see before signing in.
TARGET_COOKIE: Final = "ecluse_target"
_LONGEST_TARGET: Final = 2000
_TARGET_KEPT: Final = timedelta(minutes=10)
#: The invitation by which a visitor may make an account at a provider, and how long it is kept.
INVITATION_COOKIE: Final = "ecluse_invitation"
INVITATION_KEPT: Final = timedelta(hours=1)
_OF_AN_INVITATION: Final = re.compile(r"/organisations/join/([\w-]{20,100})", re.ASCII)
#: An address without a host: browsers read two strokes, either way, as the beginning of one.
_OF_HERE: Final = re.compile(r"/(?!/)[!#-\[\]-~]*")
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


async def take_runtime(request: Request) -> Runtime:
    return runtime_of(request)  # a function that is not awaited would be called in a thread


RuntimeDep = Annotated[Runtime, Depends(take_runtime)]
#: What is open to who has to set up a second factor first.
_SETS_UP: Final = re.compile(r"/account/second-factor(?:/confirm)?|/sign-in|/sign-out")


def signed_in_or_none(request: Request, runtime: RuntimeDep) -> SignedIn | None:
    """Return who is asking, by the first way in `accounts.ways` that knows it; None for a visitor."""
    sender = ways.who_asks(
        runtime.accounts, _credentials(request), sets_up=_SETS_UP.fullmatch(request.scope["path"]) is not None
    )
    if sender is None:
        return None
    request.scope.setdefault("state", {})[SENDER_IS_KNOWN] = True
    logs.note(owner=sender[0].user.id)
    return sender[0]


async def sessions_alone(request: Request) -> None:
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
    return ways.Credentials(request.headers, cookies_of(request))


Visitor = Annotated[SignedIn | None, Depends(signed_in_or_none)]


def signed_in(visitor: SignedIn | None) -> SignedIn:
    """Return who is asking. Raises NotSignedIn for a visitor."""
    if visitor is None:
        raise NotSignedIn("Sign in first, or send an API token: Authorization: Bearer ecluse_…")
    return visitor


async def _signed_in(visitor: Visitor) -> SignedIn:
    return signed_in(visitor)


#: Who is asking, a token of any scope: for what says no more than whose it is.
AnyToken = Annotated[SignedIn, Depends(_signed_in)]
#: For the description of the API alone, which names the scope of each operation by it; who asks is found by `ways`.
Bearer = Annotated[
    object,
    Depends(
        HTTPBearer(scheme_name="token", description="An API token; a session does as well", auto_error=False)
    ),
]
#: The scope that a dependency asks for.
SCOPES: Final[dict[Callable[..., Awaitable[SignedIn]], TokenScope]] = {}
_OF_A_MODEL: Final = re.compile(r"/(?:api|v2)/models/([^/]+)(?:/.*)?", re.DOTALL)


def _who_may(scope: TokenScope) -> Callable[..., Awaitable[SignedIn]]:
    """Return a dependency that says who is asking; `OutOfScope` for a token without the scope, or for another model."""

    async def in_scope(request: Request, user: AnyToken, _described: Bearer) -> SignedIn:
        return _expect_may(request, user, scope)  # no thread: what is set in one is not seen by what answers

    SCOPES[in_scope] = scope
    return in_scope


def _expect_may(request: Request, user: SignedIn, scope: TokenScope) -> SignedIn:
    service = user.service
    audit.speak_for(user.user.id, None if service is None else service.name)
    about = _OF_A_MODEL.fullmatch(request.scope["path"])
    expect_scope(user, scope, about and model_named(about[1]))
    expect_service_may(user, scope, request.scope["path"])
    return user


def who_sent(request: Request, scope: TokenScope) -> SignedIn:
    """Return who asks for what takes a scope, as its dependency does; for a thread that also answers.

    Raises:
        NotSignedIn: nobody is known to ask.
        OutOfScope, Forbidden: who asks may not do this.
    """
    return _expect_may(request, signed_in(signed_in_or_none(request, runtime_of(request))), scope)


MayRead = Annotated[SignedIn, Security(_who_may(TokenScope.READ), scopes=["read"])]
MayPredict = Annotated[SignedIn, Security(_who_may(TokenScope.PREDICT), scopes=["predict"])]
MayPublish = Annotated[SignedIn, Security(_who_may(TokenScope.PUBLISH), scopes=["publish"])]
MayManage = Annotated[SignedIn, Security(_who_may(TokenScope.MANAGE), scopes=["manage"])]
#: Who is asking. Pages are for sessions; an operation that declares nothing else takes a token for all of the API.
CurrentUser = MayManage


def administrator(user: SignedIn) -> SignedIn:
    """Who is asking; `Forbidden` for anyone who does not administer."""
    if user.user.role == "admin":
        return user
    if user.token is not None and not user.token.administers:
        raise Forbidden(
            _("This API token does not administer. An administrator makes one that does on the account page.")
        )
    raise Forbidden(_("Only administrators can see this. Ask one of yours."))


async def _administrator(user: MayManage) -> SignedIn:
    return administrator(user)


Administrator = Annotated[SignedIn, Depends(_administrator)]


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
    return is_loopback_name(request.client.host if request.client else "") and is_loopback_name(
        request.url.hostname or ""
    )


def admission(request: Request) -> Admission:
    """Who may make an account by the page, see `ECLUSE_SIGN_UP`."""
    sign_up = request.app.state.runtime.settings.accounts.sign_up
    if sign_up in ("closed", "invitation"):
        return "closed" if sign_up == "closed" else "invited"
    if is_from_here(request):
        return "open"
    return "guarded" if sign_up == "open" else "first"


#: Headers by which a proxy says whom it speaks for.
_SENT_ON: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def give_cookie(
    request: Request, response: Response, name: str, value: str, lifetime: timedelta, *, path: str = "/"
) -> None:
    """Give the browser a cookie that no script reads; by https alone where that is, of this host alone then.

    `path`: where it goes by http; with the prefix of https browsers take cookies for all of a host alone.
    """
    secure = is_secure(request)
    response.set_cookie(
        cookie_named(name, secure=secure),
        value,
        max_age=int(lifetime.total_seconds()),
        path="/" if secure else path,
        httponly=True,
        samesite="lax",
        secure=secure,
    )


def take_cookie(request: Request, response: Response, name: str, *, path: str = "/") -> None:
    """Take a cookie back that `give_cookie` gave."""
    secure = is_secure(request)
    response.delete_cookie(
        cookie_named(name, secure=secure),
        path="/" if secure else path,
        httponly=True,
        samesite="lax",
        secure=secure,
    )


def cookies_of(request: Request) -> dict[str, str]:
    """Return the cookies of a request by their plain names."""
    return own_cookies(request.cookies, secure=is_secure(request))


def set_session(request: Request, response: Response, secret: str) -> None:
    """Give the browser its session."""
    give_cookie(request, response, COOKIE, secret, SESSION_LIFETIME)


def set_step(request: Request, response: Response, secret: str) -> None:
    """Give the browser the proof that its password was right; it goes to the second step alone."""
    give_cookie(request, response, STEP_COOKIE, secret, STEP_LIFETIME, path="/sign-in")


def remember_browser(request: Request, response: Response, secret: str) -> None:
    """Mark a browser that has signed in; the mark lets no one in, and stays when the session ends."""
    give_cookie(request, response, BROWSER_COOKIE, secret, BROWSER_LIFETIME, path="/sign-in")


def remember_target(request: Request, response: Response) -> None:
    """Let the browser keep what a visitor asked to see, so that it is shown once they signed in."""
    path = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    query = request.scope["query_string"]
    target = quote(path + b"?" + query if query else path, safe="")
    if request.method == "GET" and len(target) < _LONGEST_TARGET:
        give_cookie(request, response, TARGET_COOKIE, target, _TARGET_KEPT, path="/sign-in")


def target_of(request: Request) -> str:
    """Return what is shown to who has just signed in: what they asked for before, if it is a page of this Écluse."""
    target = unquote(cookies_of(request).get(TARGET_COOKIE, ""))
    return target if _OF_HERE.fullmatch(target) else "/"


def invitation_of(request: Request) -> str:
    """Return the secret of the invitation that led a visitor here, by what they asked to see; "" where none did."""
    match = _OF_AN_INVITATION.fullmatch(target_of(request))
    return match[1] if match else ""


def keep_invitation(request: Request, response: Response, secret: str) -> None:
    """Let the browser keep an invitation while its person signs in by a provider, who makes the account then."""
    give_cookie(request, response, INVITATION_COOKIE, secret, INVITATION_KEPT, path="/sign-in/by")


def forget_target(request: Request, response: Response) -> None:
    """Take back what `remember_target` left, which reaches other pages than `/sign-in` by https alone."""
    take_cookie(request, response, TARGET_COOKIE, path="/sign-in")


def client_of(request: Request) -> str:
    """Return the address a request comes from: of the connection, or what a proxy that the settings name says of it."""
    return request.client.host if request.client else ""


def address_of(request: Request) -> str:
    """Return where the pages are for whoever asks, without a stroke at the end: what links begin with."""
    public: str | None = request.app.state.runtime.settings.public_url
    return public or str(request.base_url).rstrip("/")


def clear_session(request: Request, response: Response) -> None:
    take_cookie(request, response, COOKIE)


def clear_step(request: Request, response: Response) -> None:
    take_cookie(request, response, STEP_COOKIE, path="/sign-in")


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
                _keep_here(message, scope)
            await send(message)

        if is_cross_site(scope["method"], Headers(scope=scope), self._public_host):
            await self._refuse(Request(scope))(scope, receive, protected)
            return
        await self._app(scope, receive, protected)


def _keep_here(message: Message, scope: Scope) -> None:
    """Say where an address without its last stroke leads by the path alone: who asks chooses the word on the host."""
    headers = MutableHeaders(scope=message)
    if message["status"] != 307 or "location" not in headers:
        return
    there = urlsplit(headers["location"])
    if there.netloc == Headers(scope=scope).get("host", ""):
        path = "/" + there.path.lstrip("/")  # two would be another host
        headers["location"] = f"{path}?{there.query}" if there.query else path


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
    is_https: bool = request.app.state.runtime.settings.is_https
    return request.url.scheme == "https" or is_https
