"""The main job over HTTP, what is refused, and to whom nothing exists."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from ecluse.apps.fraud.sample import write_sample
from tests.application import Application, running
from tests.support.jobs import begun_job

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_sample(tmp_path_factory.mktemp("sample"), rows=6000, score_rows=1000)


def upload(client: httpx.Client, path: Path, name: str | None = None) -> dict[str, Any]:
    with path.open("rb") as file:
        answer = client.post("/api/upload", files={"file": (name or path.name, file)})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture(scope="module")
def trained(application: Application, client: httpx.Client, sample: Any) -> dict[str, Any]:
    """The whole main job, once: what each step answered."""
    labelled = upload(client, sample.labelled)
    analyzed = client.post("/api/analyze", json={"dataset": labelled["id"]}).json()
    asked = client.post(
        "/api/train",
        json={
            "filepath": labelled["filepath"],
            "model_name": "payments",
            "target_column": "is_fraud",
            "budget_s": 6,
        },
    )
    assert asked.status_code == 202, asked.text
    training = application.wait_for_job(client, asked.json()["job"])
    unlabelled = upload(client, sample.unlabelled)
    asked_for = {"model": "payments", "dataset": unlabelled["id"], "reasons": "all"}
    predict = client.post("/api/predict", json=asked_for)
    assert predict.status_code == 202, predict.text
    scoring = application.wait_for_job(client, predict.json()["job"])
    return {"labelled": labelled, "analyzed": analyzed, "training": training, "scoring": scoring}


def test_the_main_job_ends_in_a_scored_table(
    client: httpx.Client, trained: dict[str, Any], sample: Any
) -> None:
    assert trained["training"]["status"] == "done", trained["training"]
    assert trained["scoring"]["status"] == "done", trained["scoring"]
    result = trained["scoring"]["result"]
    scored = client.get(result["download_url"])
    rows = list(csv.DictReader(io.StringIO(scored.text)))
    given = pl.read_csv(sample.unlabelled, infer_schema=False)
    assert [row["transaction_id"] for row in rows] == given["transaction_id"].to_list()
    assert all(0 <= float(row["fraud_probability"]) <= 1 for row in rows)
    assert {row["risk_level"] for row in rows} <= {"HIGH", "MEDIUM", "LOW"}
    assert sum(int(row["is_fraud"]) for row in rows) == result["flagged"]
    assert all(row["reason_1"] for row in rows)


def test_the_scores_find_the_frauds_that_were_hidden(
    client: httpx.Client, trained: dict[str, Any], sample: Any
) -> None:
    from sklearn.metrics import roc_auc_score

    scored = pl.read_csv(io.BytesIO(client.get(trained["scoring"]["result"]["download_url"]).content))
    truth = pl.read_csv(sample.truth)
    label = truth[truth.columns[-1]].to_numpy()
    assert roc_auc_score(label, scored["fraud_probability"].to_numpy()) > 0.75


def test_the_analysis_guesses_the_columns_and_says_why(trained: dict[str, Any]) -> None:
    guesses = trained["analyzed"]["profile"]["guesses"]
    assert guesses["target"]["column"] == "is_fraud"
    assert guesses["target"]["reason"]
    assert guesses["customer"]["column"] == "customer_id"
    assert guesses["timestamp"]["column"] == "timestamp"


def test_the_history_is_paged_and_filtered(client: httpx.Client, trained: dict[str, Any]) -> None:
    page = client.get("/api/history", params={"status": "done", "per_page": 1}).json()
    assert page["total"] >= 1
    assert page["items"][0]["model_name"] == "payments"
    assert page["items"][0]["model_path"].startswith("file://")
    assert client.get("/api/history", params={"status": "failed"}).json()["items"] == []
    assert client.get("/api/history", params={"status": "unheard-of"}).status_code == 422


def test_a_model_is_listed_shown_verified_and_downloaded(
    client: httpx.Client, trained: dict[str, Any]
) -> None:
    model = client.get("/api/models").json()[0]
    assert client.get("/api/models/payments/versions").json()[0]["version"] == model["version"]
    detail = client.get(f"/api/models/payments/{model['version']}").json()
    names = {file["path"] for file in detail["files"]}
    assert {"performance.json", "features.json", "model_card.md"} <= names
    assert any(name.startswith("best_model.") for name in names)
    assert any(name.startswith("feature_selector.") for name in names)
    assert client.post(f"/api/models/payments/{model['version']}/verify").json() == detail["files"]
    card = client.get(f"/api/models/payments/{model['version']}/files/model_card.md")
    assert card.headers["content-disposition"].startswith("attachment")
    assert "payments" in card.headers["content-disposition"]


def test_a_table_is_scored_with_the_version_that_an_alias_means_when_it_is_asked_for(
    application: Application, client: httpx.Client, trained: dict[str, Any], sample: Any
) -> None:
    version = trained["training"]["result"]["version"]
    table = upload(client, sample.unlabelled)["id"]
    assert client.put("/api/models/payments/aliases/for-scoring", json={"version": version}).is_success
    try:
        for reference in ("payments@for-scoring", "payments@latest"):
            asked = client.post("/api/predict", json={"model": reference, "dataset": table})
            assert asked.status_code == 202, asked.text
            prediction = client.get(f"/api/predictions/{asked.json()['prediction']}").json()
            assert (prediction["model_name"], prediction["version"]) == ("payments", version)
            application.wait_for_job(client, asked.json()["job"])
        answer = client.post("/api/predict", json={"model": "payments@gone", "dataset": table})
        assert answer.status_code == 404
    finally:
        assert client.delete("/api/models/payments/aliases/for-scoring").is_success


def test_a_table_with_other_names_is_refused_with_the_list_and_scored_once_they_are_mapped(
    application: Application, client: httpx.Client, trained: dict[str, Any], sample: Any, tmp_path: Path
) -> None:
    pl.read_csv(sample.unlabelled, infer_schema=False).rename({"amount": "montant"}).write_csv(
        tmp_path / "renamed.csv"
    )
    table = upload(client, tmp_path / "renamed.csv")
    ask = {"dataset": table["id"], "model": "payments", "reasons": "none"}
    refused = client.post("/api/predict", json=ask).json()
    ended = application.wait_for_job(client, refused["job"])
    assert (ended["status"], "amount" in str(ended["error"])) == ("failed", True)
    asked = client.post("/api/predict", json=ask | {"columns": {"amount": "montant"}}).json()
    assert application.wait_for_job(client, asked["job"])["status"] == "done"
    answer = client.post("/api/predict", json=ask | {"columns": {"amount": "elsewhere"}})
    assert (answer.status_code, "elsewhere" in answer.json()["error"]["message"]) == (422, True)


def test_a_prediction_is_downloaded_by_its_key_by_its_owner_alone(
    client: httpx.Client, other: httpx.Client, trained: dict[str, Any]
) -> None:
    key = trained["scoring"]["result"]["key"]
    assert client.get("/api/download_s3_predictions", params={"key": key}).status_code == 200
    me = client.get("/api/me").json()["id"]
    them = other.get("/api/me").json()["id"]
    tries = [
        key,
        key.replace(me, them),
        f"user_data/{them}/predictions/../../{me}/predictions/{key.rsplit('/', 1)[1]}",
    ]
    tries += [key.upper(), f"/{key}", f"{key}/", key.replace("/", "//", 1), key.replace("/", "%2f")]
    for tried in tries:
        assert other.get("/api/download_s3_predictions", params={"key": tried}).status_code == 404, tried
    for tried in (f"/{key}", trained["labelled"]["filepath"].split("/store/", 1)[1]):
        assert client.get("/api/download_s3_predictions", params={"key": tried}).status_code == 404, tried


def test_another_persons_things_do_not_exist(
    client: httpx.Client, other: httpx.Client, trained: dict[str, Any]
) -> None:
    dataset, version = trained["labelled"], trained["training"]["result"]["version"]
    prediction, job = trained["scoring"]["result"]["id"], trained["training"]["id"]
    gets = [f"/api/datasets/{dataset['id']}", f"/api/status/{job}", f"/api/predictions/{prediction}"]
    gets += [
        f"/api/predictions/{prediction}/download",
        f"/api/models/payments/{version}",
        "/api/models/payments/versions",
    ]
    gets += [f"/api/models/payments/{version}/files/performance.json"]
    for address in gets:
        assert client.get(address).status_code == 200, address
        answer = other.get(address)
        assert (answer.status_code, set(answer.json())) == (404, {"error"}), address
    for reference in ({"dataset": dataset["id"]}, {"filepath": dataset["filepath"]}):
        assert other.post("/api/analyze", json=reference).status_code == 404
        assert other.post("/api/train", json=reference | {"model_name": "m"}).status_code == 404
        assert other.post("/api/predict", json=reference | {"model": "payments"}).status_code == 404
    assert other.post(f"/api/jobs/{job}/cancel").status_code == 404
    assert other.delete(f"/api/datasets/{dataset['id']}").status_code == 404
    assert other.delete(f"/api/models/payments/{version}").status_code == 404
    for address in ("/api/datasets", "/api/models", "/api/predictions", "/api/jobs"):
        assert other.get(address).json() == []


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "file:///etc/passwd", "../../etc/passwd", "s3://other/key", "user_data/x"]
)
def test_a_path_that_no_upload_returned_is_not_read(client: httpx.Client, path: str) -> None:
    for body in ({"model_name": "m"}, {"model": "payments"}):
        address = "/api/train" if "model_name" in body else "/api/predict"
        assert client.post(address, json={"filepath": path} | body).status_code == 404


def test_a_visitor_is_told_to_sign_in(application: Application) -> None:
    for address in ("/api/models", "/api/datasets", "/api/history"):
        answer = httpx.get(application.address + address, timeout=60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed_in")
        answer = httpx.get(
            application.address + address, headers={"Authorization": "Bearer ecluse_unknown"}, timeout=60
        )
        assert answer.status_code == 401


def test_every_error_has_one_shape(client: httpx.Client) -> None:
    asked = [
        client.get("/api/nothing"),
        client.put("/api/models"),
        client.post("/api/train", json={"model_name": "m"}),
        client.post("/api/train", content=b"{"),
        client.post("/api/train", json={"dataset": "x", "filepath": "y", "model_name": "m"}),
        client.post("/api/upload", content=b"x"),
        client.get("/api/models/none/versions"),
    ]
    for answer in asked:
        assert 400 <= answer.status_code < 500
        assert set(answer.json()["error"]) <= {"code", "message", "reference"}
        assert answer.json()["error"]["message"]


def test_every_operation_describes_its_errors(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if not path.startswith("/api/"):
                continue
            assert "401" in operation["responses"], (method, path)
            shapes = {
                code: answer["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]
                for code, answer in operation["responses"].items()
                if code.startswith(("4", "5"))
            }
            assert set(shapes.values()) == {"ErrorBody"}, (method, path, shapes)


def test_a_gzipped_table_and_a_parquet_result_work(
    application: Application, client: httpx.Client, trained: dict[str, Any], sample: Any, tmp_path: Path
) -> None:
    packed = tmp_path / "to_score.csv.gz"
    packed.write_bytes(gzip.compress(sample.unlabelled.read_bytes()))
    dataset = upload(client, packed)
    asked = client.post(
        "/api/predict", json={"model": "payments", "dataset": dataset["id"], "format": "parquet"}
    ).json()
    done = application.wait_for_job(client, asked["job"])
    assert done["status"] == "done", done
    result = done["result"]
    assert isinstance(result, dict)
    packed_scores = pl.read_parquet(io.BytesIO(client.get(result["download_url"]).content))
    plain_scores = pl.read_csv(io.BytesIO(client.get(trained["scoring"]["result"]["download_url"]).content))
    assert packed_scores["fraud_probability"].to_list() == plain_scores["fraud_probability"].to_list()


BAD_FILES = {
    "empty header": b"a,b,c\n",
    "garbage": bytes(range(256)) * 200,
    "open quote": b'a,b\n1,"never closed\n2,3\n' * 3,
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_table_fails_with_a_reason(
    application: Application, client: httpx.Client, name: str
) -> None:
    answer = client.post("/api/upload", files={"file": ("bad.csv", BAD_FILES[name])})
    assert answer.status_code == 201
    body = answer.json()
    assert application.wait_for_job(client, body["job"])["status"] == "failed"
    shown = client.get(f"/api/datasets/{body['id']}").json()
    assert shown["state"] == "failed"
    assert shown["error"]
    assert "reference" not in shown["error"]
    refused = client.post("/api/train", json={"dataset": body["id"], "model_name": "m", "target_column": "a"})
    assert refused.status_code == 422
    assert list((application.home / "scratch").iterdir()) == []
    assert not Path(body["filepath"].removeprefix("file://")).exists()


def test_one_class_only_and_a_missing_target_are_told(application: Application, client: httpx.Client) -> None:
    rows = "\n".join(f"{n},{n % 7},no" for n in range(500))
    dataset = client.post("/api/upload", files={"file": ("one.csv", f"id,x,fraud\n{rows}\n".encode())}).json()
    application.wait_for_job(client, dataset["job"])
    missing = client.post(
        "/api/train", json={"dataset": dataset["id"], "model_name": "m", "target_column": "nope"}
    )
    assert missing.status_code == 422
    assert "'nope'" in missing.json()["error"]["message"]
    asked = client.post(
        "/api/train",
        json={"dataset": dataset["id"], "model_name": "m", "target_column": "fraud", "budget_s": 5},
    ).json()
    done = application.wait_for_job(client, asked["job"])
    assert done["status"] == "failed"
    assert "fraud" in str(done["error"])
    assert client.get("/api/models/m/versions").status_code == 404


def test_a_training_is_stopped_on_request_and_publishes_nothing(
    application: Application, client: httpx.Client, trained: dict[str, Any]
) -> None:
    asked = client.post(
        "/api/train", json={"dataset": trained["labelled"]["id"], "model_name": "stopped", "budget_s": 120}
    ).json()
    begun_job(client, asked["job"])
    assert client.post(f"/api/jobs/{asked['job']}/cancel").json()["status"] == "cancelled"
    assert (
        client.get("/api/history", params={"status": "cancelled"}).json()["items"][0]["model_name"]
        == "stopped"
    )
    assert client.get("/api/models/stopped/versions").status_code == 404


def test_a_training_that_is_told_to_finish_ends_early_with_a_model_that_scores(
    application: Application, client: httpx.Client, trained: dict[str, Any]
) -> None:
    asked = client.post(
        "/api/train",
        json={"dataset": trained["labelled"]["id"], "model_name": "finished", "budget_s": 3600},
    ).json()
    begun_job(client, asked["job"])
    assert client.post(f"/api/jobs/{asked['job']}/finish").json()["status"] == "running"
    assert application.wait_for_job(client, asked["job"])["status"] == "done"
    version = client.get("/api/models/finished/versions").json()[0]["version"]
    report = client.get(f"/api/models/finished/{version}").json()["report"]
    assert report["seconds"] < 180 < report["budget_s"]
    assert client.post(f"/api/jobs/{asked['job']}/finish").json()["status"] == "done"


def test_a_training_is_repeated_from_its_record_file_by_file(
    application: Application, client: httpx.Client, other: httpx.Client, trained: dict[str, Any]
) -> None:
    """Of the training that was told to finish: no second search would end at the same place."""
    before = client.get("/api/runs", params={"name": "finished"}).json()["items"][0]
    assert other.post(f"/api/runs/{before['id']}/repeat").status_code == 404
    asked = client.post(f"/api/runs/{before['id']}/repeat").json()
    assert application.wait_for_job(client, asked["job"])["status"] == "done"
    run = client.get(f"/api/runs/{asked['training']}").json()
    assert run["tags"]["repeats"] == before["id"]
    assert run["version"] != before["version"]
    files, made = ({file["name"]: file["sha256"] for file in one["artifacts"]} for one in (before, run))
    assert made == files
    assert {"training_record.json", "performance.json", "model.json"} <= files.keys()
    assert any(name.startswith("best_model") for name in files)


def test_only_a_training_of_ones_own_is_told_to_finish(
    client: httpx.Client, other: httpx.Client, trained: dict[str, Any]
) -> None:
    profile = client.get(f"/api/datasets/{trained['labelled']['id']}").json()["job"]
    answer = client.post(f"/api/jobs/{profile}/finish")
    assert (answer.status_code, "no training" in answer.json()["error"]["message"]) == (422, True)
    assert other.post(f"/api/jobs/{profile}/finish").status_code == 404


def test_a_table_whose_reading_is_stopped_says_so(application: Application, client: httpx.Client) -> None:
    rows = "\n".join(",".join(str(n * c) for c in range(400)) for n in range(3000))
    header = ",".join(f"c{c}" for c in range(400))
    body = client.post("/api/upload", files={"file": ("wide.csv", f"{header}\n{rows}\n".encode())}).json()
    client.post(f"/api/jobs/{body['job']}/cancel").raise_for_status()
    shown = client.get(f"/api/datasets/{body['id']}").json()
    assert (shown["state"], "stopped" in shown["error"]) == ("failed", True)
    assert client.post("/api/analyze", json={"dataset": body["id"]}).status_code == 422


def test_a_damaged_file_is_refused_and_never_arrives_whole(
    application: Application, client: httpx.Client, trained: dict[str, Any]
) -> None:
    result = trained["scoring"]["result"]
    stored = Path(result["filepath"].removeprefix("file://"))
    original = stored.read_bytes()
    try:
        stored.write_bytes(original[:-2] + (b"8\n" if original.endswith(b"9\n") else b"9\n"))
        damaged = client.get(result["download_url"])
        assert (damaged.status_code, damaged.json()["error"]["code"]) == (409, "digest_mismatch")
        stored.write_bytes(original[:-5])
        assert client.get(result["download_url"]).status_code == 409
    finally:
        stored.write_bytes(original)
    assert client.get(result["download_url"]).content == original


def test_a_training_asked_for_before_its_table_was_read_uses_the_guesses(
    application: Application, client: httpx.Client, sample: Any
) -> None:
    table = upload(client, sample.labelled, "just_now.csv")
    asked = client.post(
        "/api/train", json={"dataset": table["id"], "model_name": "eager", "budget_s": 5}
    ).json()
    assert application.wait_for_job(client, asked["job"])["status"] == "done"
    version = client.get("/api/models/eager/versions").json()[0]["version"]
    assert client.get(f"/api/models/eager/{version}").json()["report"]["split"]["kind"] == "time"
    run = client.get("/api/history").json()["items"][0]
    assert (run["target_column"], run["model_name"]) == ("is_fraud", "eager")


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"goal": "alerts=5", "time_column": ""}, "column of dates"),
        ({"goal": "banana"}, "banana"),
        ({"budget_s": 1}, "A budget of 1 s is out of range; use 2 s to 24 h."),
        ({"seed": -1}, "A seed of -1 is out of range; use 0 to 2147483647."),
        ({"model_name": "../x"}, "model name"),
        ({"target_column": "\x00"}, "no column"),
    ],
)
def test_a_choice_that_cannot_work_is_refused_before_anything_is_done(
    client: httpx.Client, trained: dict[str, Any], choice: dict[str, Any], said: str
) -> None:
    before = client.get("/api/history").json()["total"]
    answer = client.post(
        "/api/train", json={"dataset": trained["labelled"]["id"], "model_name": "m"} | choice
    )
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (422, True), answer.text
    assert client.get("/api/history").json()["total"] == before


def test_a_request_that_is_far_too_large_is_refused_whoever_sends_it(application: Application) -> None:
    for address in ("/api/train", "/sign-in"):
        answer = httpx.post(application.address + address, content=b" " * 3_000_000, timeout=30)
        assert answer.status_code == 413


@pytest.mark.parametrize(
    "address", ["/api/history?page=99999999999999999999", "/api/status/%00", "/api/datasets/%00"]
)
def test_odd_values_are_not_a_fault_of_ours(client: httpx.Client, address: str) -> None:
    assert client.get(address).status_code in (404, 422)


def test_a_lone_surrogate_is_not_a_fault_of_ours(client: httpx.Client) -> None:
    body = b'{"dataset": "\\ud800", "model": "payments"}'
    answer = client.post("/api/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (404, 422)


def test_health_and_metrics_answer(application: Application) -> None:
    assert httpx.get(f"{application.address}/livez", timeout=60).json() == {"status": "ok"}
    ready = httpx.get(f"{application.address}/readyz", timeout=60).json()
    assert ready["parts"] == dict.fromkeys(("disks", "store", "catalog", "jobs", "documents"), "ok")
    assert "ecluse_http_requests_total" in httpx.get(f"{application.address}/metrics", timeout=60).text


@pytest.mark.nightly
def test_a_store_that_is_away_is_503_and_nothing_is_recorded(tmp_path: Path, sample: Any) -> None:
    away = {
        "ECLUSE_STORE_URL": "s3://gone",
        "S3_ENDPOINT": "http://127.0.0.1:9",
        "S3_ACCESS_KEY": "key-id",
        "S3_SECRET_KEY": "hush-hush",
    }
    with running(tmp_path / "home", away) as application, application.client() as client:
        with sample.unlabelled.open("rb") as file:
            answer = client.post("/api/upload", files={"file": ("a.csv", file)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
        assert "hush-hush" not in answer.text
        assert client.get("/api/datasets").json() == []
        assert httpx.get(f"{application.address}/readyz", timeout=60).status_code == 503
