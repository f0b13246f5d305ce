"""No figure and no verdict comes from rows that a version learned from, however they were saved again."""

from __future__ import annotations

import io
from typing import Any

import httpx
import polars as pl
import pytest

from ecluse.apps.fraud.actions.monitoring import is_poorer
from ecluse.apps.fraud.sample import generate
from tests.application import Application
from tests.apps.fraud.test_monitoring_api import done, upload
from tests.support.jobs import read_table
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly

Learned = dict[str, Any]


@pytest.fixture(scope="module")
def learned(application: Application, client: httpx.Client) -> Learned:
    """A model of the first 3,000 rows, its version trained again on the next 2,000, and 400 rows of either."""
    rows = generate(rows=5_400, seed=7, fraud_share=0.05)
    old, later = rows.head(3_000), rows[3_000:5_000]
    tables = {"old": upload(client, "seen-old.csv", old), "later": upload(client, "seen-later.csv", later)}
    body = {"dataset": tables["old"], "model_name": "seen", "target_column": "is_fraud", "budget_s": 2}
    trained = application.wait_for_job(client, client.post("/api/train", json=body).json()["job"])
    assert trained["status"] == "done", trained
    version = trained["result"]["version"]  # type: ignore[index]
    again = client.post(
        "/api/models/seen/retrain", json={"dataset": tables["later"], "version": version, "budget_s": 2}
    )
    second = done(application, client, again)
    return {**tables, "rows": rows, "a": version, "b": second["other_version"], "result": second["result"]}


def typed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        pl.col("amount").cast(pl.Float64), pl.col("timestamp").cast(pl.String).str.to_datetime()
    )


def upload_typed(client: httpx.Client, name: str, rows: pl.DataFrame) -> str:
    buffer = io.BytesIO()
    typed(rows).write_parquet(buffer)
    answer = client.post("/api/upload", files={"file": (name, buffer.getvalue())})
    assert answer.status_code == 201, answer.text
    table = str(answer.json()["id"])
    read_table(client, table)
    return table


def compared(application: Application, client: httpx.Client, learned: Learned, dataset: str) -> Any:
    body = {"versions": [learned["a"], learned["b"]], "dataset": dataset}
    return done(application, client, client.post("/api/models/seen/compare", json=body))["result"]


def test_training_again_on_another_copy_of_the_old_table_compares_on_no_row_of_it(
    application: Application, client: httpx.Client, learned: Learned
) -> None:
    assert learned["result"]["left_out"] == 0
    rows = pl.concat([learned["rows"].head(3_000), learned["rows"][5_000:]])
    copy = upload_typed(client, "copy.parquet", rows)
    asked = client.post(
        "/api/models/seen/retrain", json={"dataset": copy, "version": learned["a"], "budget_s": 2}
    )
    result = done(application, client, asked)["result"]
    tested = client.get(f"/api/models/seen/{learned['a']}").json()["report"]
    unseen = 400 + (0 if tested.get("refitted") else tested["rows"]["test"])
    assert 0 < result["rows"] <= unseen
    assert result["rows"] + result["left_out"] == result["held_out"]
    if tested.get("refitted"):
        assert result["left_out"] > 0


def test_versions_are_not_judged_on_rows_that_one_of_them_learned_from(
    application: Application, client: httpx.Client, learned: Learned
) -> None:
    old = upload_typed(client, "part.parquet", learned["rows"][:1_000])
    result = compared(application, client, learned, old)
    assert result["seen"] == {"a": 1_000, "b": 0}
    assert (result["figures"], result["curves"], result["labelled"]) == (None, None, 0)
    assert result["notes"] == ["A learned from 1,000 of these 1,000 rows: no figure counts them."]
    assert result["agreement"]["both"] + result["agreement"]["neither"] > 0


