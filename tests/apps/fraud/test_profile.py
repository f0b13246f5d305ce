"""Profiles count exactly, guess roles with reasons, and warn of what would spoil a model."""

from __future__ import annotations

import json
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from ecluse.apps.fraud.profiling import profile
from ecluse.apps.fraud.profiling.profile import ColumnProfile, TableProfile, profile_table
from ecluse.apps.fraud.sample import generate
from ecluse.errors import JobCancelled
from ecluse.tabular.dataset import open_table


def profiled(tmp_path: Path, frame: pl.DataFrame, *, sample_rows: int = 20_000) -> TableProfile:
    frame.write_csv(tmp_path / "t.csv")
    with open_table(tmp_path / "t.csv") as table:
        return profile_table(table, sample_rows=sample_rows)


def column(found: TableProfile, name: str) -> ColumnProfile:
    return next(one for one in found.columns if one.name == name)


def test_the_roles_of_a_payment_table_are_guessed_with_reasons(tmp_path: Path) -> None:
    found = profiled(tmp_path, generate(3_000))
    guesses = found.guesses
    assert guesses.target is not None
    assert guesses.customer is not None
    assert guesses.timestamp is not None
    assert guesses.target.column == "is_fraud"
    assert guesses.target.reason == 'two values, 1.0 % "1"; the name contains "fraud"'
    assert (guesses.positive_value, guesses.fraud_rate) == ("1", pytest.approx(0.01))
    assert guesses.customer.column == "customer_id"
    assert guesses.timestamp.column == "timestamp"
    assert [guess.column for guess in guesses.identifiers] == ["transaction_id"]
    assert column(found, "amount").guess_role == "feature"


def test_figures_of_a_column_are_exact(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": [1.0, 2.0, 3.0, None] * 25, "level": ["a", "a", "a", "b"] * 25})
    found = profiled(tmp_path, frame)
    n, level = column(found, "n"), column(found, "level")
    assert (n.missing_share, n.distinct, n.minimum, n.maximum, n.mean) == (0.25, 3, 1.0, 3.0, 2.0)
    assert sum(n.histogram) == 75
    assert level.top == (("a", 0.75), ("b", 0.25))
    assert level.histogram == (75, 25)


def test_a_long_table_gives_the_same_figures_in_a_stream_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = generate(6_000)
    whole = profiled(tmp_path, frame)
    monkeypatch.setattr(profile, "WHOLE_ROWS", 1_000)
    streamed = profiled(tmp_path, frame, sample_rows=1_500)
    assert streamed.rows == whole.rows == 6_000
    assert streamed.guesses.target == whole.guesses.target
    assert streamed.guesses.customer == whole.guesses.customer
    assert streamed.guesses.timestamp == whole.guesses.timestamp
    assert streamed.guesses.identifiers[0].reason == "every value is different in 1,500 rows"
    assert streamed.guesses.fraud_rate == whole.guesses.fraud_rate
    for one, other in zip(streamed.columns, whole.columns, strict=True):
        assert (one.missing_share, one.minimum, one.maximum) == (
            other.missing_share,
            other.minimum,
            other.maximum,
        )
        assert one.distinct == pytest.approx(other.distinct, rel=0.15)
        assert one.mean == (pytest.approx(other.mean) if isinstance(other.mean, float) else other.mean)


def test_a_label_too_rare_for_the_sample_is_still_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "WHOLE_ROWS", 1_000)
    frame = pl.DataFrame({"x": range(5_000), "fraud": [0] * 4_999 + [1]})
    guesses = profiled(tmp_path, frame, sample_rows=500).guesses
    assert (guesses.target and guesses.target.column, guesses.fraud_rate) == ("fraud", 1 / 5_000)


@pytest.mark.parametrize(
    "name", ["Class", "isFraud", "FraudFound_P", "BAD", "default payment", "y", "loan_status"]
)
def test_usual_names_of_labels_are_recognised(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"x": range(100), name: [1] * 10 + [0] * 90, "is_foreign": [0, 1] * 50})
    guesses = profiled(tmp_path, frame).guesses
    assert guesses.target is not None
    assert guesses.target.column == name


def test_a_rule_s_verdict_is_not_taken_for_the_label(tmp_path: Path) -> None:
    frame = pl.DataFrame({"fraud_flagged": [0, 1] * 50, "x": range(100), "label": [1] * 10 + [0] * 90})
    target = profiled(tmp_path, frame).guesses.target
    assert target is not None
    assert target.column == "label"


def test_a_table_without_a_label_has_no_guess(tmp_path: Path) -> None:
    guesses = profiled(tmp_path, generate(1_000).drop("is_fraud")).guesses
    assert (guesses.target, guesses.positive_value, guesses.fraud_rate) == (None, None, None)


