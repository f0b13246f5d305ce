"""A version that was published with an example answers rows: checked, verified, in batches, and to its owner alone."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import catboost
import httpx
import lightgbm
import numpy as np
import onnx
import polars as pl
import pytest
import xgboost
from onnx import TensorProto, helper
from prometheus_client import CollectorRegistry
from sklearn.linear_model import LogisticRegression

from ecluse import models
from ecluse.accounts import SESSION_COOKIE
from ecluse.catalog.tables import ModelVersion
from ecluse.client.package import pack
from ecluse.errors import InvalidInput, ModelRefused, ModelUnreadable, Overloaded
from ecluse.inference import Batcher, InferenceMetrics, KindMetrics, ServedModels, from_json
from ecluse.inference.batching import Room, asked_by_threads
from ecluse.model_process.opened import Packaged, package_in
from ecluse.model_process.steady import steady_answer
from tests.application import Credentials
from tests.apps.plants.tiny import YELLOW, photo
from tests.support.wait import next_round, wait_in_loop, wait_until
from tests.web.within import Within

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(40, 3))
LABELS = (MATRIX[:, 0] + MATRIX[:, 1] > 0).astype(int)
TABLE = pl.DataFrame(
    {"age": [41, 22, 65, 30], "income": [1.5, 2.5, None, 9.0], "member": [True, False, True, True]}
)


def graph() -> Path:
    """Twice the sum of two columns, as a graph."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [3, 1], [2.0, 2.0, 0.0])
    made = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["twice"])],
        "g",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["n", 1])],
        [weights],
    )
    return onnx.helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def trained(kind: str) -> Any:
    if kind == "sklearn":
        return LogisticRegression().fit(MATRIX, LABELS)
    if kind == "xgboost":
        return xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(MATRIX, LABELS)
    if kind == "lightgbm":
        return lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=2, verbose=-1, n_jobs=1).fit(
            MATRIX, LABELS
        )
    if kind == "catboost":
        return catboost.CatBoostClassifier(
            iterations=5, verbose=False, allow_writing_files=False, thread_count=1
        ).fit(MATRIX, LABELS)
    return graph()


def publish(web: Within, model: Any, example: Any, name: str = "churn") -> ModelVersion:
    folder = web.folder / f"{len(list(web.folder.iterdir()))}"
    folder.mkdir()
    packed = pack(model, folder, example)
    return models.publish(
        web.runtime, web.user_id, name, list(packed.folder.iterdir()), metadata=packed.metadata
    )


def predict(web: Within, reference: str, rows: Any) -> httpx.Response:
    return web.ask("POST", f"/api/models/{reference}/predict", json={"rows": rows})


@dataclass
class Doubling:
    """Doubles the column x; each call waits for `may_go`. Rows with a negative x are refused."""

    may_go: threading.Event = field(default_factory=threading.Event)
    asked: list[int] = field(default_factory=list)

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        self.asked.append(rows.height)
        assert self.may_go.wait(60)
        if (rows["x"] < 0).any():
            raise ModelRefused("x is negative")
        return rows.select(y=pl.col("x") * 2)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@dataclass
class Queue:
    """A queue whose requests come from an event loop while the test looks on."""

    batcher: Batcher
    loop: asyncio.AbstractEventLoop

    @classmethod
    def of(
        cls, model: Doubling, loop: asyncio.AbstractEventLoop, *, joins: bool = True, most_waiting: int = 256
    ) -> Queue:
        metrics = KindMetrics(InferenceMetrics(CollectorRegistry()), "own")
        ask = asked_by_threads(model.answer, ThreadPoolExecutor(2), lambda: None)
        return cls(Batcher(ask, metrics, joins=joins, room=Room(most_of_one=most_waiting)), loop)

    def ask(self, values: list[int]) -> Future[pl.DataFrame]:
        """Put a request into the queue; it is there when this returns."""
        answer = asyncio.run_coroutine_threadsafe(self.batcher.ask(pl.DataFrame({"x": values})), self.loop)
        self.settle()
        return answer

    def settle(self) -> None:
        """Wait until the loop has done what it has to do now."""
        for _ in range(3):
            asyncio.run_coroutine_threadsafe(next_round(), self.loop).result(60)

    def ask_while_asking(self, model: Doubling, values: list[int]) -> list[Future[pl.DataFrame]]:
        """Put a request for each value into the queue, the first of which is being asked when the others come."""
        first = self.ask(values[:1])
        wait_until(lambda: model.asked, "a request that is asked")
        return [first, *(self.ask([value]) for value in values[1:])]


