"""Sketches tell columns apart and name nobody."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given

from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.apps.fraud.tables.sketches import QUANTILES, ColumnSketch, sketch_columns
from ecluse.errors import InvalidInput
from tests.apps.fraud.references.drawing import sketches


def sketch(values: list[object], kind: str, name: str = "value") -> ColumnSketch:
    spec = ColumnSpec(name, kind)  # type: ignore[arg-type]
    return sketch_columns(pl.DataFrame({name: values}), [spec])[0]


def test_numbers_are_described_by_shares_and_quantiles() -> None:
    found = sketch([None, 0.0, 0.0, -1.5, *(float(n) for n in range(1, 97))], "number")
    assert (found.missing, found.zeros, found.negative) == pytest.approx((0.01, 2 / 99, 1 / 99), abs=1e-6)
    assert found.whole == pytest.approx(98 / 99, abs=1e-6)
    assert len(found.quantiles) == QUANTILES
    assert found.quantiles == tuple(sorted(found.quantiles))


def test_quantiles_of_dates_are_seconds_since_1970() -> None:
    start = datetime(2024, 1, 1)
    found = sketch([start + timedelta(hours=n) for n in range(1_001)], "datetime")
    assert (
        found.quantiles[10] == (start + timedelta(hours=500)).timestamp() - datetime(1970, 1, 1).timestamp()
    )


def test_the_largest_and_the_smallest_value_are_not_kept() -> None:
    found = sketch([float(n) for n in range(1_000)] + [1e12, -1e12], "number")
    assert max(found.quantiles) < 1_000
    assert min(found.quantiles) >= 0


@pytest.mark.parametrize(
    ("values", "kind", "name"),
    [
        (["ann@example.org", "bob@example.org"] * 50, "category", "contact"),
        (["Ann Smith", "Bob Jones"] * 50, "category", "customer_name"),
        (["0612345678", "0712345678"] * 50, "category", "code"),
        (["06 12 34 56 78", "07 12 34 56 78"] * 50, "category", "code"),
        (["a long story of one person and another"] * 100, "text", "story"),
        (["A1", "B2"] * 50, "identifier", "key"),
        ([f"level {n % 41}" for n in range(1_000)], "category", "kind"),
        (["x" * 61, "y"] * 50, "category", "kind"),
    ],
)
def test_values_that_may_name_a_person_are_not_kept(values: list[object], kind: str, name: str) -> None:
    assert sketch(values, kind, name).top == ()


def test_frequent_levels_of_few_are_kept_and_rare_ones_are_not() -> None:
    found = sketch(["card"] * 60 + ["cash"] * 36 + ["cheque"] * 4, "category")
    assert found.top == (("card", 0.6), ("cash", 0.36))


def test_a_column_without_a_value_is_sketched() -> None:
    for kind in ("number", "category", "constant"):
        assert sketch([None, None], kind).missing == 1.0


@given(sketches())
def test_a_sketch_comes_back_from_json(one: ColumnSketch) -> None:
    assert ColumnSketch.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_a_sketch_of_another_shape_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        ColumnSketch.from_dict({"name": "a", "kind": "colour"})
    with pytest.raises(InvalidInput, match="has 2"):
        ColumnSketch.from_dict({"name": "a", "kind": "number", "quantiles": [1, 2]})
