"""Labels, monitoring, comparing and training again over HTTP, with a real worker, for two people."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from ecluse.apps.fraud.rows import inspections
from ecluse.apps.fraud.sample import generate
from ecluse.runtime import Runtime, living_workers
from ecluse.settings import Settings
from tests.application import Application, running
from tests.support.jobs import begun_job, read_table

pytestmark = pytest.mark.nightly

Watched = dict[str, Any]


def upload(client: httpx.Client, name: str, frame: pl.DataFrame) -> str:
    buffer = io.BytesIO()
    frame.write_csv(buffer)
    answer = client.post("/api/upload", files={"file": (name, buffer.getvalue())})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def done(application: Application, client: httpx.Client, asked: httpx.Response) -> dict[str, Any]:
    """The inspection that an accepted request made, once its job has ended well."""
    assert asked.status_code == 202, asked.text
    ended = application.wait_for_job(client, asked.json()["job"])
    assert ended["status"] == "done", ended
    found: dict[str, Any] = client.get(f"/api/inspections/{asked.json()['inspection']}").json()
    assert found["status"] == "done"
    return found


@pytest.fixture(scope="module")
def watched(application: Application, client: httpx.Client) -> Watched:
    """A model of the first 6,000 rows, the 3,000 that follow with and without their outcomes."""
    rows = generate(rows=9_000, seed=5, fraud_share=0.04)
    later = rows.tail(3_000)
    tables = {
        "old": upload(client, "old.csv", rows.head(6_000)),
        "later": upload(client, "later.csv", later.drop("is_fraud")),
        "labelled": upload(client, "labelled.csv", later),
        "outcomes": upload(client, "outcomes.csv", later.select("transaction_id", "is_fraud").head(2_000)),
    }
    body = {"dataset": tables["old"], "model_name": "watched", "target_column": "is_fraud", "budget_s": 3}
    trained = application.wait_for_job(client, client.post("/api/train", json=body).json()["job"])
    assert trained["status"] == "done", trained
    return {**tables, "rows": later, "version": trained["result"]["version"]}  # type: ignore[index]


def test_a_look_at_later_rows_says_drift_alerts_and_what_outcomes_say(
    application: Application, client: httpx.Client, watched: Watched
) -> None:
    path = f"/api/models/watched/{watched['version']}/monitor"
    asked = client.post(
        path, json={"dataset": watched["later"], "outcomes": watched["outcomes"], "identifier": "transaction_id"}
    )  # fmt: skip
    result = done(application, client, asked)["result"]
    assert result["rows"] == 3_000
    assert result["columns"]["missing"] == []
    assert {drift["column"] for drift in result["drift"]} >= {"amount", "channel"}
    assert sum(day["rows"] for day in result["alerts"]["by_day"]) == 3_000
    assert sum(day["alerts"] for day in result["alerts"]["by_day"]) == result["alerts"]["count"] > 0
    assert sum(period["rows"] for period in result["periods"]) == 3_000
    truth = watched["rows"].head(2_000)["is_fraud"].cast(pl.Int64).sum()
    assert (result["outcomes"]["rows"], result["outcomes"]["frauds"]) == (2_000, truth)
    low, high = result["outcomes"]["intervals"]["average_precision"]
    assert low <= result["outcomes"]["metrics"]["average_precision"] <= high
    shown = client.get(path).json()
    assert shown["latest"]["result"] == result
    assert [one["id"] for one in shown["history"]] == [shown["latest"]["id"]]


def test_outcomes_within_the_table_are_found_by_the_name_of_the_target(
    application: Application, client: httpx.Client, watched: Watched
) -> None:
    path = f"/api/models/watched/{watched['version']}/monitor"
    result = done(application, client, client.post(path, json={"dataset": watched["labelled"]}))["result"]
    assert result["outcomes"]["rows"] == 3_000
    judged = [period["recall"] for period in result["periods"] if period["frauds"]]
    assert all(0 <= recall <= 1 for recall in judged)


def test_moved_and_missing_columns_are_told(
    application: Application, client: httpx.Client, watched: Watched
) -> None:
    rows = watched["rows"].drop("is_fraud")
    moved = upload(client, "moved.csv", rows.with_columns(pl.col("amount").cast(pl.Float64) * 30))
    lacking = upload(client, "lacking.csv", rows.drop("channel"))
    path = f"/api/models/watched/{watched['version']}/monitor"
    far = done(application, client, client.post(path, json={"dataset": moved}))["result"]
    assert (far["drift"][0]["column"], far["drift"][0]["verdict"]) == ("amount", "far")
    gone = done(application, client, client.post(path, json={"dataset": lacking}))["result"]
    assert gone["columns"]["missing"] == ["channel"]
    assert (gone["alerts"], gone["score"]) == (None, None)
    assert "not scored" in gone["notes"][0]


def test_questions_are_answered_judged_and_learned_from(
    application: Application, client: httpx.Client, watched: Watched
) -> None:
    asked = client.post(
        "/api/labels/questions", json={"dataset": watched["later"], "model": "watched", "count": 40}
    )
    done(application, client, asked)
    first = client.get("/api/labels", params={"dataset": watched["later"]}).json()
    assert len(first["questions"]) == 40
    assert first["figures"]["precision"] is None
    truth = [int(value) for value in watched["rows"]["is_fraud"].to_list()]
    identifiers = watched["rows"]["transaction_id"].to_list()
    for question in first["questions"]:
        assert question["values"]["transaction_id"] == identifiers[question["row"] - 1]
    answers = [{"row": q["row"], "label": truth[q["row"] - 1]} for q in first["questions"]]
    one = client.post("/api/labels", json={"dataset": watched["later"], "labels": answers[:1]}).json()
    assert len(one["questions"]) == 39
    every = client.post("/api/labels", json={"dataset": watched["later"], "labels": answers}).json()
    assert (every["rows"], every["questions"]) == (40, [])
    figure = every["figures"]["precision"]
    assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1

    learn = {"dataset": watched["later"], "model": f"watched@{watched['version']}", "fraud_rate": 0.04}
    learned = done(application, client, client.post("/api/labels/learn", json=learn))
    version = learned["other_version"]
    assert version != watched["version"]
    assert learned["result"]["way"] in ("recalibrated", "corrected")
    detail = client.get(f"/api/models/watched/{version}").json()
    assert detail["report"]["learned"]["from"] == watched["version"]
    assert "learned.json" in {file["path"] for file in detail["files"]}

    scored = {}
    for number in (watched["version"], version):
        job = client.post(
            "/api/predict", json={"model": "watched", "version": number, "dataset": watched["later"]}
        ).json()["job"]
        url = application.wait_for_job(client, job)["result"]["download_url"]  # type: ignore[index]
        scored[number] = pl.read_csv(io.BytesIO(client.get(url).content))
    before, after = scored.values()
    assert before["transaction_id"].equals(after["transaction_id"])
    assert after["is_fraud"].sum() == learned["result"]["alerts"]
    assert after["fraud_probability"].mean() == pytest.approx(learned["result"]["mean_after"], abs=1e-6)
    assert not before["fraud_probability"].equals(after["fraud_probability"])


@pytest.mark.nightly
def test_a_version_that_learned_is_watched_taught_and_trained_again_as_itself(
    application: Application, client: httpx.Client, watched: Watched, tmp_path: Path
) -> None:
    """By what it learned from, on its own scale, by its own questions, with the seed that was asked for."""
    rows, place = watched["rows"].tail(2_500), "/api/models/watched"
    settings = Settings.from_environment(application.environ, home=application.home)
    with Runtime.open(settings) as runtime:
        owner = next(one for one in runtime.accounts.everyone() if one.email == "owner@example.org")
    rows.drop("is_fraud").write_csv(tmp_path / "latest.csv")
    every_other = rows.with_row_index("row", 1).gather_every(2)
    every_other.select("row", pl.col("is_fraud").cast(pl.Int64).alias("label")).write_csv(
        tmp_path / "labels.csv"
    )

    def learn(model: str, *more: str) -> dict[str, Any]:
        """As in another window, where the worker of the first does the work."""
        given = ["--from", str(tmp_path / "labels.csv"), "--count", "20", "--learn", "--json", *more]
        whose = ["--user", owner.email, "--home", str(application.home)]
        done = subprocess.run(
            [sys.executable, "-m", "ecluse", "fraud", "label", tmp_path / "latest.csv", "--model", model, *given, *whose],
            env=application.environ, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    first = learn(f"watched@{watched['version']}", "--seed", "7")
    assert first["model"] == f"watched@{watched['version']}"
    version = first["learned"]["model"].partition("@")[2]
    detail = client.get(f"{place}/{version}").json()
    assert not {"curves", "histogram", "groups", "intervals"} & detail["report"].keys()
    assert not [file["path"] for file in detail["files"] if file["path"].startswith("plots/")]
    with Runtime.open(settings) as runtime, runtime.catalog.read() as transaction:
        asked = inspections.list_inspections(
            transaction, owner.id, inspections.InspectionFilter(kind="learning", dataset_id=first["dataset"])
        )
        assert [(one.request["seed"], one.other_version) for one in asked] == [(7, version)]
    looked = client.post(f"{place}/{version}/monitor", json={"dataset": first["dataset"]})
    assert done(application, client, looked)["result"]["score"]["index"] == 0

    again = learn(f"watched@{version}")
    assert again["model"] == f"watched@{version}"
    last = client.get(f"{place}/{again['learned']['model'].partition('@')[2]}").json()
    assert last["report"]["learned"]["from"] == version

    body = {"dataset": watched["labelled"], "version": version, "budget_s": 2}
    result = done(application, client, client.post(f"{place}/retrain", json=body))["result"]
    # Of the rows kept for comparing, those with a label taught the old version.
    assert 0.3 < result["left_out"] / result["held_out"] < 0.7
    assert "The table of the old version is gone" not in " ".join(result["notes"])


def test_labels_come_from_a_table_and_are_forgotten_again(client: httpx.Client, watched: Watched) -> None:
    table = upload(client, "labels.csv", pl.DataFrame({"row": [1, 2, 3], "label": ["fraud", "L", ""]}))
    read_table(client, table)
    put = client.post("/api/labels", json={"dataset": watched["labelled"], "table": table}).json()
    assert put["labels"] == [{"row": 1, "label": 1}, {"row": 2, "label": 0}]
    forget = {"dataset": watched["labelled"], "labels": [{"row": 1, "label": None}]}
    assert client.post("/api/labels", json=forget).json()["labels"] == [{"row": 2, "label": 0}]


@pytest.mark.parametrize(
    ("label", "words"),
    [({"row": 4_000, "label": 1}, "has no row 4000"), ({"row": 0, "label": 1}, ""), ({"row": 1, "label": 2}, "")],
)  # fmt: skip
def test_labels_of_no_row_or_no_kind_are_refused(
    label: dict[str, int], words: str, client: httpx.Client, watched: Watched
) -> None:
    answer = client.post("/api/labels", json={"dataset": watched["later"], "labels": [label]})
    assert answer.status_code == 422
    assert words in answer.text


@pytest.mark.parametrize("rate", [0.00001, 0.6, 1.5])
def test_a_rate_that_no_table_has_is_not_learned_with(
    client: httpx.Client, watched: Watched, rate: float
) -> None:
    learn = {"dataset": watched["later"], "model": "watched", "fraud_rate": rate}
    assert client.post("/api/labels/learn", json=learn).status_code == 422


def test_two_labels_of_one_row_that_differ_are_refused(client: httpx.Client, watched: Watched) -> None:
    labels = [{"row": 1, "label": 1}, {"row": 1, "label": 0}]
    answer = client.post("/api/labels", json={"dataset": watched["later"], "labels": labels})
    assert answer.status_code == 422
    assert "Row 1 has two labels" in answer.json()["error"]["message"]


def test_learning_from_too_few_labels_is_refused_at_once(client: httpx.Client, watched: Watched) -> None:
    answer = client.post("/api/labels/learn", json={"dataset": watched["old"], "model": "watched"})
    assert answer.status_code == 422
    assert "at least 3 of each kind" in answer.text


def test_two_versions_are_compared_and_a_retrained_one_moves_no_alias(
    application: Application, client: httpx.Client, watched: Watched
) -> None:
    client.put("/api/models/watched/aliases/production", json={"version": watched["version"]})
    asked = client.post(
        "/api/models/watched/retrain",
        json={"dataset": watched["labelled"], "version": "production", "budget_s": 2},
    )
    found = done(application, client, asked)
    result = found["result"]
    assert (result["a"]["version"], result["b"]["version"]) == (watched["version"], found["other_version"])
    assert 0 < result["rows"] <= 0.25 * 3_000
    assert set(result["figures"]) == {"average_precision", "roc_auc", "precision", "recall"}
    for figure in result["figures"].values():
        assert figure["difference"] == pytest.approx(figure["b"] - figure["a"])
    alias = client.get("/api/models/watched/aliases/production").json()
    assert alias["version"] == watched["version"]
    versions = [watched["version"], found["other_version"]]
    again = client.post(
        "/api/models/watched/compare", json={"versions": versions, "dataset": watched["labelled"]}
    )
    whole = done(application, client, again)["result"]
    agreement = whole["agreement"]
    assert agreement["both"] + agreement["a_only"] + agreement["b_only"] + agreement["neither"] == 3_000
    assert whole["changed"][0]["values"]["transaction_id"]
    same = client.post(
        "/api/models/watched/compare", json={"versions": versions[:1] * 2, "dataset": watched["labelled"]}
    )
    assert same.status_code == 422


def test_to_another_person_none_of_it_exists(
    application: Application, client: httpx.Client, other: httpx.Client, watched: Watched
) -> None:
    dataset, version = watched["later"], watched["version"]
    mine = client.get("/api/inspections").json()[0]["id"]
    for answer in (
        other.get("/api/labels", params={"dataset": dataset}),
        other.post("/api/labels", json={"dataset": dataset, "labels": [{"row": 1, "label": 1}]}),
        other.post("/api/labels/questions", json={"dataset": dataset, "model": "watched"}),
        other.post("/api/labels/learn", json={"dataset": dataset, "model": "watched"}),
        other.get(f"/api/models/watched/{version}/monitor"),
        other.post(f"/api/models/watched/{version}/monitor", json={"dataset": dataset}),
        other.post("/api/models/watched/compare", json={"versions": [version, version], "dataset": dataset}),
        other.post("/api/models/watched/retrain", json={"dataset": dataset}),
        other.get(f"/api/inspections/{mine}"),
    ):
        assert answer.status_code == 404, answer.text
    assert other.get("/api/inspections").json() == []
    theirs = upload(other, "theirs.csv", watched["rows"])
    joined = client.post(
        f"/api/models/watched/{version}/monitor",
        json={"dataset": dataset, "outcomes": theirs, "identifier": "transaction_id"},
    )
    assert joined.status_code == 404


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Application]:
    with running(tmp_path / "home") as started:
        yield started


@pytest.mark.nightly
def test_a_look_whose_worker_is_killed_is_finished_and_a_cancelled_one_ends(alone: Application) -> None:
    rows = generate(rows=4_000, seed=5, fraud_share=0.05)
    with alone.client() as client:
        old = upload(client, "old.csv", rows)
        many = pl.concat([rows.drop("is_fraud")] * 60)
        large = upload(client, "large.csv", many)
        body = {"dataset": old, "model_name": "m", "target_column": "is_fraud", "budget_s": 2}
        version = alone.wait_for_job(client, client.post("/api/train", json=body).json()["job"])["result"][  # type: ignore[index]
            "version"
        ]
        path = f"/api/models/m/{version}/monitor"
        asked = client.post(path, json={"dataset": large}).json()
        begun_job(client, asked["job"])
        with Runtime.open(Settings.from_environment(alone.environ, home=alone.home)) as runtime:
            (worker,) = living_workers(runtime)
            os.kill(worker.pid, signal.SIGKILL)
        assert alone.wait_for_job(client, asked["job"])["status"] == "done"
        (look,) = client.get(path).json()["history"]
        assert (look["status"], look["result"]["rows"]) == ("done", many.height)
        second = client.post(path, json={"dataset": large}).json()
        client.post(f"/api/jobs/{second['job']}/cancel")
        assert alone.wait_for_job(client, second["job"])["status"] == "cancelled"
        assert client.get(f"/api/inspections/{second['inspection']}").json()["status"] == "cancelled"
