"""The alert budget of a scored table: what so many rows mean, and downloading just those."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.api.budget import cuts_of, doubt_of, meaning_of, nearest, tell
from ecluse.apps.fraud.evaluation.ranking import Cut
from ecluse.apps.fraud.performance.ensemble import EnsembleReport
from ecluse.apps.fraud.performance.learned import Learned
from ecluse.apps.fraud.performance.parts import Confusion
from ecluse.apps.fraud.performance.reports import read_ensemble_report
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.rows import labels
from ecluse.apps.fraud.rows.tables import Prediction
from ecluse.apps.fraud.scoring.results import write_scores
from ecluse.catalog.tables import ModelVersion, User
from ecluse.runtime import Runtime
from ecluse.storage import Stored
from ecluse.web.i18n import Words
from tests.web import invented
from tests.web.test_pages import browser

ROWS = 400
ENGLISH, FRENCH = Words("en"), Words("fr")


@pytest.fixture
def owner(runtime: Runtime) -> User:
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    with runtime.catalog.write() as transaction:
        transaction.add_all([row for row in invented.rows(user.id) if not isinstance(row, Prediction)])
    return user


def scored_rows(**columns: Any) -> pl.DataFrame:
    """Rows from the riskiest down in steps, every second third of them with the same score as the one before."""
    probability = np.round(np.linspace(0.999, 0.001, ROWS), 6)
    probability[1::3] = probability[::3][: len(probability[1::3])]
    return pl.DataFrame(
        {
            "transaction_id": [f"T{i:04d}" for i in range(ROWS)],
            "fraud_probability": probability,
            **columns,
            "risk_level": ["HIGH" if p >= 0.9 else "LOW" for p in probability],
            "is_fraud": [int(p >= 0.9) for p in probability],
            "reason_1": ["amount 38 × usual"] * ROWS,
            "reason_1_effect": [1.5] * ROWS,
        }
    ).sample(fraction=1, shuffle=True, seed=3)


def keep(
    runtime: Runtime, user: User, folder: Path, frame: pl.DataFrame, *, known: bool = False, **changed: Any
) -> Prediction:
    """A finished scoring with these rows stored as they would be."""
    path = folder / "scores.csv"
    told = None
    if known:
        told = np.where(np.arange(ROWS) % 4 == 0, frame["fraud_probability"].to_numpy() > 0.5, -1)
        told = told.astype(np.int8)
    summary = write_scores([frame], path, "csv", told)
    row = invented.prediction(user.id)
    stored: Stored = runtime.data.upload(path, row.key or "")
    values: dict[str, Any] = {
        "summary": summary.to_dict(),
        "ranking": summary.ranking.to_bytes() if summary.ranking else None,
        "rows": summary.rows,
        "flagged": summary.flagged,
        "url": runtime.data.url_of(row.key or ""),
        "sha256": stored.sha256,
        "size_bytes": stored.size,
    }
    for name, value in (values | changed).items():
        setattr(row, name, value)
    with runtime.catalog.write() as transaction:
        transaction.add(row)
    return row


def names(text: str) -> list[str]:
    return [row["transaction_id"] for row in csv.DictReader(io.StringIO(text))]


@pytest.mark.parametrize("path", ["/fraud/p/p1/riskiest?budget=", "/api/predictions/p1/download?alerts="])
@pytest.mark.parametrize("alerts", [1, 2, 150, ROWS, 10_000])
def test_so_many_of_the_riskiest_rows_download_riskiest_first(
    runtime: Runtime, owner: User, tmp_path: Path, path: str, alerts: int
) -> None:
    frame = scored_rows()
    keep(runtime, owner, tmp_path, frame)
    answer = browser(runtime, owner).get(f"{path}{alerts}")
    wanted = frame.sort("fraud_probability", descending=True, maintain_order=True).head(alerts)
    assert answer.status_code == 200
    assert names(answer.text) == wanted["transaction_id"].to_list()
    assert f"riskiest_{min(alerts, ROWS)}_transactions.csv" in answer.headers["content-disposition"]
    assert list((runtime.settings.home / "scratch").iterdir()) == []


def test_rows_of_a_damaged_result_are_not_sent(runtime: Runtime, owner: User, tmp_path: Path) -> None:
    row = keep(runtime, owner, tmp_path, scored_rows())
    runtime.data.put(row.key or "", b"transaction_id,fraud_probability\nT1,0.5\n")
    answer = browser(runtime, owner).get("/api/predictions/p1/download?alerts=5")
    assert answer.status_code == 409
    assert "T1" not in answer.text


def test_no_one_else_downloads_them_and_nothing_is_there_before_the_end(
    runtime: Runtime, owner: User, tmp_path: Path
) -> None:
    keep(runtime, owner, tmp_path, scored_rows(), status="running", url=None, sha256=None, key=None)
    stranger = browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))
    for path in (
        "/fraud/p/p1/riskiest",
        "/api/predictions/p1/download?alerts=5",
        "/api/predictions/p1/budget?alerts=5",
    ):
        assert stranger.get(path).status_code == 404
        assert browser(runtime, owner).get(path).status_code == 404
    assert browser(runtime, owner).get("/api/predictions/p1/download?alerts=0").status_code == 422


@pytest.mark.parametrize(
    ("budget", "flagged", "shown"), [(1, 1, 1), (50, 50, 50), (67, 67, 67), (150, 150, 100), (999, 400, 100)]
)
def test_a_budget_tells_what_exactly_so_many_rows_hold(
    runtime: Runtime, owner: User, tmp_path: Path, budget: int, flagged: int, shown: int
) -> None:
    frame = scored_rows()
    keep(runtime, owner, tmp_path, frame)
    reader = browser(runtime, owner)
    page = reader.get(f"/fraud/p/p1?budget={budget}").text
    chosen = frame.sort("fraud_probability", descending=True).head(flagged)["fraud_probability"]
    likeliest = ENGLISH.num(chosen.sum(), 1 if chosen.sum() < 100 else 0)
    api = reader.get(f"/api/predictions/p1/budget?alerts={budget}").json()
    low, high = ENGLISH.num(api["expected_low"]), ENGLISH.num(api["expected_high"])
    assert api["expected_low"] <= api["expected"] <= api["expected_high"] <= flagged
    expected = f"{low} to {high}, expected {likeliest}"
    for figure, value in {
        "flagged": str(flagged),
        "cut": ENGLISH.threshold(chosen[-1]),
        "expected": expected,
    }.items():
        assert f'<span data-told="{figure}">{value}</span>' in page
        assert reader.get(f"/fraud/p/p1/budget?budget={budget}").json()[figure] == value
    told = reader.get(f"/api/predictions/p1/budget?alerts={budget}").json()
    assert (told["alerts"], told["cut"]) == (flagged, chosen[-1])
    assert told["expected"] == pytest.approx(chosen.sum(), abs=0.01)
    visible = re.findall(r'<tr data-rank="(\d+)">', page)
    assert max(map(int, visible)) == shown
    assert len(json.loads(re.search(r'id="budget-steps">(.*?)</script>', page, re.DOTALL)[1])) > 20  # type: ignore[index]


def test_rows_of_one_score_are_said_to_be_taken_in_part(
    runtime: Runtime, owner: User, tmp_path: Path
) -> None:
    keep(runtime, owner, tmp_path, scored_rows())
    assert "2 rows have the score 0.999; the first of the table are taken." in (
        browser(runtime, owner).get("/fraud/p/p1?budget=1").text
    )


def test_a_scoring_from_before_says_that_its_figures_are_of_a_step(
    runtime: Runtime, owner: User, tmp_path: Path
) -> None:
    keep(runtime, owner, tmp_path, scored_rows(), ranking=None)
    reader = browser(runtime, owner)
    page = reader.get("/fraud/p/p1?budget=67").text
    assert '<span data-told="flagged">60</span>' in page
    assert "figures are of the next lower step" in page
    assert reader.get("/fraud/p/p1/budget?budget=67").json()["flagged"] == "60"
    assert reader.get("/api/predictions/p1/budget?alerts=67").status_code == 422


@pytest.mark.parametrize(
    ("language", "amount", "shop"),
    [
        ("en", "half of all rows: 12.5 to 85", "most often web (61\u00a0%)"),
        ("fr", "une ligne sur deux\u00a0: de 12,5 à 85", "le plus souvent web (61\u00a0%)"),
    ],
)
def test_a_row_shows_its_own_values_beside_what_is_usual(
    runtime: Runtime, owner: User, tmp_path: Path, language: str, amount: str, shop: str
) -> None:
    row = keep(runtime, owner, tmp_path, scored_rows())
    own = {
        "columns": ["amount", "merchant", "transaction_id", "country", "device"],
        "rows": [["1250.75", "casino", "T0", "FR", "D7"]] + [["3.5", "web", "T1", "FR", "D8"]] * 99,
        "usual": {
            "amount": {"low": 12.5, "high": 85.0},
            "merchant": {"value": "web", "share": 0.61},
            "device": {"value": "D9", "share": 0.01},
        },
    }
    with runtime.catalog.write() as transaction:
        kept = transaction.get_one(Prediction, row.id)
        kept.summary = {**(kept.summary or {}), "own": own}
    reader = browser(runtime, owner)
    reader.cookies.set("lang", language)
    page = re.sub(r"\s*(</?d[td][^>]*>)\s*", r"\1", html.unescape(reader.get("/fraud/p/p1").text))
    value = "1250,75" if language == "fr" else "1250.75"
    assert f'<dt class="mono">amount</dt><dd>{value} <span class="muted">{amount}</span>' in page
    assert f'<dt class="mono">merchant</dt><dd>casino <span class="muted">{shop}</span>' in page
    assert "D9" not in page, "one row in a hundred is not usual"
    assert '<dt class="mono">transaction_id</dt>' not in page, "it stands at the head of the row"


def test_what_is_known_of_labelled_rows_stands_beside_what_is_expected(
    runtime: Runtime, owner: User, tmp_path: Path
) -> None:
    keep(runtime, owner, tmp_path, scored_rows(), known=True)
    page = browser(runtime, owner).get("/fraud/p/p1?budget=200").text
    assert "Known precision" in page
    assert "Known of the 100 labelled rows only" in page
    assert "Label some rows" not in page


def test_unlabelled_scores_lead_to_labelling(runtime: Runtime, owner: User, tmp_path: Path) -> None:
    keep(runtime, owner, tmp_path, scored_rows())
    page = browser(runtime, owner).get("/fraud/p/p1").text
    assert "Known precision" not in page
    assert f"/datasets/dunlabelled/label?model=transactions@{invented.VERSIONS[0]}" in page


def test_labels_given_after_the_scoring_are_told_of(runtime: Runtime, owner: User, tmp_path: Path) -> None:
    keep(runtime, owner, tmp_path, scored_rows())
    with runtime.catalog.write() as transaction:
        labels.put_labels(transaction, owner.id, "dunlabelled", {3: 1, 7: 0})
    page = browser(runtime, owner).get("/fraud/p/p1").text
    assert "2 labels of this table are known that do not count here" in page


def of_ensemble(
    runtime: Runtime,
    owner: User,
    folder: Path,
    members: list[dict[str, Any]],
    frame: pl.DataFrame | None = None,
) -> str:
    """The page of scores that an ensemble with these members gave; without a frame, one of an earlier release."""
    of_before = scored_rows(
        combined_score=[0.9876] * ROWS,
        anomaly_score=[0.5432] * ROWS,
        prediction_stability=[0.75] * ROWS,
        fraud_probability_calibrated=[None] * ROWS,
    )
    keep(runtime, owner, folder, of_before if frame is None else frame)
    with runtime.catalog.write() as transaction:
        version = transaction.query(ModelVersion).filter_by(version=invented.VERSIONS[0]).one()
        made = invented.ensemble_report()
        version.report = made | {
            "members": made["members"][:1] if members else [],
            "threshold": 0.9,
            "fraud_rate": {"stated": 0.02, "estimated": None},
        }
    return browser(runtime, owner).get("/fraud/p/p1").text


def test_the_scores_of_an_ensemble_show_both_and_say_by_what_rate_they_are_scaled(
    runtime: Runtime, owner: User, tmp_path: Path
) -> None:
    page = of_ensemble(runtime, owner, tmp_path, [{"reference": "kestrel_cards", "weight": 1.0}])
    for said in (
        "98.76",
        "54.32",
        "75",
        "so that 2.0\u00a0% of the rows are fraud",
        "Expected precision, if 2.0\u00a0% are fraud",
    ):
        assert said in page
    assert "Unusual, not fraud" not in page


def test_scores_by_anomaly_alone_promise_no_fraud(runtime: Runtime, owner: User, tmp_path: Path) -> None:
    page = of_ensemble(runtime, owner, tmp_path, [])
    assert "Unusual, not fraud." in page
    assert "Expected" not in page


def test_an_anomaly_score_is_shown_and_downloaded_under_its_own_name(
    runtime: Runtime, owner: User, tmp_path: Path
) -> None:
    names_of_anomaly = {
        "fraud_probability": "anomaly_score",
        "risk_level": "anomaly_level",
        "is_fraud": "review",
    }
    frame = scored_rows(prediction_stability=[0.75] * ROWS).rename(names_of_anomaly)
    page = of_ensemble(runtime, owner, tmp_path, [], frame)
    assert "Anomaly score" in page
    assert "Probability" not in page
    least = frame.filter(pl.col("review") == 1)["anomaly_score"].min()
    assert f"Threshold {ENGLISH.threshold(float(least))}" in page  # type: ignore[arg-type]
    answer = browser(runtime, owner).get("/fraud/p/p1/riskiest?budget=3")
    wanted = frame.sort("anomaly_score", descending=True, maintain_order=True).head(3)
    assert names(answer.text) == wanted["transaction_id"].to_list()


def test_the_address_of_a_prediction_as_the_api_knows_it_leads_to_its_page(
    runtime: Runtime, owner: User
) -> None:
    answer = browser(runtime, owner).get("/predictions/p1")
    assert (answer.status_code, answer.headers["location"]) == (307, "/fraud/p/p1")


def test_an_older_scoring_is_told_from_its_kept_rows() -> None:
    cuts = cuts_of({"top": [{"fraud_probability": p} for p in (0.9, 0.5, 0.5, 0.1)]})
    assert [(cut.alerts, cut.cut) for cut in cuts] == [(1, 0.9), (3, 0.5), (4, 0.1)]
    assert [cut.expected for cut in cuts] == pytest.approx([0.9, 1.9, 2.0])


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30, unique=True), st.integers(1, 600))
def test_the_cut_of_a_budget_is_the_last_that_fits(alerts: list[int], budget: int) -> None:
    counts = sorted(alerts)
    chosen = counts[nearest([Cut(count, 0.5, 1.0, 0, 0) for count in counts], budget)]
    fitting = [count for count in counts if count <= budget]
    assert chosen == (fitting[-1] if fitting else counts[0])


def test_what_scores_mean_follows_from_how_the_version_was_made() -> None:
    stated = read_ensemble_report(invented.ensemble_report())
    assert meaning_of(TrainedReport()) == "calibrated"
    assert meaning_of(stated) == "stated"
    assert meaning_of(replace(stated, members=())) == "unusual"
    assert meaning_of(replace(stated, members=(), learned=Learned(way="corrected"))) == "labelled"


def fitting(*similarities: float) -> EnsembleReport:
    """Return the report of an ensemble whose members fit its table so well."""
    report = read_ensemble_report(invented.ensemble_report())
    members = (replace(report.members[0], similarity=similarity) for similarity in similarities)
    return replace(report, members=tuple(members))


def test_the_expectation_of_an_ensemble_has_its_doubt_and_that_of_a_training_less() -> None:
    """14.3 frauds were expected among the top 20, and 9 were there."""
    ensemble = fitting(0.85, 0.6)
    trained = TrainedReport(confusion=Confusion(tp=300, fp=0, fn=100, tn=0))
    summary, cut = {"rows": 2_000}, Cut(20, 0.4, 14.3, 0, 0)
    told = tell(cut, summary, "stated", ENGLISH, doubt_of(ensemble))
    assert told.expected == "3 to 20, expected 14.3"
    assert tell(cut, summary, "calibrated", ENGLISH, doubt_of(trained)).expected == "8 to 18, expected 14.3"
    weaker = fitting(0.55)
    taught = replace(ensemble, learned=Learned(way="corrected", labels=40, frauds=6))
    assert doubt_of(trained) < doubt_of(taught) < doubt_of(ensemble) < doubt_of(weaker)


def test_known_shares_carry_their_interval_and_unknown_ones_are_empty() -> None:
    told = tell(Cut(100, 0.62, 80.0, 15, 12), {"rows": 5_000, "frauds": 20}, "calibrated", ENGLISH)
    assert (told.flagged, told.share, told.cut) == ("100", "2.0\u00a0%", "0.620")
    assert told.precision == "34 to 97\u00a0%, expected 80\u00a0%"
    assert told.known_precision == "12 of 15, 80\u00a0% (55 to 93\u00a0%)"
    assert told.known_recall.startswith("12 of 20, 60\u00a0%")
    nothing = tell(Cut(100, 0.62, 80.0, 0, 0), {"rows": 5_000}, "unusual", FRENCH)
    assert (nothing.expected, nothing.precision, nothing.known_precision, nothing.known_recall) == ("",) * 4
