"""What the columns of a delimited text become: the same however many there are, and however the rows are read."""

from __future__ import annotations

import re
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ecluse.tabular import typing
from ecluse.tabular.dataset import open_table

TEXTS = st.none() | st.sampled_from(
    [
        "",
        "0",
        "7",
        "-12",
        "007",
        "1.5",
        "1,5",
        "-2e3",
        "NaN",
        "nan",
        "true",
        "False",
        "TRUE",
        "x",
        "9" * 18,
        "9" * 19,
    ]
)


def as_said(texts: list[str | None], *, decimal_comma: bool) -> list[object]:
    """Read the texts of a column by the rules, one by one."""
    present = [text for text in texts if text]
    numbers = [text.replace(",", ".") if decimal_comma else text for text in present]
    number = r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d{1,3})?|NaN|nan"
    if present and all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", text) for text in present):
        return [int(text) if text else None for text in texts]
    if all(re.fullmatch(number, text) for text in numbers) and any(
        re.search(r"\d", text) for text in numbers
    ):
        return [float(text.replace(",", ".")) if text else None for text in texts]
    if present and all(text in ("true", "false", "True", "False", "TRUE", "FALSE") for text in present):
        return [text.lower() == "true" if text else None for text in texts]
    return [text or None for text in texts]


@given(
    st.integers(1, 12).flatmap(
        lambda rows: st.lists(st.lists(TEXTS, min_size=rows, max_size=rows), min_size=1, max_size=7)
    ),
    st.booleans(),
)
def test_columns_are_what_their_texts_say_in_groups_and_batches(
    columns: list[list[str | None]], decimal_comma: bool
) -> None:
    frame = pl.DataFrame({f"c{at}": pl.Series(each, dtype=pl.String) for at, each in enumerate(columns)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typing, "GROUP_COLUMNS", 2)
        patch.setattr(typing, "BATCH_ROWS", 2)
        read = pl.concat(typing.typed_batches(frame.lazy(), decimal_comma=decimal_comma), how="vertical")
    expected = pl.DataFrame(
        {f"c{at}": as_said(each, decimal_comma=decimal_comma) for at, each in enumerate(columns)}, strict=True
    )
    empty = [name for name, dtype in expected.schema.items() if dtype == pl.Null]
    assert_frame_equal(read, expected.with_columns(pl.col(empty).cast(pl.String)))


def test_the_time_of_a_table_grows_with_its_columns_and_no_faster(tmp_path: Path) -> None:
    source = tmp_path / "wide.csv"
    header = ",".join(f"c{at}" for at in range(300))
    source.write_text(f"{header}\n{','.join(('1', '2.5', 'x')[at % 3] for at in range(300))}\n")
    with open_table(source) as table:
        begun = time.process_time()
        typing.write_table(table, tmp_path / "wide.parquet")
        worked = time.process_time() - begun
    written = pl.read_parquet(tmp_path / "wide.parquet")
    assert written.dtypes[:4] == [pl.Int64, pl.Float64, pl.String, pl.Int64]
    assert (written.width, written.row(0)[-3:]) == (300, (1, 2.5, "x"))
    assert worked < 8  # as one query: 40 s and more


def test_a_table_in_parts_is_written_whole_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typing, "BATCH_ROWS", 1_000)
    source = tmp_path / "long.csv"
    rows = 30_500
    source.write_text("at,share,name\n" + "".join(f"{at},{at / 4},n{at}\n" for at in range(rows)))
    with open_table(source) as table:
        typing.write_table(table, tmp_path / "long.parquet")
    expected = pl.DataFrame({"at": range(rows)}).with_columns(
        (pl.col("at") / 4).alias("share"), pl.format("n{}", "at").alias("name")
    )
    assert_frame_equal(pl.read_parquet(tmp_path / "long.parquet"), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.csv", "long.parquet"]


def test_a_table_of_no_rows_keeps_its_columns(tmp_path: Path) -> None:
    source = tmp_path / "none.csv"
    source.write_text("at,name\n")
    made = pl.concat(typing.typed_batches(pl.scan_csv(source, infer_schema=False)))
    assert made.schema == {"at": pl.String, "name": pl.String}
