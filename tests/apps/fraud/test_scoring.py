"""Scores are the same in any company, readable by people, and harmless to open."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecluse.apps.fraud.errors import ColumnsMissing
from ecluse.apps.fraud.measures import average_precision
from ecluse.apps.fraud.sample import generate
from ecluse.apps.fraud.scoring.model import FraudModel, check_columns, load_model
from ecluse.apps.fraud.scoring.reasons import as_written, kept_sentences, with_sentences
from ecluse.apps.fraud.scoring.results import known_labels, write_scores
from ecluse.apps.fraud.scoring.scoring import Batching, score_frame, score_table
from ecluse.apps.fraud.training.training import TrainingPlan, train
from ecluse.errors import InvalidInput, JobCancelled, ModelUnreadable
from ecluse.formulas import neutralise_formulas
from ecluse.sentences import Sentence
from ecluse.tabular.dataset import open_table
from ecluse.web.i18n import Words

pytestmark = pytest.mark.nightly

PLAN = TrainingPlan(
    "is_fraud",
    time_column="timestamp",
    customer_column="customer_id",
    identifier_columns=("transaction_id",),
    budget_s=2.0,
)
KEPT = ["transaction_id", "customer_id", "timestamp"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on the first 4,000 rows, and the 1,500 that follow in to_score.csv."""
    folder = tmp_path_factory.mktemp("scoring")
    rows = generate(rows=5_500, seed=3, fraud_share=0.03)
    rows.head(4_000).write_csv(folder / "labelled.csv")
    rows.tail(1_500).write_csv(folder / "later.csv")
    rows.tail(1_500).drop("is_fraud").write_csv(folder / "to_score.csv")
    with open_table(folder / "labelled.csv") as table:
        train(table, PLAN, folder / "model", lambda stage, share, message: None)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> FraudModel:
    return load_model(folder / "model")


def raw(folder: Path) -> pl.DataFrame:
    with open_table(folder / "to_score.csv") as table:
        return table.scan().collect()


def scored(model: FraudModel, path: Path, batch_rows: int = 50_000) -> pl.DataFrame:
    with open_table(path) as table:
        return pl.concat(score_table(model, table, batching=Batching(batch_rows), reasons_for="all"))


def test_later_rows_are_ranked_far_above_chance(model: FraudModel, folder: Path) -> None:
    labels = pl.read_csv(folder / "later.csv")["is_fraud"].to_numpy().astype(np.int8)
    probability = scored(model, folder / "to_score.csv")["fraud_probability"].to_numpy()
    assert average_precision(labels, probability) > 5 * labels.mean()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_row_scores_the_same_in_any_order_and_company(
    data: st.DataObject, model: FraudModel, folder: Path
) -> None:
    rows = raw(folder).head(80)
    together = score_frame(model, rows, reasons_for="all")
    chosen = data.draw(st.lists(st.integers(0, 79), min_size=1, max_size=80))
    assert score_frame(model, rows[chosen], reasons_for="all").equals(together[chosen])


@pytest.mark.nightly
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_rows=st.integers(40, 2_000), threads=st.integers(1, 4), seed=st.integers(0, 100))
def test_scores_are_the_same_whatever_the_batches_the_threads_and_the_order(
    batch_rows: int, threads: int, seed: int, model: FraudModel, folder: Path, tmp_path: Path
) -> None:
    raw(folder).sample(fraction=1, shuffle=True, seed=seed).write_csv(tmp_path / "shuffled.csv")
    with open_table(tmp_path / "shuffled.csv") as table:
        result = pl.concat(score_table(model, table, batching=Batching(batch_rows, threads)))
    with open_table(folder / "to_score.csv") as table:
        expected = pl.concat(score_table(model, table, batching=Batching(threads=1)))
    assert result.sort("transaction_id").equals(expected.sort("transaction_id"))


@pytest.mark.parametrize("batch_rows", [1_499, 333, 64])
def test_any_batch_size_gives_the_same_table(model: FraudModel, folder: Path, batch_rows: int) -> None:
    path = folder / "to_score.csv"
    assert scored(model, path, batch_rows).equals(scored(model, path))