# What is answered


@pytest.mark.parametrize("kind", ["sklearn", "xgboost", "lightgbm", "catboost", "onnx"])
def test_every_kind_answers_as_the_model_itself_does(web: Within, kind: str) -> None:
    model = trained(kind)
    row = publish(web, model, MATRIX)
    answered = predict(web, "churn", MATRIX.tolist()).raise_for_status().json()
    assert (answered["model"], answered["version"], answered["warnings"]) == ("churn", row.version, [])
    if kind == "onnx":
        expected = 2 * (MATRIX[:, 0] + MATRIX[:, 1])
        assert [each["twice"] for each in answered["answers"]] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        return
    assert [each["prediction"] for each in answered["answers"]] == model.predict(MATRIX).tolist()
    given = [each["probability_1"] for each in answered["answers"]]
    assert given == pytest.approx(model.predict_proba(MATRIX)[:, 1].tolist(), rel=1e-12)
    alone = predict(web, "churn", [dict(zip("012", MATRIX[7].tolist(), strict=True))]).json()
    assert alone["answers"] == [answered["answers"][7]]


def test_an_alias_that_is_moved_counts_from_the_next_request_on(web: Within) -> None:
    first = publish(web, trained("sklearn"), MATRIX)
    second = publish(web, trained("xgboost"), MATRIX)
    for row in (first, second, first):
        models.set_alias(web.runtime, web.user_id, "churn", "production", row.version)
        assert predict(web, "churn@production", MATRIX[:1].tolist()).json()["version"] == row.version
    models.remove_alias(web.runtime, web.user_id, "churn", "production")
    gone = predict(web, "churn@production", MATRIX[:1].tolist())
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "alias_not_found")
    assert predict(web, f"churn@{second.version}", MATRIX[:1].tolist()).json()["version"] == second.version


def test_a_stranger_learns_nothing_of_a_model_and_who_is_not_signed_in_is_asked_to(web: Within) -> None:
    publish(web, trained("sklearn"), MATRIX)

    async def ask(who: Credentials | None, name: str) -> httpx.Response:
        async with web.client(who) as client:
            return await client.post(f"/api/models/{name}/predict", json={"rows": MATRIX[:1].tolist()})

    stranger = web.someone_else()
    given, absent = asyncio.run(ask(stranger, "churn")), asyncio.run(ask(stranger, "other"))
    assert (given.status_code, absent.status_code) == (404, 404)
    assert given.json()["error"]["message"] == absent.json()["error"]["message"].replace("other", "churn")
    assert asyncio.run(ask(Credentials("no token", "no session"), "churn")).status_code == 401


def test_a_table_as_csv_is_answered_as_its_rows_are(web: Within) -> None:
    table = TABLE.with_columns(pl.col("income").fill_null(0.5))
    publish(web, trained_on(table), table)
    by_rows = predict(web, "churn", table.to_dicts()).raise_for_status().json()
    sent = {"content": table.write_csv().encode(), "headers": {"content-type": "text/csv; charset=utf-8"}}
    assert web.ask("POST", "/api/models/churn/predict", **sent).json()["answers"] == by_rows["answers"]
    sent["content"] = b"age,income,member\n41,1.5,true\n22,many,false\n"
    refused = web.ask("POST", "/api/models/churn/predict", **sent)
    assert refused.status_code == 422
    assert "Row 2, column income: 'many'" in refused.json()["error"]["message"]


def trained_on(table: pl.DataFrame) -> Any:
    return lightgbm.LGBMRegressor(n_estimators=2, min_child_samples=1, verbose=-1, n_jobs=1).fit(
        table.to_numpy().astype(float), [0.0, 1.0, 0.0, 1.0]
    )


# What is refused, and what is noted


