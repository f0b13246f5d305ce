"""A program begins a run over HTTP, logs its metrics and ends it; what it repeats changes nothing."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from ecluse import tracking
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application


def begin(client: httpx.Client, **more: Any) -> dict[str, Any]:
    body = {"name": "churn", "nonce": uuid.uuid4().hex} | more
    answer = client.post("/api/runs", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def log(client: httpx.Client, run: str, *points: dict[str, Any]) -> httpx.Response:
    return client.post(f"/api/runs/{run}/metrics", json={"points": points})


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_run_is_begun_logged_and_ended_and_asked_again_nothing_changes(client: httpx.Client) -> None:
    told = {
        "nonce": uuid.uuid4().hex,
        "parameters": {"rounds": 300, "goal": {"kind": "f1"}},
        "tags": {"git": "abc"},
    }
    run = begin(client, **told)
    assert (run["status"], run["application"], run["kind"], run["job"]) == ("running", "", "own", None)
    assert run["parameters"] == {"rounds": 300, "goal.kind": "f1"}
    assert begin(client, **told) == run
    address = f"/api/runs/{run['id']}"
    points = [
        {"step": step, "metrics": {"loss": 1 / (step + 1), "lr": 0.1}, "at": "2026-11-23T02:00:00Z"}
        for step in range(1000)
    ]
    assert log(client, run["id"], *points).status_code == 204
    curves = client.get(f"{address}/metrics").json()
    assert [len(curves["loss"]), curves["loss"][999]["value"]] == [1000, 0.001]
    assert log(client, run["id"], *[point | {"at": None} for point in points]).status_code == 204
    assert client.get(f"{address}/metrics").json() == curves
    log(client, run["id"], {"step": 5, "metrics": {"loss": "nan"}})
    noted = client.patch(
        address, json={"parameters": {"rounds": 5}, "tags": {"git": None, "who": "me"}}
    ).json()
    assert noted["parameters"] == {"rounds": 5, "goal.kind": "f1"}
    assert noted["tags"] == {"who": "me", "loss.not_finite": 5}
    assert noted["metrics"] == {"loss": 0.001, "lr": 0.1}
    ended = client.post(f"{address}/end", json={"status": "done", "metrics": {"auc": 0.87}}).json()
    assert (ended["status"], ended["metrics"]["auc"]) == ("done", 0.87)
    assert client.post(f"{address}/end", json={"status": "done", "metrics": {"auc": 0.1}}).json() == ended
    assert code_of(client.post(f"{address}/end", json={"status": "failed"})) == (409, "run_closed")
    assert code_of(log(client, run["id"], {"step": 1, "metrics": {"loss": 2}})) == (409, "run_closed")
    assert code_of(client.patch(address, json={"tags": {"a": 1}})) == (409, "run_closed")
    assert code_of(client.post(f"{address}/repeat")) == (422, "cannot_repeat")
    page = client.get("/runs")
    assert "A program of your own" in page.text
    assert client.get(f"/runs/{run['id']}").status_code == 200
    assert run["id"] in [row["id"] for row in client.get("/api/runs?application=").json()["items"]]


def test_a_run_that_is_taken_over_has_its_own_times_which_are_past_and_in_order(client: httpx.Client) -> None:
    run = begin(client, started_at="2023-11-14T22:13:20+00:00")
    assert run["created_at"] == run["started_at"] == "2023-11-14T22:13:20Z"
    address = f"/api/runs/{run['id']}/end"
    for wrong in ("2023-11-14T22:13:19Z", "2999-01-01T00:00:00Z"):
        answer = client.post(address, json={"status": "failed", "finished_at": wrong})
        assert code_of(answer) == (422, "invalid_input"), answer.text
    ended = client.post(address, json={"status": "failed", "finished_at": "2023-11-14T23:14:20+01:00"}).json()
    assert (ended["status"], ended["finished_at"]) == ("failed", "2023-11-14T22:14:20Z")
    future = {"name": "churn", "nonce": uuid.uuid4().hex, "started_at": "2999-01-01T00:00:00Z"}
    assert code_of(client.post("/api/runs", json=future)) == (422, "invalid_input")


@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-12:00",
    ],
)
def test_a_moment_that_no_zone_can_tell_is_refused_wherever_a_run_takes_one(
    client: httpx.Client, moment: str
) -> None:
    first = {"name": "churn", "nonce": uuid.uuid4().hex, "started_at": moment}
    assert code_of(client.post("/api/runs", json=first)) == (422, "invalid_input")
    run = begin(client)
    address = f"/api/runs/{run['id']}"
    logged = log(client, run["id"], {"step": 1, "metrics": {"loss": 1}, "at": moment})
    assert code_of(logged) == (422, "invalid_input")
    ending = {"status": "done", "finished_at": moment}
    assert code_of(client.post(f"{address}/end", json=ending)) == (422, "invalid_input")
    assert (client.get(address).json()["status"], client.get(f"{address}/metrics").json()) == ("running", {})


def test_a_run_that_failed_says_why(client: httpx.Client) -> None:
    run = begin(client)
    ended = client.post(f"/api/runs/{run['id']}/end", json={"status": "failed", "error": "no memory"}).json()
    assert (ended["status"], ended["error"]) == ("failed", "no memory")


def test_a_nonce_names_one_run_of_one_person(client: httpx.Client, other: httpx.Client) -> None:
    run = begin(client, nonce="of both")
    assert begin(other, nonce="of both")["id"] != run["id"]
    assert code_of(client.post("/api/runs", json={"name": "other", "nonce": "of both"})) == (
        409,
        "nonce_taken",
    )


def test_a_run_of_someone_else_is_not_there(client: httpx.Client, other: httpx.Client) -> None:
    address = f"/api/runs/{begin(client)['id']}"
    answers = [
        other.post(f"{address}/metrics", json={"points": []}),
        other.patch(address, json={}),
        other.post(f"{address}/end", json={"status": "done"}),
    ]
    assert [answer.status_code for answer in answers] == [404] * 3


def test_a_run_of_an_application_is_not_written_by_a_program(
    client: httpx.Client, application: Application
) -> None:
    owner = client.get("/api/me").json()["id"]
    settings = Settings.from_environment(application.environ, home=application.home)
    with (
        Runtime.open(settings) as runtime,
        tracking.start(runtime.catalog, owner, "birds", "b", kind="x") as run,
    ):
        address = f"/api/runs/{run.id}"
        answers = [
            client.post(f"{address}/metrics", json={"points": [{"step": 1, "metrics": {"a": 1}}]}),
            client.patch(address, json={"tags": {"a": 1}}),
            client.post(f"{address}/end", json={"status": "failed"}),
        ]
    assert [code_of(answer) for answer in answers] == [(409, "run_closed")] * 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"tags": {"checkpoint": "user_models/someone/else"}}),
        ("", {"parameters": {"a/b": 1}}),
        ("", {"parameters": {f"p{i}": i for i in range(600)}}),
        ("", {"unknown": 1}),
        ("/metrics", {"points": [{"step": -1, "metrics": {"a": 1}}]}),
        ("/metrics", {"points": [{"step": 1, "metrics": {"a/b": 1}}]}),
        ("/metrics", {"points": [{"step": i, "metrics": {}} for i in range(1001)]}),
        ("/metrics", {"points": [{"step": 1, "metrics": {f"m{i}": 1 for i in range(501)}}]}),
        ("/metrics", {"points": [{"step": 1, "metrics": {f"m{i}": 1 for i in range(10001)}}]}),
        ("/metrics", {"points": [{"step": 1, "metrics": {"a": 1}, "at": "2026-11-23T02:00:00"}]}),
        ("/end", {"status": "running"}),
    ],
    ids=[
        "checkpoint",
        "name",
        "many",
        "unknown",
        "step",
        "metric",
        "points",
        "metrics",
        "values",
        "zone",
        "status",
    ],
)
def test_what_a_run_cannot_keep_is_refused_and_changes_nothing(
    client: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    run = begin(client)
    method = "PATCH" if not path else "POST"
    assert code_of(client.request(method, f"/api/runs/{run['id']}{path}", json=body)) == (
        422,
        "invalid_input",
    )
    kept = client.get(f"/api/runs/{run['id']}").json()
    assert (kept["tags"], kept["parameters"], kept["metrics"], kept["status"]) == ({}, {}, {}, "running")


def test_a_run_takes_no_version_of_another_model(client: httpx.Client) -> None:
    run = begin(client)
    refused = client.post(
        "/api/models/other/uploads",
        json={"nonce": "x", "run": run["id"], "files": [{"path": "a", "size": 0, "sha256": "0" * 64}]},
    )
    assert code_of(refused) == (409, "run_closed")
