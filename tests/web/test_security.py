"""Requests of other sites are refused, and every answer carries the protecting headers."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from ecluse.web.security import CONTENT_POLICY, Protection, is_cross_site


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


def test_a_refused_request_never_reaches_the_application_and_says_why() -> None:
    reached: list[str] = []

    def endpoint(request: Request) -> PlainTextResponse:
        reached.append(request.method)
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/x", endpoint, methods=["GET", "POST"])])
    app.add_middleware(Protection)

    async def ask(method: str, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            return await client.request(
                method, "/x", headers={k.replace("_", "-"): v for k, v in headers.items()}
            )

    refused = asyncio.run(ask("POST", sec_fetch_site="cross-site"))
    assert (refused.status_code, refused.json()["error"]["code"], reached) == (403, "cross_site", [])
    for answer in (refused, asyncio.run(ask("GET"))):
        assert answer.headers["content-security-policy"] == CONTENT_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
