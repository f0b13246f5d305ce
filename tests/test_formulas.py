"""Columns of every type are written as CSV and shown, and no text of theirs is run as a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse import tables
from ecluse.formulas import neutralise_formulas, writable
from tests.web.within import Within

LONG = st.integers(-(2**63), 2**63 - 1)
ZONES = (None, "UTC", "Pacific/Kiritimati", "America/Adak")
TYPES = [pl.Datetime(unit, zone) for unit in ("ms", "us", "ns") for zone in ZONES]
TYPES += [pl.Duration(unit) for unit in ("ms", "us", "ns")]
FAR = {
    "day": pl.Series([2**31 - 1, 0], dtype=pl.Int32).cast(pl.Date),
    "moment": pl.Series([2**62, 0], dtype=pl.Int64).cast(pl.Datetime("ms")),
    "zoned": pl.Series([-(2**62), 0], dtype=pl.Int64).cast(pl.Datetime("us", "Europe/Paris")),
    "lasting": pl.Series([2**63 - 1, -90_061_500], dtype=pl.Int64).cast(pl.Duration("ms")),
    "bytes": pl.Series([b"=1+1", b"\xff\x00"]),
    "category": pl.Series(["=1+1", "b"], dtype=pl.Categorical),
    "one_of": pl.Series(["b", "@SUM(A1)"], dtype=pl.Enum(["b", "@SUM(A1)"])),
}


def cells(frame: pl.DataFrame) -> list[list[str]]:
    return list(csv.reader(io.StringIO(neutralise_formulas(frame).write_csv())))[1:]


def test_categories_are_text_that_no_spreadsheet_runs() -> None:
    frame = pl.DataFrame(FAR).select("category", "one_of")
    assert cells(frame) == [["'=1+1", "b"], ["b", "'@SUM(A1)"]]


def test_what_csv_lacks_is_text() -> None:
    assert cells(pl.DataFrame(FAR).drop("category", "one_of")) == [
        [
            "1970-01-01+2147483647d",
            "1970-01-01+4611686018427387904ms",
            "1970-01-01-4611686018427387904us",
            "P106751991167DT7H12M55.807S",
            "3d312b31",
        ],
        [
            "1970-01-01",
            "1970-01-01T00:00:00.000",
            "1970-01-01T01:00:00.000000+0100",
            "'-P1DT1H1M1.5S",
            "ff00",
        ],
    ]


def test_what_can_be_named_stays_as_it_is() -> None:
    frame = pl.DataFrame(
        {
            "day": [date(1, 1, 1), date(9999, 12, 31), None],
            "moment": [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999), None],
            "number": [1, 2, 3],
        }
    )
    assert writable(frame).equals(frame)
    lasting = pl.DataFrame({"a": [timedelta(days=1, seconds=1.5), None]})
    assert writable(lasting)["a"].to_list() == ["P1DT1.5S", None]


@given(st.sampled_from(TYPES), st.lists(st.none() | LONG, max_size=4))
def test_every_moment_and_duration_is_written(dtype: pl.DataType, numbers: Sequence[int | None]) -> None:
    frame = pl.DataFrame({"a": pl.Series(numbers, dtype=pl.Int64).cast(dtype)})
    assert len(writable(frame).rows()) == len(numbers)
    assert neutralise_formulas(frame).write_csv().startswith("a\n")


@given(st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=4))
def test_every_date_is_written(numbers: Sequence[int | None]) -> None:
    frame = pl.DataFrame({"a": pl.Series(numbers, dtype=pl.Int32).cast(pl.Date)})
    assert len(writable(frame).rows()) == len(neutralise_formulas(frame)) == len(numbers)


@pytest.mark.parametrize("column", list(FAR))
def test_a_table_of_any_columns_is_shown_and_downloaded(web: Within, tmp_path: Path, column: str) -> None:
    pl.DataFrame({column: FAR[column]}).write_parquet(tmp_path / "t.parquet")
    row = tables.add(web.runtime, web.user_id, tmp_path / "t.parquet", "t.parquet")
    answers: list[Any] = [
        web.ask("GET", f"/tables/{row.id}", headers={"accept": "text/html"}),
        web.ask("GET", f"/api/tables/{row.id}/file?format=csv"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].text.splitlines()[0] == column
