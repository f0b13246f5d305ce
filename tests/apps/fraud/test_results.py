"""The riskiest rows of a file of scores, and the numbers of alerts that are told."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ecluse.apps.fraud.evaluation.ranking import PLACES, Ranking, RankingCounter
from ecluse.apps.fraud.scoring import results
from ecluse.apps.fraud.scoring.results import write_riskiest, write_scores
from ecluse.formulas import neutralise_formulas

Form = Literal["csv", "parquet"]


def scores(probabilities: list[float]) -> pl.DataFrame:
    """Rows named after their place, one by a formula."""
    names = [f"T{i}" for i in range(len(probabilities))]
    names[0] = "=T0"
    return pl.DataFrame({"name": names, "fraud_probability": probabilities})


def stored(frame: pl.DataFrame, folder: Path, form: Form) -> Path:
    path = folder / f"scores.{form}"
    if form == "csv":
        neutralise_formulas(frame).write_csv(path)
    else:
        frame.write_parquet(path, row_group_size=7)
    return path


@pytest.mark.parametrize("form", ["csv", "parquet"])
@given(
    places=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    alerts=st.integers(1, 70),
    sorted_rows=st.sampled_from([0, 1_000]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_riskiest_rows_are_those_a_stable_sort_puts_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: Form,
    places: list[int],
    alerts: int,
    sorted_rows: int,
) -> None:
    frame = scores([place / 9 for place in places]).with_columns(pl.col("fraud_probability").round(6))
    with monkeypatch.context() as changed:
        changed.setattr(results, "SORTED_ROWS", sorted_rows)
        count = write_riskiest(stored(frame, tmp_path, form), form, alerts, tmp_path / "riskiest.csv")
    written = pl.read_csv(tmp_path / "riskiest.csv")["name"].to_list()
    wanted = frame.sort("fraud_probability", descending=True, maintain_order=True).head(alerts)
    names = [f"'{name}" if name.startswith("=") else name for name in wanted["name"].to_list()]
    assert count == len(written) == min(alerts, len(places))
    assert written == names if sorted_rows else set(written) == set(names)


@pytest.mark.parametrize("rows", [1, 9, 10, 57, 1_234])
def test_budgets_are_round_numbers_up_to_all_rows(rows: int, tmp_path: Path) -> None:
    frame = scores(np.linspace(0, 1, rows).round(6).tolist()).with_columns(
        pl.lit("LOW").alias("risk_level"), pl.lit(0).alias("is_fraud")
    )
    told = [budget["alerts"] for budget in write_scores([frame], tmp_path / "s.csv", "csv").budgets]
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == (1, rows)
    assert {count for count in (2, 5, 10, 20, 50, 100, 200, 1_000) if count <= rows} <= set(told)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 7, 8, 500_000, 999_999, 1_000_000]), st.sampled_from([-1, 0, 1])),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_what_so_many_of_the_riskiest_rows_hold_is_exact_for_every_number(
    rows: list[tuple[int, int]], batch_rows: int
) -> None:
    counter = RankingCounter()
    for start in range(0, len(rows), batch_rows):
        places, labels = np.array(rows[start : start + batch_rows]).T
        counter.add(places.astype(np.int32), labels.astype(np.int8), -1)
    ranking = Ranking.from_bytes(counter.ranking().to_bytes())
    in_order = sorted(rows, key=lambda row: -row[0])  # stable: of equal scores the earlier row comes first
    for alerts in range(1, len(rows) + 2):
        chosen = in_order[:alerts]
        cut = ranking.cut(alerts)
        same = sum(place == chosen[-1][0] for place, _ in rows)
        split = same != sum(place == chosen[-1][0] for place, _ in chosen)
        assert (cut.alerts, cut.cut) == (len(chosen), chosen[-1][0] / PLACES)
        assert cut.expected == pytest.approx(sum(place for place, _ in chosen) / PLACES, abs=0.005)
        assert cut.labelled == sum(label >= 0 for _, label in chosen)
        assert cut.found == sum(label == 1 for _, label in chosen)
        assert cut.tied == (same if split else 0)


def test_a_number_that_is_none_is_left_empty_where_json_cannot_hold_it(tmp_path: Path) -> None:
    frame = scores([0.9, 0.8, 0.7]).with_columns(
        amount=pl.Series([float("nan"), float("inf"), 2.5]), risk_level=pl.lit("LOW"), is_fraud=pl.lit(0)
    )
    summary = write_scores([frame], tmp_path / "scores.parquet", "parquet")
    assert [row["amount"] for row in summary.top] == [None, None, 2.5]
    json.dumps(summary.to_dict(), allow_nan=False)


HEADERS = st.lists(
    st.text(st.sampled_from("=+-@'＝;\t\"a,b\n "), min_size=1, max_size=6),
    min_size=1,
    max_size=5,
    unique=True,
)


@given(HEADERS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["=id", "'=id", "''=id"])
@example(['a"b', 'a""b'])
def test_names_of_any_columns_stay_distinct_and_are_read_again_as_they_were_written(
    tmp_path: Path, names: list[str]
) -> None:
    frame = pl.DataFrame({name: [f"v{place}"] for place, name in enumerate(names)}).with_columns(
        fraud_probability=pl.lit(0.5)
    )
    safe = neutralise_formulas(frame)
    assert len(set(safe.columns)) == len(frame.columns)
    assert not [name for name in safe.columns if name[0] in "=+-@＝\t\n"]
    assert write_riskiest(stored(frame, tmp_path, "csv"), "csv", 1, tmp_path / "riskiest.csv") == 1
    with (tmp_path / "riskiest.csv").open(encoding="utf-8", newline="") as file:
        header, values = csv.reader(file)
    assert header == safe.columns
    assert values[:-1] == [f"v{place}" for place in range(len(names))]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("＝1+1", "'＝1+1"),
        ("＠SUM(1)", "'＠SUM(1)"),
        ("a;=cmd()", "a;'=cmd()"),
        ("a; +1;\t-2", "a; '+1;\t'-2"),
        ("=a;@b", "'=a;'@b"),
        ("-12.5", "-12.5"),
        ("a;b = c", "a;b = c"),
    ],
)
def test_no_cell_begins_as_a_formula_wherever_a_spreadsheet_cuts(text: str, written: str) -> None:
    safe = neutralise_formulas(pl.DataFrame({"name": [text], f"x{text}": ["a"]}))
    assert safe["name"].to_list() == [written]
    assert ";=" not in safe.columns[1]
