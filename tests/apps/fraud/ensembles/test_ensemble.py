"""A table without labels is scored like the reference it means the same as; else it is ranked by anomaly and says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecluse.apps.fraud.ensembles.building import EnsemblePlan, Reference, anomaly_weight, build_ensemble
from ecluse.apps.fraud.ensembles.ensemble import load_ensemble, shift_to_rate, sigmoid
from ecluse.apps.fraud.ensembles.transfer import _lacking
from ecluse.apps.fraud.errors import ColumnsMissing
from ecluse.apps.fraud.features.history import hash_keys
from ecluse.apps.fraud.labelling.learning import Learned
from ecluse.apps.fraud.labelling.scoring import LearnedScorer, margins_of, probabilities
from ecluse.apps.fraud.measures import roc_auc
from ecluse.apps.fraud.references.facts import Match, MatchResult, Pair
from ecluse.apps.fraud.references.matching import match_table
from ecluse.apps.fraud.risk import Thresholds
from ecluse.apps.fraud.scorers import EnsembleScorer, ModelScorer, load_scorer
from ecluse.apps.fraud.scoring.columns import SCORE_COLUMNS
from ecluse.apps.fraud.scoring.model import load_model
from ecluse.apps.fraud.scoring.results import write_scores
from ecluse.apps.fraud.scoring.scorer import Scorer
from ecluse.apps.fraud.training.training import TrainingPlan
from ecluse.errors import InvalidInput, JobCancelled, ModelUnreadable
from ecluse.tabular.dataset import open_table
from tests.apps.fraud.ensembles.library import (
    Made,
    claims,
    french,
    index_of,
    make_reference,
    payments,
    plants,
    sketched,
    visits,
)

pytestmark = pytest.mark.nightly

RATE = 0.05
PLAN = EnsemblePlan(RATE, identifier_columns=("id_paiement",), time_column="date_paiement")
PASSED_ON = ["id_paiement", "date_paiement"]
SCORES = [
    "fraud_score", "prediction_variance", "prediction_stability", "anomaly_score", "is_anomaly",
    "combined_score", "fraud_probability_calibrated", "risk_level", "review",
]  # fmt: skip
OF_ANOMALY = ["anomaly_score", "prediction_variance", "prediction_stability", "anomaly_level", "review"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    folder = tmp_path_factory.mktemp("references")
    return {
        "payments": make_reference(payments(), "payments", "cards", folder),
        "claims": make_reference(claims(), "claims", "insurance", folder),
        "visits": make_reference(visits(), "visits", "signups", folder),
    }


def built(
    folder: Path, frame: pl.DataFrame, library: dict[str, Made], plan: EnsemblePlan = PLAN
) -> tuple[MatchResult, dict[str, Any]]:
    """An ensemble for a table without its label, in `folder / "model"`."""
    frame.drop("is_fraud", strict=False).write_csv(folder / "table.csv")
    specs, sketches = sketched(folder / "table.csv")
    result = match_table(sketches, index_of(*library.values()))
    references = [
        Reference(match, library[match.reference].facts, "v1", library[match.reference].folder)
        for match in (() if result.abstain else result.matches)
    ]
    with open_table(folder / "table.csv") as table:
        report = build_ensemble(table, specs, plan, result, references, folder / "model", lambda *_: None)
    return result, report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, library: dict[str, Made]) -> Path:
    folder = tmp_path_factory.mktemp("ensemble")
    built(folder, french(payments(1_500, seed=8)), library)
    return folder


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return load_scorer(folder / "model")


def rows(folder: Path) -> pl.DataFrame:
    with open_table(folder / "table.csv") as table:
        return table.scan().collect()


def test_a_table_under_other_names_units_and_words_is_scored_like_its_reference(
    library: dict[str, Made], scorer: Scorer, folder: Path
) -> None:
    frame = payments(1_500, seed=8)
    labels = frame["is_fraud"].to_numpy().astype(np.int8)
    own = load_scorer(library["payments"].folder)
    assert isinstance(own, ModelScorer)
    ceiling = roc_auc(labels, own.score_frame(frame, None)["fraud_probability"].to_numpy())
    found = scorer.score_frame(rows(folder), None)
    assert roc_auc(labels, found["combined_score"].to_numpy()) == pytest.approx(ceiling, abs=0.01)
    assert ceiling > 0.6  # the reference itself has learned something in its seconds


def test_cents_are_divided_and_words_are_translated(folder: Path) -> None:
    ensemble = load_ensemble(folder / "model")
    read = {column.ours: column for column in ensemble.members[0].transfer.columns}
    assert read["amount"].theirs == "montant"
    assert (read["amount"].how, read["amount"].factor) == ("factor", 0.01)
    if "country" in read:
        assert dict(read["country"].words) == {"etranger": "foreign", "national": "domestic"}


def test_a_strong_match_is_not_diluted_and_a_weak_one_more_so_the_weaker() -> None:
    assert anomaly_weight(0.95) == 0
    assert anomaly_weight(0.8) == 0
    assert 0 < anomaly_weight(0.7) < anomaly_weight(0.55) < 0.5


def test_a_table_that_nothing_matches_is_ranked_by_anomaly_and_says_so(
    tmp_path: Path, library: dict[str, Made]
) -> None:
    result, report = built(tmp_path, plants(), library, EnsemblePlan(RATE))
    assert result.abstain
    info = json.loads((tmp_path / "model" / "ensemble_info.json").read_text(encoding="utf-8"))
    assert (info["kind"], info["abstained"], info["members"]) == ("anomaly", True, [])
    assert info["weights"] == {"references": 0, "anomaly": 1}
    assert info["reason"] == result.reason
    assert report.warnings[0].startswith(f"{report.reason} Rows are ranked by how unusual they are")
    scored = load_scorer(tmp_path / "model").score_frame(rows(tmp_path), "all")
    own = [name for name in scored.columns if name in SCORE_COLUMNS and not name.startswith("reason")]
    assert own == OF_ANOMALY  # nothing is called fraud, or a probability
    assert scored["review"].sum() == pytest.approx(RATE * scored.height, abs=3)
    flagged = scored.filter(pl.col("review") == 1)
    assert flagged["reason_1"].is_not_null().all()
    assert flagged["anomaly_score"].min() == report.threshold
    assert (report.score, report.alerts["high"]) == ("anomaly_score", flagged.height)


def test_a_ranking_by_anomaly_of_before_is_still_read_with_its_threshold(
    tmp_path: Path, library: dict[str, Made]
) -> None:
    built(tmp_path, plants(), library, EnsemblePlan(RATE))
    path = tmp_path / "model" / "model.json"
    model = json.loads(path.read_text(encoding="utf-8"))
    del model["score"]  # as an earlier release has left it: its threshold is on the scale of the stated rate
    path.write_text(json.dumps(model), encoding="utf-8")
    scorer = load_scorer(tmp_path / "model")
    scored = scorer.score_frame(rows(tmp_path), None)
    assert scorer.scores_of(scored).mean() == pytest.approx(RATE, abs=1e-4)
    assert scorer.scores_of(scored).argmax() == scored["anomaly_score"].arg_max()


def test_labels_make_a_probability_of_an_anomaly_score(tmp_path: Path, library: dict[str, Made]) -> None:
    built(tmp_path, plants(), library, EnsemblePlan(RATE))
    base = load_scorer(tmp_path / "model")
    thresholds = Thresholds({"medium": 0.2, "high": 0.5})
    plain = base.score_frame(rows(tmp_path), None)
    kept = LearnedScorer(base, Learned(1.0, 0.0), thresholds).score_frame(rows(tmp_path), None)
    assert kept.columns == plain.columns
    assert kept["review"].sum() == (plain["anomaly_score"] >= 0.5).sum()
    taught = LearnedScorer(base, Learned(0.8, -0.1), thresholds).score_frame(rows(tmp_path), None)
    assert {"fraud_probability", "risk_level", "is_fraud"} <= set(taught.columns)
    assert not {"anomaly_level", "review"} & set(taught.columns)
    assert taught["anomaly_score"].equals(plain["anomaly_score"])
    expected = probabilities(0.8 * margins_of(base.stated_of(plain)) - 0.1)
    assert taught["fraud_probability"].to_list() == expected.tolist()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_row_scores_the_same_in_any_order_and_company(
    data: st.DataObject, scorer: Scorer, folder: Path
) -> None:
    some = rows(folder).head(90)
    together = scorer.score_frame(some, "all")
    chosen = data.draw(st.lists(st.integers(0, 89), min_size=1, max_size=60))
    assert scorer.score_frame(some[chosen], "all").equals(together[chosen])


def test_the_same_version_gives_the_same_table_later_and_in_any_batches(scorer: Scorer, folder: Path) -> None:
    from ecluse.apps.fraud.ensembles.scoring import score_table

    again = load_scorer(folder / "model")
    assert isinstance(again, EnsembleScorer)
    with open_table(folder / "table.csv") as table:
        first = pl.concat(scorer.score_table(table))
        second = pl.concat(score_table(again.ensemble, table, batch_rows=97))
    assert first.equals(second)


def test_scores_come_with_identifiers_time_and_every_column(scorer: Scorer, folder: Path) -> None:
    scored = scorer.score_frame(rows(folder))
    assert scored.columns[: len(PASSED_ON) + len(SCORES)] == [*PASSED_ON, *SCORES]
    assert scored.select(PASSED_ON).equals(rows(folder).select(PASSED_ON))
    for name in ("fraud_score", "anomaly_score", "combined_score"):
        assert scored[name].is_between(0, 1).all()


def test_alerts_are_the_stated_share_and_the_mean_score_is_the_stated_rate(
    scorer: Scorer, folder: Path
) -> None:
    scored = scorer.score_frame(rows(folder), None)
    assert scored["review"].sum() == pytest.approx(RATE * scored.height, abs=2)
    assert (scored["risk_level"] == "HIGH").sum() == scored["review"].sum()
    assert (scored["risk_level"] != "LOW").sum() == pytest.approx(3 * RATE * scored.height, abs=2)
    assert scored["fraud_score"].mean() == pytest.approx(RATE, abs=1e-4)


def test_reasons_speak_of_the_persons_own_columns(scorer: Scorer, folder: Path) -> None:
    flagged = scorer.score_frame(rows(folder)).filter(pl.col("review") == 1)
    said = [text.split(" ")[0] for text in flagged["reason_1"].to_list()]
    assert set(said) <= {"montant", "date_paiement", "pays", "age_carte_jours", "solde"}
    assert (flagged["reason_1_effect"].abs() >= flagged["reason_2_effect"].abs().fill_null(0)).all()


def test_a_column_that_lacks_later_is_refused_by_name(scorer: Scorer, folder: Path) -> None:
    with pytest.raises(ColumnsMissing, match=r"lacks 1 column\(s\) of the model: montant"):
        scorer.score_frame(rows(folder).drop("montant"))


def test_columns_of_a_reference_that_nothing_stands_for_are_missing_and_told(
    tmp_path: Path, library: dict[str, Made]
) -> None:
    built(tmp_path, french(payments(1_500, seed=9)).drop("age_carte_jours"), library)
    info = json.loads((tmp_path / "model" / "ensemble_info.json").read_text(encoding="utf-8"))
    member = info["members"][0]
    assert member["missing"] == ["card_age_days"]
    assert 0 < member["lacking"] < 0.6
    assert member["similarity"] <= 1 - member["lacking"] + 0.02


def test_a_time_between_two_dates_is_lost_with_either(library: dict[str, Made]) -> None:
    model = load_model(library["visits"].folder)
    by_column = {spec.name: _lacking(model, frozenset({spec.name})) for spec in model.specs}
    assert by_column["signup_date"] > 0.5
    assert by_column["purchase_date"] > 0.5


def test_a_reference_that_would_miss_most_of_what_it_looks_at_has_no_say(
    tmp_path: Path, library: dict[str, Made]
) -> None:
    frame = visits(1_500, seed=6).drop("is_fraud", "signup_date")
    frame.write_csv(tmp_path / "table.csv")
    specs, _ = sketched(tmp_path / "table.csv")
    pairs = tuple(Pair(name, name, "same name", 1.0) for name in frame.columns)
    match = Match("visits", 0.9, pairs, ("signup_date",), "signups")
    references = [Reference(match, library["visits"].facts, "v1", library["visits"].folder)]
    result = MatchResult(False, "visits means the same", (match,))
    with open_table(tmp_path / "table.csv") as table:
        report = build_ensemble(
            table, specs, EnsemblePlan(RATE), result, references, tmp_path / "model", lambda *_: None
        )
    assert report.members == ()
    assert report.reason == "visits would miss too much of what it looks at in this table."


def test_a_stated_rate_is_met_by_a_shift_alone() -> None:
    margins = np.random.default_rng(0).normal(-9, 4, 3_000)
    for rate in (0.001, 0.01, 0.3):
        assert sigmoid(margins + shift_to_rate(margins, rate)).mean() == pytest.approx(rate, rel=1e-4)


def test_the_version_holds_no_row_of_a_reference_and_no_pickle(
    tmp_path: Path, library: dict[str, Made]
) -> None:
    with_rows = tmp_path / "payments"
    shutil.copytree(library["payments"].folder, with_rows)
    payments(20).write_parquet(with_rows / "sample.parquet")
    made = {**library, "payments": Made(library["payments"].facts, with_rows)}
    built(tmp_path, french(payments(1_200, seed=4)), made)
    names = {path.name for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert {"model.json", "ensemble_info.json", "performance.json", "model_card.md"} <= names
    assert "sample.parquet" not in names
    assert not [name for name in names if name.endswith((".pkl", ".joblib", ".pickle"))]


def test_scores_are_written_as_csv_and_parquet(scorer: Scorer, folder: Path, tmp_path: Path) -> None:
    for form in ("csv", "parquet"):
        with open_table(folder / "table.csv") as table:
            summary = write_scores(scorer.score_table(table), tmp_path / f"scores.{form}", form)  # type: ignore[arg-type]
        assert (summary.rows, summary.levels["high"]) == (1_500, summary.flagged)


@pytest.fixture(scope="module")
def with_customers(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A reference of a bank that knows its customers and devices, as an earlier release has left it."""
    rng = np.random.default_rng(5)
    frame = payments().with_columns(
        customer_id=pl.Series([f"C{number:04d}" for number in rng.integers(0, 150, 2_000)]),
        device_id=pl.Series([f"D{number:04d}" for number in rng.integers(0, 300, 2_000)]),
    )
    folder = tmp_path_factory.mktemp("customers")
    plan = TrainingPlan(
        "is_fraud",
        identifier_columns=("payment_id",),
        customer_column="customer_id",
        time_column="payment_date",
        budget_s=2.0,
    )
    return make_reference(frame, "payments", "cards", folder, plan)


