"""The pages of a model at work: looks at later tables, two versions on the same rows, training again, its report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ecluse import models as published
from ecluse.apps.fraud.actions.monitoring import labelled_counts, learned_counts
from ecluse.apps.fraud.metrics import METRICS
from ecluse.apps.fraud.monitoring.report import MonitoringReport, monitoring_content, read_monitoring
from ecluse.apps.fraud.pages import charts as model_figures
from ecluse.apps.fraud.pages.monitoring import Judged, _unlearned_table, findings
from ecluse.apps.fraud.performance.reports import read_report
from ecluse.apps.fraud.rows import inspections, training
from ecluse.apps.fraud.rows.tables import Dataset, Inspection
from ecluse.catalog import runs
from ecluse.catalog.tables import ModelVersion, Run, User, now
from ecluse.errors import UnreadableRecord
from ecluse.runtime import Runtime
from ecluse.web import charts
from ecluse.web.i18n import Words
from tests.web import invented
from tests.web.test_pages import Browser, browser, publish

SAY = Words("en")
NEW, OLD = invented.VERSIONS
PLACE = f"/models/transactions/{NEW}"


def look_result(**changed: Any) -> dict[str, Any]:
    """What an invented look at a table found: one column far, one moved, outcomes of some rows."""
    drift = [drifted("amount", 0.4, "far"), drifted("merchant_country", 0.12, "moved", [["XK", 0.03]])]
    drift += [drifted(f"c{i}", 0.01, "same") for i in range(14)]
    days = [{"day": f"2025-11-{day:02d}", "rows": 100, "alerts": day % 4} for day in range(1, 15)]
    return {
        "rows": 1_400,
        "columns": {"missing": [], "extra": ["note"], "near": {}},
        "drift": drift,
        "score": drifted("score", 0.3, "far"),
        "threshold": 0.62,
        "alerts": {"count": 20, "rate": 0.014, "usual_rate": 0.004, "by_day": days, "days": 1},
        "periods": [
            period("2025-11-01", 0.05, []),
            period("2025-11-08", 0.31, [{"column": "amount", "index": 0.4, "verdict": "far"}]),
        ],
        "period_days": 7,
        "outcomes": {
            "rows": 900,
            "share": 0.64,
            "frauds": 30,
            "metrics": {"average_precision": 0.5, "roc_auc": 0.955, "precision": 0.78, "recall": 0.66},
            "intervals": {
                "average_precision": [0.4, 0.6],
                "roc_auc": [0.93, 0.975],
                "precision": [0.7, 0.86],
                "recall": [0.6, 0.7],
            },
            "confusion": {"tp": 16, "fp": 4, "fn": 14, "tn": 866},
        },
        "notes": [],
    } | changed


def monitored(**changed: Any) -> MonitoringReport:
    return read_monitoring(look_result(**changed))


def drifted(column: str, index: float, verdict: str, new: list[list[Any]] | None = None) -> dict[str, Any]:
    return {
        "column": column,
        "kind": "number",
        "index": index,
        "noise": 0.01,
        "verdict": verdict,
        "missing_before": 0.0,
        "missing_now": 0.02,
        "new_levels": new or [],
        "importance": 0.1,
    }


def period(first: str, index: float, moved: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "first": first,
        "last": first,
        "rows": 700,
        "alerts": 10,
        "score_index": index,
        "moved": moved,
        "frauds": 15,
        "precision": 0.8,
        "recall": 0.5,
    }


def compared_result(**changed: Any) -> dict[str, Any]:
    """What an invented comparison found: B ranks better, one row is flagged by each alone."""
    figure = {"a": 0.6, "b": 0.7, "difference": 0.1, "interval": [0.02, 0.18], "verdict": "better"}
    same = {"a": 0.5, "b": 0.5, "difference": 0.0, "interval": [-0.1, 0.1], "verdict": "overlap"}
    curve = [{"recall": i / 20, "precision": 1 - i / 40, "threshold": 1 - i / 20} for i in range(1, 21)]
    values = {"transaction_id": "T7", "timestamp": "2025-11-14T03:12:00.000000"}
    return {
        "a": {"version": OLD, "threshold": 0.62, "alerts": 5, "alert_rate": 0.005},
        "b": {"version": NEW, "threshold": 0.4, "alerts": 5, "alert_rate": 0.005},
        "rows": 1_000,
        "labelled": 1_000,
        "frauds": 12,
        "agreement": {"both": 4, "a_only": 1, "b_only": 1, "neither": 994, "kappa": 0.8},
        "rank_correlation": 0.9,
        "changed": [
            {"row": 3, "a": 0.1, "b": 0.9, "turned": True, "outcome": 1, "values": values},
            {"row": 9, "a": 0.65, "b": 0.39, "turned": True, "outcome": 0, "values": values},
            {"row": 4, "a": 0.1, "b": 0.2, "turned": False, "outcome": None, "values": values},
        ],
        "figures": {"average_precision": figure, "roc_auc": same, "precision": same, "recall": same},
        "curves": {"a": curve, "b": curve},
    } | changed


def inspection(user: User, name: str, kind: str, result: dict[str, Any] | None, **more: Any) -> Inspection:
    values = {"version": NEW, "status": "done", "dataset_id": "dunlabelled", "finished_at": now()} | more
    return Inspection(id=name, user_id=user.id, kind=kind, model_name="transactions", result=result, **values)


@pytest.fixture
def owner(runtime: Runtime, tmp_path: Path) -> User:
    """A user with two versions of a model, a look, one that failed, and comparisons."""
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    compared = {"kind": "comparison", "version": OLD, "other_version": NEW}
    with runtime.catalog.write() as transaction:
        transaction.add_all(invented.rows(user.id))
        transaction.add(inspection(user, "look", "monitor", look_result()))
        transaction.add(inspection(user, "bare", "monitor", look_result(
            alerts=None, score=None, outcomes=None, periods=[], drift=[],
            columns={"missing": ["amount"], "extra": [], "near": {"amount": "montant"}},
            notes=["Columns of the model are missing: the rows are not scored."],
        )))  # fmt: skip
        transaction.add(
            inspection(user, "failed", "monitor", None, status="failed", error="No space is left.")
        )
        transaction.add(inspection(user, "compared", result=compared_result(), **compared))
        old = {key: value for key, value in compared_result(figures=None).items() if key != "curves"}
        transaction.add(inspection(user, "unlabelled", result=old, **compared))
        again = compared_result(held_out=1_010, left_out=10, notes=[])
        transaction.add(inspection(user, "again", result=again, request={"retraining": True}, **compared))
        for row in transaction.query(ModelVersion):
            row.details = {"plan": {"target": "is_fraud", "budget_s": 60}}
    (tmp_path / "model").mkdir()
    publish(runtime, user, tmp_path / "model")
    return user


@pytest.fixture
def client(runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, owner)


PAGES = [
    f"{PLACE}/monitor",
    f"{PLACE}/monitor?look=look",
    f"{PLACE}/monitor?look=bare",
    f"{PLACE}/monitor?look=failed",
    f"/models/transactions/{OLD}/monitor",
    "/models/transactions/compare",
    "/models/transactions/compare/compared",
    "/models/transactions/compare/unlabelled",
    "/models/transactions/compare/again",
]


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_drawn_in_both_languages(client: Browser, path: str, language: str) -> None:
    client.cookies.set("lang", language)
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}"' in answer.text
    assert len(re.findall("<h1", answer.text)) == 1
    assert "%(" not in answer.text
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", PAGES)
def test_what_is_another_persons_does_not_exist(runtime: Runtime, owner: User, path: str) -> None:
    other = browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))
    assert other.get(path).status_code == 404
    assert other.post("/models/transactions/compare/compared/use", data={"alias": "x"}).status_code == 404


def test_a_look_says_first_what_is_out_of_the_usual_the_worst_before_the_rest() -> None:
    said = findings(monitored(), read_report(invented.report()), SAY)
    assert [one.tone for one in said] == ["bad", "warn", "warn", "warn"]
    assert said[0].title == "Average precision is worse than it was tested to be."
    assert {one.title for one in said[1:]} == {
        "1 column is far from what the model learned.",
        "The scores are spread otherwise than before.",
        "Many more alerts than usual.",
    }


def test_the_report_of_monitoring_is_read_and_written_as_it_was() -> None:
    for content in (
        look_result(),
        look_result(seen=12, alerts=None, score=None, outcomes=None, periods=[], drift=[]),
    ):
        assert json.dumps(monitoring_content(read_monitoring(content))) == json.dumps(content)
    older = {name: value for name, value in look_result().items() if name not in ("period_days", "notes")}
    assert read_monitoring(older).period_days == 1
    with pytest.raises(UnreadableRecord, match=r"inspections\.result\.rows"):
        read_monitoring(look_result(rows="many"))


def test_alerts_where_there_were_none_and_a_higher_brier_score_are_worse() -> None:
    alerts = look_result()["alerts"]
    said = findings(monitored(alerts=alerts | {"usual_rate": 0.0}), read_report(invented.report()), SAY)
    assert "Many more alerts than usual." in [one.title for one in said]
    none = findings(
        monitored(alerts=alerts | {"usual_rate": 0.0, "rate": 0.0}), read_report(invented.report()), SAY
    )
    assert "Many more alerts than usual." not in [one.title for one in none]
    by_name = {metric.name: metric for metric in METRICS}
    for name, apart in (("brier", "worse"), ("roc_auc", "better")):
        assert Judged(by_name[name], 0.3, (0.25, 0.35), 0.1, (0.05, 0.15)).apart == apart
        other = "better" if apart == "worse" else "worse"
        assert Judged(by_name[name], 0.1, (0.05, 0.15), 0.3, (0.25, 0.35)).apart == other


def test_a_look_at_usual_rows_is_calm() -> None:
    usual = look_result(
        drift=[drifted("amount", 0.05, "same")],
        score=drifted("score", 0.02, "same"),
        alerts=look_result()["alerts"] | {"usual_rate": 0.012},
        outcomes=None,
    )
    assert [one.tone for one in findings(read_monitoring(usual), read_report(invented.report()), SAY)] == [
        "ok"
    ]


def test_columns_are_listed_by_drift_and_the_usual_ones_are_folded_away(client: Browser) -> None:
    page = client.get(f"{PLACE}/monitor?look=look").text
    assert page.index(">amount<") < page.index(">merchant_country<") < page.index(">c0<")
    assert page.index("4 more") < page.index(">c13<")
    assert "XK 3.0" in page
    assert "new; the model does not read it" in page


def test_a_missing_column_is_named_with_the_one_it_may_be_called_now(client: Browser) -> None:
    page = client.get(f"{PLACE}/monitor?look=bare").text
    assert "1 column that the model needs is missing." in page
    assert "perhaps now called montant" in page


@pytest.mark.parametrize(
    "chart", model_figures.monitoring_charts(monitored(), SAY), ids=lambda chart: chart.id
)
def test_charts_over_time_hold_every_day_in_their_table(chart: charts.Chart) -> None:
    assert len(chart.rows) == len(chart.option["series"][0]["data"])
    assert {len(row) for row in chart.rows} == {len(chart.headings)}


def test_a_look_is_queued_and_its_page_asks_for_the_progress(runtime: Runtime, client: Browser) -> None:
    answer = client.post(f"{PLACE}/monitor", data={"dataset": "dunlabelled"})
    assert answer.status_code == 303
    page = client.get(answer.headers["location"]).text
    assert re.search(r'hx-get="/jobs/\w+/progress"', page)
    assert "Monitor · transactions (" in page


def test_a_refused_look_keeps_what_was_typed(client: Browser) -> None:
    answer = client.post(f"{PLACE}/monitor", data={"dataset": "dunlabelled", "label": "nowhere"})
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert 'value="nowhere"' in answer.text


def test_training_again_is_queued_by_the_old_plan_and_shown_as_a_comparison(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    refused = client.post(f"{PLACE}/retrain", data={"dataset": "dunlabelled"})
    assert refused.status_code == 422
    answer = client.post(f"{PLACE}/retrain", data={"dataset": "dlabelled", "budget": "30"})
    assert answer.status_code == 303
    page = client.get(answer.headers["location"]).text
    assert "Trained again: old and new on the same rows" in page
    assert "not made yet" in page
    job = runtime.jobs.list(owner.id)[0]
    with runtime.catalog.read() as transaction:
        run = training.run_by_job(transaction, job.id)
    assert run is not None
    assert (run.plan["budget_s"], run.plan["target"]) == (30.0, "is_fraud")


def test_versions_are_compared_from_the_page_of_their_reports(client: Browser) -> None:
    page = client.get("/models/transactions/compare").text
    assert page.count('href="/models/transactions/compare/') >= 3
    answer = client.post("/models/transactions/compare", data={"a": OLD, "b": NEW, "dataset": "dlabelled"})
    assert re.fullmatch(r"/models/transactions/compare/\w+", answer.headers["location"])
    same = client.post("/models/transactions/compare", data={"a": NEW, "b": NEW, "dataset": "dlabelled"})
    assert same.status_code == 422
    assert "Name two versions." in same.text


def test_rows_that_a_version_learned_from_recommend_nothing(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    note = "B learned from 1,000 of these 1,000 rows: no figure counts them."
    seen = compared_result(figures=None, curves=None, seen={"a": 0, "b": 1_000}, notes=[note])
    usual = look_result(
        drift=[drifted("amount", 0.05, "same")], score=None, alerts=None, outcomes=None, seen=1_400
    )
    with runtime.catalog.write() as transaction:
        transaction.add(inspection(owner, "seen", "comparison", seen, version=OLD, other_version=NEW))
    page = client.get("/models/transactions/compare/seen").text
    assert note in page
    assert 'href="#use"' not in page
    assert 'href="#use"' in client.get("/models/transactions/compare/unlabelled").text
    assert findings(read_monitoring(usual), read_report(invented.report()), SAY) == []


def test_a_version_that_was_made_before_its_comparison_was_cancelled_is_named(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    with runtime.catalog.write() as transaction:
        run = training.add_run(
            transaction,
            training.NewTraining(user_id=owner.id, job_id="stopped", model_name="transactions", plan={}),
        )
        runs.set_done(transaction, run.id, version=NEW)
        transaction.add(inspection(
            owner, "stopped", "comparison", None, status="cancelled", version=OLD, job_id="stopped",
            request={"retraining": True},
        ))  # fmt: skip
    page = client.get("/models/transactions/compare/stopped").text
    assert f'made all the same: <a class="mono" href="/models/transactions/{NEW}">' in page.replace(
        "</p>", ""
    )


@pytest.mark.parametrize(
    ("rate", "usual", "rows", "title"),
    [
        (0.019, 0.012, 4_900, "More alerts than usual."),
        (0.019, 0.012, 400, None),
        (0.0125, 0.012, 4_000_000, None),
        (0.008, 0.012, 20_000, "Fewer alerts than usual."),
        (0.03, 0.012, 4_900, "Many more alerts than usual."),
    ],
)
def test_more_alerts_than_chance_gives_are_told(
    rate: float, usual: float, rows: int, title: str | None
) -> None:
    alerts = look_result()["alerts"] | {"rate": rate, "usual_rate": usual}
    result = look_result(
        rows=rows, alerts=alerts, drift=[drifted("amount", 0.05, "same")], score=None, outcomes=None
    )
    said = [one.title for one in findings(read_monitoring(result), read_report(invented.report()), SAY)]
    assert said == [title or "Nothing is far from the usual."]


def test_whoever_names_no_version_is_told_to_get_the_new_one(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    told = "transactions alone now means the new version."
    page = client.get("/models/transactions/compare/again").text
    assert told in page
    assert f'action="/models/transactions/{OLD}/alias"' in page
    published.set_alias(runtime, owner.id, "transactions", "production", OLD)
    again = client.get("/models/transactions/compare/again").text
    assert told in again
    assert f'action="/models/transactions/{OLD}/alias"' not in again
    assert told not in client.get("/models/transactions/compare/compared").text


def test_tables_to_train_on_again_say_their_frauds_and_which_have_few(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    report = {"rows": {"train": 8_000, "test": 2_000}, "fraud_rate": {"train": 0.02, "test": 0.03}}
    assert learned_counts(read_report(report)) == (8_000, 160)
    assert learned_counts(read_report(report | {"refitted": True})) == (10_000, 220)
    assert learned_counts(read_report(invented.ensemble_report())) is None
    with runtime.catalog.write() as transaction:
        for one in transaction.query(ModelVersion):
            one.report = {
                **one.report,
                **report,
                "target": "is_fraud",
                "fraud_rate": {"train": 0.5},
                "required_columns": ["amount"],
            }
            one.dataset_id = None
        rows = transaction.query(Dataset).filter_by(id="dlabelled").one()
        held = labelled_counts(rows, "is_fraud", "1")
    assert held is not None
    page = client.get(f"{PLACE}/monitor").text
    again = page[page.index('id="again-dataset"') :]
    assert f"{SAY.num(held[0])} rows, {SAY.num(held[1])} frauds ▼" in again
    assert "This one learned from" in page


def test_tables_without_the_columns_are_marked_and_one_of_outcomes_is_not_offered(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    with runtime.catalog.write() as transaction:
        known = transaction.query(Dataset).filter_by(id="dlabelled").one()
        columns = [column for column in known.profile["columns"] if column["name"] != "amount"]
        few = [column for column in columns if column["name"] in ("transaction_id", "is_fraud")]
        for name, profile in (
            ("truth", known.profile | {"columns": few}),
            ("partly", known.profile | {"columns": columns}),
        ):
            transaction.add(Dataset(
                id=name, user_id=owner.id, filename=f"{name}.csv", key=name, url=name, size_bytes=1, rows=9,
                sha256=name, state="ready", profile=profile, created_at=now(),
            ))  # fmt: skip
        for one in transaction.query(ModelVersion):
            one.report = {**one.report, "required_columns": ["amount", "timestamp"], "target": "is_fraud"}
    page = client.get(f"{PLACE}/monitor").text
    tables = page[page.index('id="dataset"') : page.index('id="outcomes"')]
    assert "truth.csv" not in tables
    assert re.search(r"partly\.csv[^<]*columns missing\s*</option>\s*</select>", tables)
    assert "truth.csv" in page[page.index('id="outcomes"') :].split("</select>")[0]
    assert 'id="again-dataset"' not in page or "truth.csv" not in page.split('id="again-dataset"')[1]
    scoring = client.get(PLACE).text
    assert scoring.index("to_score.csv") < scoring.index("partly.csv")
    assert re.search(r"truth\.csv[^<]*columns missing\s*</option>", scoring)


def test_the_table_an_ensemble_was_made_for_or_a_copy_of_it_is_not_the_one_to_watch_it_on() -> None:
    def table(name: str, digest: str) -> Dataset:
        return Dataset(id=name, sha256=digest, state="ready", profile={"columns": [{"name": "amount"}]})

    report = invented.ensemble_report() | {"required_columns": ["amount"]}
    made = ModelVersion(name="m", version="v", application="fraud", dataset_id="own", report=report)
    own, copy, later = table("own", "a"), table("copy", "a"), table("later", "b")
    assert _unlearned_table([own, copy, later], made) is later
    assert _unlearned_table([own, copy], made) is None


def test_rows_flagged_by_one_alone_are_told_by_the_threshold_of_each(client: Browser) -> None:
    page = client.get("/models/transactions/compare/compared").text
    rows = [row for row in page.split("<tr>") if 'data-l="Flagged by"' in row]
    assert len(rows) == 2
    assert "B alone" in rows[0]
    assert "fraud</b>" in rows[0]
    assert "A alone" in rows[1]
    assert "legitimate" in rows[1]
    assert "B ranks these rows better." in page
    assert "2025-11-14 03:12" in page


def test_an_alias_moves_to_the_second_version_only_when_it_is_said(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    published.set_alias(runtime, owner.id, "transactions", "production", OLD)
    page = client.get("/models/transactions/compare/again").text
    assert "Move production to B" in page
    assert published.resolve(runtime, owner.id, "transactions@production").version == OLD
    wrong = client.post("/models/transactions/compare/again/use", data={"alias": "not a name"})
    assert wrong.status_code == 422
    moved = client.post("/models/transactions/compare/again/use", data={"alias": "production"})
    assert moved.headers["location"] == "/models/transactions/compare/again#use"
    assert published.resolve(runtime, owner.id, "transactions@production").version == NEW
    assert "These aliases point at B:" in client.get("/models/transactions/compare/again").text


def test_an_ended_look_leads_to_its_page_from_the_list_of_jobs(runtime: Runtime, client: Browser) -> None:
    client.post(f"{PLACE}/monitor", data={"dataset": "dunlabelled"})
    (job,) = runtime.jobs.active()
    with runtime.catalog.read() as transaction:
        queued = inspections.inspection_by_job(transaction, job.id)
    assert queued is not None
    client.post(f"/jobs/{queued.job_id}/cancel")
    page = client.get(f"/jobs/{queued.job_id}").text
    assert f'href="{PLACE}/monitor"' in page
    assert "Stopped on request." in client.get(f"{PLACE}/monitor?look={queued.id}").text


def full_report() -> dict[str, Any]:
    """The invented report with all that a report can hold."""
    figures = {"rows": 400, "frauds": 12, "found": 3, "recall": 0.25, "alerts": 9, "precision": 1 / 3}
    member = {"family": "lightgbm", "params": {}, "rounds": 200, "validation_average_precision": 0.7}
    return invented.report() | {
        "family": "blend",
        "members": [
            member | {"name": "LightGBM", "weight": 0.6},
            member | {"name": "LightGBM, plain", "weight": 0.4},
        ],
        "out_of_fold": {
            "average_precision": 0.72, "interval": [0.68, 0.76], "folds": 5, "draws": 2, "rows": 900, "frauds": 70,
        },
        "cost": {
            "per_1000_rows": 40.0, "per_1000_rows_without_alerts": 90.0, "per_1000_rows_with_all_alerts": 990.0,
        },
        "groups": [
            {"column": "merchant_country", "value": None} | figures,
            {"column": "amount", "value": "1 … 20", "low": 1.0, "high": 20.0} | figures,
        ],
        "periods": [
            {"start": f"2025-11-0{day}T00:00:00", "period": "1d", "average_precision": 0.5} | figures
            for day in (1, 2)
        ],
        "repeated": {"equal": 7, "nearly": 3, "of": 4_000},
        "contradicted_frauds": 5,
        "label_suspects": {"legitimate": 21, "fraud": 22, "rows": 4_000, "how": ""},
        "drift": [drifted("amount", 0.3, "far")],
        "baseline": {
            "fraud_rate": 0.02, "best_feature": "amount", "best_column": "amount",
            "best_feature_average_precision": 0.31,
        },
        "measured_on": "folds",
    }  # fmt: skip


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_report_tells_its_groups_periods_doubts_and_blend(
    runtime: Runtime, client: Browser, language: str
) -> None:
    with runtime.catalog.write() as transaction:
        row = transaction.query(ModelVersion).filter_by(version=NEW).one()
        row.report = full_report()
        run = transaction.query(Run).filter_by(version=NEW).one()
        run.finish_early_at = now()
    client.cookies.set("lang", language)
    page = client.get(PLACE).text
    assert "%(" not in page
    if language == "en":
        for said in (
            "Where it does worse", "1 to 20", "Over time", "What may flatter these figures", "How it was made",
            "blend of 2 models", "0.720", "5 folds", "drawn 2 times", "amount, average precision 0.31",
            "The search was ended on request", "40.0; without alerts 90.0", "of 4\u00a0000", "held out",
        ):  # fmt: skip
            assert said in page, said


def test_an_old_report_shows_without_what_it_lacks(client: Browser) -> None:
    page = client.get(f"/models/transactions/{OLD}").text
    for absent in (
        "Where it does worse",
        "What may flatter",
        "How it was made",
        "ended on request",
        "Best single",
    ):
        assert absent not in page
    assert "Precision and recall" in page
