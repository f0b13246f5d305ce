"""How raw columns read, and that the reading of a row never depends on the rows beside it."""

from __future__ import annotations

import ast
import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ecluse
from ecluse.apps.fraud.tables.columns import NULL_TOKENS, ColumnSpec, infer_columns, parse_columns
from ecluse.errors import InvalidInput


def inferred(
    values: list[Any], name: str = "x", *, decimal_comma: bool = False
) -> tuple[ColumnSpec, list[Any]]:
    frame = pl.DataFrame({name: values}, strict=False)
    (spec,) = infer_columns(frame, decimal_comma=decimal_comma)
    return spec, spec.read(frame[name]).to_list()


@pytest.mark.parametrize(
    ("written", "numbers"),
    [
        (["1", "2.5", "-3e2", " 4 "], [1.0, 2.5, -300.0, 4.0]),
        (["1 234,50 €", "12,00 €", "0,5"], [1234.5, 12.0, 0.5]),
        (["1\u202f234,5", "1\u00a0000\u00a0000,25"], [1234.5, 1_000_000.25]),
        (["1.234,50", "2,00"], [1234.5, 2.0]),
        (["$1,234.50", "$2.00", "USD 3"], [1234.5, 2.0, 3.0]),
        (["1'234.5", "3"], [1234.5, 3.0]),
        (["(12.5)", "−3", "4"], [-12.5, -3.0, 4.0]),
        (["12 %", "50%"], [0.12, 0.5]),
        ([True, False, None], [1.0, 0.0, None]),
        ([3, 4, None], [3.0, 4.0, None]),
        ([0.5, float("nan"), float("inf")], [0.5, None, None]),
    ],
)
def test_numbers_read_in_every_usual_notation(written: list[Any], numbers: list[float | None]) -> None:
    spec, values = inferred(written)
    assert spec.kind == "number"
    assert values == pytest.approx(numbers)


def test_missing_tokens_are_null_and_do_not_stop_a_column_from_being_numeric() -> None:
    spec, values = inferred([*sorted(NULL_TOKENS), "1", "2"])
    assert spec.kind == "number"
    assert values == [None] * len(NULL_TOKENS) + [1.0, 2.0]


def test_a_level_called_none_is_not_missing() -> None:
    _, values = inferred(["none", "one", "None"])
    assert values == ["none", "one", None]


def test_commas_before_three_digits_read_as_the_rest_of_the_table_does() -> None:
    frame = pl.DataFrame({"a": ["1,234", "5,678"], "b": ["1,5", "2,75"], "c": ["1.5", "2.75"]})
    with_commas = infer_columns(frame.select("a", "b"))[0]
    with_points = infer_columns(frame.select("a", "c"))[0]
    assert (with_commas.decimal_comma, with_commas.thousands) == (True, None)
    assert (with_points.decimal_comma, with_points.thousands) == (False, ",")
    assert with_commas.note


def test_the_file_s_decimal_comma_settles_columns_that_read_both_ways() -> None:
    assert inferred(["1,234", "5,678"])[1] == [1234.0, 5678.0]
    assert inferred(["1,234", "5,678"], decimal_comma=True)[1] == [1.234, 5.678]
    assert inferred(["1.234", "5.678"], decimal_comma=True)[1] == [1234.0, 5678.0]
    assert inferred(["0.234", "0.678"], decimal_comma=True)[1] == [0.234, 0.678]


