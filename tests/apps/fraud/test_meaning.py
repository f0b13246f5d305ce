"""Which value of a label means fraud: the affirmative one, however frequent; a guess is asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ecluse.apps.fraud.actions.main import plan_training
from ecluse.apps.fraud.clock import Clock
from ecluse.apps.fraud.errors import UnusableTarget
from ecluse.apps.fraud.jobs.references import Recipe
from ecluse.apps.fraud.labelling.answers import label_of
from ecluse.apps.fraud.monitoring.outcomes import outcomes_within, read_outcomes
from ecluse.apps.fraud.profiling.profile import profile_table
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.fraud.tables.labels import LabelReading, reading_of_outcomes
from ecluse.apps.fraud.tables.meaning import candidates, meaning_of
from ecluse.apps.fraud.training.card import model_card
from ecluse.apps.fraud.training.labelled import read_labelled
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.request import TrainingRequest
from ecluse.apps.fraud.training.training import train
from ecluse.errors import InvalidInput
from ecluse.tabular.dataset import open_table


def silent(stage: str, fraction: float, message: str = "") -> None:
    return None


def table_of(label: str, values: list[str], tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    first = values[0]
    shift = np.array([value == first for value in values])
    frame = pl.DataFrame({"amount": rng.normal(size=len(values)) + 2 * shift, label: values})
    frame.write_csv(tmp_path / "t.csv")
    return tmp_path / "t.csv"


def dataset_of(path: Path) -> Dataset:
    with open_table(path) as table:
        return Dataset(filename=path.name, state="ready", profile=profile_table(table).to_dict())


@pytest.mark.parametrize(
    ("levels", "column", "value"),
    [
        ({"1": 570, "0": 430}, "is_attack", "1"),
        ({"1": 950, "0": 50}, "label", "1"),
        ({"True": 6, "False": 4}, "x", "True"),
        ({"oui": 6, "non": 4}, "fraude", "oui"),
        ({"vrai": 6, "faux": 4}, "x", "vrai"),
        ({"Y": 6, "N": 4}, "flag", "Y"),
        ({"t": 6, "f": 4}, "x", "t"),
        ({"attack": 57, "normal": 43}, "class", "attack"),
        ({"phishing": 57, "benign": 43}, "c22", "phishing"),
        ({"Bad": 7, "Good": 3}, "class", "Bad"),
        ({"Charged Off": 7, "Fully Paid": 3}, "status", "Charged Off"),
        ({"Not-Fraud": 3, "Fraud": 7}, "label", "Fraud"),
        ({"neptune": 7, "normal": 3}, "class", "neptune"),
        ({"légitime": 3, "frauduleux": 7}, "avis", "frauduleux"),
        ({"yes": 5, "Y": 2, "no": 2, "N": 1}, "label", "yes"),
        ({"legit": 9, "fraud": 1}, "is_legit", "fraud"),
    ],
)
def test_the_affirmative_value_means_fraud_however_frequent_it_is(
    levels: dict[str, int], column: str, value: str
) -> None:
    found = meaning_of(levels, column)
    assert (found.value, found.sure) == (value, True)
    swapped = meaning_of(dict(zip(levels, reversed(levels.values()), strict=True)), column)
    assert set(swapped.fraud) == set(found.fraud)


@pytest.mark.parametrize(
    ("levels", "column", "guess"),
    [
        ({"-1": 55, "1": 45}, "Result", "1"),
        ({"1": 90, "2": 10}, "class", "2"),
        ({"A": 90, "B": 10}, "class", "B"),
        ({"1": 95, "0": 5}, "is_legit", "0"),
        ({"no": 5, "yes": 95}, "not_fraud", "no"),
        ({"True": 95, "False": 5}, "isGenuine", "False"),
        ({"M": 50, "F": 50}, "sex", None),
        ({"0": 5, "1": 3, "2": 2}, "y", None),
        ({"normal": 5, "attack": 3, "phishing": 2}, "class", None),
        ({"no": 9, "unknown": 1}, "label", "unknown"),
    ],
)
def test_what_does_not_say_it_of_itself_is_a_guess_to_be_asked_about(
    levels: dict[str, int], column: str, guess: str | None
) -> None:
    found = meaning_of(levels, column)
    assert (found.value, found.sure) == (guess, False)
    named = meaning_of(levels, column, named=next(iter(levels)))
    assert (named.value, named.sure, named.reason) == (next(iter(levels)), True, "it was named")
    with pytest.raises(InvalidInput, match='never holds "7"'):
        meaning_of(levels, column, named="7")


def test_a_table_with_more_attacks_than_not_learns_the_attacks(tmp_path: Path) -> None:
    path = table_of("is_attack", ["1"] * 228 + ["0"] * 172, tmp_path)
    (tmp_path / "model").mkdir()
    with open_table(path) as table:
        report = train(table, TrainingPlan("is_attack", budget_s=2), tmp_path / "model", silent)
    assert report.positive_value == "1"
    assert report.positive_share == pytest.approx(0.57)
    assert report.metrics["roc_auc"] > 0.7
    assert any(warning.startswith("More than half of the rows are fraud") for warning in report.warnings)
    assert "Fraud means `is_attack` = `1`, 57.0 % of the rows." in model_card(report)


def test_a_label_that_does_not_say_it_is_refused_before_and_within_a_training(tmp_path: Path) -> None:
    path = table_of("Result", ["-1"] * 60 + ["1"] * 40, tmp_path)
    said = r'Which value of Result means fraud is not clear: it holds "-1" \(60\.0 %\), "1" \(40\.0 %\)\..*--positive'
    with pytest.raises(InvalidInput, match=said):
        plan_training(dataset_of(path), TrainingRequest("m"))
    with open_table(path) as table, pytest.raises(UnusableTarget, match=said):
        read_labelled(table, TrainingPlan("Result"), Clock(10, silent))
    plan = plan_training(dataset_of(path), TrainingRequest("m", positive_value="-1"))
    assert (plan.target, plan.positive_value) == ("Result", "-1")


def test_a_profile_of_before_that_took_the_rarer_value_is_read_anew(tmp_path: Path) -> None:
    dataset = dataset_of(table_of("is_fraud", ["1"] * 60 + ["0"] * 40, tmp_path))
    assert dataset.profile is not None
    dataset.profile["guesses"] |= {"positive_value": "0", "fraud_rate": 0.4}
    assert plan_training(dataset, TrainingRequest("m")).positive_value == "1"


def test_columns_that_may_be_the_label_are_offered_likeliest_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "ip": rng.integers(0, 5_000, 400),
            "channel": rng.integers(0, 7, 400),
            "foreign": rng.integers(0, 2, 400),
            "is_attributed": (rng.random(400) < 0.05).astype(int),
        }
    )
    frame.write_csv(tmp_path / "t.csv")
    dataset = dataset_of(tmp_path / "t.csv")
    assert [one.column for one in candidates(dataset.profile)] == ["is_attributed", "foreign", "channel"]
    with pytest.raises(InvalidInput, match=r"--target COLUMN.*Columns of few values: is_attributed \(0: 9"):
        plan_training(dataset, TrainingRequest("m"))


@pytest.mark.parametrize("values", [["attack", "normal"], ["fraude", "légitime"]])
def test_values_that_say_fraud_make_a_label_of_a_column_of_any_name(
    values: list[str], tmp_path: Path
) -> None:
    dataset = dataset_of(table_of("c22", [values[0]] * 60 + [values[1]] * 40, tmp_path))
    plan = plan_training(dataset, TrainingRequest("m"))
    assert (plan.target, plan.positive_value) == ("c22", values[0])


@pytest.mark.parametrize(
    ("positive", "target", "levels", "column", "fraud"),
    [
        ("attack", "class", ["0", "1"], "confirmed", {"1"}),
        ("chargeback", "state", ["yes", "no"], "fraud", {"yes"}),
        ("0", "is_legit", ["0", "1"], "is_legit", {"0"}),
        ("0", "is_legit", ["0", "1"], "is_fraud", {"1"}),
        ("2", "class", ["1"], "class", set()),
        ("2", "class", ["1", "2"], "class", {"2"}),
        ("attack", "class", ["normal"], "class", set()),
        ("attack", "class", ["attack", "normal", "other"], "class", {"attack"}),
        (None, "", ["phishing", "benign"], "state", {"phishing"}),
    ],
)
def test_outcomes_in_other_words_than_the_model_s_are_understood(
    positive: str | None, target: str, levels: list[str], column: str, fraud: set[str]
) -> None:
    reading = reading_of_outcomes(levels, column, positive, target=target)
    said = reading.read(pl.Series(levels))
    assert {level for level, label in zip(levels, said.tolist(), strict=True) if label == 1} == fraud


@pytest.mark.parametrize(
    ("positive", "target", "levels", "column"),
    [
        ("1", "is_fraud", ["0", "1"], "is_legit"),
        ("1", "is_fraud", ["1", "2"], "outcome"),
        (None, "", ["-1", "1"], "outcome"),
        ("attack", "class", ["open", "shut"], "state"),
    ],
)
def test_outcomes_that_may_mean_either_are_asked_about(
    positive: str | None, target: str, levels: list[str], column: str, tmp_path: Path
) -> None:
    pl.DataFrame({"id": range(4), column: levels * 2}).write_parquet(tmp_path / "o.parquet")
    with open_table(tmp_path / "o.parquet") as table:
        with pytest.raises(InvalidInput, match=f"{column} holds .*: which value means fraud is not clear"):
            outcomes_within(table, column, positive, target=target)
        outcomes = read_outcomes(table, "id", column, positive, target=target, named=levels[1])
        (batch,) = table.batches()
        with pytest.raises(InvalidInput, match='never holds "chargeback"'):
            outcomes_within(table, column, positive, named="chargeback")
    assert outcomes.of(batch).tolist() == [0, 1, 0, 1]
    assert outcomes.says() == f"Fraud means {column} = {levels[1]}."


def test_a_reading_without_known_opposites_takes_every_other_value_for_legitimate() -> None:
    assert LabelReading(frozenset({"a"})).read(pl.Series(["A", "b", None])).tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("word", "label"), [("oui", 1), ("Fraude", 1), ("vrai", 1), ("f", 1), ("non", 0), ("L", 0)]
)
def test_labels_of_rows_are_read_in_both_languages(word: str, label: int) -> None:
    assert label_of(word) == label


def test_a_reference_of_a_table_is_built_anew_for_another_meaning_and_a_simulated_one_is_not() -> None:
    table = Recipe("a", "d", "sha")
    assert table.digest != Recipe("a", "d", "sha", positive="2").digest
    simulated = Recipe("a", "d", "simulation:1:a", institution="a")
    assert simulated.digest == _digest_of_before(simulated)


def _digest_of_before(recipe: Recipe) -> str:
    import hashlib
    import json

    deciding = [
        recipe.content,
        recipe.domain,
        recipe.target,
        recipe.budget_s,
        recipe.with_sample,
        recipe.seed,
    ]
    return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()
