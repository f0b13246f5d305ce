"""The report of a model is read and written as one type, whichever release and whatever kind wrote it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ecluse.apps.fraud.metrics import METRICS
from ecluse.apps.fraud.performance.ensemble import EnsembleReport
from ecluse.apps.fraud.performance.reports import (
    metric_of,
    read_report,
    read_trained_report,
    read_training_report,
    report_content,
    threshold_of,
    write_report,
)
from ecluse.apps.fraud.performance.trained import TrainedReport, TrainingReport
from ecluse.apps.fraud.sample import write_sample
from ecluse.apps.fraud.training.training import TrainingPlan, train
from ecluse.errors import UnreadableRecord
from ecluse.sentences import pack, unpack
from ecluse.tabular.dataset import open_table
from tests.web import invented

#: Keys of a report by the release that first wrote them: what older files lack.
ADDED = {
    "the first": {
        "format", "target", "positive_value", "family", "params", "metrics", "intervals", "threshold", "goal",
        "confusion", "curves", "histogram", "baseline", "importances", "leaderboard", "dropped", "warnings", "rows",
        "fraud_rate", "split", "features", "budget_s", "seed", "versions", "medium_threshold", "calibration", "seconds",
    },
    "folds and blends": {"members", "out_of_fold", "fitted_on", "cost"},
    "closer looks": {
        "groups", "periods", "repeated", "contradicted_frauds", "label_suspects", "drift", "measured_on", "refitted",
    },
    "records": {"refit", "effort", "positive_share", "positive_reason"},
    "giveaways": {"giveaways", "doubt", "frauds_repeat", "distinct_frauds", "tested_rows", "simulated"},
    "levels of risk": {"level_thresholds"},
}  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report that a training of the sample wrote."""
    folder = tmp_path_factory.mktemp("performance")
    sample = write_sample(folder, rows=1_500, score_rows=100)
    plan = TrainingPlan("is_fraud", time_column="timestamp", customer_column="customer_id", budget_s=1.0)
    with open_table(sample.labelled) as table:
        train(table, plan, folder / "model", lambda *_: None)
    content: dict[str, Any] = unpack(json.loads((folder / "model" / "performance.json").read_text()))
    return content


def test_the_report_of_a_training_is_read_whole_and_written_to_the_byte(
    stored: dict[str, Any], tmp_path: Path
) -> None:
    report = read_training_report(stored)
    text = json.dumps(pack(stored), indent=1, ensure_ascii=False, allow_nan=False)
    assert write_report(tmp_path, report).read_text() == text
    assert stored.keys() == set().union(*ADDED.values())
    assert set(report.metrics) == {metric.name for metric in METRICS}
    # The less complete type, of versions that are stored, reads the same of it.
    assert report_content(read_trained_report(stored)) == {
        key: value for key, value in stored.items() if key in report_content(read_trained_report(stored))
    }


@pytest.mark.parametrize("release", range(1, len(ADDED) + 1))
def test_a_report_of_an_older_release_is_read_without_what_it_lacks(
    stored: dict[str, Any], release: int
) -> None:
    names = set().union(*list(ADDED.values())[:release])
    old = {key: value for key, value in stored.items() if key in names}
    if release < 3:
        old["baseline"] = {key: value for key, value in old["baseline"].items() if key != "best_column"}
        old["leaderboard"] = [
            {key: row[key] for key in ("family", "params", "validation_average_precision", "seconds")}
            for row in old["leaderboard"]
        ]
    report = read_report(old)
    assert isinstance(report, TrainedReport)
    assert report.metrics == old["metrics"]
    assert metric_of(report, "roc_auc") == old["metrics"]["roc_auc"]
    assert report.groups == (() if release < 3 else read_training_report(stored).groups)
    assert read_report(report_content(report)) == report


def test_every_field_of_a_complete_report_is_one_of_a_stored_report() -> None:
    assert {each.name for each in fields(TrainingReport)} == {each.name for each in fields(TrainedReport)}


@pytest.mark.parametrize("abstained", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_the_report_of_an_ensemble_is_read_and_written_the_same(abstained: bool, learned: bool) -> None:
    content = invented.ensemble_report(abstained=abstained)
    content |= {"learned": invented.learned()} if learned else {}
    report = read_report(content)
    assert isinstance(report, EnsembleReport)
    assert report_content(report) == content
    assert (report.learned is not None and report.learned.source is not None) is learned


def test_an_imported_version_says_nothing_and_has_no_threshold() -> None:
    report = read_report({})
    assert report == TrainedReport()
    with pytest.raises(UnreadableRecord, match="says no threshold"):
        threshold_of(report)
    with pytest.raises(UnreadableRecord, match="says no recall"):
        metric_of(report, "recall")


def test_a_report_that_lacks_a_field_or_has_one_of_another_type_is_refused_with_its_place(
    stored: dict[str, Any],
) -> None:
    with pytest.raises(UnreadableRecord, match=r"performance.json has no 'confusion'"):
        read_training_report({key: value for key, value in stored.items() if key != "confusion"})
    with pytest.raises(UnreadableRecord, match=r"performance.json.confusion.tp is 'many', not int"):
        read_report(stored | {"confusion": stored["confusion"] | {"tp": "many"}})
