"""Serve MLflow behind Écluse's sign-in, with the project's database and store behind it.

MLflow knows no owners: whoever is let in sees, and may change, the runs of all. So that is administrators, and members
where the settings say so. A program sends an API token, as MLflow's own clients do with MLFLOW_TRACKING_TOKEN; a
browser has the session of Écluse's pages, which it also sends to another port of the same host.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ecluse import serving as http
from ecluse.accounts import Accounts, comes_from_elsewhere, expect_scope
from ecluse.accounts.cookies import own_cookies
from ecluse.accounts.scopes import Scope as TokenScope
from ecluse.accounts.ways import Credentials, who_asks
from ecluse.apps.mlflow.errors import MlflowError
from ecluse.apps.mlflow.exporting import STEERING, check_installed
from ecluse.apps.mlflow.settings import MlflowSettings
from ecluse.catalog.provision import make_schema
from ecluse.errors import EcluseError, SettingsError
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.settings import Settings, replace_variables
from ecluse.storage import join_key
from ecluse.storage.access import S3Settings
from ecluse.web.i18n import Words, choose_language

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Of the project's database, the schema with MLflow's tables: both keep their version in `alembic_version`.
SCHEMA: Final = "mlflow"
#: Of the project's store, the folder of MLflow's files.
FOLDER: Final = "mlflow"
#: How MLflow's clients name what the server keeps for them.
ARTIFACTS: Final = "mlflow-artifacts:/"
#: What no run needs, and what reaches beyond runs: programs on this machine, and paid services.
CLOSED: Final = ("/gateway", "/ajax-api/3.0/mlflow/assistant", "/ajax-api/3.0/jobs")
#: Where an experiment is made, which may name a place for the files of its runs; and the bytes of such a request.
_EXPERIMENTS: Final = "/mlflow/experiments/create"
_MOST_ASKED: Final = 1_000_000
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_PAGE: Final = """<!doctype html><html lang="{language}"><meta charset="utf-8"><title>MLflow · Écluse</title>
<p>{message}</p>
"""


@dataclass(frozen=True)
class Refusal:
    """Why a request is not handed on: a status of HTTP and a sentence."""

    status: int
    message: str


def serve(runtime: Runtime, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve MLflow until the process is interrupted; `announce` is called once it answers.

    Raises:
        MlflowMissing: the library is not installed.
        SettingsError: MLflow cannot keep files in the store of the settings.
        MlflowError: it cannot open its tables.
    """
    application = make_app(runtime, *listener.getsockname()[:2])
    http.serve(application, listener, announce, proxies=runtime.settings.proxies)


def make_app(runtime: Runtime, host: str, port: int) -> Application:
    """Make MLflow's application with our sign-in before it; the environment of this process is MLflow's from now on.

    Raises: as `serve`.
    """
    check_installed()
    tables = tables_url(runtime.settings)
    environment = server_environment(runtime.settings, tables, host, port)
    replace_variables(environment, without=STEERING)
    from mlflow.exceptions import MlflowException
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    try:
        initialize_backend_stores(tables, tables, ARTIFACTS)
    except MlflowException as error:
        reason = str(error).splitlines()[0][:300]
        raise MlflowError(_("MLflow cannot open its tables: %(reason)s", reason=reason)) from error
    members = runtime.settings.of(MlflowSettings).members
    return SignedInAlone(app, runtime.accounts, members=members, is_https=runtime.settings.is_https)