@pytest.mark.parametrize(
    ("written", "first"),
    [
        (["2024-01-31", "2024-02-01 10:00:00", "2024-02-01T10:00:00Z"], datetime(2024, 1, 31)),
        (["2024-01-31T23:00:00+02:00", "2024-02-01T10:00:00+02:00"], datetime(2024, 1, 31, 21)),
        (["31/01/2024 10:30", "01/02/2024 00:00"], datetime(2024, 1, 31, 10, 30)),
        (["01/31/2024 10:00 PM", "02/01/2024 1:00 AM"], datetime(2024, 1, 31, 22)),
        (["31.01.2024", "1.2.2024"], datetime(2024, 1, 31)),
        (["31/01/24", "01/02/24"], datetime(2024, 1, 31)),
        (["31 Jan 2024", "1 Feb 2024"], datetime(2024, 1, 31)),
        ([date(2024, 1, 31), date(2024, 2, 1)], datetime(2024, 1, 31)),
        ([datetime(2024, 1, 31, 5), datetime(2024, 2, 1)], datetime(2024, 1, 31, 5)),
    ],
)
def test_dates_read_in_every_usual_notation(written: list[Any], first: datetime) -> None:
    spec, values = inferred(written)
    assert spec.kind == "datetime"
    assert values[0] == first
    assert None not in values


def test_native_times_with_a_zone_become_naive_utc() -> None:
    paris = timezone(timedelta(hours=1))
    spec, values = inferred([datetime(2024, 1, 1, 12, tzinfo=paris), datetime(2024, 1, 2, tzinfo=paris)])
    assert spec.kind == "datetime"
    assert values[0] == datetime(2024, 1, 1, 11)


def test_day_and_month_are_told_apart_by_evidence_in_the_column() -> None:
    assert inferred(["02/03/2024", "25/03/2024"])[0].datetime_format == "%d/%m/%Y"
    assert inferred(["02/03/2024", "03/25/2024"])[0].datetime_format == "%m/%d/%Y"


def test_undecided_dates_follow_the_order_of_the_rows_then_the_table_then_day_first() -> None:
    in_order, _ = inferred(["05/01/2024", "05/02/2024", "06/01/2024"])
    assert in_order.datetime_format == "%m/%d/%Y"
    frame = pl.DataFrame({"a": ["03/02/2024", "01/02/2024"], "b": ["03/25/2024", "01/02/2024"]})
    assert [spec.datetime_format for spec in infer_columns(frame)] == ["%m/%d/%Y", "%m/%d/%Y"]
    undecided, _ = inferred(["03/02/2024", "02/03/2024", "03/02/2024"])
    assert undecided.datetime_format == "%d/%m/%Y"
    assert "both ways" in undecided.note


def test_a_stored_order_of_day_and_month_is_kept_at_scoring() -> None:
    spec = ColumnSpec("x", "datetime", datetime_format="%d/%m/%Y")
    later = spec.read(pl.Series("x", ["03/25/2024", "02/03/2024"])).to_list()
    assert later == [None, datetime(2024, 3, 2)]


def test_whole_numbers_are_instants_only_when_the_name_says_so() -> None:
    assert inferred([1_700_000_000, 1_700_000_001], "unix_time")[1][0] == datetime(2023, 11, 14, 22, 13, 20)
    assert inferred(["1700000000000", "1700000000001"], "event_ts")[0].datetime_format == "epoch_ms"
    assert inferred([1_700_000_000, 1_700_000_001], "balance")[0].kind == "number"


def test_codes_are_not_numbers() -> None:
    assert inferred(["0012", "0134"], "branch")[0].kind == "category"
    assert inferred(["4111111111111111", "4111111111111112"], "card")[0].kind == "category"
    assert inferred(list(range(1000, 1100)), "transaction_id")[0].kind == "identifier"
    assert inferred([1, 2, 3, 1, 2, 3], "grade")[0].kind == "number"


def test_sentences_are_text_levels_categories_and_one_value_a_constant() -> None:
    sentences = [f"paid the {i} invoices of last month" for i in range(60)]
    assert inferred(sentences)[0].kind == "text"
    assert inferred(["FR", "DE", "FR"])[0].kind == "category"
    assert inferred([f"T{i:04}" for i in range(100)])[0].kind == "identifier"
    assert inferred(["a", "a"])[0].kind == "constant"
    assert inferred([None, None])[0].kind == "constant"
    assert inferred(["yes", None])[0].kind == "category"