SCHEMA = {
    "columns": [
        {"name": "age", "type": "integer", "missing": False, "minimum": 22, "maximum": 65},
        {"name": "income", "type": "number", "missing": True, "minimum": 1.5, "maximum": 9.0},
        {"name": "city", "type": "text", "missing": False, "categories": ["Lyon", "Paris"]},
        {"name": "since", "type": "date", "missing": False},
    ]
}
DTYPES = {"age": pl.Int32(), "income": pl.Float32(), "city": pl.String(), "since": pl.Date()}
ROW = {"age": 41, "income": 2.5, "city": "Lyon", "since": "2026-01-31"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"age": "old"}, "Row 2, column age: 'old' is no integer"),
        ({"age": 41.5}, "Row 2, column age: 41.5 is no integer"),
        ({"age": True}, "Row 2, column age: True is no integer"),
        ({"age": 2**40}, "Row 2, column age: 1099511627776 is no integer"),
        ({"age": None}, "Row 2, column age: the value is missing"),
        ({"income": "much"}, "Row 2, column income: 'much' is no number"),
        ({"city": 3}, "Row 2, column city: 3 is no text"),
        ({"since": "31/01/2026"}, "Row 2, column since: '31/01/2026' is no date"),
        ({"age": ...}, "Row 2 lacks the column age"),
    ],
)
def test_a_value_that_the_model_does_not_take_is_refused_with_its_row_and_column(
    change: dict[str, Any], said: str
) -> None:
    second = {name: value for name, value in (ROW | change).items() if value is not ...}
    with pytest.raises(InvalidInput) as refused:
        from_json([ROW, second], SCHEMA, DTYPES)
    assert str(refused.value).startswith(said)
    assert "Send" in str(refused.value)


@pytest.mark.parametrize("sent", [None, [], {}, [1], [["too", "few"]], "text"])
def test_what_is_no_list_of_rows_is_refused(sent: Any) -> None:
    with pytest.raises(InvalidInput):
        from_json(sent, SCHEMA, DTYPES)


def test_what_the_example_did_not_have_is_answered_with_a_warning(web: Within) -> None:
    read = from_json([ROW, ROW | {"age": 90.0, "income": None, "city": "Nice", "odd": 1}], SCHEMA, DTYPES)
    assert [str(warning) for warning in read.warnings] == [
        "The column age goes from 41 to 90; the example went from 22 to 65.",
        "The column city has values that the example did not have: Nice.",
        "Columns that the model does not take were not read: odd.",
    ]
    assert read.rows.dtypes == list(DTYPES.values())
    publish(web, trained("xgboost"), MATRIX)
    far = predict(web, "churn", [[1e9, 0.0, 0.0], [0.0, None, 0.0]]).raise_for_status().json()
    assert len(far["answers"]) == 2
    assert any("goes from" in warning for warning in far["warnings"])
    assert any("missing" in warning for warning in far["warnings"])


def test_a_version_without_an_example_says_how_to_publish_one(web: Within) -> None:
    publish(web, trained("sklearn"), None)
    refused = predict(web, "churn", [[1.0, 2.0, 3.0]])
    assert refused.status_code == 422
    assert "example=" in refused.json()["error"]["message"]


def test_a_version_that_answers_otherwise_than_when_it_was_published_is_not_served(web: Within) -> None:
    folder = web.folder / "other"
    folder.mkdir()
    pack(trained("sklearn"), folder, MATRIX)
    answers = pl.read_parquet(folder / "answers.parquet")
    answers.with_columns(probability_1=pl.col("probability_1") + 1e-3).write_parquet(
        folder / "answers.parquet"
    )
    models.publish(web.runtime, web.user_id, "churn", list(folder.iterdir()), metadata={})
    refused = predict(web, "churn", MATRIX[:1].tolist())
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "model_unreadable")
    assert "probability" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "column",
    [
        {"type": 3},
        {"missing": "no"},
        {"minimum": "a", "maximum": "b"},
        {"categories": [1]},
        {"name": "9"},
    ],
)
def test_a_schema_that_its_publisher_made_by_hand_is_checked_before_it_is_used(
    tmp_path: Path, column: dict[str, Any]
) -> None:
    pack(trained("sklearn"), tmp_path, MATRIX)
    card = json.loads((tmp_path / "ecluse.json").read_text())
    card["schema"]["columns"][0] |= column
    (tmp_path / "ecluse.json").write_text(json.dumps(card))
    with pytest.raises((InvalidInput, ModelUnreadable)):
        package_in(tmp_path, "churn@1")


# What is kept in memory


def test_the_least_recently_used_makes_room_and_comes_back(web: Within) -> None:
    served = ServedModels(web.runtime, InferenceMetrics(CollectorRegistry()), most_loaded=2)
    rows = [publish(web, trained("sklearn"), MATRIX, name) for name in ("a", "b", "c")]
    first = served.load(rows[0])
    served.load(rows[1])
    assert served.load(rows[0]) is first
    served.load(rows[2])
    assert served.loaded_at(rows[0]) is not None
    assert served.loaded_at(rows[1]) is None
    assert served.load(rows[1]).row.name == "b"
    assert served.loaded_at(rows[0]) is None
    large = ServedModels(web.runtime, InferenceMetrics(CollectorRegistry()), most_bytes=rows[0].size_bytes)
    large.load(rows[0])
    large.load(rows[1])
    assert large.loaded_at(rows[0]) is None
    served.close()
    large.close()


