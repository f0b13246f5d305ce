"""What is left out is left out for a stated reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ecluse.apps.fraud.features.features import Feature
from ecluse.apps.fraud.features.selection import (
    MAX_COLUMNS,
    Dropped,
    FeatureSelector,
    best_single,
    choose_columns,
    choose_features,
    leak_warnings,
)
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import ModelUnreadable

RNG = np.random.default_rng(0)


def test_useless_columns_are_left_out_with_the_reason() -> None:
    rows = 400
    frame = pl.DataFrame(
        {
            "amount": RNG.normal(size=rows),
            "same": ["x"] * rows,
            "reference": [f"r{number:09}" for number in RNG.permutation(rows)],
            "number": np.arange(float(rows)),
            "almost_empty": pl.Series([1.0] + [None] * (rows - 1), dtype=pl.Float64),
        }
    ).with_columns(copy=pl.col("amount"))
    kinds = ("number", "category", "category", "number", "number", "number")
    specs = tuple(ColumnSpec(name, kind) for name, kind in zip(frame.columns, kinds, strict=True))
    kept, dropped = choose_columns(frame, specs, np.zeros(rows, dtype=np.int8))
    assert [spec.name for spec in kept] == ["amount"]
    assert {item.column: item.reason for item in dropped} == {
        "same": "constant",
        "reference": "all distinct: cannot generalise",
        "number": "a running number: cannot generalise",
        "almost_empty": "99.8% missing",
        "copy": "duplicate of amount",
    }


def test_of_a_very_wide_table_the_strongest_columns_stay() -> None:
    rows, width = 300, MAX_COLUMNS + 20
    labels = (RNG.random(rows) < 0.3).astype(np.int8)
    noise = {f"noise_{number}": RNG.normal(size=rows) for number in range(width)}
    frame = pl.DataFrame({**noise, "signal": labels + RNG.normal(size=rows) / 3})
    specs = tuple(ColumnSpec(name, "number") for name in frame.columns)
    kept, dropped = choose_columns(frame, specs, labels)
    assert len(kept) == MAX_COLUMNS
    assert kept[-1].name == "signal"
    assert len(dropped) == 21


def features(*names: str) -> tuple[Feature, ...]:
    return tuple(Feature(name, name, "number") for name in names)


def test_constant_and_repeated_features_are_left_out() -> None:
    values = RNG.normal(size=50).astype(np.float32)
    half = np.where(np.arange(50) % 2, np.nan, 1.0)
    matrix = np.column_stack([values, np.ones(50), values, half, np.full(50, np.nan)]).astype(np.float32)
    positions, dropped = choose_features(matrix, features("a", "one", "twin", "half", "nothing"))
    assert positions.tolist() == [0, 3]
    assert [item.reason for item in dropped] == ["constant", "duplicate of a", "constant"]


def test_a_column_that_gives_the_answer_away_is_named() -> None:
    labels = np.array([0, 1] * 100, dtype=np.int8)
    matrix = np.column_stack([RNG.normal(size=200), -labels]).astype(np.float32)
    assert [text.split(" ")[0] for text in leak_warnings(matrix, features("a", "refund"), labels)] == [
        "refund"
    ]


def test_the_best_single_feature_is_found_in_either_direction() -> None:
    labels = np.array([0, 0, 0, 1] * 50, dtype=np.int8)
    matrix = np.column_stack([RNG.normal(size=200), -1.0 * labels]).astype(np.float32)
    assert best_single(matrix, labels, matrix, labels) == (1, 1.0)


def test_a_saved_selector_finds_its_features_by_name(tmp_path: Path) -> None:
    selector = FeatureSelector(("c", "a"), (Dropped("b", "constant"),))
    selector.save(tmp_path)
    again = FeatureSelector.load(tmp_path)
    assert again == selector
    assert again.positions(features("a", "b", "c")).tolist() == [2, 0]


def test_a_selector_that_names_an_unknown_feature_is_refused() -> None:
    with pytest.raises(ModelUnreadable, match="zebra"):
        FeatureSelector(("zebra",)).positions(features("a"))