def test_whole_numbers_render_the_same_from_any_type() -> None:
    spec = ColumnSpec("x", "category")
    for values in (["3", " 3.0 ", None], [3, 3, None], [3.0, 3.0, float("nan")]):
        frame = pl.DataFrame({"x": values}, strict=False)
        assert spec.read(frame["x"]).to_list() == ["3", "3", None]


_RAW = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from(
        ["1 234,5", "1,234.5", "(3)", "12 %", "01/02/2024", "2024-01-02", "13/01/2024", "3.0", "€5"]
    ),
    st.floats().map(str),
    st.dates().map(str),
)
_SPECS = (
    ColumnSpec("x", "number"),
    ColumnSpec("x", "number", decimal_comma=True, thousands=" "),
    ColumnSpec("x", "datetime", datetime_format="%d/%m/%Y"),
    ColumnSpec("x", "category"),
)


@given(values=st.lists(_RAW, min_size=1, max_size=12), spec=st.sampled_from(_SPECS))
def test_the_reading_of_a_row_never_depends_on_the_rows_beside_it(
    values: list[str | None], spec: ColumnSpec
) -> None:
    frame = pl.DataFrame({"x": values}, schema={"x": pl.String})
    together = spec.read(frame["x"]).to_list()
    alone = [spec.read(row["x"]).item() for row in frame.iter_slices(1)]
    assert together == alone


@given(
    kind=st.sampled_from(["number", "category", "text", "datetime", "identifier", "constant"]),
    name=st.text(),
    decimal_comma=st.booleans(),
    thousands=st.sampled_from([None, ",", " "]),
)
def test_a_spec_survives_json(kind: Any, name: str, decimal_comma: bool, thousands: str | None) -> None:
    spec = ColumnSpec(name, kind, decimal_comma, "%Y-%m-%d", thousands, "why")
    assert ColumnSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_spec_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'colour' does not exist"):
        ColumnSpec.from_dict({"name": "x", "kind": "colour"})


def test_columns_read_together_read_as_each_alone() -> None:
    rows = 60
    frame = pl.DataFrame(
        {
            "word": ["red", "green", None] * 20,
            "name": [f"name {chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(rows)],
            "price": [f"{i}.5" for i in range(rows)],
            "grouped": [f"{i + 1}.500" for i in range(rows)],
            "flag": ["0", "1"] * 30,
            "customer_id": [str(i % 50) for i in range(rows)],
            "row": [str(i) for i in range(rows)],
            "code": ["007", "12"] * 30,
            "day": [f"2025-01-{1 + i % 28:02d}" for i in range(rows)],
            "unix_time": [str(1_700_000_000 + i) for i in range(rows)],
            "empty": pl.Series([None] * rows, dtype=pl.String),
            "constant": ["x"] * rows,
            "float": [i / 7 for i in range(rows)],
            "whole": [float(i % 5) for i in range(rows)],
            "true": [True, False] * 30,
        }
    )
    # Beyond 2,000 rows each column is read on its own.
    many = pl.concat([frame] * 40)
    specs = infer_columns(many)
    alone = parse_columns(many, specs)
    assert parse_columns(many, specs).equals(alone)
    assert parse_columns(frame, specs).equals(alone.head(rows))
    kinds = {spec.name: spec.kind for spec in infer_columns(frame)}
    assert kinds == {
        "word": "category",
        "name": "identifier",
        "price": "number",
        "grouped": "number",
        "flag": "number",
        "customer_id": "category",
        "row": "identifier",
        "code": "category",
        "day": "datetime",
        "unix_time": "datetime",
        "empty": "constant",
        "constant": "constant",
        "float": "number",
        "whole": "number",
        "true": "number",
    }


def test_no_python_function_stands_within_an_expression() -> None:
    """A thread of Polars that waits for the interpreter, and one of the interpreter that waits for Polars, wait for
    ever: so stood a worker that profiled one table and scored another. Only a scan may, on its own threads."""
    root = Path(ecluse.__file__).parent
    calls = {
        (path.relative_to(root).as_posix(), node.attr)
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"map_batches", "map_elements", "map_groups"}
    }
    assert calls == {("tabular/dataset.py", "map_batches")}
