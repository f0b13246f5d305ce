"""The riskiest rows as their table has them, and what is usual in each column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ecluse.apps.fraud.evaluation.drift import Reference, TrainingSketch
from ecluse.apps.fraud.scoring.own_values import KEPT_COLUMNS, Usual, own_values, usual_in
from ecluse.apps.fraud.scoring.results import write_scores
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.tabular.dataset import open_table

AMOUNT = Reference("amount", "number", counts=(25, 25, 25, 24, 1, 0), edges=(10, 20, 30, 40))
SHOP = Reference("shop", "level", counts=(5, 70, 25, 0), levels=("web", "casino"))


def test_the_middle_half_and_the_most_common_value_are_what_is_usual() -> None:
    assert usual_in(AMOUNT) == Usual(low=10, high=30)
    assert usual_in(SHOP) == Usual(value="casino", share=0.7)
    assert usual_in(Reference("at", "hour", counts=(1.0,) * 25)) is None
    assert usual_in(Reference("none", "number", counts=(0, 0, 9), edges=(1,))) is None


def test_the_rows_kept_are_those_that_were_scored_riskiest_in_their_order(tmp_path: Path) -> None:
    rows = 500
    path = tmp_path / "t.csv"
    pl.DataFrame(
        {"id": [f"T{i}" for i in range(rows)], "amount": range(rows), "boutique": ["x" * 90] * rows}
    ).write_csv(path)
    probability = np.random.default_rng(2).permutation(rows) / rows
    scores = pl.DataFrame(
        {
            "id": [f"T{i}" for i in range(rows)],
            "fraud_probability": probability.round(6),
            "risk_level": ["LOW"] * rows,
            "is_fraud": [0] * rows,
        }
    )
    summary = write_scores(scores.iter_slices(70), tmp_path / "s.csv", "csv")
    sketch = TrainingSketch((AMOUNT, SHOP), (ColumnSpec("amount", "number"),))
    with open_table(path) as table:
        own = own_values(table, summary.top_places, ["amount", "shop", "gone"], sketch, {"shop": "boutique"})
    assert own["columns"] == ["amount", "shop"]
    assert [int(row[0]) for row in own["rows"]] == [int(row["id"][1:]) for row in summary.top]
    assert all(len(row[1]) == 60 and row[1].endswith("…") for row in own["rows"])
    assert own["usual"] == {"amount": {"low": 10.0, "high": 30.0}, "shop": {"value": "casino", "share": 0.7}}
    assert "top_places" not in summary.to_dict()
    assert not any("ecluse place" in row for row in summary.top)


def test_of_a_wide_table_the_most_important_columns_are_kept(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(30)]
    pl.DataFrame({name: [1, 2] for name in names}).write_csv(tmp_path / "t.csv")
    with open_table(tmp_path / "t.csv") as table:
        own = own_values(table, [1], names[::-1], None, {})
    assert own["columns"] == names[::-1][:KEPT_COLUMNS]
    assert own["rows"] == [["2"] * KEPT_COLUMNS]
