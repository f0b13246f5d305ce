"""Check that what is read in one thread is answered as the framework answers it, and refused as soon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from fastapi.routing import APIRoute, request_response

from ecluse.accounts import SESSION_COOKIE, scopes
from ecluse.web.declarations import DeclaredRoute
from ecluse.web.reads import is_read, reading
from tests.web.test_predict import MATRIX, publish, trained
from tests.web.within import Within

LISTS: Final = (
    "/api/models?per_page=50",
    "/api/shared/models",
    "/api/runs?per_page=5",
    "/api/jobs",
    "/api/tables",
    "/api/datasets",
    "/api/predictions",
    "/api/inspections",
    "/api/history",
    "/api/storage",
)
#: Requests that are refused: without a place for it, with a value of another type, two of them, another order.
REFUSED: Final = (
    "/api/runs/none-of-this-id",
    "/api/models/none/versions",
    "/api/models?page=0",
    "/api/tables?page=x&per_page=1000",
    "/api/runs?page=x&unknown=1",
    "/api/runs?after=none&sort=name",
    "/api/models/churn/compare?a=1",
)


def read_routes(web: Within) -> Iterator[DeclaredRoute]:
    for route in web.app.routes:
        if isinstance(route, DeclaredRoute):
            route.build()
            if is_read(route):
                yield route


def answered(web: Within, address: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    answer = ask(web, address, headers)
    kept = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, answer.content, kept


def ask(web: Within, address: str, headers: dict[str, str]) -> httpx.Response:
    import asyncio

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(web.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://a", headers=headers) as client:
            return await client.get(address)

    return asyncio.run(send())


def bearer(web: Within, **chosen: Any) -> dict[str, str]:
    secret, _row = web.runtime.accounts.create_token(web.user_id, "reads", **chosen)
    return {"authorization": f"Bearer {secret}"}


def test_what_is_read_in_one_thread_is_answered_as_the_framework_answers_it(web: Within) -> None:
    row = publish(web, trained("xgboost"), MATRIX)
    shown = (f"/api/models/{row.name}/versions", f"/api/models/{row.name}/{row.version}")
    senders = [
        bearer(web),
        bearer(web, scopes=[scopes.Scope.PREDICT]),
        {"authorization": "Bearer nobody"},
        {"cookie": f"{SESSION_COOKIE}={web.session}"},
        {},
    ]
    asked = [(address, sender) for address in (*LISTS, *shown, *REFUSED) for sender in senders]
    ours = [answered(web, address, **sender) for address, sender in asked]
    routes = list(read_routes(web))
    assert len(routes) > 50
    for route in routes:
        route.app = request_response(APIRoute.get_route_handler(route))
    try:
        theirs = [answered(web, address, **sender) for address, sender in asked]
    finally:
        for route in routes:
            route.app = request_response(reading(route))
    for request, mine, other in zip(asked, ours, theirs, strict=True):
        assert mine == other, request
    assert {status for status, _, _ in ours} == {200, 401, 403, 404, 422}


def test_lists_of_the_api_are_read_in_one_thread(web: Within) -> None:
    paths = {route.path for route in read_routes(web)}
    assert {address.partition("?")[0] for address in LISTS} <= paths


@pytest.mark.parametrize("address", LISTS)
def test_a_token_that_was_ended_reads_nothing_from_the_next_request_on(web: Within, address: str) -> None:
    sender = bearer(web)
    assert answered(web, address, **sender)[0] == 200
    for token in web.runtime.accounts.tokens(web.user_id):
        web.runtime.accounts.revoke_token(web.user_id, token.id)
    assert answered(web, address, **sender)[0] == 401


def test_a_session_that_was_ended_reads_nothing_from_the_next_request_on(web: Within) -> None:
    sender = {"cookie": f"{SESSION_COOKIE}={web.session}"}
    assert answered(web, "/api/runs", **sender)[0] == 200
    signed_in = web.runtime.accounts.who_has_session(web.session)
    assert signed_in is not None
    web.runtime.accounts.sign_out(signed_in)
    assert answered(web, "/api/runs", **sender)[0] == 401


def test_what_a_read_writes_down_is_done_by_who_asks(web: Within, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecluse.catalog import audit, usage

    noted: list[str | None] = []
    by_kind = usage.usage_by_kind

    def seen(*given: Any) -> Any:
        noted.append(audit.who_asks())
        return by_kind(*given)

    monkeypatch.setattr(usage, "usage_by_kind", seen)
    assert answered(web, "/api/storage", **bearer(web))[0] == 200
    assert noted == [web.user_id]
