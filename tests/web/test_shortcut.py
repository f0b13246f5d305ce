"""Check that what makes answers fast changes none: rows read at once, and what is known again."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse import models
from ecluse.accounts import SESSION_COOKIE
from ecluse.errors import InvalidInput
from ecluse.inference import Values, from_json
from ecluse.inference.ordinary import Reader, framed
from ecluse.web import lately
from tests.web.test_predict import DTYPES, MATRIX, SCHEMA, predict, publish, trained
from tests.web.within import Within

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(20, 70),
    st.integers(),
    st.floats(),
    st.floats(1.5, 9.0),
    st.sampled_from(["Lyon", "Paris", "Nice", "2026-01-31"]),
    st.lists(st.integers(), max_size=1),
)
USUAL = st.fixed_dictionaries(
    {
        "age": st.integers(22, 65),
        "income": st.one_of(st.floats(1.5, 9.0), st.integers(2, 9)),
        "city": st.sampled_from(["Lyon", "Paris"]),
        "member": st.booleans(),
    }
)
PLAIN = {"columns": [*SCHEMA["columns"][:3], {"name": "member", "type": "boolean", "missing": False}]}
PLAIN_TYPES = {name: DTYPES[name] for name in ("age", "income", "city")} | {"member": pl.Boolean()}


@given(st.lists(USUAL, min_size=1, max_size=4), st.booleans(), st.data())
def test_rows_that_are_read_at_once_are_what_the_careful_reading_makes_of_them(
    rows: list[dict[str, Any]], as_lists: bool, data: st.DataObject
) -> None:
    if data.draw(st.booleans()):  # one value is any at all
        data.draw(st.sampled_from(rows))[data.draw(st.sampled_from(list(PLAIN_TYPES)))] = data.draw(VALUES)
    sent: list[Any] = [list(row.values()) for row in rows] if as_lists else rows
    quick = Reader(PLAIN, PLAIN_TYPES).read(sent)
    try:
        careful = from_json(sent, PLAIN, PLAIN_TYPES)
    except InvalidInput:
        assert quick is None
        return
    if quick is not None:
        assert framed([quick]).equals(careful.rows)
        assert framed([quick]).schema == careful.rows.schema
        assert careful.warnings == ()
        assert framed([quick, careful.rows, quick]).equals(pl.concat([careful.rows] * 3))


def test_ordinary_rows_are_read_at_once() -> None:
    reader = Reader(PLAIN, PLAIN_TYPES)
    row = {"age": 41, "income": 2.5, "city": "Lyon", "member": True}
    assert reader.read([row]) == Values([[41, 2.5, "Lyon", True]], PLAIN_TYPES)
    assert reader.read([[41, 2, "Lyon", True]]) == Values([[41, 2, "Lyon", True]], PLAIN_TYPES)
    for sent in ([row | {"odd": 1}], [row | {"age": True}], [row | {"age": 90}], [], {}, [[]], None, "text"):
        assert reader.read(sent) is None


# What is known again


def is_known_again(web: Within, reference: str) -> bool:
    """Say whether the next request would be answered without a look into the tables."""
    lately = web.app.state.lately
    return lately.find(lately.state(), web.token, reference) is not None


@pytest.fixture
def twice_asked(web: Within) -> str:
    """A version that was asked, so that its sender and its alias are known again."""
    row = publish(web, trained("xgboost"), MATRIX)
    models.set_alias(web.runtime, web.user_id, "churn", "production", row.version)
    for _ in range(2):
        predict(web, "churn@production", MATRIX[:1].tolist()).raise_for_status()
    if not is_known_again(web, "churn@production"):  # the first use of the token was written down meanwhile
        predict(web, "churn@production", MATRIX[:1].tolist()).raise_for_status()
    assert is_known_again(web, "churn@production")
    return row.id


def status(web: Within) -> int:
    return predict(web, "churn@production", MATRIX[:1].tolist()).status_code


def test_a_token_that_was_ended_counts_for_nothing_from_the_next_request_on(
    web: Within, twice_asked: str
) -> None:
    assert status(web) == 200
    (token,) = web.runtime.accounts.tokens(web.user_id)
    web.runtime.accounts.revoke_token(web.user_id, token.id)
    assert status(web) == 401


def test_a_version_that_is_damaged_is_not_answered_with_from_the_next_request_on(
    web: Within, twice_asked: str
) -> None:
    from ecluse.catalog import models as rows

    with web.runtime.catalog.write() as transaction:
        rows.set_damaged(transaction, twice_asked, "a file is another one")
    assert status(web) == 409


def test_what_is_known_of_one_person_says_nothing_to_another(web: Within, twice_asked: str) -> None:
    async def ask() -> int:
        async with web.client(web.someone_else()) as client:
            body = {"rows": MATRIX[:1].tolist()}
            return (await client.post("/api/models/churn@production/predict", json=body)).status_code

    assert asyncio.run(ask()) == 404
    assert status(web) == 200


def test_people_behind_one_header_of_a_proxy_are_told_apart_by_their_sessions(web: Within) -> None:
    accounts = web.runtime.accounts
    other = accounts.open_session(accounts.add(f"{uuid.uuid4().hex}@example.org").id)
    publish(web, trained("xgboost"), MATRIX)

    async def ask(cookies: dict[str, str]) -> int:
        transport = httpx.ASGITransport(web.app, raise_app_exceptions=False)
        headers = {"authorization": "Basic cHJveHk6cHJveHk=", "sec-fetch-site": "same-origin"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://a", headers=headers, cookies=cookies
        ) as client:
            body = {"rows": MATRIX[:1].tolist()}
            return (await client.post("/api/models/churn/predict", json=body)).status_code

    async def at_once() -> list[int]:
        mine, another = {SESSION_COOKIE: web.session}, {SESSION_COOKIE: other}
        return await asyncio.gather(ask(mine), ask(another), ask({}), ask(mine), ask(another), ask({}))

    for _ in range(3):
        assert asyncio.run(at_once()) == [200, 404, 401, 200, 404, 401]


def test_requests_led_past_the_routes_are_counted_and_described_as_ever(
    web: Within, twice_asked: str
) -> None:
    assert 'handler="api.inference.predict"' in web.ask("GET", "/metrics").text
    assert "/api/models/{reference}/predict" in web.ask("GET", "/openapi.json").json()["paths"]
    damaged = web.ask("POST", "/api/models/churn@production/predict", content=b"{")
    assert (damaged.status_code, json.loads(damaged.content)["error"]["code"]) == (422, "invalid_input")


def test_what_many_ask_at_once_is_looked_up_once_in_each_state(
    web: Within, twice_asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    resolve = models.resolve_readable

    def counted(*arguments: Any) -> Any:
        looked.append("")
        return resolve(*arguments)

    monkeypatch.setattr(models, "resolve_readable", counted)
    monkeypatch.setattr(lately, "KEPT_SECONDS", -1.0)  # what was kept is over
    web.app.state.lately._entries.clear()

    async def ask() -> list[int]:
        address, body = "/api/models/churn@production/predict", {"rows": MATRIX[:1].tolist()}
        async with web.client() as client:
            answers = await asyncio.gather(*(client.post(address, json=body) for _ in range(20)))
        return [each.status_code for each in answers]

    assert asyncio.run(ask()) == [200] * 20
    assert len(looked) == 1
    assert asyncio.run(ask()) == [200] * 20  # the first looks again, and the others need not
    assert len(looked) == 2
    models.remove_alias(web.runtime, web.user_id, "churn", "production")
    assert asyncio.run(ask()) == [404] * 20
    assert len(looked) == 3
