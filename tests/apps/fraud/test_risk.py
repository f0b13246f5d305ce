"""Levels of risk come from one table: an invented fourth one is everywhere, and what is stored keeps its meaning."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ecluse.apps.fraud import risk
from ecluse.apps.fraud.ensembles.card import card_of
from ecluse.apps.fraud.evaluation.metrics import alert_cut
from ecluse.apps.fraud.pages.ensembles import meanings_of
from ecluse.apps.fraud.performance.reports import read_ensemble_report, read_training_report
from ecluse.apps.fraud.risk import LEVELS, RiskLevel, Thresholds
from ecluse.apps.fraud.rows.tables import Prediction
from ecluse.apps.fraud.sample import generate
from ecluse.apps.fraud.scoring.model import load_model
from ecluse.apps.fraud.scoring.scoring import score_frame
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.training import train
from ecluse.catalog.tables import User
from ecluse.runtime import Runtime
from ecluse.tabular.dataset import open_table
from ecluse.web.i18n import Words
from tests.apps.fraud.test_budget import keep
from tests.web import invented
from tests.web.test_pages import browser

ROWS = 400
CRITICAL = RiskLevel("CRITICAL", "CRITICAL", "To be looked at at once.", "r-severe", 0.25)


@pytest.fixture
def four_levels(monkeypatch: pytest.MonkeyPatch) -> tuple[RiskLevel, ...]:
    levels = (*LEVELS, CRITICAL)
    monkeypatch.setattr(risk, "LEVELS", levels)
    return levels


@pytest.fixture
def owner(runtime: Runtime) -> User:
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    with runtime.catalog.write() as transaction:
        transaction.add_all([row for row in invented.rows(user.id) if not isinstance(row, Prediction)])
    return user


def scored() -> pl.DataFrame:
    """400 rows of distinct scores, 20 of them flagged."""
    scores = np.round(np.linspace(0.001, 0.999, ROWS), 6)
    thresholds = Thresholds.around(float(scores[-20]), 20, partial(alert_cut, scores))
    return pl.DataFrame(
        {
            "transaction_id": [f"T{i:04d}" for i in range(ROWS)],
            "fraud_probability": scores,
            "reason_1": ["amount 38 × usual"] * ROWS,
            "reason_1_effect": [1.5] * ROWS,
        }
    ).with_columns(thresholds.mark(scores, "risk_level", "is_fraud"))


def text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_table_goes_from_the_least_risk_to_the_greatest() -> None:
    assert LEVELS[0].alerts is None
    alerts = [level.alerts or 0 for level in risk.raised_levels()]
    assert alerts == sorted(alerts, reverse=True)
    assert alerts.count(1) == 1
    css = (Path(risk.__file__).parents[2] / "web/static/app.css").read_text(encoding="utf-8")
    assert all(f".{level.colour} {{" in css for level in (*LEVELS, CRITICAL))


def test_a_fourth_level_is_in_the_table_the_page_the_api_and_the_download(
    runtime: Runtime, owner: User, tmp_path: Path, four_levels: tuple[RiskLevel, ...]
) -> None:
    frame = scored()
    assert frame["risk_level"].value_counts(sort=True).rows() == [
        ("LOW", 340), ("MEDIUM", 40), ("HIGH", 15), ("CRITICAL", 5),
    ]  # fmt: skip
    assert frame.filter(pl.col("is_fraud") == 1)["risk_level"].unique().sort().to_list() == [
        "CRITICAL",
        "HIGH",
    ]
    keep(runtime, owner, tmp_path, frame)
    client = browser(runtime, owner)
    page = client.get("/fraud/p/p1").text
    assert "CRITICAL 5 HIGH 15 MEDIUM 40 LOW 340" in text(page)
    marks = re.findall(r'<span class="level r-severe".*?</span>', page, re.DOTALL)
    assert marks
    assert all(mark.count('class="on"') == mark.count("<rect") == 4 for mark in marks)
    summary = client.get("/api/predictions/p1").json()["summary"]
    assert {level.key: summary[level.key] for level in four_levels} == {
        "low": 340, "medium": 40, "high": 15, "critical": 5,
    }  # fmt: skip
    riskiest = client.get("/api/predictions/p1/download?alerts=6").text
    levels = [row["risk_level"] for row in csv.DictReader(io.StringIO(riskiest))]
    assert levels == ["CRITICAL"] * 5 + ["HIGH"]


def test_a_table_scored_with_other_levels_is_shown_as_it_was(
    runtime: Runtime, owner: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One scored with three levels, seen with four; and one scored with four, seen with three."""
    keep(runtime, owner, tmp_path, scored())
    client = browser(runtime, owner)
    with monkeypatch.context() as patched:
        patched.setattr(risk, "LEVELS", (*LEVELS, CRITICAL))
        seen = text(client.get("/fraud/p/p1").text)
        assert "HIGH 20 MEDIUM 40 LOW 340" in seen
        assert "CRITICAL" not in seen
        frame = scored()
    row = frame.sort("fraud_probability", descending=True).row(0, named=True)
    with runtime.catalog.write() as transaction:
        stored = transaction.get_one(Prediction, "p1")
        stored.summary = {**(stored.summary or {}), "top": [row]}
    assert "CRITICAL" in text(client.get("/fraud/p/p1").text)