def test_native_values_score_like_their_text(model: FraudModel, folder: Path, tmp_path: Path) -> None:
    native = pl.read_csv(folder / "to_score.csv", try_parse_dates=True)
    native.write_parquet(tmp_path / "rows.parquet")
    of_text = scored(model, folder / "to_score.csv")["fraud_probability"]
    assert scored(model, tmp_path / "rows.parquet")["fraud_probability"].equals(of_text)


def test_rows_come_back_with_their_identifiers_levels_and_flags(model: FraudModel, folder: Path) -> None:
    result = scored(model, folder / "to_score.csv")
    assert result.columns[:6] == [*KEPT, "fraud_probability", "risk_level", "is_fraud"]
    assert result.select(KEPT).equals(raw(folder).select(KEPT))
    high = result["fraud_probability"] >= model.thresholds.flagged
    assert (result["is_fraud"] == 1).equals(high.alias("is_fraud"))
    assert (result["risk_level"] == "HIGH").equals(high.alias("risk_level"))
    medium = result.filter(pl.col("risk_level") == "MEDIUM")["fraud_probability"]
    assert medium.is_between(model.thresholds.least["medium"], model.thresholds.flagged, closed="left").all()


def test_every_flagged_row_has_a_reason_in_words(model: FraudModel, folder: Path) -> None:
    with open_table(folder / "to_score.csv") as table:
        result = pl.concat(score_table(model, table))
    risky = result.filter(pl.col("risk_level") != "LOW")
    assert risky.height > 0
    assert risky["reason_1"].is_not_null().all()
    assert (risky["reason_1_effect"].abs() >= risky["reason_2_effect"].abs().fill_null(0)).all()
    assert (
        result.filter(pl.col("risk_level") == "LOW")["reason_1"].null_count() == result.height - risky.height
    )


def test_reasons_name_columns_and_use_no_raw_feature_codes(model: FraudModel, folder: Path) -> None:
    words = scored(model, folder / "to_score.csv")["reason_1"].drop_nulls().to_list()
    columns = {feature.column for feature in model.features} | {"customer_id"}
    assert all(any(column in word for column in columns) or "values missing" in word for word in words)


def test_reasons_can_be_left_out(model: FraudModel, folder: Path) -> None:
    with open_table(folder / "to_score.csv") as table:
        result = pl.concat(score_table(model, table, reasons_for=None))
    assert result.columns == [*KEPT, "fraud_probability", "risk_level", "is_fraud"]


def test_missing_columns_are_listed_with_near_names(model: FraudModel, folder: Path, tmp_path: Path) -> None:
    renamed = raw(folder).rename({"amount": "Amount "}).drop("channel").with_columns(extra=pl.lit("x"))
    renamed.write_csv(tmp_path / "renamed.csv")
    check = check_columns(model, renamed.columns)
    assert set(check.missing) == {"amount", "channel"} & set(model.required_columns)
    assert "extra" in check.extra
    with (
        open_table(tmp_path / "renamed.csv") as table,
        pytest.raises(ColumnsMissing, match=r"amount \(near: Amount"),
    ):
        score_table(model, table)


def test_columns_under_other_names_score_alike_once_they_are_mapped(
    model: FraudModel, folder: Path, tmp_path: Path
) -> None:
    theirs = {"amount": "montant", "customer_id": "client", "transaction_id": "numéro"}
    raw(folder).rename(theirs).write_csv(tmp_path / "renamed.csv")
    expected = scored(model, folder / "to_score.csv")
    with open_table(tmp_path / "renamed.csv") as table:
        result = pl.concat(score_table(model, table, reasons_for="all", columns=theirs))
    assert result.equals(expected.rename({ours: name for ours, name in theirs.items() if ours in KEPT}))


def test_a_mapping_wins_over_a_column_that_has_the_models_name(
    model: FraudModel, folder: Path, tmp_path: Path
) -> None:
    raw(folder).with_columns(real=pl.col("amount"), amount=pl.lit("0")).write_csv(tmp_path / "both.csv")
    with open_table(tmp_path / "both.csv") as table:
        result = pl.concat(score_table(model, table, columns={"amount": "real"}, reasons_for=None))
    with open_table(folder / "to_score.csv") as table:
        assert result.equals(pl.concat(score_table(model, table, reasons_for=None)))


