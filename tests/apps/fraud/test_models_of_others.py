"""A version of another application scores no transactions: it is not offered, refused, and breaks no page."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecluse import models
from ecluse.apps.fraud.scorers import load_scorer
from ecluse.catalog import tables
from ecluse.errors import ModelUnreadable
from ecluse.models import Origin
from tests.web import invented
from tests.web.within import Within

LEAVES = {"confusion": [[17, 6], [3, 20]], "threshold": 0.5}


@pytest.fixture
def leaves(web: Within, tmp_path: Path) -> tables.ModelVersion:
    (tmp_path / "network.onnx").write_bytes(b"leaves")
    table, *_ = invented.unlabelled_tables(web.user_id)
    table.id = f"d{web.user_id[:20]}"
    with web.runtime.catalog.write() as transaction:
        transaction.add(table)
    origin = Origin(application="plants", report=LEAVES)
    return models.publish(web.runtime, web.user_id, "leaves", [tmp_path], metadata={}, origin=origin)


def test_a_model_of_images_is_not_offered_for_a_table(web: Within, leaves: tables.ModelVersion) -> None:
    page = web.ask("GET", f"/fraud/d/d{web.user_id[:20]}")
    assert page.status_code == 200
    assert 'value="leaves' not in page.text


@pytest.mark.parametrize("address", ["/api/predict", "/api/models/leaves/retrain"])
def test_a_model_of_images_is_refused(web: Within, leaves: tables.ModelVersion, address: str) -> None:
    body = {"dataset": f"d{web.user_id[:20]}"} | ({"model": "leaves"} if address == "/api/predict" else {})
    answer = web.ask("POST", address, json=body)
    assert answer.status_code == 422
    assert "leaves is no model of transactions" in answer.json()["error"]["message"]


def test_a_table_that_was_scored_with_one_before_it_was_refused_opens(
    web: Within, leaves: tables.ModelVersion
) -> None:
    row = invented.prediction(web.user_id)
    row.id, row.dataset_id = f"p{web.user_id[:20]}", f"d{web.user_id[:20]}"
    row.model_name, row.version, row.status = leaves.name, leaves.version, "failed"
    row.error = "model.json is missing"
    with web.runtime.catalog.write() as transaction:
        transaction.add(row)
    for address in (f"/fraud/p/{row.id}", f"/api/predictions/{row.id}"):
        assert web.ask("GET", address).status_code == 200
    ensemble = web.ask("GET", f"/api/ensembles/leaves/{leaves.version}")
    assert (ensemble.status_code, "no model of transactions" in ensemble.text) == (422, True)


def test_files_of_no_application_that_score_nothing_are_said_to_be_no_model_of_transactions(
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelUnreadable, match=r"no model of transactions: it has no model\.json") as refused:
        load_scorer(tmp_path)
    assert str(tmp_path) not in str(refused.value)
