"""Write a table as it is kept: Parquet in groups of rows, the columns of a delimited text as what their texts say.

A column of texts becomes one of whole numbers, numbers or truth values where every value is one and none would lose
something of what is written: `007`, a number of more digits than a number keeps, and dates stay texts. An empty text of
such a file is a missing value. Workbooks and Parquet have types of their own, which stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from ecluse.tabular.dataset import Table

#: Rows of one group of a file: what a reader of some rows has to unpack.
GROUP_ROWS: Final = 20_000
_WHOLE: Final = r"^-?(0|[1-9]\d{0,17})$"
_NUMBER: Final = r"^(-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d{1,3})?|NaN|nan)$"
_DIGIT: Final = r"\d"
_TRUTHS: Final = ("true", "false", "True", "False", "TRUE", "FALSE")


def write_table(table: Table, path: Path) -> None:
    """Write the rows of an open table to a new file."""
    frame = table.scan()
    if table.format.kind == "csv":
        frame = typed(frame, decimal_comma=table.format.decimal_comma)
    write_rows(frame, path)


def write_rows(frame: pl.LazyFrame, path: Path) -> None:
    """Write rows as they come, in bounded memory."""
    frame.sink_parquet(path, compression="zstd", row_group_size=GROUP_ROWS, maintain_order=True)


def typed(frame: pl.LazyFrame, *, decimal_comma: bool = False) -> pl.LazyFrame:
    """Return rows of texts with the types that these say. The rows are read once to find out."""
    names = [name for name, dtype in frame.collect_schema().items() if dtype == pl.String]
    texts = {name: pl.col(name).replace("", None) for name in names}
    numbers = {
        name: text.str.replace(",", ".", literal=True) if decimal_comma else text
        for name, text in texts.items()
    }
    asked: list[pl.Expr] = []
    for at, name in enumerate(names):
        asked += [
            texts[name].str.contains(_WHOLE).all().alias(f"{at} whole"),
            (numbers[name].str.contains(_NUMBER).all() & numbers[name].str.contains(_DIGIT).any()).alias(
                f"{at} number"
            ),
            texts[name].is_in(_TRUTHS).all().alias(f"{at} truth"),
            texts[name].is_not_null().any().alias(f"{at} filled"),
        ]
    if not asked:
        return frame
    answers = frame.select(asked).collect(engine="streaming").row(0, named=True)
    columns: list[pl.Expr] = []
    for at, name in enumerate(names):
        column = texts[name]
        if answers[f"{at} filled"]:
            if answers[f"{at} whole"]:
                column = column.cast(pl.Int64)
            elif answers[f"{at} number"]:
                column = numbers[name].cast(pl.Float64)
            elif answers[f"{at} truth"]:
                column = column.str.to_lowercase() == "true"
        columns.append(column.alias(name))
    return frame.with_columns(columns)