def test_what_no_version_learned_from_is_still_judged(
    application: Application, client: httpx.Client, learned: Learned
) -> None:
    mixed = upload(client, "mixed.csv", pl.concat([learned["rows"][:1_000], learned["rows"][5_000:]]))
    result = compared(application, client, learned, mixed)
    assert (result["seen"]["a"], result["labelled"], result["rows"]) == (1_000, 400, 1_400)
    assert set(result["figures"]) == {"average_precision", "roc_auc", "precision", "recall"}
    fresh = upload(client, "fresh.csv", learned["rows"][5_000:])
    alone = compared(application, client, learned, fresh)
    assert (alone["notes"], alone["labelled"]) == ([], 400)
    assert alone["figures"] == result["figures"]


def test_the_rows_kept_from_a_version_trained_again_may_judge_it(
    application: Application, client: httpx.Client, learned: Learned
) -> None:
    result = compared(application, client, learned, learned["later"])
    assert result["seen"]["a"] == 0
    assert result["labelled"] == learned["result"]["rows"]
    assert result["labelled"] + result["seen"]["b"] == 2_000


def test_a_look_at_the_rows_a_version_learned_from_gives_no_figure(
    application: Application, client: httpx.Client, learned: Learned
) -> None:
    path = f"/api/models/seen/{learned['a']}/monitor"
    part = upload(
        client, "part.csv", learned["rows"][:1_000].with_columns(pl.col("amount").cast(pl.String) + "0")
    )
    result = done(application, client, client.post(path, json={"dataset": part}))["result"]
    assert (result["seen"], result["outcomes"]) == (1_000, None)
    assert result["notes"] == ["This version learned from 1,000 of these 1,000 rows: no figure counts them."]
    assert all(period["recall"] is None for period in result["periods"])


def test_a_poorer_table_is_warned_of_and_what_was_learned_is_counted(learned: Learned) -> None:
    counts = learned["result"]["learned"]
    assert counts["a"][0] in (2_400, 3_000)
    assert counts["b"][0] == 2_000 - learned["result"]["held_out"]
    assert is_poorer(49, 100)
    assert not is_poorer(50, 100)
    said = any("Train on one table" in note for note in learned["result"]["notes"])
    assert said == is_poorer(counts["b"][1], counts["a"][1])


def test_scores_of_rows_learned_from_are_not_counted_as_known(
    application: Application, client: httpx.Client, learned: Learned
) -> None:
    mixed = upload(client, "scored.csv", pl.concat([learned["rows"][:1_000], learned["rows"][5_000:]]))
    body = {"model": "seen", "version": learned["a"], "dataset": mixed}
    job = client.post("/api/predict", json=body).json()["job"]
    assert application.wait_for_job(client, job)["status"] == "done"
    newest = client.get("/api/predictions").json()[0]["id"]
    assert client.get(f"/api/predictions/{newest}").json()["summary"]["labelled"] == 400


def test_a_version_published_before_its_comparison_is_cancelled_is_named(
    application: Application, client: httpx.Client, learned: Learned
) -> None:
    large = upload(client, "large.csv", pl.concat([learned["rows"]] * 12))
    body = {"dataset": large, "version": learned["a"], "budget_s": 2}
    before = {row["version"] for row in client.get("/api/models/seen/versions").json()}
    asked = client.post("/api/models/seen/retrain", json=body).json()

    def made() -> set[str]:
        return {row["version"] for row in client.get("/api/models/seen/versions").json()} - before

    version = wait_until(made, "a new version", 120)
    client.post(f"/api/jobs/{asked['job']}/cancel")
    assert application.wait_for_job(client, asked["job"])["status"] == "cancelled"

    def look() -> Any:
        body = client.get(f"/api/inspections/{asked['inspection']}").json()
        return body if body["other_version"] else None

    found = wait_until(look, "a version that the inspection names")
    assert found["status"] == "cancelled"
    assert {found["other_version"]} == version


def test_a_table_that_is_gone_leaves_a_doubt_that_is_told(
    application: Application, client: httpx.Client, learned: Learned
) -> None:
    fresh = upload(client, "doubt.csv", learned["rows"][5_000:])
    assert client.delete(f"/api/datasets/{learned['old']}").status_code in (200, 204)
    result = compared(application, client, learned, fresh)
    assert result["notes"] == ["A learned from a table that is gone: rows of it may be among these."]
    assert result["figures"] is not None