def test_an_ensemble_holds_no_customer_and_no_value_of_a_reference_whenever_that_was_built(
    tmp_path: Path, with_customers: Made
) -> None:
    known = [f"C{number:04d}" for number in range(150)] + [f"D{number:04d}" for number in range(300)]
    assert found_by_trying(with_customers.folder, known) > 300
    others = french(payments(1_500, seed=8)).with_columns(
        client_id=pl.Series([f"K{number % 90}" for number in range(1_500)]),
        id_appareil=pl.Series([f"A{number % 200}" for number in range(1_500)]),
    )
    built(tmp_path, others, {"payments": with_customers})
    member = tmp_path / "model" / "members" / "payments"
    assert found_by_trying(member, known) == 0
    tables = [pl.read_parquet(path) for path in member.glob("*.parquet")]
    assert [table.height for table in tables] == [0, 0, 0]
    for path in (path for path in (tmp_path / "model").rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert not [name for name in known if name.encode() in content], path.name
    # Scoring goes by what was weighed when the ensemble was made, and with the tables gone.
    ensemble = load_ensemble(tmp_path / "model")
    assert ensemble.members[0].model.features == load_model(with_customers.folder).features
    scores = load_scorer(tmp_path / "model").score_frame(others.drop("is_fraud"), None)
    labels = payments(1_500, seed=8)["is_fraud"].to_numpy().astype(np.int8)
    assert roc_auc(labels, scores["combined_score"].to_numpy()) > 0.6
    assert scores["fraud_score"].mean() == pytest.approx(RATE, abs=1e-4)


def found_by_trying(folder: Path, names: list[str]) -> int:
    """How many of the names stand in the tables of a model, as whoever holds its files can find out."""
    encoders = json.loads((folder / "feature_engineer.json").read_text(encoding="utf-8"))["encoders"]
    salts = [one["salt"] for one in encoders if "salt" in one]
    keys = {key for salt in salts for key in hash_keys(pl.Series(names), salt).tolist()}
    tables = [pl.read_parquet(folder / name) for name in ("entities.parquet", "history_customers.parquet")]
    return len(keys & {key for table in tables for key in table["key"]})


def test_a_cancelled_making_ends_at_the_next_word(tmp_path: Path, library: dict[str, Made]) -> None:
    def stop(stage: str, share: float, message: str) -> None:
        if stage == "anomaly":
            raise JobCancelled("The job was cancelled.")

    plants().write_csv(tmp_path / "table.csv")
    specs, sketches = sketched(tmp_path / "table.csv")
    result = match_table(sketches, index_of(*library.values()))
    with open_table(tmp_path / "table.csv") as table, pytest.raises(JobCancelled):
        build_ensemble(table, specs, EnsemblePlan(), result, [], tmp_path / "model", stop)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("rate", [0.0, -0.1, 0.6, float("nan")])
def test_a_rate_out_of_range_is_refused(tmp_path: Path, library: dict[str, Made], rate: float) -> None:
    with pytest.raises(InvalidInput, match="out of range"):
        built(tmp_path, plants(), library, EnsemblePlan(rate))


@pytest.mark.parametrize("file", ["model.json", "ensemble_state.json", "anomaly.json", "anomaly.npz"])
def test_a_damaged_version_is_refused(folder: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(folder / "model", tmp_path / "model")
    whole = (tmp_path / "model" / file).read_bytes()
    (tmp_path / "model" / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelUnreadable):
        load_scorer(tmp_path / "model")


def test_a_trained_model_is_loaded_as_one(library: dict[str, Made]) -> None:
    assert isinstance(load_scorer(library["claims"].folder), ModelScorer)
