"""Providers of OpenID Connect for the tests: one that says whatever a test wants, and a person who goes there."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import RSAKey

HERE = "https://ecluse.example.org"


@dataclass
class SayingAnything:
    """A provider over HTTP whose every answer a test may change."""

    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "first", "use": "sig"}))
    #: What it says of itself besides the usual.
    metadata: dict[str, Any] = field(default_factory=dict)
    #: Claims in place of the usual of an ID token; None leaves a claim out.
    claims: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    #: The whole ID token, where a test makes it itself.
    id_token: str | None = None
    #: Answers at other addresses: a status, headers and a document, by path and query.
    others: dict[str, tuple[int, dict[str, str], Any]] = field(default_factory=dict)
    nonce: str = ""
    used: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)

    def token(self, key: RSAKey | None = None, **claims: Any) -> str:
        """A token that it signs."""
        key = key or self.key
        header = {"alg": "RS256", "kid": key.kid}
        return jwt.encode(header, {name: value for name, value in claims.items() if value is not None}, key)

    def usual(self) -> dict[str, Any]:
        moment = int(datetime.now(UTC).timestamp())
        usual = {"iss": self.issuer, "sub": "anna-1", "aud": "ecluse", "iat": moment, "exp": moment + 300}
        return (
            usual | {"nonce": self.nonce, "email": "anna@example.org", "email_verified": True} | self.claims
        )

    def answer(self, method: str, address: str, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        path = urlsplit(address).path
        self.asked.append(path)
        if address in self.others:
            return self.others[address]
        if path == "/.well-known/openid-configuration":
            places = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
            document = {f"{name}_endpoint": f"{self.issuer}/{place}" for name, place in places.items()}
            return (
                200,
                {},
                document | {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"} | self.metadata,
            )
        if path == "/keys":
            return 200, {}, {"keys": [self.key.as_dict(private=False)]}
        if path == "/token" and method == "POST":
            self.forms.append(form)
            if form["code"] in self.used:
                return 400, {}, {"error": "invalid_grant"}
            self.used.add(form["code"])
            token = self.id_token or self.token(**self.usual())
            return 200, {}, {"access_token": "access", "token_type": "Bearer", "id_token": token}
        if path == "/userinfo":
            return 200, {}, {"sub": "anna-1"} | self.userinfo
        return 404, {}, {}


@contextmanager
def saying_anything() -> Iterator[SayingAnything]:
    """Run such a provider."""
    provider = SayingAnything()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            form = dict(parse_qsl(self.rfile.read(length).decode()))
            status, headers, document = provider.answer(self.command, self.path, form)
            content = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = respond  # noqa: N815 (the names that the server calls)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Visitor:
    """A browser of a person, whose cookies stay."""

    app: FastAPI
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)

    def ask(self, method: str, address: str, **sent: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            headers = {"accept": "text/html"} | sent.pop("headers", {})
            async with httpx.AsyncClient(
                transport=transport, base_url=HERE, cookies=self.cookies, headers=headers
            ) as client:
                response = await client.request(method, address, **sent)
                self.cookies = client.cookies
            return response

        return asyncio.run(send())

    def get(self, address: str, **sent: Any) -> httpx.Response:
        return self.ask("GET", address, **sent)

    def post(self, address: str, **form: str) -> httpx.Response:
        return self.ask("POST", address, data=form)

    def begin(self, name: str = "main") -> dict[str, str]:
        """Go to a provider; what Écluse asks of it."""
        response = self.get(f"/sign-in/by/{name}")
        assert response.status_code == 303, response.text
        return query_of(response.headers["location"])

    def come_back(self, name: str = "main", **answer: str) -> httpx.Response:
        return self.get(f"/sign-in/by/{name}/callback", params=answer)

    def enter(self, provider: SayingAnything, name: str = "main", **answer: str) -> httpx.Response:
        """Go to a provider that says yes, and come back."""
        asked = self.begin(name)
        provider.nonce = asked["nonce"]
        return self.come_back(name, **{"code": asked["state"][:8], "state": asked["state"]} | answer)

    def email(self) -> str | None:
        """As whom this browser is signed in."""
        answer = self.get("/api/me")
        return answer.json()["email"] if answer.status_code == 200 else None


def query_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
