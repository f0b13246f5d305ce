"""Check that what makes answers fast changes none: rows read at once, the event loop, and what is known again."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ecluse import models
from ecluse.errors import InvalidInput, ModelRefused
from ecluse.inference import Batcher, InferenceMetrics, KindMetrics, Values, batching, from_json
from ecluse.inference.batching import FEW_ROWS, LONG, Room
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


# The event loop


@pytest.fixture(autouse=True)
def any_time_is_short(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the smallest model takes milliseconds of processor now and then."""
    if "takes_long" not in request.node.name:
        monkeypatch.setattr(batching, "SHORT", LONG)


@dataclass
class Halving:
    """Halves the column x, on the processor for `seconds`; a negative x is refused."""

    seconds: float = 0.0
    asked: list[int] = field(default_factory=list)

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        self.asked.append(rows.height)
        until = time.thread_time() + self.seconds
        while time.thread_time() < until:
            pass
        if (rows["x"] < 0).any():
            raise ModelRefused("x is negative")
        return rows.select(y=pl.col("x") / 2)


def asked(queue: Batcher, values: list[list[float]]) -> list[Any]:
    """Ask about each list of values at once, and return the answers or errors."""

    async def ask() -> list[Any]:
        requests = (queue.ask(pl.DataFrame({"x": each})) for each in values)
        answers = await asyncio.gather(*requests, return_exceptions=True)
        return [each["y"].to_list() if isinstance(each, pl.DataFrame) else type(each) for each in answers]

    return asyncio.run(ask())


def quick(model: Halving, *, joins: bool = True, waits: bool = False) -> Batcher:
    metrics = KindMetrics(InferenceMetrics(CollectorRegistry()), "own")
    threads = ThreadPoolExecutor(1)
    queue = Batcher(model.answer, threads, metrics, joins=joins, room=Room(), waits=waits)
    assert asked(queue, [[8.0]]) == [[4.0]]  # by a thread: how long it takes is not known before
    model.asked.clear()
    return queue


def test_what_comes_in_one_turn_of_the_loop_is_one_batch() -> None:
    model = Halving()
    queue = quick(model)
    assert asked(queue, [[1.0], [2.0, 4.0], [6.0]]) == [[0.5], [1.0, 2.0], [3.0]]
    assert model.asked == [4]
    many = [[float(value)] for value in range(2 * FEW_ROWS + 1)]
    assert asked(queue, many) == [[value / 2] for [value] in many]
    assert model.asked[1:] == [FEW_ROWS, FEW_ROWS, 1]


def test_of_what_comes_in_one_turn_each_has_its_own_error() -> None:
    model = Halving()
    assert asked(quick(model), [[1.0], [-2.0], [6.0]]) == [[0.5], ModelRefused, [3.0]]
    assert model.asked == [3, 1, 1, 1]


def test_requests_that_must_not_be_joined_are_not() -> None:
    model = Halving()
    assert asked(quick(model, joins=False), [[1.0], [2.0]]) == [[0.5], [1.0]]
    assert model.asked == [1, 1]


@pytest.mark.parametrize(("seconds", "waits"), [(0.0, True), (0.01, False), (2 * LONG, False)])
def test_a_model_that_takes_long_is_asked_by_a_thread(seconds: float, waits: bool) -> None:
    model = Halving()
    queue = quick(model, waits=waits)
    model.seconds = seconds
    asked(queue, [[1.0]])  # from now on it is known to take long
    asked(queue, [[1.0]] * 4)
    model.seconds = 0.0
    threads: list[Any] = []
    queue._prepare = lambda: threads.append(asyncio._get_running_loop())
    assert asked(queue, [[3.0]]) == [[1.5]]
    assert threads == [None]


def test_what_a_thread_is_asking_is_not_asked_on_the_loop() -> None:
    model = Halving()
    queue = quick(model)

    async def both() -> list[float]:
        model.seconds = 0.05
        first = queue.submit(pl.DataFrame({"x": [2.0]}))
        answer = await queue.ask(pl.DataFrame({"x": [4.0]}))
        return [first.result(20)["y"].item(), answer["y"].item()]

    assert asyncio.run(both()) == [1.0, 2.0]


# What is known again


def is_known_again(web: Within, reference: str) -> bool:
    """Say whether the next request would be answered without a look into the tables."""
    lately = web.app.state.lately
    return lately.find(lately.state(), f"Bearer {web.token}", reference) is not None


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
