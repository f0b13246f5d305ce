"""Write a table as it is kept: Parquet in groups of rows, the columns of a delimited text as what their texts say.

A column of texts becomes one of whole numbers, numbers or truth values where every value is one and none would lose
something of what is written: `007`, a number of more digits than a number keeps, and dates stay texts. An empty text of
such a file is a missing value. Workbooks and Parquet have types of their own, which stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from ecluse.later import Later
from ecluse.tabular.dataset import Table

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

#: Rows of one group of a file: what a reader of some rows has to unpack.
GROUP_ROWS: Final = 20_000
COMPRESSION: Final = "zstd"
#: Columns of one query, and the rows and the values of the batch that it reads.
GROUP_COLUMNS: Final = 20
BATCH_ROWS: Final = 100_000
BATCH_VALUES: Final = 2_000_000
_WHOLE: Final = r"^-?(0|[1-9]\d{0,17})$"
_NUMBER: Final = r"^(-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d{1,3})?|NaN|nan)$"
_DIGIT: Final = r"\d"
_TRUTHS: Final = ("true", "false", "True", "False", "TRUE", "FALSE")


def write_table(table: Table, path: Path) -> None:
    """Write the rows of an open table to a new file, in bounded memory; parts of it stand beside it meanwhile."""
    if table.format.kind != "csv":
        write_rows(table.scan(), path)
        return
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        parts: list[Path] = []
        for batch in typed_batches(table.scan(), decimal_comma=table.format.decimal_comma):
            parts.append(Path(folder) / f"{len(parts):06d}.parquet")
            batch.write_parquet(parts[-1], compression=COMPRESSION, row_group_size=GROUP_ROWS)
        if len(parts) == 1:
            parts[0].replace(path)
        else:
            write_rows(pl.scan_parquet(parts, glob=False), path)


def write_rows(frame: pl.LazyFrame, path: Path) -> None:
    """Write rows as they come, in bounded memory."""
    frame.sink_parquet(path, compression=COMPRESSION, row_group_size=GROUP_ROWS, maintain_order=True)


def typed_batches(frame: pl.LazyFrame, *, decimal_comma: bool = False) -> Iterator[pl.DataFrame]:
    """Yield rows of texts with the types that all of them say, one batch at least; read once before to find out.

    As a part of the query, the columns would take time that grows faster than their number; and a Python function
    within it would have threads of Polars wait for the interpreter.
    """
    schema = frame.collect_schema()
    names = [name for name, dtype in schema.items() if dtype == pl.String]
    texts = {name: pl.col(name).replace("", None) for name in names}
    numbers = {
        name: text.str.replace(",", ".", literal=True) if decimal_comma else text
        for name, text in texts.items()
    }
    rows = max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, len(schema))))
    answers = _answers(frame.select(names), texts, numbers, rows)
    columns: list[pl.Expr] = []
    for name in names:
        column, answer = texts[name], answers[name]
        if answer.filled:
            if answer.whole:
                column = column.cast(pl.Int64)
            elif answer.number and answer.digit:
                column = numbers[name].cast(pl.Float64)
            elif answer.truth:
                column = column.str.to_lowercase() == "true"
        columns.append(column.alias(name))
    is_empty = True
    for batch in frame.collect_batches(chunk_size=rows, engine="streaming", lazy=True):
        yield batch.with_columns(columns)
        is_empty = False
    if is_empty:
        yield pl.DataFrame(schema=schema).with_columns(columns)


@dataclass
class _Answer:
    """What the texts of a column are as far as they were read: all of them, or (`digit`, `filled`) one at least."""

    whole: bool = True
    number: bool = True
    truth: bool = True
    digit: bool = False
    filled: bool = False

    def asked(self, text: pl.Expr, number: pl.Expr) -> dict[str, pl.Expr]:
        """Return what more rows can change, each an expression of one truth value."""
        asked: dict[str, pl.Expr] = {}
        if self.whole:
            asked["whole"] = text.str.contains(_WHOLE).all()
        if self.number:
            asked["number"] = number.str.contains(_NUMBER).all()
            if not self.digit:
                asked["digit"] = number.str.contains(_DIGIT).any()
        if self.truth:
            asked["truth"] = text.is_in(_TRUTHS).all()
        if not self.filled:
            asked["filled"] = text.is_not_null().any()
        return asked


def _answers(
    frame: pl.LazyFrame, texts: Mapping[str, pl.Expr], numbers: Mapping[str, pl.Expr], rows: int
) -> dict[str, _Answer]:
    """Read the rows once, so many at a time. A query of all columns takes time that grows faster than their number;
    so a batch is asked of a few at a time.
    """
    answers = {name: _Answer() for name in texts}
    names = [*texts]
    groups = [names[at : at + GROUP_COLUMNS] for at in range(0, len(names), GROUP_COLUMNS)]
    if not names:
        return answers
    for batch in frame.collect_batches(chunk_size=rows, engine="streaming", lazy=True):
        for group in groups:
            asked = {
                (name, what): expression
                for name in group
                for what, expression in answers[name].asked(texts[name], numbers[name]).items()
            }
            if not asked:
                continue
            said = batch.select(each.alias(str(at)) for at, each in enumerate(asked.values())).row(0)
            for (name, what), value in zip(asked, said, strict=True):
                setattr(answers[name], what, value)
    return answers