@pytest.mark.parametrize("frauds", [10, 57])
def test_yes_is_the_positive_value_however_frequent(frauds: int, tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": range(100), "fraud": ["N"] * (100 - frauds) + ["Y"] * frauds})
    guesses = profiled(tmp_path, frame).guesses
    assert (guesses.positive_value, guesses.fraud_rate) == ("Y", frauds / 100)


def test_the_event_is_preferred_to_birth_and_opening_dates(tmp_path: Path) -> None:
    days = [f"2024-01-{1 + i % 28:02}" for i in range(100)]
    frame = pl.DataFrame({"birth_date": days, "open_date": days, "incident_date": days, "x": range(100)})
    timestamp = profiled(tmp_path, frame).guesses.timestamp
    assert timestamp is not None
    assert timestamp.column == "incident_date"


def test_amounts_and_counts_of_customers_are_no_customers(tmp_path: Path) -> None:
    values = [float(i % 40) for i in range(200)]
    frame = pl.DataFrame({"months_as_customer": values, "card_balance": values, "newbalanceOrig": values})
    assert profiled(tmp_path, frame).guesses.customer is None


def test_a_column_that_moves_over_time_and_frauds_with_a_legitimate_twin_are_named(tmp_path: Path) -> None:
    rows = 2_000
    when = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(rows)]
    frame = pl.DataFrame(
        {
            "timestamp": when,
            "counter": range(rows),
            "amount": [float((i * 37) % 101) for i in range(rows)],
            "fee": [float((i * 13) % 11) + (40 if i > 1_700 else 0) for i in range(rows)],
            "is_fraud": [int(i % 20 == 0) for i in range(rows)],
        }
    )
    twins = frame.filter(pl.col("is_fraud") == 1).head(10).with_columns(is_fraud=pl.lit(0, pl.Int64))
    told = profiled(tmp_path, pl.concat([frame, twins]).drop("counter")).warnings
    assert any(warning.startswith("fee: the latest rows differ much from the earliest") for warning in told)
    assert not any("amount" in warning for warning in told)
    assert any("of 100 frauds equal a row that is labelled legitimate" in warning for warning in told)
    counted = profiled(tmp_path, frame).warnings
    assert not any("counter" in warning for warning in counted)


def test_leaks_constants_duplicates_and_few_positives_are_named(tmp_path: Path) -> None:
    label = [1] * 30 + [0] * 170
    frame = pl.DataFrame(
        {
            "x": [i % 7 for i in range(200)],
            "chargeback_date": ["2024-01-01"] * 30 + [None] * 170,
            "refund": [100.0 + i for i in range(30)] + [float(i % 50) for i in range(170)],
            "bank": ["B"] * 200,
            "fraud": label,
        }
    )
    told = " ".join(profiled(tmp_path, pl.concat([frame, frame.head(3)])).warnings)
    assert (
        "chargeback_date gives the label away and is left out unless you keep it: it is filled for fraud only"
        in told
    )
    assert (
        "refund gives the label away and is left out unless you keep it: it alone separates the two classes"
        in told
    )
    assert "bank: one value only" in told
    assert "Exact duplicates of another row" in told
    assert "x alone" not in told
    few = profiled(tmp_path, frame.with_columns(fraud=pl.Series([1] * 3 + [0] * 197))).warnings
    assert any(warning.startswith("Positive rows: 3") for warning in few)


@pytest.mark.parametrize("whole_rows", [200_000, 10])
def test_native_columns_of_every_type_profile_into_strict_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_rows: int
) -> None:
    monkeypatch.setattr(profile, "WHOLE_ROWS", whole_rows)
    rows = range(100)
    pl.DataFrame(
        {
            "lasted": [timedelta(seconds=i) for i in rows],
            "at": pl.Series([datetime(2024, 1, 1, i % 24) for i in rows]).dt.replace_time_zone(
                "Europe/Paris"
            ),
            "clock": [time(i % 24) for i in rows],
            "huge": [1e308 if i % 2 else -1e308 for i in rows],
            "exact": pl.Series([Decimal("1.25") * i for i in rows]),
            "raw": [b"x%d" % (i % 3) for i in rows],
            "none": [None for _ in rows],
            "fraud": [i % 50 == 0 for i in rows],
        }
    ).write_parquet(tmp_path / "t.parquet")
    with open_table(tmp_path / "t.parquet") as table:
        found = profile_table(table)
    json.dumps(found.to_dict(), allow_nan=False)
    assert [one.kind for one in found.columns] == [
        *("number", "datetime", "category", "number", "number", "category", "constant", "number")
    ]
    assert (column(found, "lasted").maximum, column(found, "exact").maximum) == (99.0, 123.75)
    assert (found.guesses.positive_value, found.guesses.fraud_rate) == ("1", 0.02)


def test_a_profile_survives_json(tmp_path: Path) -> None:
    found = profiled(tmp_path, generate(800))
    assert TableProfile.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_progress_is_told_in_order_and_may_stop_the_work(tmp_path: Path) -> None:
    generate(800).write_csv(tmp_path / "t.csv")
    told: list[float] = []
    with open_table(tmp_path / "t.csv") as table:
        profile_table(table, progress=lambda fraction, _: told.append(fraction))
        assert told == sorted(told)
        assert told[-1] == 1.0

        def stop(fraction: float, message: str) -> None:
            raise JobCancelled(f"stopped at {fraction}: {message}")

        with pytest.raises(JobCancelled):
            profile_table(table, progress=stop)
