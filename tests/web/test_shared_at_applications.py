"""Models and tables that are shared with someone, used at the applications' own pages and API."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecluse import models, shares, tables
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.sample import write_sample
from ecluse.apps.fraud.training.request import TrainingRequest
from ecluse.catalog import runs
from ecluse.cli.session import finish
from ecluse.shares import Reader
from ecluse.storage import read_chunks
from tests.apps.plants.tiny import YELLOW, photo, publish_tiny
from tests.web.test_organisations_pages import page, someone
from tests.web.test_predict import MATRIX, publish, trained
from tests.web.within import Within


def test_a_shared_model_of_images_answers_by_its_long_name(web: Within, tmp_path: Path) -> None:
    (anna, _own), (_ben, reading) = someone(web, "anna@photos.org"), someone(web, "ben@photos.org")
    publish_tiny(web.runtime, anna, tmp_path / "leaves", "leaves")
    handle = web.runtime.accounts.by_email("anna@photos.org").handle
    name = f"@{handle}/leaves"
    web.session = reading
    assert name not in web_page(web, "/plants/classify")
    web.token = web.runtime.accounts.create_token(web.runtime.accounts.by_email("ben@photos.org").id, "t")[0]
    image = {"content": photo(YELLOW), "headers": {"content-type": "image/png"}}
    assert web.ask("POST", f"/api/plants/predict?model={name}", **image).status_code == 404
    shown, _secret = models.share(web.runtime, anna, "leaves", Reader("ben@photos.org"))
    answer = web.ask("POST", f"/api/plants/predict?model={name}", **image).raise_for_status().json()
    assert (answer["label"], answer["model"]) == ("dandelion", name)
    assert web.ask("GET", f"/api/plants/model?model={name}").json()["name"] == name
    assert web.ask("POST", f"/api/plants/model/reload?model={name}").status_code == 403
    assert f'value="{name}"' in web_page(web, "/plants/classify")
    assert web.ask("POST", "/api/plants/predict", **image).status_code == 404, "without a name: one's own"
    models.unshare(web.runtime, anna, "leaves", shown.id)
    assert web.ask("POST", f"/api/plants/predict?model={name}", **image).status_code == 404


def web_page(web: Within, address: str) -> str:
    return page(web, web.session, "GET", address)[1]


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Path, Path]:
    paths = write_sample(tmp_path, rows=1_200, score_rows=60)
    return paths.labelled, paths.unlabelled


def test_a_shared_model_of_transactions_scores_a_table_of_ones_own(
    web: Within, samples: tuple[Path, Path]
) -> None:
    (anna, _own), (ben, reading) = someone(web, "anna@cards.org"), someone(web, "ben@cards.org")
    runtime, accounts = web.runtime, web.runtime.accounts
    labelled, unlabelled = samples
    table = workflows.add_table(runtime, anna, "labelled.csv", read_chunks(labelled))
    request = TrainingRequest("cards", target_column="is_fraud", budget_s=2.0)
    run = workflows.start_training(runtime, anna, table.id, request)
    finish(runtime, accounts.by_email("anna@cards.org"), run.job_id, "Train")
    mine = workflows.add_table(runtime, ben, "mine.csv", read_chunks(unlabelled))
    assert mine.job_id is not None
    finish(runtime, accounts.by_email("ben@cards.org"), mine.job_id, "Read")
    name = f"@{accounts.by_email('anna@cards.org').handle}/cards"
    token, _row = accounts.create_token(ben, "t")
    web.session, web.token = reading, token
    body = {"dataset": mine.id, "model": name}
    assert web.ask("POST", "/api/predict", json=body).status_code == 404
    assert name not in web_page(web, f"/fraud/d/{mine.id}")
    shown, _secret = models.share(runtime, anna, "cards", Reader("ben@cards.org"))
    assert f'value="{name}"' in web_page(web, f"/fraud/d/{mine.id}")
    started = web.ask("POST", "/api/predict", json=body).raise_for_status().json()
    finish(runtime, accounts.by_email("ben@cards.org"), started["job"], "Score")
    scored = web.ask("GET", f"/api/predictions/{started['prediction']}").json()
    assert (scored["status"], scored["model_name"], scored["rows"]) == ("done", name, 60)
    assert web.ask("GET", f"/api/predictions/{scored['id']}/download?alerts=5").status_code == 200
    for language in ("en", "fr"):
        status, text = page(web, reading, "GET", f"/fraud/p/{scored['id']}", language)
        assert (status, name in text, name.replace("/", "~") in text) == (200, True, True)
        assert anna not in text
    assert web.ask("GET", f"/api/predictions/{scored['id']}/budget?alerts=5").status_code == 200
    version = models.resolve_readable(runtime, ben, name).version
    asked = web.ask("POST", f"/api/models/{name.replace('/', '~')}@{version}/score", json={"table": "x"})
    assert (asked.status_code, "Go to its page: /fraud" in asked.text) == (422, True)
    assert "/fraud" in web_page(web, f"/models/{name.replace('/', '~')}/{version}/use")
    waiting = web.ask("POST", "/api/predict", json=body).raise_for_status().json()
    models.unshare(runtime, anna, "cards", shown.id)
    assert web.ask("POST", "/api/predict", json=body).status_code == 404
    with pytest.raises(Exception, match=r"[Nn]o model"):
        finish(runtime, accounts.by_email("ben@cards.org"), waiting["job"], "Score")
    assert page(web, reading, "GET", f"/fraud/p/{scored['id']}")[0] == 200, "the scores stay"
    with runtime.catalog.read() as transaction:
        assert runs.list_runs(transaction, ben, runs.RunFilter(), limit=5)[0] == []


def test_a_shared_table_is_offered_where_a_model_is_used(web: Within, tmp_path: Path) -> None:
    (tmp_path / "towns.csv").write_text("a,b,c\n1,2,3\n")
    (anna, _own), (_ben, reading) = someone(web, "anna@offered.org"), someone(web, "ben@offered.org")
    handle = web.runtime.accounts.by_email("anna@offered.org").handle
    table = tables.add(web.runtime, anna, tmp_path / "towns.csv", "towns.csv").id
    web.user_id = web.runtime.accounts.by_email("ben@offered.org").id
    version = publish(web, trained("sklearn"), MATRIX)
    use = f"/models/churn/{version.version}/use"
    assert "towns.csv" not in page(web, reading, "GET", use)[1]
    shares.share_by_id(web.runtime.catalog, anna, "tables", table, Reader("ben@offered.org"))
    text = page(web, reading, "GET", use)[1]
    assert f"@{handle}/towns.csv" in text
    assert f'value="{table}"' in text
