"""A value that a model is asked about is the one that was sent, or is refused: none becomes another on the way."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from ecluse.apps.hosted.casting import cast
from ecluse.apps.hosted.child import shortened
from ecluse.errors import InvalidInput


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([3.0, None, float("nan")], pl.Int64(), [3, None, None]),
        ([3, None], pl.Float64(), [3.0, None]),
        (["3", "", None], pl.Int8(), [3, None, None]),
        ([1, 0], pl.Boolean(), [True, False]),
        (["True", "0"], pl.Boolean(), [True, False]),
        ([7, 8], pl.String(), ["7", "8"]),
        (["2026-01-31", None], pl.Date(), [date(2026, 1, 31), None]),
        (["2026-01-31T08:00:00.000000"], pl.Datetime("us"), [datetime(2026, 1, 31, 8)]),
        ([None], pl.Int64(), [None]),
    ],
)
def test_what_says_the_same_is_taken(values: list[Any], dtype: pl.DataType, expected: list[Any]) -> None:
    made = cast(pl.Series("km", values), dtype)
    assert (made.dtype, made.to_list()) == (dtype, expected)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1000.5, pl.Int64()),
        (300, pl.Int8()),
        (True, pl.Int64()),
        (True, pl.Float64()),
        (2, pl.Boolean()),
        ("many", pl.Int64()),
        ("many", pl.Float64()),
        ("perhaps", pl.Boolean()),
        ("02.03.2026", pl.Date()),
        (float("inf"), pl.Int64()),
    ],
)
def test_what_would_become_another_is_refused_with_its_row(value: Any, dtype: pl.DataType) -> None:
    with pytest.raises(InvalidInput, match=r"Row 2, column km: '?[\w.]+'? is no"):
        cast(pl.Series("km", [None, value]), dtype)


def test_a_day_of_a_workbook_is_a_date_and_a_time_of_day_is_refused() -> None:
    days = pl.Series("since", [datetime(2026, 1, 31), None])
    assert cast(days, pl.Date()).to_list() == [date(2026, 1, 31), None]
    with pytest.raises(InvalidInput, match=r"Row 1, column since: 2026-01-31 08:00:00 is no date"):
        cast(pl.Series("since", [datetime(2026, 1, 31, 8)]), pl.Date())


def test_the_words_of_others_are_cut_at_a_sentence() -> None:
    text = (
        "Input X contains NaN.\nRidge does not accept missing values. " + "See the long page about it " * 30
    )
    assert shortened(text) == "Input X contains NaN. Ridge does not accept missing values. …"
    assert shortened("It is short.") == "It is short."
    assert len(shortened("word " * 200)) <= 302