def test_thresholds_of_before_keep_their_meaning_under_four_levels(
    four_levels: tuple[RiskLevel, ...],
) -> None:
    stored = Thresholds.read({"threshold": 0.8, "medium_threshold": 0.3})
    scores = np.array([0.1, 0.3, 0.79, 0.8, 1.0])
    marked = stored.mark(scores, "risk_level", "is_fraud")
    assert marked[0].to_list() == ["LOW", "MEDIUM", "MEDIUM", "HIGH", "HIGH"]
    assert marked[1].to_list() == [0, 0, 0, 1, 1]


def test_an_ensemble_says_where_a_fourth_level_begins(four_levels: tuple[RiskLevel, ...]) -> None:
    report = read_ensemble_report(invented.ensemble_report(abstained=True))
    said = dict(meanings_of(report, Words("en")))["anomaly_level"]
    share = report.fraud_rate.stated
    assert said.startswith(f"CRITICAL is the top {Words('en').percent(share / 4)}, HIGH is the top")
    info: dict[str, Any] = {
        "kind": "anomaly", "members": [], "sample_rows": 9, "sample_sha256": "0" * 64, "reason": "None matches.",
        "alerts": {level.key: level.share(share) for level in risk.raised_levels()},
    }  # fmt: skip
    assert f"CRITICAL is the top {share / 4:.2%}" in card_of(info, report)


def test_a_training_sets_a_fourth_level_and_reports_it(
    tmp_path: Path, four_levels: tuple[RiskLevel, ...]
) -> None:
    rows = generate(rows=2_000, seed=3, fraud_share=0.04)
    rows.write_csv(tmp_path / "labelled.csv")
    plan = TrainingPlan("is_fraud", identifier_columns=("transaction_id",), budget_s=2.0)
    with open_table(tmp_path / "labelled.csv") as table:
        train(table, plan, tmp_path / "model", lambda stage, share, message: None)
    model = load_model(tmp_path / "model")
    assert list(model.thresholds.least) == ["high", "medium", "critical"]
    least = model.thresholds.least
    assert least["medium"] <= least["high"] <= least["critical"]
    report = read_training_report(json.loads((tmp_path / "model" / "performance.json").read_text()))
    assert report.thresholds == model.thresholds
    assert report.medium_threshold == least["medium"]
    assert "the risk is CRITICAL." in (tmp_path / "model" / "model_card.md").read_text(encoding="utf-8")
    result = score_frame(model, rows.drop("is_fraud"), reasons_for="risky")
    critical = result["fraud_probability"] >= least["critical"]
    assert (result["risk_level"] == "CRITICAL").equals(critical.alias("risk_level"))
    assert result.filter(pl.col("risk_level") != "LOW")["reason_1"].null_count() == 0
