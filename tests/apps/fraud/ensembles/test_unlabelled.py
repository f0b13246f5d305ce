"""From a table without labels to scores by command and by program, on a real library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from ecluse.apps.fraud.measures import roc_auc
from ecluse.apps.fraud.rows import mappings
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, run_ecluse, running
from tests.apps.fraud.ensembles.library import french, payments, plants
from tests.support.jobs import ended_status

pytestmark = pytest.mark.nightly

RATE = 0.05


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose library has one reference, of card payments."""
    home = tmp_path_factory.mktemp("home")
    tables = home / "tables"
    tables.mkdir()
    payments().write_csv(tables / "payments.csv")
    ecluse(home, "fraud", "references", "import", str(tables), "--target", "is_fraud", "--budget", "5")
    return home


def ecluse(home: Path, *arguments: str) -> Any:
    done = run_ecluse(home, {}, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def table(home: Path) -> Path:
    path = home / "paiements.csv"
    french(payments(1_500, seed=8)).drop("is_fraud").write_csv(path)
    return path


def test_a_match_is_told_column_by_column(home: Path, table: Path) -> None:
    found = ecluse(home, "fraud", "match", str(table))
    assert set(found) >= {"abstain", "reason", "matches"}
    assert found["abstain"] is False
    best = found["matches"][0]
    assert best["reference"] == "payments"
    assert best["similarity"] > 0.5
    pairs = {pair["theirs"]: pair["ours"] for pair in best["columns"]}
    assert pairs["montant"] == "amount"
    assert all(set(pair) == {"theirs", "ours", "why", "score"} for pair in best["columns"])
    shown = run_ecluse(home, {}, "fraud", "match", str(table))
    assert shown.returncode == 0
    assert "payments" in shown.stdout
    assert "montant" in shown.stdout


def test_what_nothing_matches_is_refused_with_a_reason(home: Path, tmp_path: Path) -> None:
    plants().write_csv(tmp_path / "plants.csv")
    found = ecluse(home, "fraud", "match", str(tmp_path / "plants.csv"))
    assert found["abstain"] is True
    assert found["reason"]
    shown = run_ecluse(home, {}, "fraud", "match", str(tmp_path / "plants.csv"))
    assert shown.stdout.startswith("plants.csv: no match.")


@pytest.mark.nightly
def test_an_ensemble_is_a_version_that_scores_the_table(home: Path, table: Path, tmp_path: Path) -> None:
    made = ecluse(home, "fraud", "ensemble", str(table), "--name", "paiements", "--fraud-rate", str(RATE))
    assert made["report"]["kind"] == "ensemble"
    assert made["report"]["members"][0]["reference"] == "payments"
    outs = [tmp_path / "first.csv", tmp_path / "second.csv"]
    for out in outs:
        ecluse(home, "fraud", "predict", "paiements", str(table), "-o", str(out))
    assert outs[0].read_bytes() == outs[1].read_bytes()
    scored = pl.read_csv(outs[0])
    labels = payments(1_500, seed=8)["is_fraud"].to_numpy().astype(np.int8)
    own = ecluse(home, "fraud", "references", "show", "payments")["performance"]["roc_auc"]
    assert roc_auc(labels, scored["combined_score"].to_numpy()) > min(own, 0.99) - 0.1
    shown = run_ecluse(home, {}, "fraud", "ensemble", str(table), "--name", "paiements")
    assert "payments" in shown.stdout
    assert "weight" in shown.stdout


def test_a_rate_out_of_range_and_a_mapping_that_is_none_are_refused(home: Path, table: Path) -> None:
    done = run_ecluse(home, {}, "fraud", "ensemble", str(table), "--name", "x", "--fraud-rate", "0.9")
    assert done.returncode == 1
    assert "A fraud rate of 0.9 is out of range" in done.stderr
    done = run_ecluse(home, {}, "fraud", "ensemble", str(table), "--name", "x", "--map", "amount")
    assert done.returncode == 1
    assert "is no mapping" in done.stderr
    done = run_ecluse(
        home, {}, "fraud", "ensemble", str(table), "--name", "x", "--map", "payments:montant=sum"
    )
    assert done.returncode == 1
    assert 'payments has no column "sum"' in done.stderr


@pytest.fixture(scope="module")
def application(home: Path) -> Iterator[Application]:
    with running(home) as started:
        yield started


@pytest.fixture(scope="module")
def client(application: Application) -> Iterator[httpx.Client]:
    with application.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def dataset(client: httpx.Client, application: Application, table: Path) -> str:
    with table.open("rb") as file:
        body = client.post("/api/upload", files={"file": ("paiements.csv", file)}).raise_for_status().json()
    application.wait_for_job(client, body["job"])
    return str(body["id"])


def test_a_program_applies_the_library_corrects_it_and_predicts(
    client: httpx.Client, application: Application, dataset: str
) -> None:
    body = {"dataset": dataset, "model_name": "paiements", "fraud_rate": RATE}
    accepted = client.post("/api/apply_unlabeled", json=body)
    assert accepted.status_code == 202, accepted.text
    done = application.wait_for_job(client, accepted.json()["job"])
    assert done["status"] == "done", done
    result: Any = done["result"]
    assert result["matches"][0]["reference"] == "payments"
    name, version = result["name"], result["version"]
    shown = client.get(f"/api/ensembles/{name}/{version}").raise_for_status().json()
    assert shown["abstained"] is False
    assert {pair["ours"]: pair["theirs"] for pair in shown["members"][0]["mapping"]}["amount"] == "montant"
    begun = client.post("/api/predict", json={"dataset": dataset, "model": f"{name}@{version}"})
    scored = application.wait_for_job(client, begun.raise_for_status().json()["job"])
    assert scored["status"] == "done", scored
    prediction: Any = scored["result"]
    assert prediction["flagged"] == pytest.approx(RATE * prediction["rows"], abs=2)
    assert "anomaly_score" in client.get(prediction["download_url"]).text.splitlines()[0]
    link = application.command("users", "link", "person@example.org", "--json")
    with httpx.Client(follow_redirects=True, timeout=60) as browser:
        path = json.loads(link.stdout)["sign_in_link"].split("/", 3)[3]
        browser.post(f"{application.address}/{path}").raise_for_status()
        for page in (f"models/{name}/{version}", f"models/{name}", f"fraud/p/{prediction['id']}"):
            answer = browser.get(f"{application.address}/{page}")
            assert answer.status_code == 200, page
            assert "paiements" in answer.text


def test_a_corrected_mapping_is_kept_for_the_table(
    client: httpx.Client, application: Application, dataset: str
) -> None:
    url = f"/api/datasets/{dataset}/mappings/payments"
    matched = client.put(url, json={"columns": {"amount": "solde", "card_age_days": None}})
    assert matched.status_code == 200, matched.text
    best = matched.json()["matches"][0]
    pairs = {pair["ours"]: pair for pair in best["columns"]}
    assert pairs["amount"]["theirs"] == "solde"
    assert "card_age_days" in best["missing"]
    again = client.get(f"/api/datasets/{dataset}/matches").json()
    assert again["corrections"] == {"payments": {"amount": "solde", "card_age_days": None}}
    job = client.post("/api/apply_unlabeled", json={"dataset": dataset, "model_name": "corrected"}).json()[
        "job"
    ]
    done: Any = application.wait_for_job(client, job)
    if not done["result"]["matches"]:
        pytest.fail(str(done))
    pairs = {pair["ours"]: pair["theirs"] for pair in done["result"]["matches"][0]["columns"]}
    assert pairs["amount"] == "solde"
    assert client.put(url, json={"columns": {}}).json()["corrections"] == {}
    wrong = client.put(url, json={"columns": {"amount": "nothing"}})
    assert wrong.status_code == 422
    assert 'has no column "nothing"' in wrong.json()["error"]["message"]


def test_references_are_named_once_each_and_twenty_at_most(client: httpx.Client, dataset: str) -> None:
    body = {"dataset": dataset, "model_name": "named"}
    many = client.post("/api/apply_unlabeled", json=body | {"references": ["payments"] * 21})
    assert many.status_code == 422
    assert "20 items" in many.json()["error"]["message"]
    lacking = client.post("/api/apply_unlabeled", json=body | {"references": ["payments", "nobody"]})
    assert lacking.status_code == 404
    assert "nobody" in lacking.json()["error"]["message"]
    twice = client.post("/api/apply_unlabeled", json=body | {"references": ["payments"] * 2})
    assert twice.status_code == 202
    client.post(f"/api/jobs/{twice.json()['job']}/cancel").raise_for_status()


def test_corrections_to_a_reference_that_was_removed_can_be_forgotten(
    client: httpx.Client, application: Application, dataset: str
) -> None:
    settings = Settings.from_environment({}, home=application.home)
    with Runtime.open(settings) as runtime, runtime.catalog.write() as transaction:
        mappings.keep_mapping(transaction, dataset, "gone", {"amount": "montant"})
    url = f"/api/datasets/{dataset}/mappings/gone"
    assert client.put(url, json={"columns": {"amount": "solde"}}).status_code == 404
    assert client.put(url, json={"columns": {}}).json()["corrections"] == {}
    assert client.put(url, json={"columns": {}}).status_code == 404


def test_a_table_of_another_person_is_not_there(
    client: httpx.Client, application: Application, dataset: str
) -> None:
    with application.client("other@example.org") as other:
        assert other.get(f"/api/datasets/{dataset}/matches").status_code == 404
        body = {"dataset": dataset, "model_name": "theirs"}
        assert other.post("/api/apply_unlabeled", json=body).status_code == 404
        url = f"/api/datasets/{dataset}/mappings/payments"
        assert other.put(url, json={"columns": {}}).status_code == 404


def test_the_making_of_an_ensemble_can_be_cancelled(client: httpx.Client, dataset: str) -> None:
    job = client.post("/api/apply_unlabeled", json={"dataset": dataset, "model_name": "stopped"}).json()[
        "job"
    ]
    client.post(f"/api/jobs/{job}/cancel").raise_for_status()
    assert ended_status(client, job)["status"] == "cancelled"
    assert client.get("/api/models/stopped").status_code == 404