def server_environment(settings: Settings, tables: str, host: str, port: int) -> dict[str, str | None]:
    """Return the environment of MLflow: its tables, its files with their keys, the hosts it answers to; None unsets.

    Raises:
        SettingsError: the store is neither a folder nor on S3, or cannot be written to.
    """
    hosts, origins = _hosts(settings, host, port)
    return _files(settings) | {
        # `mlflow server` tells its own processes by these names.
        "_MLFLOW_SERVER_FILE_STORE": tables,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": ARTIFACTS,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }


def tables_url(settings: Settings) -> str:
    """Return the address of MLflow's tables: a schema of the catalog's PostgreSQL, or a file beside its SQLite.

    Raises:
        CatalogUnavailable: the database does not answer, or lets no schema be made.
    """
    if settings.database_url.startswith("sqlite"):
        return f"sqlite:///{settings.home / 'mlflow.db'}"
    return make_schema(settings.database_url, SCHEMA)


def _files(settings: Settings) -> dict[str, str | None]:
    """Return where MLflow keeps files, and with which keys."""
    parts = urlsplit(settings.store_url)
    if parts.scheme == "file":
        return {"_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{settings.store_url.rstrip('/')}/{FOLDER}"}
    if parts.scheme != "s3":
        raise SettingsError(
            _(
                "MLflow is served from a store that is a folder or on S3, not from %(url)s. Serve MLflow by itself, "
                "and name it in ECLUSE_MLFLOW_URL.",
                url=settings.store_url,
            )
        )
    place = f"s3://{parts.netloc}/{join_key(unquote(parts.path).strip('/'), FOLDER)}"
    s3 = settings.access.of(S3Settings).to_bucket(parts.netloc)
    return {"_MLFLOW_SERVER_ARTIFACT_DESTINATION": place} | _keys(s3)


def _keys(s3: S3Settings) -> dict[str, str | None]:
    """Return the keys of the store under the names that MLflow's library for S3 reads; without keys the ambient."""
    if s3.anonymous:
        raise SettingsError(
            _("MLflow writes into the store, which S3_ANONYMOUS forbids. Set keys, and unset it.")
        )
    keys: dict[str, str | None] = {
        "AWS_DEFAULT_REGION": s3.region,
        "AWS_REGION": s3.region,
        "MLFLOW_S3_ENDPOINT_URL": s3.endpoint,
    }
    if s3.access_key is None or s3.secret_key is None:
        return keys
    return keys | {
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": str(s3.secret_key),
        "AWS_SESSION_TOKEN": None if s3.session_token is None else str(s3.session_token),
    }


def _hosts(settings: Settings, host: str, port: int) -> tuple[list[str], list[str]]:
    """Return the hosts that MLflow answers to, and the origins whose pages may change something."""
    named = {*_LOOPBACK, f"[{host}]" if ":" in host else host}
    hosts = [form for name in sorted(named) for form in (name, f"{name}:{port}")]
    origins = [f"http://{name}" for name in hosts]
    public = urlsplit(settings.public_url or "")
    if public.hostname:
        hosts += [public.hostname, f"{public.hostname}:*"]
        origins += [f"{public.scheme}://{public.hostname}", f"{public.scheme}://{public.hostname}:*"]
    return hosts, origins


class SignedInAlone:
    """Lets through whom the accounts know: by an API token, or by the session of the pages.

    A request that could change something is refused where a browser with a session says that another origin sent it.
    """

    def __init__(
        self, app: Application, accounts: Accounts, *, members: bool, is_https: bool = False
    ) -> None:
        self._app = app
        self._accounts = accounts
        self._members = members
        self._is_https = is_https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        secure = self._is_https or scope.get("scheme") == "https"
        refusal = await asyncio.to_thread(self._refusal, scope["method"], scope["path"], headers, secure)
        if refusal is None and scope["path"].rstrip("/").endswith(_EXPERIMENTS):
            body = await _body(receive)
            receive = _again(body, receive)
            refusal = _refused_place(body)
        if refusal is None:
            scope["headers"] = list(_without_secrets(scope["headers"]))
            await self._app(scope, receive, send)
            return
        await _answer(send, headers, refusal)

    def _refusal(self, method: str, path: str, headers: Mapping[str, str], secure: bool) -> Refusal | None:
        """Say why someone is not let in; None for whom is."""
        try:
            sender = who_asks(
                self._accounts, Credentials(headers, own_cookies(_cookies(headers), secure=secure))
            )
            if sender is not None:
                expect_scope(
                    sender[0], TokenScope.MANAGE, None
                )  # who is let in changes and removes runs of all
        except EcluseError as error:
            if error.status >= 500:
                logger.warning("Who asks MLflow for %s cannot be looked up: %s", path, error)
            return Refusal(error.status, str(error))
        if sender is None:
            return Refusal(
                401,
                _(
                    "Sign in to Écluse in this browser, at the same host name, and come back. A program sends an API "
                    "token: MLFLOW_TRACKING_TOKEN=ecluse_…"
                ),
            )
        who, way = sender
        if who.service is not None or (who.user.role != "admin" and not self._members):
            return Refusal(
                403, _("Only administrators may use this MLflow server, as it shows the runs of all.")
            )
        is_a_page = not way.is_for_programs
        if is_a_page and method not in _SAFE and comes_from_elsewhere(headers, {headers.get("host")}):
            return Refusal(403, _("Another site sent this request."))
        if any(path == closed or path.startswith(f"{closed}/") for closed in CLOSED):
            return Refusal(404, _("This part of MLflow is not served here."))
        return None


async def _body(receive: Receive) -> bytes | None:
    """Read a whole body; None of one that is too large, or that its sender broke off."""
    body: bytes = b""
    while len(body) <= _MOST_ASKED:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request":
            return None
        if not message.get("more_body", False):
            return body
    return None


def _again(body: bytes | None, receive: Receive) -> Receive:
    """Return what gives a body once more that was read."""
    waiting = [{"type": "http.request", "body": body or b"", "more_body": False}]

    async def once_more() -> Message:
        return waiting.pop() if waiting else await receive()

    return once_more


def _refused_place(body: bytes | None) -> Refusal | None:
    """Say why an experiment is not made: MLflow would write files of its runs wherever this machine may."""
    if body is None:
        return Refusal(400, _("The description of an experiment is cut off, or larger than 1 MB."))
    try:
        described = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        return Refusal(
            400, _("This is no description of an experiment in JSON: %(reason)s", reason=str(error))
        )
    if not isinstance(described, dict):
        return Refusal(400, _("The description of an experiment is an object of JSON; this is none."))
    places = [described[name] for name in ("artifact_location", "artifactLocation") if described.get(name)]
    if all(
        str(place).startswith(ARTIFACTS) and not str(place).startswith(f"{ARTIFACTS}/") for place in places
    ):
        return None
    return Refusal(
        400,
        _(
            "Files of runs are kept in the store of this server. Leave the place out, or begin it with %(place)s",
            place=ARTIFACTS,
        ),
    )


def _cookies(headers: Mapping[str, str]) -> dict[str, str]:
    """Read cookies by their names, the first of a name; one that is written wrongly hides no other."""
    values: dict[str, str] = {}
    for part in headers.get("cookie", "").split(";"):
        name, _equals, value = part.strip().partition("=")
        values.setdefault(name, value.strip('"'))
    return values


def _without_secrets(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    """Leave out the token and the session: MLflow has no use for them, and may note what it gets."""
    return ((name, value) for name, value in headers if name not in (b"authorization", b"cookie"))


async def _answer(send: Send, headers: Mapping[str, str], refusal: Refusal) -> None:
    """Send a page to a browser, in its language; else JSON in MLflow's form, which its clients show."""
    if "text/html" in headers.get("accept", ""):
        language = choose_language(None, _cookies(headers).get("lang"), headers.get("accept-language", ""))
        kind = b"text/html; charset=utf-8"
        body = _PAGE.format(language=language, message=escape(Words(language).phrase(refusal.message)))
    else:
        kind = b"application/json"
        code = _CODES.get(refusal.status, "INTERNAL_ERROR")
        body = json.dumps({"error_code": code, "message": refusal.message})
    about = [(b"content-type", kind), (b"cache-control", b"no-store")]
    if refusal.status == 401:
        about.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": about})
    await send({"type": "http.response.body", "body": body.encode()})


_CODES: Final = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
}
