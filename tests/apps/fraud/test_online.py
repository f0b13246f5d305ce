"""A transaction is scored while one waits, with its reasons: the score that it has in a table, to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ecluse import models
from ecluse.apps.fraud.inference import FraudScorer, scorer_in
from ecluse.apps.fraud.sample import generate
from ecluse.apps.fraud.training.training import TrainingPlan, train
from ecluse.errors import InvalidInput
from ecluse.inference import from_json
from ecluse.model_process.steady import steady_answer
from ecluse.models import Origin
from ecluse.tabular.dataset import open_table
from tests.web.within import Within

PLAN = TrainingPlan(
    "is_fraud",
    time_column="timestamp",
    customer_column="customer_id",
    identifier_columns=("transaction_id",),
    budget_s=1.0,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model, and 40 later rows in to_score.csv."""
    folder = tmp_path_factory.mktemp("online")
    rows = generate(rows=2_000, seed=3, fraud_share=0.05)
    rows.head(1_960).write_csv(folder / "labelled.csv")
    rows.tail(40).drop("is_fraud").write_csv(folder / "to_score.csv")
    with open_table(folder / "labelled.csv") as table:
        train(table, PLAN, folder / "model", lambda stage, share, message: None)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> FraudScorer:
    return scorer_in(folder / "model")


def batch_scores(model: FraudScorer, folder: Path) -> pl.DataFrame:
    with open_table(folder / "to_score.csv") as table:
        return pl.concat(model.scorer.score_table(table, reasons_for="all"))


def sent_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows as a program sends them: numbers as numbers, texts and times as they are written in the table."""
    rows: list[dict[str, Any]] = json.loads(
        json.dumps(pl.read_csv(folder / "to_score.csv", try_parse_dates=False).to_dicts())
    )
    return rows


def test_every_row_alone_has_the_score_and_the_reasons_of_the_table(model: FraudScorer, folder: Path) -> None:
    table = batch_scores(model, folder)
    answer = steady_answer(model)
    assert answer is not None
    alone = [answer(from_json([row], model.schema, model.dtypes).rows) for row in sent_rows(folder)]
    online = pl.concat(alone)
    columns = [name for name in table.columns if name.startswith(("fraud_", "risk_", "is_", "reason_"))]
    assert len(columns) == 9
    assert online.select(columns).equals(table.select(columns))
    assert online["reason_1"].null_count() == 0


def test_a_version_scores_a_transaction_by_the_address_of_every_model(
    web: Within, model: FraudScorer, folder: Path
) -> None:
    files = [path for path in (folder / "model").iterdir() if path.is_file()]
    origin = Origin(application="fraud")
    models.publish(web.runtime, web.user_id, "cards", files, metadata={}, origin=origin)
    rows = sent_rows(folder)
    del rows[0]["transaction_id"]  # it is passed on, and nothing is made of it
    answered = web.ask("POST", "/api/models/cards/predict", json={"rows": rows[:1]}).raise_for_status().json()
    (first,) = answered["answers"]
    expected = batch_scores(model, folder).row(0, named=True)
    assert first["fraud_probability"] == expected["fraud_probability"]
    assert first["reason_1"] == expected["reason_1"]
    assert first["reason_1_effect"] == expected["reason_1_effect"]
    amount = next(column["name"] for column in model.schema["columns"] if column["type"] == "number")
    refused = web.ask("POST", "/api/models/cards/predict", json={"rows": [rows[1] | {amount: "much"}]})
    assert refused.status_code == 422
    assert f"column {amount}: 'much' is no number" in refused.json()["error"]["message"]


def test_a_time_that_is_not_written_as_in_the_training_table_is_refused(
    model: FraudScorer, folder: Path
) -> None:
    rows = sent_rows(folder)[:2]
    rows[1]["timestamp"] = "tomorrow"
    with pytest.raises(InvalidInput, match="Row 2, column timestamp: 'tomorrow' is no date"):
        model.answer(from_json(rows, model.schema, model.dtypes).rows)