def test_who_asks_for_a_version_that_is_being_loaded_gets_the_same_one(web: Within) -> None:
    row = publish(web, trained("sklearn"), MATRIX)
    served: ServedModels = web.app.state.inference
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: served.load(row), range(8)))
    assert len({id(each) for each in loaded}) == 1
    assert served.reload(row) is not loaded[0]


# Batches


def test_requests_that_come_while_one_is_answered_are_the_next_batch(loop: asyncio.AbstractEventLoop) -> None:
    model = Doubling()
    queue = Queue.of(model, loop)
    answers = queue.ask_while_asking(model, list(range(10)))
    model.may_go.set()
    assert [answer.result(60)["y"].to_list() for answer in answers] == [[2 * value] for value in range(10)]
    assert model.asked == [1, 9]
    assert queue.ask([50]).result(60)["y"].to_list() == [100]


def test_what_comes_in_one_turn_of_the_loop_is_one_batch(loop: asyncio.AbstractEventLoop) -> None:
    model = Doubling()
    model.may_go.set()
    queue = Queue.of(model, loop)

    async def at_once() -> list[list[int]]:
        answers = await asyncio.gather(*(queue.batcher.ask(pl.DataFrame({"x": [n]})) for n in range(8)))
        return [answer["y"].to_list() for answer in answers]

    assert asyncio.run_coroutine_threadsafe(at_once(), loop).result(60) == [[2 * n] for n in range(8)]
    assert model.asked == [8]


def test_one_request_that_fails_is_not_the_fault_of_those_it_was_joined_with(
    loop: asyncio.AbstractEventLoop,
) -> None:
    model = Doubling()
    answers = Queue.of(model, loop).ask_while_asking(model, [1, 2, -3, 4])
    model.may_go.set()
    assert [answers[at].result(60)["y"].item() for at in (0, 1, 3)] == [2, 4, 8]
    with pytest.raises(ModelRefused):
        answers[2].result(60)


def test_requests_are_asked_one_by_one_where_joining_would_change_an_answer(
    loop: asyncio.AbstractEventLoop,
) -> None:
    model = Doubling()
    answers = Queue.of(model, loop, joins=False).ask_while_asking(model, [1, 2, 3])
    model.may_go.set()
    assert [answer.result(60)["y"].item() for answer in answers] == [2, 4, 6]
    assert model.asked == [1, 1, 1]


def test_a_full_queue_says_when_to_try_again_and_a_request_that_was_given_up_is_not_asked(
    loop: asyncio.AbstractEventLoop,
) -> None:
    model = Doubling()
    queue = Queue.of(model, loop, most_waiting=3)
    answers = queue.ask_while_asking(model, [1, 2, 3, 4])
    with pytest.raises(Overloaded) as refused:
        queue.ask([5]).result(60)
    assert refused.value.seconds >= 1
    assert answers[2].cancel()
    queue.settle()
    model.may_go.set()
    assert answers[3].result(60)["y"].item() == 8
    assert model.asked == [1, 2]


def test_what_a_model_is_made_of_is_given_back_after_its_last_answer(loop: asyncio.AbstractEventLoop) -> None:
    model, ended = Doubling(), threading.Event()
    queue = Queue.of(model, loop)
    answers = queue.ask_while_asking(model, [1, 2])
    queue.batcher.end(ended.set)
    assert not ended.is_set()
    model.may_go.set()
    assert [answer.result(60)["y"].item() for answer in answers] == [2, 4]
    assert ended.wait(60)


def test_requests_of_a_loop_that_is_closed_are_called_off_and_the_next_loop_goes_on() -> None:
    model = Doubling()
    queue = Queue.of(model, asyncio.new_event_loop())

    async def leave() -> None:
        waiting = [asyncio.create_task(queue.batcher.ask(pl.DataFrame({"x": [n]}))) for n in range(3)]
        await wait_in_loop(lambda: model.asked, "a request that is asked")
        assert not any(task.done() for task in waiting)
        threading.Timer(0.3, model.may_go.set).start()

    asyncio.run(leave())
    answer = asyncio.run(queue.batcher.ask(pl.DataFrame({"x": [7]})))
    assert answer["y"].to_list() == [14]
    queue.loop.close()


