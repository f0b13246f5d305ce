"""Requests of other sites are refused, and every answer carries the protecting headers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.datastructures import Headers

from ecluse.addresses import NO_PROXIES, Proxies
from ecluse.catalog import attempts
from ecluse.cli.serve import listen, say_if_exposed
from ecluse.runtime import Runtime
from ecluse.serving.forwarded import Forwarded
from ecluse.settings import Settings
from ecluse.web.app import make_app
from ecluse.web.security import CONTENT_POLICY, COOKIE, HEADERS, is_cross_site, is_exposed
from ecluse.web.templating import static_url
from tests.web.routes import routes

#: Every address of a machine.
ANY = "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"sec-fetch-site": "same-origin", "host": "a"}, False),
        ({"sec-fetch-site": "none", "host": "a"}, False),
        ({"sec-fetch-site": "same-site", "host": "a"}, True),
        ({"sec-fetch-site": "cross-site", "host": "a", "origin": "https://a"}, True),
        ({"origin": "https://a:8000", "host": "a:8000"}, False),
        ({"origin": "https://evil", "host": "a:8000"}, True),
        ({"origin": "null", "host": "a"}, True),
        ({"origin": "https://public", "host": "inner:8000"}, False),
        ({"host": "a"}, False),
    ],
)
def test_a_browsers_word_on_the_origin_decides(headers: dict[str, str], refused: bool) -> None:
    assert is_cross_site("POST", Headers(headers), "public") is refused
    assert is_cross_site("GET", Headers(headers), "public") is False


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    """The application in this process, with a route that breaks."""
    settings = Settings.from_environment({"ECLUSE_STORE_URL": "memory://"}, home=tmp_path)
    with Runtime.open(settings) as runtime:
        made = make_app(runtime)
        made.add_api_route("/api/broken", _break)
        yield made


def test_a_request_of_another_site_is_refused_in_the_shape_of_every_error(app: FastAPI) -> None:
    told = ask(app, "POST", "/api/train", sec_fetch_site="cross-site")
    assert (told.status_code, told.json()["error"]["code"]) == (403, "cross_site")
    page = ask(app, "POST", "/sign-in", sec_fetch_site="cross-site", accept="text/html")
    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "another site" in page.text
    notice = ask(app, "POST", "/sign-in", sec_fetch_site="cross-site", hx_request="true")
    assert "<html" not in notice.text
    assert 'role="alert"' in notice.text


def test_every_answer_carries_the_protecting_headers(app: FastAPI) -> None:
    answers = [
        ask(app, "GET", "/api/broken"),
        ask(app, "GET", "/livez"),
        ask(app, "GET", "/nothing"),
        ask(app, "PUT", "/api/models"),
        ask(app, "POST", "/api/train", sec_fetch_site="cross-site"),
    ]
    assert [answer.status_code for answer in answers] == [500, 200, 404, 405, 403]
    for answer in answers:
        assert answer.headers["content-security-policy"] == CONTENT_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_a_fault_is_counted_by_what_answered(app: FastAPI) -> None:
    ask(app, "GET", "/api/broken")
    counted = (
        'ecluse_http_requests_total{handler="tests.web.test_security._break",method="GET",status="500"} 1.0'
    )
    assert counted in ask(app, "GET", "/metrics").text


def test_an_answer_says_which_methods_an_address_takes(app: FastAPI) -> None:
    assert ask(app, "PUT", "/api/datasets/x").headers["allow"] == "GET, DELETE"
    assert ask(app, "PUT", "/api/train").headers["allow"] == "POST"
    assert ask(app, "PUT", "/static/app.css").headers["allow"] == "GET, HEAD"


def test_a_visitor_of_the_api_is_told_how_to_authenticate(app: FastAPI) -> None:
    for headers in ({}, {"authorization": "Bearer unknown"}, {"authorization": "Basic YTpi"}):
        told = ask(app, "GET", "/api/me", **headers)
        assert (told.status_code, told.headers["www-authenticate"]) == (401, "Bearer")


def test_a_stranger_sends_no_more_than_signing_in_takes(app: FastAPI) -> None:
    """A megabyte each, kept in as many pieces as it came in, was a way to fill the memory without an account."""
    accounts = app.state.runtime.accounts
    token, _ = accounts.create_token(accounts.add("large@b.c").id, "tests")
    large = {"email": "a" * 20_000}
    for headers in ({}, {"cookie": f"{COOKIE}=invented"}, {"authorization": "Bearer invented"}):
        told = ask(app, "POST", "/api/train", json=large, **headers)
        assert (told.status_code, told.json()["error"]["code"]) == (401, "not_signed_in")
    page = ask(app, "POST", "/sign-in", data=large, accept="text/html")
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in")
    assert ask(app, "POST", "/api/train", json=large, authorization=f"Bearer {token}").status_code == 422
    assert ask(app, "POST", "/sign-in", data={"email": "a" * 10_000}, accept="text/html").status_code == 422


def test_a_forged_header_does_not_change_who_is_held_back(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ACCOUNT_HERE", attempts.Limit(2, 3600))
    served = Forwarded(app, NO_PROXIES)
    form = {"email": "held@b.c", "password": "a wrong password"}
    answers = [
        ask(served, "POST", "/sign-in", data=form, accept="text/html", x_forwarded_for=f"192.0.2.{number}")
        for number in range(3)
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 429]


def test_the_password_of_a_proxy_leaves_the_session_as_it_is(app: FastAPI) -> None:
    accounts = app.state.runtime.accounts
    session = f"{COOKIE}={accounts.open_session(accounts.add('a@b.c').id)}"
    assert ask(app, "GET", "/api/me", cookie=session, authorization="Basic YTpi").status_code == 200
    assert ask(app, "GET", "/api/me", cookie=session, authorization="Bearer unknown").status_code == 401


def test_a_static_file_is_kept_for_ever_when_it_is_asked_for_by_its_digest(app: FastAPI) -> None:
    first = ask(app, "GET", static_url("app.css"))
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    again = ask(app, "GET", static_url("app.css"), if_none_match=first.headers["etag"])
    assert (again.status_code, again.headers["cache-control"]) == (304, first.headers["cache-control"])
    for address in ("/static/app.css", "/static/app.css?v=0123456789"):
        assert "cache-control" not in ask(app, "GET", address).headers


def test_every_operation_describes_the_refusal_of_other_sites(app: FastAPI) -> None:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/api/") and method != "get":
                assert "403" in operation["responses"], (method, path)


def ask(
    app: Any,
    method: str,
    address: str,
    *,
    base: str = "http://a",
    json: Any = None,
    data: Any = None,
    **headers: str,
) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, address, headers=named, json=json, data=data)

    return asyncio.run(send())


def _break() -> None:
    raise RuntimeError("a fault")


@pytest.mark.parametrize(
    ("base", "sent"),
    [
        ("https://ecluse.example.org", True),
        ("https://10.1.2.3:8443", True),
        ("http://ecluse.example.org", False),
        ("https://localhost:8443", False),
        ("https://a.localhost", False),
        ("https://127.0.0.1:8443", False),
        ("https://[::1]:8443", False),
    ],
)
def test_browsers_are_bound_to_https_where_it_is_and_nowhere_else(
    app: FastAPI, base: str, sent: bool
) -> None:
    answers = [ask(app, "GET", path, base=base) for path in ("/sign-in", "/livez", "/nothing", "/api/broken")]
    found = {answer.headers.get("strict-transport-security") for answer in answers}
    assert found == ({"max-age=31536000"} if sent else {None})


def test_only_a_proxy_that_is_believed_says_that_a_request_came_by_https(app: FastAPI) -> None:
    """The test asks from 127.0.0.1."""
    for proxies, bound in (("127.0.0.1", True), ("10.0.0.0/8", False)):
        believing = Forwarded(app, Proxies.parse(proxies))
        answer = ask(
            believing, "GET", "/sign-in", base="http://ecluse.example.org", x_forwarded_proto="https"
        )
        assert ("strict-transport-security" in answer.headers) is bound


def test_cookies_go_by_https_alone_where_it_is(app: FastAPI) -> None:
    for base, secure in (("https://a.example.org", True), ("http://a.example.org", False)):
        cookie = ask(app, "GET", "/sign-in?lang=fr", base=base).headers["set-cookie"]
        assert ("secure" in cookie.lower()) is secure


@pytest.mark.parametrize(("public", "prefix"), [("https://ecluse.example.org", "__Host-"), ("", "")])
def test_cookies_are_of_this_host_alone_where_it_is_https(public: str, prefix: str, tmp_path: Path) -> None:
    """Another host of the domain can set a cookie for all of it, and by http anyone on the way; none with the prefix."""
    environ = {"ECLUSE_STORE_URL": "memory://", "ECLUSE_PUBLIC_URL": public}
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
        app = make_app(runtime, listens_here=True)
        user = runtime.accounts.sign_up("a@example.org", "a long password")
        form = {"email": "a@example.org", "password": "a long password"}
        led = ask(app, "GET", "/account", accept="text/html").headers.get_list("set-cookie")
        entered = ask(app, "POST", "/sign-in", data=form).headers.get_list("set-cookie")
        assert {each.partition("=")[0] for each in [*led, *entered]} == {
            f"{prefix}ecluse_browser", f"{prefix}ecluse_session", f"{prefix}ecluse_target",
        }  # fmt: skip
        for each in [*led, *entered]:
            words = {word.strip().lower() for word in each.split(";")[1:]}
            assert {"httponly", "samesite=lax"} <= words
            assert ("secure" in words, "domain" in each.lower()) == (bool(prefix), False)
            assert not prefix or "path=/" in words
        session = runtime.accounts.open_session(user.id)
        for name, status in ((f"{prefix}{COOKIE}", 200), (f"{'' if prefix else '__Host-'}{COOKIE}", 401)):
            assert ask(app, "GET", "/api/me", cookie=f"{name}={session}").status_code == status
        both = f"{COOKIE}=planted; {prefix}{COOKIE}={session}"
        assert ask(app, "GET", "/api/me", cookie=both if prefix else f"{COOKIE}={session}").status_code == 200


def test_every_route_answers_with_the_protecting_headers(app: FastAPI) -> None:
    """To a visitor, by every method: what is refused and what is not there as well."""
    for method, path in sorted((method, route.path) for route in routes(app) for method in route.methods):
        answer = ask(app, method, re.sub(r"\{[^}]*\}", "x", path))
        missing = {name for name in HEADERS if name not in answer.headers}
        assert not missing, (method, path, answer.status_code)


@pytest.mark.parametrize(
    ("host", "public", "exposed"),
    [
        ("127.0.0.1", None, False), ("::1", None, False), ("localhost", None, False), ("127.8.9.1", None, False),
        (ANY, None, True), ("::", None, True), ("192.168.1.5", None, True), ("fe80::1%eth0", None, True),
        (ANY, "http://ecluse.example.org", True), (ANY, "https://ecluse.example.org", False),
    ],
)  # fmt: skip
def test_who_listens_to_other_machines_without_https_is_exposed(
    host: str, public: str | None, exposed: bool
) -> None:
    assert is_exposed(host, public) is exposed


def test_an_administrator_sees_that_others_reach_this_without_https(app: FastAPI) -> None:
    accounts = app.state.runtime.accounts
    for user, sees in ((accounts.local_administrator(), True), (accounts.add("member@example.org"), False)):
        cookie = f"{COOKIE}={accounts.open_session(user.id)}"
        app.state.exposed = True
        assert ("without https" in ask(app, "GET", "/", cookie=cookie).text) is sees
        assert ("sans https" in ask(app, "GET", "/?lang=fr", cookie=cookie).text) is sees
        app.state.exposed = False
        assert "without https" not in ask(app, "GET", "/", cookie=cookie).text


def test_the_start_says_once_that_others_reach_this_without_https(
    app: FastAPI, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = app.state.runtime
    for host, public, said in (
        ("127.0.0.1", None, 0),
        (ANY, None, 1),
        (ANY, "https://a.example.org", 0),
    ):
        opened = replace(runtime, settings=replace(runtime.settings, public_url=public))
        with listen(host, 0) as listener:
            assert say_if_exposed(opened, listener) is bool(said)
        assert capsys.readouterr().err.count("without https") == said