@pytest.mark.parametrize(
    ("mapping", "said"),
    [({"nothing": "amount"}, 'reads no column "nothing"'), ({"amount": "montant"}, 'no column "montant"')],
)
def test_a_mapping_of_columns_that_do_not_exist_is_refused(
    mapping: dict[str, str], said: str, model: FraudModel, folder: Path
) -> None:
    with open_table(folder / "to_score.csv") as table, pytest.raises(InvalidInput, match=said):
        score_table(model, table, columns=mapping)


def test_a_column_of_another_kind_is_refused(model: FraudModel, folder: Path, tmp_path: Path) -> None:
    raw(folder).with_columns(amount=pl.lit("a lot")).write_csv(tmp_path / "words.csv")
    with (
        open_table(tmp_path / "words.csv") as table,
        pytest.raises(ColumnsMissing, match=r'amount .* "a lot"'),
    ):
        score_table(model, table)


def test_progress_counts_rows_and_may_cancel(model: FraudModel, folder: Path) -> None:
    counts: list[int] = []
    with open_table(folder / "to_score.csv") as table:
        list(score_table(model, table, batching=Batching(500), reasons_for=None, progress=counts.append))
    assert counts == [500, 1_000, 1_500]


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_the_summary_counts_what_the_file_holds(
    model: FraudModel, folder: Path, tmp_path: Path, format: str
) -> None:
    path = tmp_path / f"scores.{format}"
    with open_table(folder / "to_score.csv") as table:
        batches = score_table(model, table, batching=Batching(400))
        summary = write_scores(batches, path, format)  # type: ignore[arg-type]
    written = pl.read_csv(path) if format == "csv" else pl.read_parquet(path)
    assert written.height == summary.rows == 1_500 == sum(summary.histogram)
    assert summary.flagged == written["is_fraud"].sum() == summary.levels["high"]
    assert summary.levels["high"] + summary.levels["medium"] + summary.levels["low"] == summary.rows
    assert summary.top[0]["fraud_probability"] == written["fraud_probability"].max()
    assert len(summary.top) == 100
    assert json.loads(json.dumps(summary.to_dict()))["rows"] == 1_500


def test_a_failed_batch_leaves_no_partial_file(model: FraudModel, folder: Path, tmp_path: Path) -> None:
    def broken() -> object:
        yield score_frame(model, raw(folder).head(5))
        raise InvalidInput("the disk of the table is gone")

    for format in ("csv", "parquet"):
        with pytest.raises(Exception, match="disk of the table"):
            write_scores(broken(), tmp_path / "scores", format)  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cell", ["=1+2", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_cells_a_spreadsheet_would_run_are_neutralised(cell: str) -> None:
    made = {"\t=1": "'\t'=1"}.get(cell, "'" + cell)
    assert neutralise_formulas(pl.DataFrame({"id": [cell]}))["id"][0] == made


def test_numbers_and_plain_text_are_left_alone() -> None:
    frame = pl.DataFrame({"id": ["A-1", "-12.5", "+33", None, ""], "effect": [-1.5, 2.0, None, 0.0, -3.0]})
    assert neutralise_formulas(frame).equals(frame)