@pytest.mark.parametrize("kind", ["sklearn", "xgboost", "lightgbm", "catboost", "onnx"])
def test_every_split_of_the_rows_answers_to_the_last_bit(tmp_path: Path, kind: str) -> None:
    pack(trained(kind), tmp_path, MATRIX)
    answer = steady_answer(package_in(tmp_path, "churn@1"))
    assert answer is not None
    rows = pl.from_numpy(RNG.normal(size=(200, 3)), schema=list("012"), orient="row")
    together = answer(rows)
    for size in (1, 7, 64):
        assert pl.concat([answer(rows.slice(at, size)) for at in range(0, 200, size)]).equals(together)


def test_a_model_whose_answer_to_a_row_depends_on_the_others_is_not_joined(tmp_path: Path) -> None:
    pack(trained("sklearn"), tmp_path, MATRIX)
    package = package_in(tmp_path, "churn@1")

    class Centred(Packaged):
        def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.select(pl.all() - pl.all().mean())

    assert steady_answer(Centred(package.unpacked, package.schema, package.example)) is None


def test_metrics_count_requests_rows_and_loaded_versions_without_naming_a_model(web: Within) -> None:
    publish(web, trained("catboost"), MATRIX, "secretname")
    predict(web, "secretname", MATRIX[:5].tolist()).raise_for_status()
    text = web.ask("GET", "/metrics").text
    assert 'ecluse_inference_requests_total{kind="catboost",result="answered"}' in text
    assert "ecluse_inference_models_loaded" in text
    assert "secretname" not in text


def test_a_model_of_images_answers_by_the_same_address(web: Within) -> None:
    row = web.publish()
    image = base64.b64encode(photo(YELLOW)).decode()
    answered = predict(web, "leaves", [{"image": image}]).raise_for_status().json()
    direct = web.predict(photo(YELLOW)).json()
    assert answered["version"] == row.version
    assert answered["answers"][0]["label"] == direct["label"] == "dandelion"
    assert answered["answers"][0]["probability_grass"] == direct["probabilities"]["grass"]
    refused = predict(web, "leaves", [{"image": image}, {"image": "no image"}])
    assert refused.status_code == 422
    assert refused.json()["error"]["message"].startswith("Row 2, column image")
    assert web.served.loaded_at(row) is not None


# The page


def test_the_page_of_a_version_leads_to_a_form_that_asks_it(web: Within) -> None:
    table = TABLE.with_columns(pl.col("income").fill_null(0.5))
    row = publish(web, trained_on(table), table)
    place = f"/models/churn/{row.version}"
    assert f'href="{place}/use"' in ask_page(web, "GET", place).text
    form = ask_page(web, "GET", f"{place}/use").raise_for_status().text
    for text in ("age", "income", "member", 'value="41"', 'value="1.5"', "from 22 to 65"):
        assert text in form
    assert f"/api/models/churn@{row.version}/predict" in form
    asked = ask_page(web, "POST", f"{place}/use", data={"c0": "90", "c1": "1.5", "c2": "true"})
    expected = predict(web, "churn", [{"age": 90, "income": 1.5, "member": True}]).json()["answers"][0]
    assert asked.status_code == 200
    assert f"{expected['prediction']:.3g}"[:4] in asked.text
    assert "the example went from 22" in asked.text
    refused = ask_page(web, "POST", f"{place}/use", data={"c0": "old", "c1": "1.5", "c2": "true"})
    assert refused.status_code == 422
    assert "column age: &#39;old&#39; is no integer" in refused.text
    assert 'value="old"' in refused.text


def ask_page(web: Within, method: str, address: str, **sent: Any) -> httpx.Response:
    """Ask for a page as a person who signed in."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(web.app, raise_app_exceptions=False)
        cookies = {SESSION_COOKIE: web.session}
        async with httpx.AsyncClient(transport=transport, base_url="http://a", cookies=cookies) as client:
            return await client.request(method, address, headers={"accept": "text/html"}, **sent)

    return asyncio.run(ask())


def test_a_version_without_an_example_has_no_form(web: Within) -> None:
    row = publish(web, trained("sklearn"), None)
    place = f"/models/churn/{row.version}"
    assert f"{place}/use" not in ask_page(web, "GET", place).text
    page = ask_page(web, "GET", f"{place}/use")
    assert page.status_code == 422
    assert "example=" in page.text
