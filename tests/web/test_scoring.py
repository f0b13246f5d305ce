"""A table of a person is scored by any version with a schema, as a job: as online, resumed, and its owner's alone."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from typing import Any

import lightgbm
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import update

from ecluse import models, tables
from ecluse.catalog.jobs import Claim
from ecluse.catalog.tables import JobRow, ModelVersion
from ecluse.checkpoints import Checkpoints, checkpoints_prefix
from ecluse.errors import InvalidInput
from ecluse.inference import scoring
from ecluse.jobs import Task
from ecluse.runtime import Worker
from ecluse.work import kinds
from tests.support.wait import slow_for, wait_until
from tests.web.test_predict import predict, publish
from tests.web.within import Within

RNG = np.random.default_rng(1)
COUNT = 3_000
ROWS = pl.DataFrame(
    {
        "id": [f"{number:04}" for number in range(COUNT)],
        "age": RNG.integers(18, 90, COUNT),
        "income": [None if number % 7 == 0 else float(number) / 3 for number in range(COUNT)],
        "member": RNG.integers(0, 2, COUNT).astype(bool),
        "prediction": ["taken"] * COUNT,
    }
)
TAKEN = ["age", "income", "member"]


@pytest.fixture
def worker(web: Within) -> Iterator[Worker]:
    worker = Worker(web.runtime, kinds())
    worker.start()
    yield worker
    worker.close()


def churn(web: Within) -> ModelVersion:
    """A forest whose answers depend on every column."""
    given = ROWS.select(TAKEN).head(400)
    target = (given["age"] + given["income"].fill_null(50.0) > 90).to_numpy().astype(int)
    model = lightgbm.LGBMClassifier(n_estimators=8, min_child_samples=2, verbose=-1, n_jobs=1)
    return publish(web, model.fit(given.to_pandas(), target), given.to_pandas())


def uploaded(web: Within, frame: pl.DataFrame, name: str = "rows.parquet") -> str:
    file = io.BytesIO()
    frame.write_csv(file) if name.endswith(".csv") else frame.write_parquet(file)
    response = web.ask("POST", "/api/tables", files={"file": (name, file.getvalue())})
    return str(response.raise_for_status().json()["id"])


def start(web: Within, table: str, reference: str = "churn") -> str:
    response = web.ask("POST", f"/api/models/{reference}/score", json={"table": table})
    assert response.status_code == 202, response.text
    return str(response.json()["job"])


def ended(web: Within, job: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        body: dict[str, Any] = web.ask("GET", f"/api/status/{job}").json()
        return None if body["status"] in ("queued", "running") else body

    return wait_until(look, "an end of the job")  # type: ignore[return-value]


def fetched(web: Within, table: str) -> pl.DataFrame:
    return pl.read_parquet(web.ask("GET", f"/api/tables/{table}/file").raise_for_status().content)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_every_row_of_a_table_is_answered_as_it_is_online(web: Within, worker: Worker, name: str) -> None:
    row = churn(web)
    table = uploaded(web, ROWS, name)
    body = ended(web, start(web, table))
    assert body["status"] == "done", body["error"]
    made = body["result"]
    assert (made["rows"], made["model"], made["version"]) == (COUNT, "churn", row.version)
    scored = fetched(web, made["table"])
    assert_frame_equal(scored.select(ROWS.columns), fetched(web, table))
    assert scored["id"].to_list() == ROWS["id"].to_list()
    online = predict(web, "churn", ROWS.select(TAKEN).to_dicts()).json()["answers"]
    renamed = scored.select(pl.exclude(ROWS.columns)).rename({"prediction_2": "prediction"})
    assert renamed.to_dicts() == online
    as_csv = web.ask("GET", f"/api/tables/{made['table']}/file", params={"format": "csv"})
    assert (
        pl.read_csv(as_csv.content, schema_overrides={"id": pl.String})["id"].to_list()
        == ROWS["id"].to_list()
    )
    assert 'filename="rows_churn.csv"' in as_csv.headers["content-disposition"]


def test_a_killed_scoring_goes_on_and_its_result_is_there_whole_or_not_at_all(
    web: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecluse.checkpoints.SAVED_EVERY", 0.0)
    monkeypatch.setattr("ecluse.checkpoints.TIMES_LONGER", 0.0)
    churn(web)
    table = uploaded(web, ROWS)
    job = start(web, table)
    asked: list[int] = []
    report = Task.report

    def stopped(task: Task, stage: str, fraction: float, message: str = "") -> None:
        report(task, stage, fraction, message)
        if stage == "score" and 0.3 < fraction < 0.9:
            raise KeyboardInterrupt("as if the machine had gone")

    claim = _claimed(web, job)
    with monkeypatch.context() as broken:
        broken.setattr(Task, "report", stopped)
        with pytest.raises(KeyboardInterrupt):
            _score_once(web, claim)
    assert tables.list_tables(web.runtime, web.user_id, limit=10)[1] == 1  # the table alone
    ask = scoring._Scoring._asked

    def counted(self: Any, answer: Any, rows: pl.DataFrame) -> pl.DataFrame:
        asked.append(rows.height)
        return ask(self, answer, rows)

    monkeypatch.setattr(scoring._Scoring, "_asked", counted)
    made = _score_once(web, claim)
    assert 0 < sum(asked) < COUNT  # what was answered before is not asked again
    scored = fetched(web, made)
    online = predict(web, "churn", ROWS.select(TAKEN).to_dicts()).json()["answers"]
    assert scored["prediction_2"].to_list() == [each["prediction"] for each in online]
    assert scored["probability_1"].to_list() == [each["probability_1"] for each in online]
    assert _score_once(web, claim) == made  # the row is there: begun again, nothing is made twice
    assert tables.list_tables(web.runtime, web.user_id, limit=10)[1] == 2


def _claimed(web: Within, job: str) -> Claim:
    with web.runtime.catalog.write() as transaction:
        transaction.execute(
            update(JobRow).where(JobRow.id == job).values(status="running", worker="tests", fence=1)
        )
    return Claim(job, 1, scoring.SCORING, scoring.SCORING, web.user_id, {})


def _score_once(web: Within, claim: Claim) -> str:
    task = Task(claim, web.runtime.catalog, threading.Event())
    subject = web.runtime.jobs.get(web.user_id, claim.job_id).subject
    return scoring._score(web.runtime, task, **subject)


def test_what_cannot_be_scored_says_why_and_makes_nothing(web: Within, worker: Worker) -> None:
    churn(web)
    lacking = ended(web, start(web, uploaded(web, ROWS.drop("age"))))
    assert lacking["status"] == "failed"
    assert "lacks columns that churn@" in lacking["error"]
    assert "takes: age. It has: id, income" in lacking["error"]
    wrong = ROWS.with_columns(age=pl.when(pl.col("id") == "2900").then(pl.lit("old")).otherwise(pl.lit("41")))
    failed = ended(web, start(web, uploaded(web, wrong)))
    assert failed["status"] == "failed"
    assert "'old' is no" in failed["error"]
    assert tables.list_tables(web.runtime, web.user_id, limit=10)[1] == 2  # nothing was made
    folder = web.folder / "files"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"1")
    models.publish(web.runtime, web.user_id, "files", [folder], metadata={})
    refused = web.ask("POST", "/api/models/files/score", json={"table": uploaded(web, ROWS)})
    assert refused.status_code == 422
    assert "published without an example" in refused.json()["error"]["message"]
    assert web.ask("POST", "/api/models/churn/score", json={"table": "nothing"}).status_code == 404


def test_another_person_finds_neither_table_nor_model_and_removal_leaves_nothing(web: Within) -> None:
    churn(web)
    table = uploaded(web, ROWS)
    stranger = web.someone_else()

    async def asked(method: str, address: str, **sent: Any) -> int:
        async with web.client(stranger) as client:
            return (await client.request(method, address, **sent)).status_code

    for method, address in (
        ("GET", f"/api/tables/{table}"), ("GET", f"/api/tables/{table}/file"), ("DELETE", f"/api/tables/{table}"),
        ("GET", f"/tables/{table}"), ("GET", f"/tables/{table}/file"), ("POST", f"/tables/{table}/remove"),
    ):  # fmt: skip
        assert asyncio.run(asked(method, address)) == 404, address
    assert asyncio.run(asked("POST", "/api/models/churn/score", json={"table": table})) == 404
    part = web.ask("GET", f"/api/tables/{table}/file", headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"PAR1")
    assert web.ask("GET", "/api/tables").json()["total"] == 1
    assert web.ask("DELETE", f"/api/tables/{table}").status_code == 204
    assert web.ask("GET", f"/api/tables/{table}").status_code == 404
    assert not [*web.runtime.data.list(f"user_data/{web.user_id}")]


def test_a_page_takes_a_table_in_and_has_it_scored(web: Within, worker: Worker) -> None:
    row = churn(web)
    reference = f"churn@{row.version}"
    sent = web.ask(
        "POST",
        "/tables/upload",
        data={"model": reference},
        files={"file": ("mine.csv", ROWS.head(5).write_csv().encode())},
    )
    assert sent.status_code == 303
    assert ended(web, sent.headers["location"].removeprefix("/jobs/"))["status"] == "done"
    page = web.ask("GET", f"/models/churn/{row.version}/use").text
    (mine,) = (table for table in web.ask("GET", "/api/tables").json()["items"] if table["model"] is None)
    assert f'<option value="{mine["id"]}">' in page
    chosen = web.ask("POST", f"/models/churn/{row.version}/use/table", data={"table": mine["id"]})
    body = ended(web, chosen.headers["location"].removeprefix("/jobs/"))
    shown = web.ask("GET", f"/tables/{body['result']['table']}").text
    assert "probability_1" in shown
    assert reference in shown
    listed = web.ask("GET", "/tables").text
    assert "mine_churn.parquet" in listed
    refused = web.ask("POST", "/tables/upload", files={"file": ("a.xlsx", b"PK\x03\x04 none")})
    assert refused.status_code == 422
    assert "a.xlsx" in refused.text


def test_a_scoring_is_cancelled_between_two_rows(
    web: Within, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "FIRST_ROWS", 1)
    monkeypatch.setattr(scoring, "MOST_ROWS", 1)
    asked = threading.Event()
    ask = scoring._Scoring._asked

    def slowly(self: Any, answer: Any, rows: pl.DataFrame) -> pl.DataFrame:
        asked.set()
        slow_for(0.05)
        return ask(self, answer, rows)

    monkeypatch.setattr(scoring._Scoring, "_asked", slowly)
    churn(web)
    job = start(web, uploaded(web, ROWS))
    assert asked.wait(60)
    assert web.ask("POST", f"/api/jobs/{job}/cancel").json()["status"] == "cancelled"
    wait_until(lambda: not worker._runner.running(), "an end of the work")
    assert web.ask("GET", "/api/tables").json()["total"] == 1


def test_a_table_of_fraud_is_read_and_scored_by_its_id_and_versions_of_fraud_by_fraud(
    web: Within, worker: Worker
) -> None:
    churn(web)
    sent = web.ask(
        "POST", "/api/upload", files={"file": ("paid.csv", ROWS.head(50).write_csv(separator=";").encode())}
    )
    table = str(sent.json()["id"])

    def is_read() -> bool:
        return bool(web.ask("GET", f"/api/datasets/{table}").json()["state"] == "ready")

    early = web.ask("GET", f"/api/tables/{table}/file")
    assert early.status_code in (200, 422)  # it may have been read by then
    wait_until(is_read, "a table that is read")
    frame = fetched(web, table)
    assert frame["id"].to_list() == ROWS["id"].head(50).to_list()
    assert frame.schema["age"] == pl.Int64
    body = ended(web, start(web, table))
    assert (body["status"], body["result"]["rows"]) == ("done", 50)
    assert web.ask("DELETE", f"/api/tables/{table}").status_code == 404
    of_fraud = ModelVersion(name="risk", version="v20251121_041000", application="fraud")
    with pytest.raises(InvalidInput, match="/models/risk/v20251121_041000#score"):
        scoring.expect_scored_here(web.runtime, of_fraud)


def test_what_was_kept_after_a_damaged_part_is_not_joined_to_what_comes_in_its_place(
    web: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecluse.checkpoints.SAVED_EVERY", 0.0)
    monkeypatch.setattr("ecluse.checkpoints.TIMES_LONGER", 0.0)

    def opened() -> scoring._Kept:
        return scoring._Kept(Checkpoints(web.runtime, web.user_id, "job"), "work")

    first = opened()
    for start, end in ((0, 10), (10, 30), (30, 60)):
        assert first.save([pl.DataFrame({"y": range(start, end)})], [])
    prefix = checkpoints_prefix(web.user_id, "job")
    second = sorted(info.key for info in web.runtime.data.list(prefix))[1]
    web.runtime.data.put(second, web.runtime.data.get(second)[:-3])
    again = opened()
    assert [frame["y"].to_list() for frame, _notes in again.load()] == [[*range(10)]]
    assert again.save([pl.DataFrame({"y": range(10, 15)})], [])
    assert [frame.height for frame, _notes in opened().load()] == [10, 5]