@pytest.mark.parametrize(
    "name", ["model.json", "features.json", "feature_engineer.json", "feature_selector.json"]
)
@pytest.mark.parametrize("damage", ["cut", "gone", "emptied"])
def test_a_damaged_model_is_refused(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder / "model", copy)
    content = (copy / name).read_text()
    if damage == "gone":
        (copy / name).unlink()
    else:
        (copy / name).write_text(content[: len(content) // 2] if damage == "cut" else "{}")
    with pytest.raises(ModelUnreadable):
        load_model(copy)


def test_a_model_file_cannot_point_outside_its_folder(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder / "model", copy)
    info = json.loads((copy / "model.json").read_text())
    (tmp_path / info["model_file"]).write_bytes((copy / info["model_file"]).read_bytes())
    (copy / info["model_file"]).unlink()
    (copy / "model.json").write_text(json.dumps(info | {"model_file": f"../{info['model_file']}"}))
    with pytest.raises(ModelUnreadable):
        load_model(copy)


def test_an_input_column_named_like_a_score_comes_back_renamed(tmp_path: Path) -> None:
    rows = generate(rows=1_500, seed=3, fraud_share=0.05).rename({"transaction_id": "risk_level"})
    rows.write_csv(tmp_path / "table.csv")
    plan = TrainingPlan("is_fraud", identifier_columns=("risk_level",), budget_s=1.0)
    with open_table(tmp_path / "table.csv") as table:
        train(table, plan, tmp_path / "model", lambda stage, share, message: None)
    result = scored(load_model(tmp_path / "model"), tmp_path / "table.csv")
    assert result["risk_level_input"].to_list() == rows["risk_level"].cast(pl.String).to_list()
    assert set(result["risk_level"].unique()) <= {"HIGH", "MEDIUM", "LOW"}


def test_rows_that_no_column_names_are_numbered_as_in_their_table(model: FraudModel, folder: Path) -> None:
    nameless = folder / "nameless.csv"
    raw(folder).drop("transaction_id").write_csv(nameless)
    with_names, numbered = scored(model, folder / "to_score.csv"), scored(model, nameless, batch_rows=400)
    assert numbered["row"].to_list() == list(range(1, 1501))
    assert "row" not in with_names.columns
    assert numbered["fraud_probability"].to_list() == with_names["fraud_probability"].to_list()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_stops_the_scoring_passes_as_it_is_and_leaves_no_file(
    model: FraudModel, folder: Path, form: Literal["csv", "parquet"]
) -> None:
    def stop(rows: int) -> None:
        if rows >= 800:
            raise JobCancelled("stopped")

    path = folder / f"stopped.{form}"
    with open_table(folder / "to_score.csv") as table, pytest.raises(JobCancelled, match="stopped"):
        write_scores(score_table(model, table, batching=Batching(400), progress=stop), path, form)
    assert not path.exists()


def test_every_number_of_alerts_is_told_with_what_is_known_of_its_rows(
    model: FraudModel, folder: Path, tmp_path: Path
) -> None:
    table_of_scores = scored(model, folder / "to_score.csv")
    known = np.full(1_500, -1, dtype=np.int8)
    known[::3] = np.arange(500) % 2
    with open_table(folder / "to_score.csv") as table:
        batches = score_table(model, table, batching=Batching(400))
        summary = write_scores(batches, tmp_path / "scores.csv", "csv", known)
    probability = table_of_scores["fraud_probability"].to_numpy()
    assert summary.labelled == 500
    assert summary.frauds == 250
    assert summary.budgets[-1]["alerts"] == 1_500
    for budget in summary.budgets:
        chosen = probability >= budget["cut"] - 1e-9
        assert budget["alerts"] == chosen.sum()
        assert budget["expected"] == pytest.approx(probability[chosen].sum(), abs=0.01)
        assert budget["labelled"] == (chosen & (known >= 0)).sum()
        assert budget["found"] == (chosen & (known == 1)).sum()


def test_what_a_person_says_of_a_row_counts_before_what_the_table_says(tmp_path: Path) -> None:
    pl.DataFrame({"amount": [1, 2, 3, 4], "fraud": ["Yes", "no", None, "no"]}).write_csv(tmp_path / "t.csv")
    with open_table(tmp_path / "t.csv") as table:
        known = known_labels(table, "fraud", "yes", {2: 1, 9: 1})
        assert known is not None
        assert known.tolist() == [1, 1, -1, 0]
        assert known_labels(table, "other", "yes", {}) is None


def test_reasons_are_kept_as_sentences_beside_the_frame_and_said_in_french(
    model: FraudModel, folder: Path
) -> None:
    rows = raw(folder).head(60)
    with kept_sentences() as sentences:
        frame = score_frame(model, rows, reasons_for="all")
    texts = {text for rank in (1, 2, 3) for text in frame[f"reason_{rank}"].to_list() if text is not None}
    assert texts
    assert all(isinstance(sentences[text], Sentence) for text in texts)
    shown = with_sentences(frame.row(0, named=True), sentences)
    assert shown == frame.row(0, named=True)
    assert isinstance(shown["reason_1"], Sentence)
    french = [Words("fr").phrase(sentence) for sentence in sentences.values()]
    assert [text for text in french if re.search(r" usual| seen | days|deviations|training", text)] == []


@pytest.mark.parametrize(
    ("text", "french"), [("12.50", "12,50"), ("1270", "1270"), ("a1.5", "a1.5"), ("-0.0", "-0,0")]
)
def test_a_number_of_a_table_keeps_its_digits(text: str, french: str) -> None:
    assert as_written(text) == text
    assert Words("fr").phrase(as_written(text)) == french
